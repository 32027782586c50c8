"""Slow, readable answers to compare the search with: lists, floats and loops, sharing no line with s2sfast.

A model here is a function from the whole token history (start, prefix, generated) to a list of V logits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

Model = Callable[[Sequence[int]], Sequence[float]]
NEVER = -math.inf


@dataclass(frozen=True)
class Prune:
    """The four pruning rules, under the names of s2sfast.Pruning."""

    relative: float | None = None
    absolute: float | None = None
    relative_local: float | None = None
    max_per_beam: int | None = None


@dataclass(frozen=True)
class Hypothesis:
    tokens: tuple[int, ...]  # generated tokens, eos included
    parts: tuple[float, ...]  # the log-probability of each
    finished: bool
    score: float
    rank: int  # its place among the candidates of the step that produced it

    @property
    def log_prob(self) -> float:
        return math.fsum(self.parts)


@dataclass(frozen=True)
class Candidate:
    parent: int
    token: int
    total: float
    last: float


@dataclass
class Outcome:
    hypotheses: list[Hypothesis] = field(default_factory=list)  # best first, at most n_best
    steps: int = 0
    pruned: int = 0
    gap: float = math.inf  # the narrowest margin of any decision: below float32 noise the case says nothing

    def decide(self, a: float, b: float) -> None:
        if a > NEVER and b > NEVER:
            self.gap = min(self.gap, abs(a - b))


def log_softmax(logits: Sequence[float], temperature: float = 1.0) -> list[float]:
    scaled = [x / temperature for x in logits]
    top = max(scaled)
    if top == NEVER:
        return [NEVER] * len(scaled)
    log_sum = top + math.log(math.fsum(math.exp(x - top) for x in scaled))
    return [x - log_sum for x in scaled]


def power(alpha: float) -> Callable[[float, int], float]:
    """log_prob / length**alpha."""
    return lambda log_prob, length: log_prob / float(length) ** alpha


def gnmt(alpha: float) -> Callable[[float, int], float]:
    """Wu et al. 2016: log_prob / ((5 + length) / 6)**alpha."""
    return lambda log_prob, length: log_prob / ((5.0 + length) / 6.0) ** alpha


def prune(candidates: list[Candidate], rule: Prune, outcome: Outcome) -> list[Candidate]:
    """Freitag & Al-Onaizan 2017; every rule looks at the candidates as they were before any rule."""
    if not candidates:
        return []
    best, best_last = max(c.total for c in candidates), max(c.last for c in candidates)
    kept = []
    for c in candidates:
        floors = []
        if rule.relative is not None:
            floors.append((c.total, best + math.log(rule.relative), best))
        if rule.absolute is not None:
            floors.append((c.total, best - rule.absolute, best))
        if rule.relative_local is not None:
            floors.append((c.last, best_last + math.log(rule.relative_local), best_last))
        keep = True
        for value, floor, top in floors:
            keep = keep and value >= floor
            if value != top:
                outcome.decide(value, floor)
        if rule.max_per_beam is not None:
            siblings = sorted((s for s in candidates if s.parent == c.parent), key=lambda s: (-s.total, s.token))
            for better, worse in pairwise(siblings):
                outcome.decide(better.total, worse.total)
            keep = keep and siblings.index(c) < rule.max_per_beam
        if keep:
            kept.append(c)
    outcome.pruned += len(candidates) - len(kept)
    return kept


def ranking(pool: list[Hypothesis], *, unfinished_last: bool = True) -> list[Hypothesis]:
    """Best score first; ties: the earlier finished, then the lower rank."""
    return sorted(pool, key=lambda h: (-h.score, len(h.tokens), unfinished_last and not h.finished, h.rank))


Running = tuple[tuple[int, ...], tuple[float, ...]]  # tokens and their log-probabilities


def candidates_of(
    model: Model,
    start: Sequence[int],
    running: list[Running],
    outcome: Outcome,
    *,
    eos: set[int],
    min_length: int,
    temperature: float,
    pruning: Prune | None,
    normalized: bool = False,
) -> list[Candidate]:
    """Every way to go on by one token that is not forbidden or pruned, best first: lower parent, then lower token."""
    outcome.steps += 1
    found = []
    for parent, (tokens, parts) in enumerate(running):
        row = model([*start, *tokens])
        for token, last in enumerate(row if normalized else log_softmax(row, temperature)):
            too_early = token in eos and len(tokens) < min_length
            if last > NEVER and not too_early:
                found.append(Candidate(parent, token, math.fsum(parts) + last, last))
    if pruning is not None:
        found = prune(found, pruning, outcome)
    return sorted(found, key=lambda c: (-c.total, c.parent, c.token))


def naive_beam_search(
    model: Model,
    start: Sequence[int],
    *,
    eos: set[int],
    beam: int,
    max_length: int,
    n_best: int = 1,
    min_length: int = 0,
    alpha: float = 1.0,
    norm: Callable[[float, int], float] | None = None,
    temperature: float = 1.0,
    pruning: Prune | None = None,
    normalized: bool = False,
    unfinished_last: bool = True,
) -> Outcome:
    """rules="exact" as API.md section 4 words it. `normalized`: the model's numbers are summed as they are."""
    norm = norm or power(alpha)
    outcome = Outcome()
    pool: list[Hypothesis] = []
    running: list[Running] = [((), ())]
    limits = {"eos": eos, "min_length": min_length, "temperature": temperature, "pruning": pruning}
    for length in range(1, max_length + 1):
        candidates = candidates_of(model, start, running, outcome, normalized=normalized, **limits)
        extended: list[Running] = []
        for rank, c in enumerate(candidates):
            full = len(extended) == beam
            tokens, parts = running[c.parent]
            tokens, parts = (*tokens, c.token), (*parts, c.last)
            score = norm(math.fsum(parts), length)
            if c.token in eos and rank < beam:
                pool.append(Hypothesis(tokens, parts, True, score, rank))
            if c.token not in eos and not full:
                extended.append((tokens, parts))
                if length == max_length:
                    pool.append(Hypothesis(tokens, parts, False, score, rank))
            if rank + 1 < len(candidates) and (rank < beam or not full):
                outcome.decide(c.total, candidates[rank + 1].total)
        running = extended

        if not running:
            break
        best_finished = ranking(pool)
        if length < max_length and len(best_finished) >= n_best:
            reachable = max_length if norm(-1.0, max_length) > norm(-1.0, length + 1) else length + 1
            bounds = [norm(math.fsum(parts), reachable) for _, parts in running]
            for bound in bounds:
                outcome.decide(bound, best_finished[n_best - 1].score)
            if all(bound <= best_finished[n_best - 1].score for bound in bounds):
                break

    ranked = ranking(pool, unfinished_last=unfinished_last)
    for better, worse in pairwise(ranked[: n_best + 1]):
        outcome.decide(better.score, worse.score)
    outcome.hypotheses = ranked[:n_best]
    return outcome


