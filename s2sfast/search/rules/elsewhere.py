"""The rules of other systems. docs/rules.md lists every difference side by side."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from s2sfast.search.penalties import Length, LengthPenalty
from s2sfast.search.rules.base import Progress, Ranked, Rule


@dataclass(frozen=True)
class HF(Rule):
    """transformers 5 (GenerationMixin._beam_search).

    ``max(2, 1 + eos ids) * beam`` candidates; the best `beam` without eos run on; an eos counts when it ranks among the
    `beam` best, and at max_length those become hypotheses, ended or not. A sentence keeps `beam` hypotheses and stops

    * early_stopping=True: as soon as it has them;
    * False: when the best running one, normalised at its present length, is no better than the worst of them. (For a
      positive length penalty this may stop too early.)
    * "never": the same, normalised at max_length where the penalty is positive: then no later one can be better.

    Unlike there, a sentence's result never depends on its neighbours in the batch.
    """

    waits_until_full = True

    early_stopping: bool | Literal["never"] = False

    def __post_init__(self) -> None:
        if not isinstance(self.early_stopping, bool) and self.early_stopping != "never":
            raise ValueError(f'rules.HF: expected early_stopping True, False or "never"; got {self.early_stopping!r}')

    def candidates(self, beam: int, eos_ids: int) -> int:
        return max(2, 1 + eos_ids) * beam

    def places(self, beam: int, n_best: int) -> int:
        super().places(beam, n_best)
        return beam

    def stops(self, progress: Progress) -> Tensor:
        if self.early_stopping is True:
            return progress.worst > -torch.inf
        alpha = getattr(progress.penalty, "alpha", 0.0)
        length = progress.max_length if self.early_stopping == "never" and alpha > 0 else progress.length
        return progress.penalty(progress.running, length) <= progress.worst


@dataclass(frozen=True)
class Fairseq(Rule):
    """fairseq (SequenceGenerator).

    Twice `beam` candidates (there no more than V - 1 of the first step, its pad being one of V); the best `beam`
    without eos run on; an eos counts when it ranks among the `beam` best. The last token that max_length allows must
    be eos. A sentence keeps the first `beam` hypotheses it finds, by rank within a step, and stops when it has them.
    """

    closes_with_eos = True

    def candidates(self, beam: int, eos_ids: int) -> int:
        return (1 + eos_ids) * beam

    def places(self, beam: int, n_best: int) -> int:
        super().places(beam, n_best)
        return beam

    def finishes(self, ranked: Ranked) -> Tensor:
        ends = ranked.ends & ranked.leading
        return ends & (ranked.found[:, None] + ends.cumsum(1) <= ranked.beam)

    def stops(self, progress: Progress) -> Tensor:
        return progress.found >= progress.beam


@dataclass(frozen=True)
class OpenNMT(Rule):
    """OpenNMT-py (BeamSearch, its ``ratio`` left at 0).

    As many candidates as beams; those with eos finish and their places stay empty until the next step fills them from
    the others. At max_length all become hypotheses. The penalty counts the start symbol as well. A sentence stops once
    the best candidate of some step was a hypothesis and n_best have been found.
    """

    def candidates(self, beam: int, eos_ids: int) -> int:
        return beam

    def counted(self, generated: Length) -> Length:
        return generated + 1

    def stops(self, progress: Progress) -> Tensor:
        return progress.led & (progress.found >= progress.n_best)


@dataclass(frozen=True)
class CTranslate2(Rule):
    """CTranslate2 (BeamSearch::search).

    Twice `beam` candidates; the best `beam` without eos run on; an eos counts when it ranks among the `beam` best, and
    at max_length those become hypotheses, ended or not. A sentence stops with ``round(beam * patience)`` hypotheses
    (Kasai et al. 2022); or, with neither length nor coverage penalty, once the best candidate of some step was a
    hypothesis and n_best have been found. An eos that min_length forbids leaves the logits: the others are more
    probable for it.
    """

    renormalizes = True

    patience: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.patience, numbers.Real) or not 0 < self.patience < math.inf:
            raise ValueError(f"rules.CTranslate2: expected a finite patience > 0; got {self.patience!r}")

    def candidates(self, beam: int, eos_ids: int) -> int:
        return (1 + eos_ids) * beam

    def places(self, beam: int, n_best: int) -> int:
        if n_best > self._enough(beam):
            raise ValueError(
                f"beam_search: rules.CTranslate2 stops at round(beam * patience) hypotheses: "
                f"expected n_best <= {self._enough(beam)}; got {n_best}"
            )
        return n_best

    def _enough(self, beam: int) -> int:
        return math.floor(beam * self.patience + 0.5)

    def stops(self, progress: Progress) -> Tensor:
        penalty = progress.penalty
        if isinstance(penalty, LengthPenalty) and penalty.neutral and not progress.covered:
            return progress.led & (progress.found >= progress.n_best)
        return progress.found >= self._enough(progress.beam)


@dataclass(frozen=True)
class AllenNLP(Rule):
    """AllenNLP (nn.BeamSearch with its deterministic sampler).

    Each beam offers its `per_node_beam_size` best tokens (None: as many as there are beams; the first step offers
    `beam`). Finished hypotheses stay in the beam and compete by log-probability: the `beam` best of candidates and
    finished ones go on. A sentence stops when all have ended, or at max_length. The length penalty ranks at the end
    only.
    """

    per_node_beam_size: int | None = None

    stays = True

    def __post_init__(self) -> None:
        width = self.per_node_beam_size
        if width is not None and (not isinstance(width, int) or isinstance(width, bool) or width < 1):
            raise ValueError(f"rules.AllenNLP: expected an integer per_node_beam_size >= 1, or None; got {width!r}")

    def candidates(self, beam: int, eos_ids: int) -> int:
        return beam

    def per_beam(self, beam: int) -> int | None:
        return self.per_node_beam_size

    def places(self, beam: int, n_best: int) -> int:
        super().places(beam, n_best)
        return beam

    def stops(self, progress: Progress) -> Tensor:
        return progress.running == -torch.inf
