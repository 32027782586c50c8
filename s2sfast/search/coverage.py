"""A penalty for source positions that a hypothesis has not looked at."""

from __future__ import annotations

import math
import numbers
from typing import Literal, NamedTuple

import torch
from torch import Tensor


class CoveragePenalty(NamedTuple):
    """What is added to a hypothesis' score, after the length penalty, when it is finished.

    With c_s the attention that source position s got, summed over the tokens of the hypothesis:

    ======== =========================================== ==============================================
    kind     added                                       used by
    ======== =========================================== ==============================================
    gnmt     beta * sum_s log(min(c_s, 1))               Wu et al. 2016, eq. 14; CTranslate2; OpenNMT-py
    summary  -beta * (sum_s max(c_s, 1) - T)             OpenNMT-py, against looking twice
    ======== =========================================== ==============================================

    Positions of no attention at all (padding) are left out, as in CTranslate2.

    >>> import torch
    >>> CoveragePenalty("gnmt", 2.0)(torch.tensor([[0.5, 1.5, 0.0]]))
    tensor([-1.3863])
    """

    kind: Literal["gnmt", "summary"] = "gnmt"
    beta: float = 0.2

    def __call__(self, coverage: Tensor) -> Tensor:
        """(..., T) -> (...)."""
        if self.kind == "gnmt":
            return self.beta * coverage.clamp(max=1).log().masked_fill(coverage <= 0, 0.0).sum(-1)
        return -self.beta * (coverage.clamp(min=1) - 1).sum(-1)


def as_coverage(penalty: CoveragePenalty | None) -> CoveragePenalty | None:
    """The penalty, checked; one that adds nothing is None.

    Raises:
        ValueError: another type, an unknown kind, a beta that is no finite number of at least 0.
    """
    if penalty is None:
        return None
    if not isinstance(penalty, CoveragePenalty):
        raise ValueError(f"beam_search: expected coverage_penalty to be a CoveragePenalty or None; got {penalty!r}")
    if penalty.kind not in ("gnmt", "summary"):
        raise ValueError(f"CoveragePenalty: expected kind gnmt or summary; got {penalty.kind!r}")
    beta = penalty.beta
    if not isinstance(beta, numbers.Real) or isinstance(beta, bool) or not 0 <= beta < math.inf:
        raise ValueError(f"CoveragePenalty: expected a finite beta >= 0; got {beta!r}")
    return penalty if beta else None


class Coverage:
    """The attention that each row's hypothesis has spent so far."""

    def __init__(self, penalty: CoveragePenalty):
        self._penalty = penalty
        self._sums: Tensor | None = None  # (R, T)

    def spend(self, attention: Tensor) -> None:
        """Adds this step's (R, T)."""
        spent = attention.to(torch.float32)
        self._sums = spent if self._sums is None else self._sums + spent

    def of(self, parents: Tensor) -> Tensor:
        """(S, C) what is added to the score of hypotheses that end here, from their beams."""
        assert self._sums is not None
        rows = self._penalty(self._sums).view(parents.shape[0], -1)
        return rows.gather(1, parents)

    def follow(self, rows: Tensor, tokens: Tensor) -> None:
        if self._sums is not None:
            self._sums = self._sums.index_select(0, rows)
