"""How a hypothesis' log-probability and length become the score it is ranked by."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol, TypeAlias

import torch
from torch import Tensor

Length: TypeAlias = int | Tensor
"""A number of generated tokens: one for all, or a tensor that broadcasts against the log-probabilities."""


class Penalty(Protocol):
    """(log_prob, length) -> score, for a length of at least 1."""

    def __call__(self, log_prob: Tensor, length: Length, /) -> Tensor: ...


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

    def __call__(self, log_prob: Tensor, length: Length) -> Tensor:
        if self.kind == "gnmt":
            return log_prob / _power((5 + length) / 6, self.alpha)
        if self.kind == "marian":
            log_prob = log_prob - self.word_penalty * length
        return log_prob / _power(length, self.alpha)


def _power(base: float | Tensor, exponent: float) -> float | Tensor:
    """As tensors have it: infinity where Python raises."""
    try:
        return base**exponent
    except OverflowError:
        return float("inf")


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
        return _OnTensors(length_penalty)
    raise ValueError(
        "beam_search: expected length_penalty to be a finite number, a LengthPenalty or callable; "
        f"got {length_penalty!r}"
    )


class _OnTensors:
    """A user's callable, which always sees tensors."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]):
        self._function = function

    def __call__(self, log_prob: Tensor, length: Length) -> Tensor:
        return self._function(log_prob, torch.as_tensor(length, device=log_prob.device))


def best_possible(penalty: Penalty, log_prob: Tensor, shortest: Length, longest: Length) -> Tensor:
    """An upper bound of the score of any continuation, whose length lies in [shortest, longest].

    Log-probabilities only fall, so it is the running one's score, at the length that suits it best: the longest where a
    penalty with alpha > 0 divides, the shortest where it multiplies. Of a callable it is assumed that no length between
    is better than both.
    """
    if isinstance(penalty, LengthPenalty) and penalty.kind != "marian":
        return penalty(log_prob, longest if penalty.alpha > 0 else shortest)
    return torch.maximum(penalty(log_prob, shortest), penalty(log_prob, longest))
