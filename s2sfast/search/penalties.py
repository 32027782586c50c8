"""How a hypothesis' log-probability and length become the score it is ranked by."""

from __future__ import annotations

import math
import numbers
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
        if self.kind == "marian":
            log_prob = log_prob - _of_each(lambda n: self.word_penalty * n, length, log_prob)
        return log_prob / _of_each(self._divisor, length, log_prob)

    @property
    def neutral(self) -> bool:
        """It changes nothing."""
        return self.alpha == 0 and (self.kind != "marian" or self.word_penalty == 0)

    def _divisor(self, length: float) -> float:
        try:
            return ((5 + length) / 6 if self.kind == "gnmt" else length) ** self.alpha
        except OverflowError:
            return math.inf


def _of_each(function: Callable[[float], float], length: Length, like: Tensor) -> float | Tensor:
    """The function of every length, in Python's arithmetic whether there is one length or a tensor of them.

    So a sentence's score is the same bits alone, where its length is a number, and beside others of other lengths.
    """
    if not isinstance(length, Tensor):
        return function(length)
    values = [function(n) for n in length.flatten().tolist()]
    return torch.tensor(values, dtype=like.dtype, device=like.device).reshape(length.shape)


def as_penalty(length_penalty: float | LengthPenalty | Penalty) -> Penalty:
    """The penalty that a user's argument names.

    Raises:
        ValueError: an unknown kind, or neither a number nor callable.
    """
    if isinstance(length_penalty, LengthPenalty):
        if not all(isinstance(x, numbers.Real) for x in length_penalty[1:]):
            raise ValueError(f"LengthPenalty: expected numbers alpha and word_penalty; got {length_penalty!r}")
        if not (math.isfinite(length_penalty.alpha) and math.isfinite(length_penalty.word_penalty)):
            raise ValueError(f"LengthPenalty: expected finite alpha and word_penalty; got {length_penalty!r}")
        if length_penalty.kind not in ("average", "gnmt", "marian"):
            raise ValueError(f"LengthPenalty: expected kind average, gnmt or marian; got {length_penalty.kind!r}")
        return length_penalty
    if isinstance(length_penalty, numbers.Real) and math.isfinite(length_penalty):
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
        lengths = torch.as_tensor(length, device=log_prob.device)
        score = self._function(log_prob, lengths)
        if not isinstance(score, Tensor) or score.shape != log_prob.shape:
            got = tuple(score.shape) if isinstance(score, Tensor) else type(score).__name__
            raise ValueError(
                f"beam_search: expected length_penalty to return scores {tuple(log_prob.shape)}, as log_prob; got {got}"
            )
        if bool((score.isnan() & (log_prob > -math.inf)).any()):
            raise ValueError(
                f"beam_search: expected length_penalty to return numbers; got NaN at length {lengths.tolist()}"
            )
        return score.to(log_prob.dtype)


def best_possible(penalty: Penalty, log_prob: Tensor, shortest: Length, longest: Length) -> Tensor:
    """An upper bound of the score of any continuation, whose length lies in [shortest, longest].

    Log-probabilities only fall, so it is the running one's score, at the length that suits it best: the longest where a
    penalty with alpha > 0 divides, the shortest where it multiplies. Of a callable it is assumed that no length between
    is better than both.
    """
    if isinstance(penalty, LengthPenalty) and penalty.kind != "marian":
        return penalty(log_prob, longest if penalty.alpha > 0 else shortest)
    return torch.maximum(penalty(log_prob, shortest), penalty(log_prob, longest))
