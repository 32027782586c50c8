"""The queue of a best-first search."""

from __future__ import annotations

from bisect import insort
from typing import NamedTuple

import torch
from torch import Tensor

from s2sfast.search.arguments import Arguments
from s2sfast.search.penalties import best_possible
from s2sfast.search.pool import Snapshot


class Call(NamedTuple):
    """What one call of the model left."""

    snapshot: Snapshot
    attention: Tensor | None  # (R, T)


class Hypothesis:
    """A sequence of `length` generated tokens."""

    __slots__ = ("call", "ended", "length", "parent", "rank", "row", "score", "token")

    def __init__(self, parent: Hypothesis | None, token: int, score: float, ended: bool):
        self.parent, self.token, self.score, self.ended = parent, token, score, ended
        self.length: int = 0 if parent is None else parent.length + 1
        self.rank = 0  # in the beam of its length; of a finished one, in the last beam that it has entered
        self.call: Call | None = None  # which call told what follows it, and the row there
        self.row = 0

    def source(self) -> tuple[Call, int]:
        """The call that offered it, and the row there: its state is what continues it."""
        assert self.parent is not None and self.parent.call is not None
        return self.parent.call, self.parent.row

    def attention(self) -> Tensor:
        """(T,) what the model attended to when it offered it."""
        call, row = self.source()
        assert call.attention is not None
        return call.attention[row]

    def path(self) -> list[Hypothesis]:
        """From its first token to its last."""
        path, at = [], self
        while at.parent is not None:
            path.append(at)
            at = at.parent
        return path[::-1]


class Waiting(NamedTuple):
    """Sorts as a beam does: by score, then the rank of what it continues, then the token."""

    cost: float
    rank: int
    token: int
    hypothesis: Hypothesis


class Sentence:
    """The queue of one sentence. A finished hypothesis is taken again at every length, for free."""

    def __init__(self, index: int, max_length: int, a: Arguments):
        self.index, self.max_length, self.a = index, max_length, a
        self.waiting: dict[int, list[Waiting]] = {}  # by length, each best first
        self.taken: dict[int, int] = {}  # by length
        self.last_beam: list[tuple[float, Hypothesis]] = []  # with the scores they are ranked by

    def offer(self, length: int, entry: Waiting) -> None:
        queue = self.waiting.setdefault(length, [])
        insort(queue, entry)
        if len(queue) > self.a.beam - self.taken.get(length, 0):
            queue.pop()  # K better ones of this length are taken before it
        if not queue:
            del self.waiting[length]

    def next(self) -> Hypothesis | None:
        """The best hypothesis that the model has to continue; None: the n best are known."""
        while self.waiting:
            # Ties, as where a token is certain: the longer, which is nearer the end. What comes of the shorter stands
            # behind it in any beam, for the longer one's ancestor was taken before the shorter.
            length = min(self.waiting, key=lambda t: (self.waiting[t][0].cost, -t))
            if self._settled(-self.waiting[length][0].cost):
                return None
            taken = self._take(length)
            if length == self.max_length:
                self.last_beam.append((self._ranked(taken.score, taken.length), taken))
            elif taken.ended:
                self.offer(length + 1, Waiting(-taken.score, taken.rank, taken.token, taken))
            else:
                return taken
        return None

    def _take(self, length: int) -> Hypothesis:
        taken = self.waiting[length].pop(0).hypothesis
        if not self.waiting[length]:
            del self.waiting[length]
        taken.rank = self.taken.get(length, 0)
        self.taken[length] = taken.rank + 1
        return taken

    def _settled(self, best_waiting: float) -> bool:
        if len(self.last_beam) < self.a.n_best:
            return False
        worst = sorted((score for score, _ in self.last_beam), reverse=True)[self.a.n_best - 1]
        bound = best_possible(self.a.penalty, torch.tensor(best_waiting), 1, self.max_length)
        return float(bound) <= worst

    def _ranked(self, score: float, length: int) -> float:
        return float(self.a.penalty(torch.tensor(score), length))  # in float32, as beam_search ranks

    def found(self) -> list[tuple[float, Hypothesis]]:
        return sorted(self.last_beam, key=lambda entry: -entry[0])[: self.a.n_best]  # stable: ties by rank