def naive_hf_search(
    model: Model,
    start: Sequence[int],
    *,
    eos: set[int],
    beam: int,
    max_length: int,
    early_stopping: bool | str,
    n_best: int = 1,
    min_length: int = 0,
    alpha: float = 1.0,
    temperature: float = 1.0,
    pruning: Prune | None = None,
) -> Outcome:
    """transformers 5's rules for one sentence, also where it cannot run itself (2K > V): K finished hypotheses are
    kept, and the search looks at the best running one only."""
    norm, outcome = power(alpha), Outcome()
    pool: list[Hypothesis] = []
    running: list[Running] = [((), ())]
    limits = {"eos": eos, "min_length": min_length, "temperature": temperature, "pruning": pruning}
    for length in range(1, max_length + 1):
        candidates = candidates_of(model, start, running, outcome, **limits)
        for better, worse in pairwise(candidates):
            outcome.decide(better.total, worse.total)
        longer = [((*running[c.parent][0], c.token), (*running[c.parent][1], c.last)) for c in candidates]
        for rank, (tokens, parts) in enumerate(longer[:beam]):
            if tokens[-1] in eos or length == max_length:
                score = norm(math.fsum(parts), length)
                pool.append(Hypothesis(tokens, parts, tokens[-1] in eos, score, rank))
        ranked = ranking(pool)
        for better, worse in pairwise(ranked):
            outcome.decide(better.score, worse.score)
        pool = ranked[:beam]
        running = [extended for extended in longer if extended[0][-1] not in eos][:beam]
        if not running:
            break
        if len(pool) == beam:
            hoped_for = max_length if early_stopping == "never" and alpha > 0 else length
            bound = norm(math.fsum(running[0][1]), hoped_for)
            outcome.decide(bound, pool[-1].score)
            if early_stopping is True or bound <= pool[-1].score:
                break
    outcome.hypotheses = pool[:n_best]
    return outcome


def every_sequence(
    model: Model, start: Sequence[int], *, eos: set[int], max_length: int, min_length: int = 0, temperature: float = 1.0
) -> Iterator[tuple[tuple[int, ...], tuple[float, ...], bool]]:
    """All sequences that end in eos or reach max_length, with the log-probability of each token."""

    def grow(tokens: tuple[int, ...], parts: tuple[float, ...]) -> Iterator:
        for token, last in enumerate(log_softmax(model([*start, *tokens]), temperature)):
            if last == NEVER or (token in eos and len(tokens) < min_length):
                continue
            longer, longer_parts = (*tokens, token), (*parts, last)
            if token in eos:
                yield longer, longer_parts, True
            elif len(longer) == max_length:
                yield longer, longer_parts, False
            else:
                yield from grow(longer, longer_parts)

    yield from grow((), ())


def brute_force(model: Model, start: Sequence[int], *, n_best: int = 1, alpha: float = 1.0, **options) -> Outcome:
    """The n best of every sequence there is."""
    outcome = Outcome()
    norm = power(alpha)
    pool = [
        Hypothesis(tokens, parts, finished, norm(math.fsum(parts), len(tokens)), 0)
        for tokens, parts, finished in every_sequence(model, start, **options)
    ]
    ranked = ranking(pool)
    for better, worse in pairwise(ranked[: n_best + 1]):
        outcome.decide(better.score, worse.score)
    outcome.hypotheses = ranked[:n_best]
    return outcome


def naive_greedy(model: Model, start: Sequence[int], *, eos: set[int], max_length: int) -> tuple[list[int], float]:
    """The best token (the lowest of equals) until the first eos."""
    tokens: list[int] = []
    total = 0.0
    while len(tokens) < max_length and not (tokens and tokens[-1] in eos):
        row = log_softmax(model([*start, *tokens]))
        token = row.index(max(row))
        tokens.append(token)
        total += row[token]
    return tokens, total
