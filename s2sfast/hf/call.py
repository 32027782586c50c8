"""The callable that generate() takes."""

from __future__ import annotations

import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import Tensor

from s2sfast.search import beam_search as search
from s2sfast.search import rules

if TYPE_CHECKING:
    from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel, StoppingCriteriaList

TESTED = ("5.23", "5.24")
"""The versions of transformers that the tests have run with."""


def beam_search(
    model: PreTrainedModel,
    input_ids: Tensor,
    logits_processor: LogitsProcessorList,
    stopping_criteria: StoppingCriteriaList,
    generation_config: GenerationConfig,
    **model_kwargs: Any,
) -> Any:
    """Beam search for a transformers model, in the place of its own: ``model.generate(..., custom_generate=this)``.

    The same tokens, ``sequences_scores`` and ``beam_indices`` as ``generate()`` finds alone, up to what other shapes of
    the same sums round differently. generate() prepares the arguments; nobody else needs to call this.

    Args:
        model: an encoder-decoder or a decoder alone whose attention is transformers' ``AttentionInterface``, in
            ``eval()``, with "sdpa" or "eager" attention.
        input_ids: ``(B * K, P)`` int64, the decoder's prompts, padded on the left.
        logits_processor: transformers' own, and callables ``(tokens (R, t), log_probs (R, V)) -> log_probs``. They see
            the rows that run: one a sentence at first, then K for each that has not finished.
        stopping_criteria: as there, asked of the candidates; any beyond max_length and eos need the tokens of all rows.
        generation_config: num_beams, num_return_sequences, early_stopping, length_penalty, lengths, tokens, penalties
            and outputs as there. With ``num_beams=1`` the search is transformers' greedy one.
        model_kwargs: what generate() has prepared: encoder outputs, masks, positions, an empty cache.

    Returns:
        ``(B * n, P + L)`` int64 tokens, or with return_dict_in_generate transformers' own output, but without a cache;
        rows of ``scores`` and ``logits`` that no hypothesis goes through are -inf.

    Raises:
        ValueError: naming every argument that is not supported, what was expected and what was given: sampling,
            groups, constraints, assistants, streamers, outputs of attention or hidden states, and so on.
        ImportError: a transformers older than this works with. A newer one than was tested gets a warning.

    Attention, caches and what it costs: docs/hf.md.

    >>> import torch, transformers, s2sfast
    >>> sizes = dict(n_embd=8, n_layer=1, n_head=2, vocab_size=20, eos_token_id=0, bos_token_id=1, pad_token_id=0)
    >>> model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes)).eval()
    >>> prompt = torch.tensor([[3, 4, 5]])
    >>> found = model.generate(prompt, num_beams=4, max_new_tokens=6, custom_generate=s2sfast.hf.beam_search)
    >>> found.equal(model.generate(prompt, num_beams=4, max_new_tokens=6))
    True
    """
    _check_version()
    from s2sfast.hf.arguments import prepare
    from s2sfast.hf.attention import switched
    from s2sfast.hf.greedy import greedy_search
    from s2sfast.hf.output import output
    from s2sfast.hf.processors import as_processors, least_length
    from s2sfast.hf.projection import projecting
    from s2sfast.hf.record import Record, Recorder
    from s2sfast.hf.step import Decoder

    config = generation_config
    settings = prepare(model, input_ids, logits_processor, stopping_criteria, config, model_kwargs)
    B, P = settings.prompt.shape
    logits = Record(B, config.num_beams) if settings.returns("output_logits") else None
    scores = Record(B, config.num_beams) if settings.returns("output_scores") else None
    decoder = Decoder(settings, logits)
    processors = as_processors(logits_processor, decoder)
    if scores is not None:
        processors.append(Recorder(scores, decoder))
    least = least_length(processors, decoder)
    find = greedy_search if config.num_beams == 1 else partial(
        search, beam=config.num_beams, n_best=config.num_return_sequences, length_penalty=config.length_penalty,
        rules=rules.HF(early_stopping=config.early_stopping),
    )  # fmt: skip
    with switched(model), projecting(model):
        found = find(
            decoder, decoder.state, memory=decoder.memory, start=settings.prompt, eos=settings.eos,
            max_length=config.max_length - P, processors=processors if least is None else (), min_length=least or 0,
            ends=settings.ends(scores), return_attention=bool(config.return_dict_in_generate),
        )  # fmt: skip
    return output(settings, found, scores, logits)


def _check_version() -> None:
    import transformers

    version = transformers.__version__
    series = tuple(int(part) for part in version.split(".")[:2])
    tested = [tuple(int(part) for part in name.split(".")) for name in TESTED]
    if series < min(tested):
        raise ImportError(
            f"s2sfast.hf: expected transformers {TESTED[0]} or newer; got {version}: pip install -U 's2sfast[hf]'"
        )
    if series not in tested:
        warnings.warn(
            f"s2sfast.hf is tested with transformers {', '.join(TESTED)}; this is {version}: compare a few results "
            "with generate() alone",
            stacklevel=3,
        )
