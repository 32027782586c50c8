"""Dynamic beam allocation: hypotheses compete with those that have as many of the constraints' tokens.

Post & Vilar 2018, arXiv:1804.06609; on tensors, without a loop over hypotheses or constraints, as in Hu et al. 2019
(aclanthology.org/N19-1090). Here a constraint's progress is told by its last tokens alone, so that phrases may overlap.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import pad

from s2sfast.search.arguments import Arguments
from s2sfast.search.candidates import Candidates
from s2sfast.search.penalties import Length
from s2sfast.search.ranking import Offer, Ranking

Alternatives: TypeAlias = Sequence[Sequence[Sequence[int]]]
"""The constraints of a sentence: the phrases of each, any one of which meets it."""

_NEVER = 1 << 40  # tokens that are missing where there is no such alternative


class _Asked(NamedTuple):
    """What is asked of each of R rows: N constraints, A alternatives each, of up to L tokens."""

    tokens: Tensor
    """(R, N, A, L) int64, -1 beyond an alternative's end."""
    final: Tensor
    """(R, N, A, L) bool: an alternative's last token."""
    lengths: Tensor
    """(R, N, A) int64; _NEVER where there is no such alternative."""

    @classmethod
    def of(cls, every: Sequence[Alternatives], device: torch.device) -> _Asked:
        N = max((len(one) for one in every), default=0)
        A = max((len(phrases) for one in every for phrases in one), default=0)
        L = max((len(phrase) for one in every for phrases in one for phrase in phrases), default=0)
        tokens = torch.full((len(every), max(N, 1), max(A, 1), max(L, 1)), -1, dtype=torch.int64)
        for row, one in zip(tokens, every, strict=True):
            for constraint, phrases in zip(row, one, strict=False):
                for place, phrase in zip(constraint, phrases, strict=False):
                    place[: len(phrase)] = torch.tensor(phrase)
        tokens = tokens.to(device)
        final = (tokens >= 0) & (pad(tokens[..., 1:], (0, 1), value=-1) < 0)
        lengths = (tokens >= 0).sum(-1)
        return cls(tokens, final, lengths.masked_fill(lengths == 0, _NEVER))

    @property
    def there(self) -> Tensor:
        """(R, N) bool: a constraint, no padding."""
        return self.final.flatten(-2).any(-1)

    def at(self, rows: Tensor) -> _Asked:
        return _Asked(*(x[rows] for x in self))


class _Progress(NamedTuple):
    """How far rows, or candidates, are."""

    begun: Tensor
    """(..., N, A, L) bool: the last tokens are the first l + 1 of the alternative (Baeza-Yates & Gonnet 1992)."""
    met: Tensor
    """(..., N) bool; padding is met."""

    def at(self, rows: Tensor) -> _Progress:
        return _Progress(self.begun[rows], self.met[rows])

    @property
    def awaited(self) -> Tensor:
        """(..., N, A, L) bool: tokens that go on with an alternative, or begin one, of what is not met."""
        return _moved(self.begun) & ~self.met[..., None, None]

    def after(self, asked: _Asked, tokens: Tensor) -> _Progress:
        begun = _moved(self.begun) & (asked.tokens == tokens[..., None, None, None])
        return _Progress(begun, self.met | (begun & asked.final).flatten(-2).any(-1))

    def missing(self, asked: _Asked) -> Tensor:
        """(...,) how many tokens are missing to meet all, each constraint by the alternative it is nearest to."""
        reached = (self.begun * torch.arange(1, self.begun.shape[-1] + 1, device=self.begun.device)).amax(-1)
        return (asked.lengths - reached).amin(-1).masked_fill(self.met, 0).sum(-1)


def _moved(begun: Tensor) -> Tensor:
    """One token on; anything may begin."""
    return pad(begun[..., :-1], (1, 0), value=True)


