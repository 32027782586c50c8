"""From the logits of a step to what its beams offer: temperature, processors, and when eos may or must come."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from s2sfast.search.arguments import Arguments
from s2sfast.search.prefixes import Prefixes
from s2sfast.search.processors.base import Beginning, begun
from s2sfast.search.ranking import Offer, log_softmax, wide
from s2sfast.search.stepper import Stepper


class Offers:
    """Makes the offers of one search."""

    def __init__(self, arguments: Arguments, model: Stepper, prefixes: Prefixes | None):
        a = self._a = arguments
        self._model = model
        lengths = None if a.prefill is None else a.prefix_lengths
        self.trackers = begun(a.processors, Beginning(a.shared_prefix, a.eos, a.max_length, lengths, a.late), prefixes)
        edits = all(getattr(tracker, "edits", False) for tracker in self.trackers)
        self._edits = edits and not (a.normalized and self.trackers)
        self._same: Tensor | None = None  # the bias of trackers that all write the same, once it is there

    def prepare(
        self, logits: Tensor, sentences: int, young: bool | Tensor, last: bool | Tensor
    ) -> tuple[Tensor, bool, Tensor | None]:
        """((R, V) logits, are they log-probabilities to be used as they are, a bias that broadcasts to (S, W, V)).

        `young` and `last`: eos may not come yet, must come now; (S,) where sentences differ.
        """
        a = self._a
        if a.temperature != 1.0:
            logits = logits.to(wide(logits)) / a.temperature
        if a.rule.renormalizes and young is not False:
            logits, young = self._without_eos(logits, sentences, young), False
        bias = self._bias(logits, young, last if a.rule.closes_with_eos else False)
        if not self._edits:
            return self._process(logits.clone() if a.normalized else log_softmax(logits)), True, bias
        logits, edited = self._edit(logits, sentences)
        if edited is not None:
            bias = edited if bias is None else bias + edited
        return logits, a.normalized, bias

    def _without_eos(self, logits: Tensor, sentences: int, young: bool | Tensor) -> Tensor:
        """The rest shares its probability."""
        bias = self._bias(logits, young, False)
        return logits if bias is None else (logits.reshape(sentences, -1, logits.shape[1]) + bias).reshape(logits.shape)

    def _edit(self, logits: Tensor, sentences: int) -> tuple[Tensor, Tensor | None]:
        """(logits, the trackers' bias)."""
        active = [tracker for tracker in self.trackers if not tracker.idle]
        if not active:
            return logits, None
        alike = all(tracker.alike for tracker in active)
        if alike and self._same is not None:
            return logits, self._same
        rows, V = logits.shape
        bias = logits.new_zeros((1 if alike else rows, V), dtype=wide(logits))
        for tracker in active:
            logits, bias = tracker.edit(logits, bias)
        bias = bias.view(1 if alike else sentences, -1, V)
        self._same = bias if alike else None
        return logits, bias

    def _process(self, log_probs: Tensor) -> Tensor:
        shape = log_probs.shape
        for number, tracker in enumerate(self.trackers):
            log_probs = tracker(log_probs)
            if not isinstance(log_probs, Tensor) or log_probs.shape != shape or not log_probs.is_floating_point():
                got = tuple(log_probs.shape) if isinstance(log_probs, Tensor) else type(log_probs).__name__
                raise ValueError(
                    f"{self._model.where()}: expected floating log_probs (R, V)={tuple(shape)} "
                    f"from processor {number}; got {got}"
                )
        return log_probs

    def _bias(self, logits: Tensor, young: bool | Tensor, closing: bool | Tensor) -> Tensor | None:
        """-inf where eos may not come, or, before that, where nothing else may."""
        bias = None
        for sentences, there, elsewhere in ((young, -math.inf, 0.0), (closing, 0.0, -math.inf)):
            if sentences is False or (sentences is not True and not sentences.any()):
                continue
            row, other = self._at_eos(logits, there, elsewhere), 0.0 if bias is None else bias
            bias = row if sentences is True else torch.where(sentences[:, None, None], row, other)
        return bias

    def _at_eos(self, logits: Tensor, there: float, elsewhere: float) -> Tensor:
        """(V,)"""
        row = logits.new_full((self._model.vocabulary,), elsewhere, dtype=wide(logits))
        return row.index_fill_(0, self._a.eos_tensor, there)

    def explained(self, error: ValueError, offer: Offer, sentences: Tensor, late: bool = False) -> ValueError:
        """The op's error, with the step and the sentence as the user counts them; a late one may be of another call."""
        where, planes = self._model.where(), offer.logits
        bad = ((planes.isnan() | (planes == math.inf)).any(-1) & (offer.scores > -math.inf)).nonzero()
        if not len(bad):
            return error if late else ValueError(f"{where}: {error}")
        row, beam = bad[0].tolist()
        what = "log_probs from the processors" if offer.normalized and not self._a.normalized else "logits"
        at = f"sentence {int(sentences[row]) // self._a.groups}, beam {beam}"
        return ValueError(f"{where}: expected finite {what} or -inf; got a NaN or +inf for {at}")
