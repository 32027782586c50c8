"""How a hypothesis' log-probability and length become the score it is ranked by."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor


class Penalty(Protocol):
    """(log_prob, length) -> score; broadcasting tensors, length at least 1."""

    def __call__(self, log_prob: Tensor, length: Tensor, /) -> Tensor: ...


class LengthPenalty(NamedTuple):
    """Length normalisation by name.

    ========== ==================================================== =========================================
    kind       score                                                used by
    ========== ==================================================== =========================================
    average    log_prob / length**alpha                             transformers, fairseq, CTranslate2
    gnmt       log_prob / ((5 + length) / 6)**alpha                 Wu et al. 2016, eq. 14; OpenNMT, JoeyNMT
    marian     (log_prob - word_penalty * length) / length**alpha   Marian
    ========== ==================================================== =========================================

    Length counts generated tokens, eos included.

    >>> import torch
    >>> LengthPenalty("gnmt", 1.0)(torch.tensor(-3.0), torch.tensor(7.0))
    tensor(-1.5000)
    """

    kind: Literal["average", "gnmt", "marian"] = "average"
    alpha: float = 1.0
    word_penalty: float = 0.0

    def __call__(self, log_prob: Tensor, length: Tensor) -> Tensor:
        if self.kind == "average":
            return log_prob / length**self.alpha
        if self.kind == "gnmt":
            return log_prob / ((5 + length) / 6) ** self.alpha
        return (log_prob - self.word_penalty * length) / length**self.alpha


def as_penalty(length_penalty: float | LengthPenalty | Penalty) -> Penalty:
    """The penalty that a user's argument names.

    Raises:
        ValueError: an unknown kind, or neither a number nor callable.
    """
    if isinstance(length_penalty, LengthPenalty):
        if not (math.isfinite(length_penalty.alpha) and math.isfinite(length_penalty.word_penalty)):
            raise ValueError(f"LengthPenalty: expected finite alpha and word_penalty; got {length_penalty!r}")
        if length_penalty.kind not in ("average", "gnmt", "marian"):
            raise ValueError(f"LengthPenalty: expected kind average, gnmt or marian; got {length_penalty.kind!r}")
        return length_penalty
    if isinstance(length_penalty, (int, float)) and math.isfinite(length_penalty):
        return LengthPenalty("average", float(length_penalty))
    if callable(length_penalty):
        return length_penalty
    raise ValueError(
        "beam_search: expected length_penalty to be a finite number, a LengthPenalty or callable; "
        f"got {length_penalty!r}"
    )


def best_possible(penalty: Penalty, log_prob: Tensor, shortest: Tensor, longest: Tensor) -> Tensor:
    """An upper bound of the score of any continuation, whose length lies in [shortest, longest].

    Log-probabilities only fall, so the bound is the running one's, at the length that suits it best. The named
    penalties are monotone in the length or, for log_prob > 0, never better inside than at both ends; of a callable the
    same is assumed.
    """
    return torch.maximum(penalty(log_prob, shortest), penalty(log_prob, longest))
