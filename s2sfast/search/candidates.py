"""The ranked continuations of one step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from s2sfast.types import BeamCandidates


class Candidates(NamedTuple):
    """S sentences, C candidates each, best first. A slot without one has score -inf, parent 0, token 0."""

    scores: Tensor
    """(S, C) float32, what they are ranked by."""
    parents: Tensor
    """(S, C) int64, the beam that each continues."""
    tokens: Tensor
    """(S, C) int64."""
    log_probs: Tensor
    """(S, C) float32, sums of the tokens' log-probabilities; the very tensor `scores` where they rank by it."""
    tiers: Tensor | None = None
    """(S, C) int64: a hypothesis of a higher tier ranks above all of lower ones. None: all are alike."""

    @classmethod
    def of(cls, found: BeamCandidates) -> Candidates:
        return cls(*found, found.scores)

    @property
    def sums(self) -> Tensor:
        """(S, C) the log-probabilities, -inf where there is no candidate."""
        if self.log_probs is self.scores:
            return self.scores
        return self.log_probs.masked_fill(self.scores == -math.inf, -math.inf)

    def each(self, function: Callable[[Tensor], Tensor]) -> Candidates:
        """The function of every tensor; of scores that are the log-probabilities only once."""
        scores = function(self.scores)
        same = self.log_probs is self.scores
        log_probs = scores if same else function(self.log_probs)
        tiers = None if self.tiers is None else function(self.tiers)
        return Candidates(scores, function(self.parents), function(self.tokens), log_probs, tiers)

    def without(self, drop: Tensor) -> Candidates:
        """Those that `drop` (S, C) bool names score -inf."""
        scores = self.scores.masked_fill(drop, -math.inf)
        return self._replace(scores=scores, log_probs=scores if self.log_probs is self.scores else self.log_probs)
