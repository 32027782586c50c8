"""How a step ranks what continues its beams.

Data flows one way: the logits of the step, then a ranking's `rank`, then the rule. A ranking that keeps something for
each beam is told by `follow` which beams run on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from s2sfast.search.arguments import Arguments
from s2sfast.search.candidates import Candidates
from s2sfast.search.penalties import Length
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
    generated: Length
    """How many tokens the beams have generated; (S,) where sentences differ, below 0 inside a prefix."""

    @property
    def gains(self) -> Tensor:
        """(S, W, V) what each token adds to the log-probability, the bias among it; -inf: forbidden."""
        gains = self.logits.to(wide(self.logits)) if self.normalized else log_softmax(self.logits)
        return gains if self.bias is None else gains + self.bias

    @property
    def checked_gains(self) -> Tensor:
        """The gains, after a look at those of live beams: for rankings that do not hand them to beam_topk."""
        gains = self.gains
        if bool(((gains.isnan() | (gains == math.inf)).any(-1) & (self.scores > -math.inf)).any()):
            raise ValueError("expected finite numbers or -inf; got a NaN or +inf")
        return gains

    @property
    def begun(self) -> bool | Tensor:
        """A first token has been chosen; (S, 1) where sentences differ."""
        return self.generated > 0 if isinstance(self.generated, int) else (self.generated > 0)[:, None]

    def summed(self, gains: Tensor, parents: Tensor, tokens: Tensor) -> Tensor:
        """(S, C) float32, the log-probabilities of candidates."""
        gained = gains.flatten(1).gather(1, parents * gains.shape[2] + tokens)
        return (self.log_probs.gather(1, parents).double() + gained).float()


def wide(logits: Tensor) -> torch.dtype:
    return torch.float64 if logits.dtype == torch.float64 else torch.float32


def log_softmax(logits: Tensor) -> Tensor:
    """The log-softmax; of a row of -inf, -inf."""
    dead = logits.amax(-1, keepdim=True) == -math.inf  # their log-softmax would be NaN
    return torch.log_softmax(logits, dim=-1, dtype=wide(logits)).masked_fill(dead, -math.inf)


class Follower(Protocol):
    """Keeps something for every row."""

    def follow(self, rows: Tensor, tokens: Tensor) -> None:
        """Row r of the next step (R',) continues row `rows[r]` of this one with `tokens[r]`."""


class Ranking:
    """What a step's candidates are, and in what order."""

    falls = True
    """No continuation ranks above what it continues: what the bounds of early stopping rest on."""
    goals: Tensor | None = None
    """(B,) the tier that hypotheses are meant to reach; None: candidates have no tiers."""

    def begin(self, arguments: Arguments) -> Ranking:
        """One for a search of its own, that may keep what it likes."""
        raise NotImplementedError

    def rank(self, offer: Offer) -> Candidates:
        raise NotImplementedError

    def follow(self, rows: Tensor, tokens: Tensor) -> None:
        """As :class:`Follower`."""


class ByLogProb(Ranking):
    """Beam search's own: the sum of log-probabilities, by one fused op."""

    def begin(self, arguments: Arguments) -> ByLogProb:
        self._topk = arguments.topk
        return self

    def rank(self, offer: Offer) -> Candidates:
        found = self._topk(
            offer.logits, offer.scores, offer.count, pruning=offer.pruning, bias=offer.bias, normalized=offer.normalized
        )
        return Candidates.of(found)
