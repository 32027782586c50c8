"""The rules that are this library's own: beam search by its definition, and greedy search."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from s2sfast.search.penalties import best_possible
from s2sfast.search.rules.base import Progress, Ranked, Rule


@dataclass(frozen=True)
class Exact(Rule):
    """Beam search as its definition has it, with a stopping rule that loses nothing.

    Each step the `beam` best candidates without eos run on; one with eos finishes a hypothesis when it ranks among the
    `beam` best of all; at max_length the running ones join the ranking. A sentence stops only when no running
    hypothesis can still enter its n best: log_prob / max_length**alpha for alpha > 0, else at the next length, bounds
    what it can become.
    """

    waits_until_full = True

    def candidates(self, beam: int, eos_ids: int) -> int:
        return (1 + eos_ids) * beam

    def places(self, beam: int, n_best: int) -> int:
        return n_best

    def finishes(self, ranked: Ranked) -> Tensor:
        counted = ranked.ends & ranked.leading
        if ranked.last is False:
            return counted
        return counted | (~ranked.ends & ((~ranked.ends).cumsum(1) <= ranked.beam) & ranked.last)

    def stops(self, progress: Progress) -> Tensor:
        bound = best_possible(progress.penalty, progress.running, progress.length + 1, progress.max_length)
        return bound <= progress.worst


@dataclass(frozen=True)
class Greedy(Rule):
    """The best token, until the first eos."""

    waits_until_full = True

    def candidates(self, beam: int, eos_ids: int) -> int:
        return 1

    def stops(self, progress: Progress) -> Tensor:
        return progress.worst > -torch.inf
