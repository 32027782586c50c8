"""A beam search in plain Python whose ranking is an argument: the oracle of the variants, sharing no line with s2sfast.

A path knows the log-probability of each of its tokens, that of the best token it could have had instead, and what it
has lost by penalties so far. A ranking turns the paths that continue each beam into scores.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from oracles import NEVER, Model, log_softmax


@dataclass(frozen=True)
class Path:
    tokens: tuple[int, ...] = ()
    parts: tuple[float, ...] = ()
    best: tuple[float, ...] = ()
    lost: float = 0.0
    finished: bool = False

    @property
    def log_prob(self) -> float:
        return math.fsum(self.parts)


Siblings = list[list[Path]]  # those of each beam, by token
Ranking = Callable[[Siblings], list[tuple[float, Path]]]


@dataclass
class Found:
    paths: list[tuple[float, Path]] = field(default_factory=list)  # (score, path), best first
    chosen: list[list[int]] = field(default_factory=list)  # the tokens that ran on, of each step
    gap: float = math.inf  # the narrowest margin of any decision: below float32 noise the case says nothing

    def ordered(self, scores: Sequence[float]) -> None:
        for a, b in pairwise(scores):
            self.gap = min(self.gap, abs(a - b))


def continued(model: Model, start: Sequence[int], path: Path, *, eos: int, min_length: int = 0) -> list[Path]:
    gains = log_softmax(model([*start, *path.tokens]))
    if len(path.tokens) < min_length:
        gains[eos] = NEVER
    best = max(gains)
    return [
        replace(
            path,
            tokens=(*path.tokens, token),
            parts=(*path.parts, gain),
            best=(*path.best, best),
            finished=token == eos,
        )
        for token, gain in enumerate(gains)
        if gain > NEVER
    ]


class Search:
    """One beam search, a step at a time, by the rules "exact" without its stopping rule (which loses nothing)."""

    def __init__(self, model: Model, start: Sequence[int], ranking: Ranking, *, eos: int, beam: int, max_length: int,
                 alpha: float = 1.0, min_length: int = 0, stop_at: int | None = None) -> None:  # fmt: skip
        self.model, self.start, self.ranking = model, start, ranking
        self.eos, self.beam, self.max_length = eos, beam, max_length
        self.alpha, self.min_length = alpha, min_length
        self.stop_at = stop_at  # it stops when no running path can enter so many; None: never
        self.running, self.pool, self.found = [Path()], [], Found()

    @property
    def done(self) -> bool:
        return not self.running or len(self.found.chosen) == self.max_length

    def step(self) -> None:
        siblings = [
            continued(self.model, self.start, p, eos=self.eos, min_length=self.min_length) for p in self.running
        ]
        ranked = sorted(self.ranking(siblings), key=lambda c: -c[0])
        self.found.ordered([score for score, _ in ranked[: 2 * self.beam + 1]])  # eos is one token
        going = [(score, path) for score, path in ranked if not path.finished][: self.beam]
        self.running = [path for _, path in going]
        self.found.chosen.append([path.tokens[-1] for path in self.running])
        for place, (score, path) in enumerate(ranked):
            length = len(path.tokens)
            if (path.finished and place < self.beam) or (length == self.max_length and path in self.running):
                self.pool.append((score / length**self.alpha, path))
        self.pool.sort(key=lambda c: -c[0])
        if self.stop_at is not None and len(self.pool) >= self.stop_at and not self.done:
            margin = going[0][0] / self.max_length**self.alpha - self.pool[self.stop_at - 1][0]
            self.found.gap = min(self.found.gap, abs(margin))
            if margin <= 0:
                self.running = []

    def results(self, n_best: int) -> Found:
        while not self.done:
            self.step()
        return self.best(n_best)

    def best(self, n_best: int) -> Found:
        self.found.ordered([score for score, _ in self.pool])
        self.found.paths = self.pool[:n_best]
        return self.found


def agree(result, b: int, found: Found) -> None:
    """The sentence's hypotheses are these, with these scores and log-probabilities."""
    n = len(found.paths)
    lengths = result.lengths[b].tolist()
    assert lengths[n:] == [0] * (len(lengths) - n)
    for i, (score, path) in enumerate(found.paths):
        assert result.tokens[b, i, : lengths[i]].tolist() == list(path.tokens)
        assert abs(float(result.scores[b, i]) - score) <= 2e-5 * max(1, abs(score))
        assert abs(float(result.log_probs[b, i]) - path.log_prob) <= 2e-5
        assert bool(result.finished[b, i]) == path.finished