class Banks(Ranking):
    """Takes candidates from every bank in turn, the fullest bank first, the best of each first."""

    falls = False  # along the candidates; their scores do
    _topk: Callable
    _eos: Tensor
    _closes: bool
    _max_length: Length
    _asked: _Asked  # of the sentences
    _sentences: Tensor  # (R,) of every row
    _progress: _Progress  # of the rows
    _generated: Length
    _largest: int  # token id

    def __init__(self, every: Sequence[Alternatives], shared: bool):
        self._every, self._shared = every, shared

    def begin(self, arguments: Arguments) -> Banks:
        a, one = arguments, Banks(self._every, self._shared)
        every = list(self._every) * a.batch if self._shared else list(self._every)
        _check(a, every)
        one._topk, one._max_length, one._closes = a.topk, a.max_length, a.rule.closes_with_eos
        one._eos = a.eos_tensor
        one._asked = _Asked.of(every, a.device)
        one._sentences = torch.arange(a.batch, device=a.device)
        one._progress = _Progress(torch.zeros_like(one._asked.final), ~one._asked.there)
        one.goals = one._asked.there.sum(1)
        one._largest = int(one._asked.tokens.max()) if a.batch else -1
        return one

    def rank(self, offer: Offer) -> Candidates:
        S, W, V = offer.logits.shape
        if self._largest >= V:
            raise ValueError(f"Constraints: expected token ids below V={V}; got {self._largest}")
        self._generated = offer.generated
        last = self._last(offer, W)
        may_end = self._progress.met.all(1).view(S, W) | (last & self._closes)
        known, scores = self._continuations(offer, may_end)
        stuck = ((scores == -math.inf).all(1) & (offer.scores > -math.inf).any(1))[:, None]
        if stuck.any():  # what can only end may do so, whatever it has met
            known, scores = self._continuations(offer, may_end | stuck)
        parents, tokens = known.div(V, rounding_mode="floor"), known % V
        rows = parents + torch.arange(0, S * W, W, device=parents.device)[:, None]
        asked = self._asked.at(self._sentences[rows])
        progress = self._progress.at(rows).after(asked, tokens)
        met = (progress.met & asked.there).sum(-1)
        order = _in_turn(scores, -progress.missing(asked), met, last)[:, : offer.count]
        scores, parents, tokens, met = (x.gather(1, order) for x in (scores, parents, tokens, met))
        return _padded(Candidates(scores, parents, tokens, scores, met), offer.count)

    def _last(self, offer: Offer, beams: int) -> Tensor:
        """(S, 1) bool: nothing may follow this token."""
        most = self._max_length
        if isinstance(most, Tensor):
            most = most[self._sentences[::beams]]
        last = torch.as_tensor(offer.generated + 1 >= most, device=offer.logits.device)
        return last.expand(len(offer.logits))[:, None]

    def _continuations(self, offer: Offer, may_end: Tensor) -> tuple[Tensor, Tensor]:
        """(S, M) parent * V + token and score: the best of each beam and what its constraints wait for, each once."""
        S, W, V = offer.logits.shape
        gains = offer.gains
        ends = gains[..., self._eos].masked_fill(~may_end[..., None], -math.inf)
        gains = gains.index_copy(2, self._eos, ends)
        own = self._topk(gains.view(S * W, 1, V), offer.scores.reshape(-1, 1), min(offer.count, V), normalized=True)
        free = own.tokens.masked_fill(own.scores == -math.inf, -1)
        awaited = self._asked.tokens[self._sentences].masked_fill(~self._progress.awaited, -1)
        tokens = torch.cat((free.view(S, W, -1), awaited.view(S, W, -1)), 2)
        parents = torch.arange(W, device=tokens.device)[:, None].expand_as(tokens)
        known = (parents * V + tokens).masked_fill(tokens < 0, -1).flatten(1).sort(1).values
        absent = (known < 0) | (known == pad(known[:, :-1], (1, 0), value=-1))
        known = known.clamp(min=0)
        scores = offer.summed(gains, known.div(V, rounding_mode="floor"), known % V)
        return known, scores.masked_fill(absent, -math.inf)

    def follow(self, rows: Tensor, tokens: Tensor) -> None:
        before, sentences = self._progress.at(rows), self._sentences[rows]
        after = before.after(self._asked.at(sentences), tokens)
        if isinstance(self._generated, Tensor):  # tokens of a prefix do not count
            beams = len(self._sentences) // len(self._generated)
            chosen = self._generated[rows.div(beams, rounding_mode="floor")] >= 0
            after = _Progress(after.begun & chosen[:, None, None, None], after.met.where(chosen[:, None], before.met))
        self._progress, self._sentences = after, sentences


def _check(a: Arguments, every: Sequence[Alternatives]) -> None:
    name = a.name
    for what, given in (("pruning", a.pruning), ("ends", a.ends), ("rules.AllenNLP", a.rule.stays or None)):
        if given is not None:
            raise ValueError(f"{name}: expected constraints without {what}; got both")
    if len(every) != a.batch:
        raise ValueError(f"{name}: expected constraints for B={a.batch} sentences; got {len(every)}")
    for one in every:
        for phrase in (phrase for phrases in one for phrase in phrases):
            if not set(a.eos).isdisjoint(phrase):
                raise ValueError(f"{name}: expected no eos {a.eos} in the phrases of constraints; got {list(phrase)}")


def _in_turn(scores: Tensor, banks: Tensor, met: Tensor, last: Tensor) -> Tensor:
    """(S, M) in which order candidates are taken: in turn from the banks; the last by what is met, then by score."""
    keys = torch.where(last, met, banks).masked_fill(scores == -math.inf, -_NEVER)
    order = scores.sort(dim=1, descending=True, stable=True).indices
    order = order.gather(1, keys.gather(1, order).sort(dim=1, descending=True, stable=True).indices)
    keys = keys.gather(1, order)  # bank after bank, the best of each first
    at = torch.arange(keys.shape[1], device=keys.device)
    opens = keys != pad(keys[:, :-1], (1, 0), value=1)
    within = (at - torch.where(opens, at, 0).cummax(1).values).masked_fill(last, 0)
    within = within.masked_fill(keys == -_NEVER, keys.shape[1])
    return order.gather(1, within.sort(dim=1, stable=True).indices)


def _padded(found: Candidates, count: int) -> Candidates:
    """With empty places up to `count`."""
    missing = count - found.scores.shape[1]
    none = pad(found.scores == -math.inf, (0, missing), value=True)
    found = found.each(lambda x: pad(x, (0, missing)))
    scores = found.scores.masked_fill(none, -math.inf)
    parents, tokens = found.parents.masked_fill(none, 0), found.tokens.masked_fill(none, 0)
    return Candidates(scores, parents, tokens, scores, found.tiers)
