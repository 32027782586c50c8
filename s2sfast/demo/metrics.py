"""How far answers are from the gold pronunciations.

Convention: an answer is compared with the *nearest* of the pronunciations that CMUdict lists for the word. The phoneme
error rate is micro-averaged: edits over all words, divided by the phonemes of those nearest pronunciations. A word is
right if the answer is one of the listed pronunciations. Each figure exists with stress digits and without.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from s2sfast.demo.gold import Gold


class Quality(NamedTuple):
    """Fractions, not per cent. ``per`` is the phoneme error rate, ``accuracy`` the share of words that are right."""

    per: float
    accuracy: float
    per_no_stress: float
    accuracy_no_stress: float


def quality(words: Sequence[str], answers: Sequence[Sequence[str]], gold: Gold) -> Quality:
    """Quality of one answer per word; ``words`` must not be empty and must stand in ``gold``."""
    stressed, bare = _Tally(), _Tally()
    for word, answer in zip(words, answers, strict=True):
        stressed.add(tuple(answer), gold[word])
        bare.add(without_stress(answer), [without_stress(pronunciation) for pronunciation in gold[word]])
    return Quality(stressed.error_rate, stressed.accuracy, bare.error_rate, bare.accuracy)


def without_stress(phonemes: Iterable[str]) -> tuple[str, ...]:
    """``("AH0", "B")`` -> ``("AH", "B")``."""
    return tuple(phoneme.rstrip("012") for phoneme in phonemes)


def edit_distance(left: Sequence[str], right: Sequence[str]) -> int:
    """Fewest insertions, deletions and substitutions that turn one sequence into the other (Levenshtein)."""
    costs = list(range(len(right) + 1))  # of turning left[:i] into each right[:j]
    for i, a in enumerate(left, start=1):
        diagonal, costs[0] = costs[0], i
        for j, b in enumerate(right, start=1):
            diagonal, costs[j] = costs[j], min(diagonal + (a != b), costs[j] + 1, costs[j - 1] + 1)
    return costs[-1]


class _Tally:
    def __init__(self) -> None:
        self.words = self.right = self.edits = self.phonemes = 0

    def add(self, answer: tuple[str, ...], listed: Sequence[tuple[str, ...]]) -> None:
        right = answer in listed
        # Equally near pronunciations: min takes the one listed first.
        nearest = answer if right else min(listed, key=lambda gold: edit_distance(answer, gold))
        self.words += 1
        self.right += right
        self.edits += 0 if right else edit_distance(answer, nearest)
        self.phonemes += len(nearest)

    @property
    def error_rate(self) -> float:
        return self.edits / self.phonemes

    @property
    def accuracy(self) -> float:
        return self.right / self.words
