"""Candidates of one beam are penalised by their rank among themselves (Li, Monroe & Jurafsky 2016)."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable

import torch
from torch import Tensor

from s2sfast.search.arguments import Arguments
from s2sfast.search.candidates import Candidates
from s2sfast.search.ranking import Offer, Ranking


def as_siblings(sibling_penalty: float) -> Siblings | None:
    """The ranking that a user's argument names; one that changes nothing is None.

    Raises:
        ValueError: no finite number of at least 0.
    """
    gamma = sibling_penalty
    if not isinstance(gamma, numbers.Real) or isinstance(gamma, bool) or not 0 <= gamma < math.inf:
        raise ValueError(f"beam_search: expected a finite sibling_penalty >= 0; got {gamma!r}")
    return Siblings(float(gamma)) if gamma else None


class Siblings(Ranking):
    """Ranks by the score minus gamma * i, for the i-th best candidate of its parent, i from 1.

    Nothing is lost by looking at the C best of each parent only: the penalty keeps siblings in their order.
    """

    _topk: Callable

    def __init__(self, gamma: float):
        self._gamma = gamma

    def begin(self, arguments: Arguments) -> Siblings:
        one = Siblings(self._gamma)
        one._topk = arguments.topk
        return one

    def rank(self, offer: Offer) -> Candidates:
        S, W, V = offer.logits.shape
        dead = offer.scores == -math.inf
        bias = None if offer.bias is None else offer.bias.expand(S, W, V).reshape(S * W, 1, V)
        logits, nothing = offer.logits.reshape(S * W, 1, V), torch.zeros_like(offer.scores).masked_fill(dead, -math.inf)
        own = self._topk(logits, nothing.view(-1, 1), offer.count, bias=bias, normalized=offer.normalized)
        gains, tokens = own.scores.view(S, W, -1), own.tokens.view(S, W, -1)  # (S, W, C), best first
        found = self._topk(
            gains, offer.scores, offer.count, pruning=offer.pruning, bias=self._penalties(offer), normalized=True
        )
        log_probs = offer.summed(gains, found.parents, found.tokens)
        at = found.parents * offer.count + found.tokens
        return Candidates(found.scores, found.parents, tokens.flatten(1).gather(1, at), log_probs)

    def _penalties(self, offer: Offer) -> Tensor:
        """(C,), or (S, 1, C) where sentences differ."""
        ranks = torch.arange(1, offer.count + 1, device=offer.logits.device, dtype=torch.float32)
        begun = offer.begun
        return -self._gamma * ranks * (begun if isinstance(begun, bool) else begun[:, :, None])
