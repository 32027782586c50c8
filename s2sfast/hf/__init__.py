"""Beam search for transformers' models, in the place of their own.

``model.generate(**inputs, num_beams=4, custom_generate=s2sfast.hf.beam_search)``: see :func:`beam_search`.
"""

from s2sfast.hf.call import TESTED, beam_search

__all__ = ["TESTED", "beam_search"]
