"""What every op means, in plain PyTorch: same names, same signatures, no branch for speed."""

from s2sfast.reference.backtrace import backtrace
from s2sfast.reference.beam_topk import beam_topk

__all__ = ["backtrace", "beam_topk"]
