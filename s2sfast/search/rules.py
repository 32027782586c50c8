"""What tells one system's beam search from another's: the candidates it keeps, when eos counts, when it stops.

A rule is a small object; a search asks it four things. ``rules="hf"`` stands for ``rules.HF()``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, Protocol

import torch
from torch import Tensor

from s2sfast.search.penalties import Length, Penalty, best_possible


@dataclass
class Progress:
    """What a stopping rule may look at. S sentences alive."""

    running: Tensor
    """(S,) float32, the best running log-probability; -inf where nothing runs."""
    worst: Tensor
    """(S,) float32, the score of the worst of the hypotheses a sentence keeps; -inf while a place is free."""
    length: Length
    """Tokens that the running ones have generated; (S,) where sentences differ."""
    max_length: Length
    """The most they may generate."""
    penalty: Penalty


class Rule(Protocol):
    def candidates(self, beam: int, eos_ids: int) -> int:
        """How many candidates a step ranks per sentence."""

    def places(self, beam: int, n_best: int) -> int:
        """How many hypotheses a sentence keeps."""

    def finishes(self, ends: Tensor, last: Tensor | bool, beam: int) -> Tensor:
        """(S, C) bool: which candidates become hypotheses, from `ends` (the token is eos) and `last` (max_length).

        Asked when one of the first `beam` ends, or some sentence is at its max_length.
        """

    def stops(self, progress: Progress) -> Tensor:
        """(S,) bool: which sentences need no further step."""


@lru_cache(maxsize=64)
def _first(beam: int, candidates: int, device: torch.device) -> Tensor:
    """(C,) bool: among the `beam` best."""
    return torch.arange(candidates, device=device) < beam


def _among_best(ends: Tensor, beam: int) -> Tensor:
    return _first(beam, ends.shape[1], ends.device)


@dataclass(frozen=True)
class HF:
    """transformers 5 (GenerationMixin._beam_search).

    ``max(2, 1 + eos ids) * beam`` candidates; the best `beam` without eos run on; an eos counts when it ranks among the
    `beam` best, and at max_length those become hypotheses, ended or not. A sentence keeps `beam` hypotheses and stops

    * early_stopping=True: as soon as it has them;
    * False: when the best running one, normalised at its present length, is no better than the worst of them. (For a
      positive length penalty this may stop too early.)
    * "never": the same, normalised at max_length where the penalty is positive: then no later one can be better.

    Unlike there, a sentence's result never depends on its neighbours in the batch.
    """

    early_stopping: bool | Literal["never"] = False

    def __post_init__(self) -> None:
        if not isinstance(self.early_stopping, bool) and self.early_stopping != "never":
            raise ValueError(f'rules.HF: expected early_stopping True, False or "never"; got {self.early_stopping!r}')

    def candidates(self, beam: int, eos_ids: int) -> int:
        return max(2, 1 + eos_ids) * beam

    def places(self, beam: int, n_best: int) -> int:
        if n_best > beam:
            raise ValueError(
                f'beam_search: rules="hf" keep as many hypotheses as beams: expected n_best <= {beam}; got {n_best}'
            )
        return beam

    def finishes(self, ends: Tensor, last: Tensor | bool, beam: int) -> Tensor:
        return (ends if last is False else ends | last) & _among_best(ends, beam)

    def stops(self, progress: Progress) -> Tensor:
        if self.early_stopping is True:
            return progress.worst > -torch.inf
        alpha = getattr(progress.penalty, "alpha", 0.0)
        length = progress.max_length if self.early_stopping == "never" and alpha > 0 else progress.length
        return progress.penalty(progress.running, length) <= progress.worst


@dataclass(frozen=True)
class Exact:
    """Beam search as its definition has it, with a stopping rule that loses nothing.

    Each step the `beam` best candidates without eos run on; one with eos finishes a hypothesis when it ranks among the
    `beam` best of all; at max_length the running ones join the ranking. A sentence stops only when no running
    hypothesis can still enter its n best: log_prob / max_length**alpha for alpha > 0, else at the next length, bounds
    what it can become.
    """

    def candidates(self, beam: int, eos_ids: int) -> int:
        return (1 + eos_ids) * beam

    def places(self, beam: int, n_best: int) -> int:
        return n_best

    def finishes(self, ends: Tensor, last: Tensor | bool, beam: int) -> Tensor:
        counted = ends & _among_best(ends, beam)
        return counted if last is False else counted | (~ends & ((~ends).cumsum(1) <= beam) & last)

    def stops(self, progress: Progress) -> Tensor:
        bound = best_possible(progress.penalty, progress.running, progress.length + 1, progress.max_length)
        return bound <= progress.worst


@dataclass(frozen=True)
class Greedy:
    """The best token, until the first eos."""

    def candidates(self, beam: int, eos_ids: int) -> int:
        return 1

    def places(self, beam: int, n_best: int) -> int:
        return 1

    def finishes(self, ends: Tensor, last: Tensor | bool, beam: int) -> Tensor:
        return ends if last is False else ends | last

    def stops(self, progress: Progress) -> Tensor:
        return progress.worst > -torch.inf


_NAMED = {"hf": HF, "exact": Exact}


def as_rule(rules: str | Rule) -> Rule:
    """The rule that a user's argument names.

    Raises:
        ValueError: an unknown name.
    """
    if not isinstance(rules, (str, type)) and hasattr(rules, "candidates") and hasattr(rules, "stops"):
        return rules
    if not isinstance(rules, str) or rules not in _NAMED:
        raise ValueError(f"beam_search: expected rules to be one of {', '.join(_NAMED)}, or an object; got {rules!r}")
    return _NAMED[rules]()
