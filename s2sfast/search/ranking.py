"""How a step ranks what continues its beams.

Data flows one way: the logits of the step, then a ranking's `rank`, then the rule. A ranking that keeps something for
each beam is told by `follow` which beams run on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from s2sfast.search.arguments import Arguments
from s2sfast.search.candidates import Candidates
from s2sfast.types import Pruning


@dataclass
class Offer:
    """What a step offers. S sentences alive, W beams each, V vocabulary."""

    logits: Tensor
    """(S, W, V)"""
    normalized: bool
    """The logits are used as they are: no log-softmax."""
    bias: Tensor | None
    """Broadcasts to (S, W, V): added after the log-softmax; -inf forbids."""
    scores: Tensor
    """(S, W) what the beams are ranked by; -inf: dead."""
    log_probs: Tensor
    """(S, W); the very tensor `scores` where they are the same."""
    count: int
    """C, how many candidates are wanted."""
    pruning: Pruning | None
    step: int
    """0-based, among the steps that choose a token."""


class Follower(Protocol):
    """Keeps something for every row."""

    def follow(self, rows: Tensor, tokens: Tensor) -> None:
        """Row r of the next step (R',) continues row `rows[r]` of this one with `tokens[r]`."""


class Ranking(Follower, Protocol):
    """What a step's candidates are, and in what order."""

    falls: bool
    """No continuation ranks above what it continues: what the bounds of early stopping rest on."""

    def begin(self, arguments: Arguments) -> Ranking:
        """One for a search of its own, that may keep what it likes."""

    def rank(self, offer: Offer) -> Candidates: ...


class ByLogProb:
    """Beam search's own: the sum of log-probabilities, by one fused op."""

    falls = True

    def begin(self, arguments: Arguments) -> ByLogProb:
        self._topk = arguments.topk
        return self

    def rank(self, offer: Offer) -> Candidates:
        found = self._topk(
            offer.logits, offer.scores, offer.count, pruning=offer.pruning, bias=offer.bias, normalized=offer.normalized
        )
        return Candidates.of(found)

    def follow(self, rows: Tensor, tokens: Tensor) -> None:
        pass
