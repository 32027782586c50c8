"""transformers' logits processors as processors of the search."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import LogitsProcessorList
from transformers.generation import logits_process

if TYPE_CHECKING:
    from s2sfast.hf.step import Decoder

Processor = Callable[[Tensor, Tensor], Tensor]

# These keep something per row of B * K rows, which the search has not.
REFUSED = (
    "AlternatingCodebooksLogitsProcessor",
    "BarkEosPrioritizerLogitsProcessor",
    "ClassifierFreeGuidanceLogitsProcessor",
    "DiaClassifierFreeGuidanceLogitsProcessor",
    "DiaEOSChannelFilterLogitsProcessor",
    "DiaEOSDelayPatternLogitsProcessor",
    "EncoderRepetitionPenaltyLogitsProcessor",
    "SynthIDTextWatermarkLogitsProcessor",
    "UnbatchedClassifierFreeGuidanceLogitsProcessor",
    "WhisperNoSpeechDetection",
)


def refused(processors: Iterable[Any]) -> list[str]:
    return [type(p).__name__ for p in processors if type(p).__name__ in REFUSED]


def as_processors(given: LogitsProcessorList, decoder: Decoder) -> list[Processor]:
    """One of the search's for each of transformers'. The place where those with a faster equivalent are exchanged."""
    return [_as_processor(processor, decoder) for processor in given]


def _as_processor(given: Any, decoder: Decoder) -> Processor:
    if isinstance(given, logits_process.PrefixConstrainedLogitsProcessor):
        return _Allowed(given, decoder)
    if isinstance(given, logits_process.EncoderNoRepeatNGramLogitsProcessor):
        return _OfTheAlive(given, decoder, _source_ngrams)
    padded = isinstance(getattr(given, "prompt_ignore_length", None), Tensor)
    if padded and isinstance(given, logits_process.RepetitionPenaltyLogitsProcessor):
        return _OfTheAlive(given, decoder, _ignored_lengths)
    return given


class _Allowed:
    """prefix_allowed_tokens_fn, asked with the sentence's place in the batch.

    A prefix that nothing may follow, which is an error there, is given up here: it may be one that no beam stands on.
    """

    def __init__(self, given: Any, decoder: Decoder):
        self._allowed, self._decoder = given._prefix_allowed_tokens_fn, decoder

    def __call__(self, tokens_so_far: Tensor, log_probs: Tensor) -> Tensor:
        forbidden = torch.full_like(log_probs, -math.inf)
        width = self._decoder.width
        for row, prefix in enumerate(tokens_so_far):
            sentence = int(self._decoder.ids[row // width])
            forbidden[row, self._allowed(sentence, prefix)] = 0
        return log_probs + forbidden


class _OfTheAlive:
    """A processor that knows something of each sentence, for those that are alive."""

    def __init__(self, given: Any, decoder: Decoder, adapt: Callable[[Any, Any, Decoder], None]):
        self._given, self._decoder, self._adapt = given, decoder, adapt

    def __call__(self, tokens_so_far: Tensor, log_probs: Tensor) -> Tensor:
        alive = copy.copy(self._given)
        self._adapt(self._given, alive, self._decoder)
        return alive(tokens_so_far, log_probs)


def _source_ngrams(given: Any, alive: Any, decoder: Decoder) -> None:
    """encoder_no_repeat_ngram_size: what each source has."""
    alive.batch_size = len(decoder.ids)
    alive.generated_ngrams = [given.generated_ngrams[i] for i in decoder.ids.tolist()]


def _ignored_lengths(given: Any, alive: Any, decoder: Decoder) -> None:
    """repetition_penalty: how much of each prompt is padding."""
    alive.prompt_ignore_length = given.prompt_ignore_length[decoder.rows().flatten()]
