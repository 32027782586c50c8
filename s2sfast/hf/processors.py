"""transformers' logits processors as processors of the search."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

from torch import Tensor
from transformers.generation import logits_process as theirs

from s2sfast.search import processors as ours

if TYPE_CHECKING:
    from s2sfast.hf.step import Decoder

Processor: TypeAlias = Callable[[Tensor, Tensor], Tensor] | ours.Processor

REFUSED = (  # these keep something per row of B * K rows, which the search has not
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


def refused(given: Iterable[Any]) -> list[str]:
    return [type(processor).__name__ for processor in given if type(processor).__name__ in REFUSED]


def as_processors(given: Iterable[Any], decoder: Decoder) -> list[Processor]:
    """One for each of transformers'.

    Those of its classes that the search has too are exchanged, and no prefixes are built for them; a subclass may do
    anything, and stays as it is.
    """
    return [_EQUIVALENT.get(type(processor), _as_it_is)(processor, decoder) for processor in given]


def least_length(processors: list[Processor], decoder: Decoder) -> int | None:
    """The search's min_length that does what all these processors do, or None.

    It forbids eos in one row (V,); a processor writes a row for every beam.
    """
    lengths = [
        p.n for p in processors if isinstance(p, ours.MinLength) and isinstance(p.n, int) and p.eos == decoder.eos
    ]
    return max(lengths, default=0) if len(lengths) == len(processors) else None


def _as_it_is(given: Any, decoder: Decoder) -> Processor:
    return given


def _no_repeat(given: Any, decoder: Decoder) -> Processor:
    return ours.NoRepeatNGram(given.ngram_size)


def _allowed(given: Any, decoder: Decoder) -> Processor:
    return ours.AllowedTokens(given._prefix_allowed_tokens_fn)


def _suppress(given: Any, decoder: Decoder) -> Processor:
    return _within(given, given.suppress_tokens, decoder, ours.SuppressTokens)


def _suppress_at_begin(given: Any, decoder: Decoder) -> Processor:
    if given.begin_index != decoder.prompt_length:
        return given
    return _within(given, given.begin_suppress_tokens, decoder, ours.SuppressTokensAtBegin)


def _within(given: Any, ids: Tensor, decoder: Decoder, make: Callable[[list[int]], Processor]) -> Processor:
    """transformers lets ids beyond the vocabulary pass, and none at all; the search does not."""
    fine = len(ids) > 0 and int(ids.min()) >= 0 and int(ids.max()) < decoder.vocabulary
    return make(ids.tolist()) if fine else given


def _first(given: Any, decoder: Decoder) -> Processor:
    """It comes where one token stands before: after a longer prompt, nowhere."""
    return ours.ForcedTokens(first=given.bos_token_id) if decoder.prompt_length == 1 else given


def _last(given: Any, decoder: Decoder) -> Processor:
    return ours.ForcedTokens(last=given.eos_token_id.tolist()) if given.max_length == decoder.max_length else given


def _min_length(given: Any, decoder: Decoder) -> Processor:
    return _no_end_before(given, given.min_length - decoder.prompt_length, decoder)


def _min_new(given: Any, decoder: Decoder) -> Processor:
    generated = given.min_new_tokens + given.prompt_length_to_skip - decoder.prompt_length
    return _no_end_before(given, generated, decoder)


def _no_end_before(given: Any, generated: int, decoder: Decoder) -> Processor:
    ends = decoder.possible(given.eos_token_id)
    return ours.MinLength(max(generated, 0), ends) if ends else given


def _penalty(given: Any, decoder: Decoder) -> Processor:
    ignored = given.prompt_ignore_length
    if ignored is None:
        return ours.RepetitionPenalty(given.penalty)
    return _OfTheAlive(given, decoder, _ignored_lengths) if isinstance(ignored, Tensor) else given


def _none_of_the_source(given: Any, decoder: Decoder) -> Processor:
    return _OfTheAlive(given, decoder, _source_ngrams)


_EQUIVALENT: dict[Any, Callable[[Any, Any], Processor]] = {
    theirs.EncoderNoRepeatNGramLogitsProcessor: _none_of_the_source,
    theirs.ForcedBOSTokenLogitsProcessor: _first,
    theirs.ForcedEOSTokenLogitsProcessor: _last,
    theirs.MinLengthLogitsProcessor: _min_length,
    theirs.MinNewTokensLengthLogitsProcessor: _min_new,
    theirs.NoRepeatNGramLogitsProcessor: _no_repeat,
    theirs.PrefixConstrainedLogitsProcessor: _allowed,
    theirs.RepetitionPenaltyLogitsProcessor: _penalty,
    theirs.SuppressTokensAtBeginLogitsProcessor: _suppress_at_begin,
    theirs.SuppressTokensLogitsProcessor: _suppress,
}


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
