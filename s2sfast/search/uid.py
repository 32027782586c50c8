"""Regularisers for uniform information density (Meister, Cotterell & Vieira 2020).

What a regulariser must know of a beam is one or two running sums, so it sees every candidate of a step at once.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from s2sfast.search.arguments import Arguments
from s2sfast.search.candidates import Candidates
from s2sfast.search.penalties import Length
from s2sfast.search.ranking import Offer, Ranking


class UID(NamedTuple):
    """A penalty for information that is spread unevenly: beams and hypotheses are ranked by log_prob - weight * R.

    With the surprisal u_t = -log p(y_t | y_<t) of the T tokens y_1..y_T, eos included:

    ======== ================================================================
    kind     R
    ======== ================================================================
    greedy   sum_t (u_t - min_w u_t(w))**2, w any token that may come at t
    variance 1/T sum_t (u_t - mean(u))**2
    local    1/T sum_t (u_t - u_{t-1})**2, u_0 = 0
    max      max_t u_t
    square   sum_t u_t**2
    ======== ================================================================

    The length penalty acts on what results. u_t is minus what the step adds to `log_probs`: after temperature and
    processors. Under "variance" and "local" a hypothesis may rise when it goes on; whatever rests on the bound of a
    running one (early stopping) then takes that of its log-probability.

    Reference: Meister, Cotterell & Vieira 2020, "If beam search is the answer, what was the question?",
    arXiv:2010.02650. A large weight of "greedy" is greedy search.

    >>> import torch, s2sfast
    >>> P = torch.tensor([[0.0, 0.1, 0.9], [0.2, 0.4, 0.4], [0.6, 0.4, 0.0]]).log()  # next of 0, 1, 2; 2 is eos
    >>> step = lambda tokens, state, memory: (P[tokens], state)
    >>> options = dict(start=2, eos=2, beam=2, batch_size=1, length_penalty=0.0)
    >>> s2sfast.beam_search(step, None, **options).best(0)
    [0, 2]
    >>> s2sfast.beam_search(step, None, regularizer=s2sfast.UID("variance", 50.0), **options).best(0)
    [1, 2]
    """

    kind: Literal["greedy", "variance", "local", "max", "square"]
    weight: float = 1.0


def as_regularizer(regularizer: UID | None) -> Regularized | None:
    """The ranking that a user's argument names; one that changes nothing is None.

    Raises:
        ValueError: another type, an unknown kind, a weight that is no finite number of at least 0.
    """
    if regularizer is None:
        return None
    if not isinstance(regularizer, UID):
        raise ValueError(f"beam_search: expected regularizer to be a UID or None; got {regularizer!r}")
    kind, weight = regularizer
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ValueError(f"UID: expected kind to be one of {', '.join(_KINDS)}; got {kind!r}")
    if not isinstance(weight, numbers.Real) or isinstance(weight, bool) or not 0 <= weight < math.inf:
        raise ValueError(f"UID: expected a finite weight >= 0; got {weight!r}")
    return Regularized(_KINDS[kind], float(weight)) if weight else None


class Regularized(Ranking):
    """Ranks by log_prob - weight * R."""

    _topk: Callable
    _sums: tuple[Tensor, ...]  # (R, 1) each, of the beams
    _spent: Tensor  # (S, W, V), by the tokens of this step
    _generated: Length

    def __init__(self, kind: _Kind, weight: float):
        self._kind, self._weight = kind, weight
        self.falls = kind.rises

    def begin(self, arguments: Arguments) -> Regularized:
        one = Regularized(self._kind, self._weight)
        one._topk = arguments.topk
        one._sums = tuple(torch.zeros((arguments.batch, 1), device=arguments.device) for _ in range(self._kind.sums))
        return one

    def rank(self, offer: Offer) -> Candidates:
        gains = offer.gains
        S, W, _ = gains.shape
        n = _counted(offer.generated, (S, 1, 1))
        sums = tuple(x.view(S, W, 1) for x in self._sums)
        self._generated, self._spent = offer.generated, self._kind.spent(gains)
        penalty = self._weight * self._kind.value(self._kind.grown(sums, self._spent, n), n + 1)
        # Scores hold the R of before; a beam ranked by its log-probability instead adds up no rounding of R.
        bias = (offer.log_probs - offer.scores)[:, :, None] - penalty
        bias = bias.masked_fill((gains == -math.inf) | (offer.scores == -math.inf)[:, :, None], 0.0)
        found = self._topk(gains, offer.scores, offer.count, pruning=offer.pruning, bias=bias, normalized=True)
        return Candidates.of(found)._replace(log_probs=offer.summed(gains, found.parents, found.tokens))

    def follow(self, rows: Tensor, tokens: Tensor) -> None:
        generated, W = self._generated, self._spent.shape[1]
        if not isinstance(generated, int):
            generated = generated[rows.div(W, rounding_mode="floor")]
        spent = self._spent.flatten(0, 1)[rows, tokens][:, None]
        before = tuple(x.index_select(0, rows) for x in self._sums)
        self._sums = self._kind.grown(before, spent, _counted(generated, (len(rows), 1)))
        if not isinstance(generated, int):  # tokens of a prefix do not count
            inside = (generated < 0)[:, None]
            self._sums = tuple(old.where(inside, new) for old, new in zip(before, self._sums, strict=True))


def _counted(generated: Length, shape: tuple[int, ...]) -> Length:
    """The number of tokens, 0 inside a prefix, in a shape that broadcasts."""
    return generated if isinstance(generated, int) else generated.clamp(min=0).view(shape)


class _Kind:
    """What a regulariser keeps of a hypothesis of n tokens, each of which has spent x. Its base keeps one sum."""

    sums = 1
    """How many numbers that is, all 0 at first."""
    rises = True
    """R never falls when a hypothesis goes on."""

    def spent(self, gains: Tensor) -> Tensor:
        """x of every token, of (..., V) log-probabilities."""
        return -gains

    def grown(self, sums: tuple[Tensor, ...], x: Tensor, n: Length) -> tuple[Tensor, ...]:
        """With one token more; n before it."""
        raise NotImplementedError

    def value(self, sums: tuple[Tensor, ...], n: Length) -> Tensor:
        """R."""
        return sums[0]


class _Square(_Kind):
    def grown(self, sums: tuple[Tensor, ...], x: Tensor, n: Length) -> tuple[Tensor, ...]:
        return (sums[0] + x * x,)


class _Greedy(_Square):
    def spent(self, gains: Tensor) -> Tensor:
        return gains.amax(-1, keepdim=True) - gains


class _Max(_Kind):
    def grown(self, sums: tuple[Tensor, ...], x: Tensor, n: Length) -> tuple[Tensor, ...]:
        return (torch.maximum(sums[0], x),)


class _Mean(_Kind):
    """A number of which the next token needs to know, and the sum of which R is the mean."""

    sums, rises = 2, False

    def value(self, sums: tuple[Tensor, ...], n: Length) -> Tensor:
        return sums[1] / n


class _Variance(_Mean):
    """Keeps the mean of the x (Welford 1962: the plain sum of squares would cancel)."""

    def grown(self, sums: tuple[Tensor, ...], x: Tensor, n: Length) -> tuple[Tensor, ...]:
        mean, squares = sums
        off = x - mean
        return mean + off / (n + 1), squares + off * off * (n / (n + 1))


class _Local(_Mean):
    """Keeps the last x."""

    def grown(self, sums: tuple[Tensor, ...], x: Tensor, n: Length) -> tuple[Tensor, ...]:
        last, squares = sums
        return x, squares + (x - last) ** 2


_KINDS: dict[str, _Kind] = {
    "greedy": _Greedy(),
    "variance": _Variance(),
    "local": _Local(),
    "max": _Max(),
    "square": _Square(),
}
