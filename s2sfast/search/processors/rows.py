"""What trackers keep for every row, and how they write into log-probabilities."""

from __future__ import annotations

import math
from typing import TypeAlias

import torch
from torch import Tensor

from s2sfast.search.processors.base import Beginning

Where: TypeAlias = bool | Tensor
"""Which rows: all, none, or (R,) bool."""


class Past:
    """(R, t) int64 tokens of each row, its prefix first; -1 in front where a prefix is shorter."""

    def __init__(self, beginning: Beginning):
        self.tokens = beginning.prefix
        if beginning.lengths is not None:
            width = beginning.prefix.shape[1]
            at = torch.arange(width, device=beginning.prefix.device) - (width - beginning.lengths)[:, None]
            self.tokens = beginning.prefix.gather(1, at.clamp(min=0)).masked_fill(at < 0, -1)

    def follow(self, rows: Tensor, tokens: Tensor) -> None:
        self.tokens = torch.cat((self.tokens.index_select(0, rows), tokens[:, None]), 1)


class Position:
    """How many tokens each row has generated."""

    def __init__(self, beginning: Beginning):
        self._steps, self._late = 0, beginning.late

    @property
    def generated(self) -> int | Tensor:
        """(R,) where sentences differ; negative inside a prefix."""
        return self._steps if self._late is None else self._steps - self._late

    def anywhere(self, first: int, last: int | None = None) -> bool:
        """Whether some row has generated `first` to `last` tokens (None: `first`)."""
        at, last = self.generated, first if last is None else last
        return first <= at <= last if isinstance(at, int) else bool(((at >= first) & (at <= last)).any())

    def follow(self, rows: Tensor) -> None:
        self._steps += 1
        self._late = None if self._late is None else self._late.index_select(0, rows)


class Sentences:
    """(R,) int64, the sentence of each row."""

    def __init__(self, beginning: Beginning):
        self.index = torch.arange(len(beginning.prefix), device=beginning.prefix.device)

    def follow(self, rows: Tensor) -> None:
        self.index = self.index.index_select(0, rows)


def fill(log_probs: Tensor, ids: Tensor, value: float, where: Where) -> Tensor:
    """``log_probs[where, ids] = value``, in place."""
    if isinstance(where, Tensor):
        return log_probs.index_copy_(1, ids, log_probs[:, ids].masked_fill(where[:, None], value))
    return log_probs.index_fill_(1, ids, value) if where else log_probs


def forbid_all(log_probs: Tensor, where: Where) -> Tensor:
    """``log_probs[where] = -inf``, in place."""
    if isinstance(where, Tensor):
        return log_probs.add_(barrier(where)[:, None])
    return log_probs.fill_(-math.inf) if where else log_probs


def barrier(forbidden: Tensor) -> Tensor:
    """-inf where it says so, else 0: on the CPU, adding it is several times as fast as masked_fill and where."""
    return torch.zeros(forbidden.shape, device=forbidden.device).masked_fill_(forbidden, -math.inf)


def forbid(log_probs: Tensor, tokens: Tensor, where: Tensor) -> Tensor:
    """``log_probs[r, tokens[r, i]] = -inf`` for (R, N) tokens where `where` (R, N) says so, in place."""
    floor = torch.where(where, -math.inf, math.inf).to(log_probs.dtype)
    return log_probs.scatter_reduce_(1, tokens, floor, "amin")


def ids_on(beginning: Beginning, ids: tuple[int, ...]) -> Tensor:
    return torch.tensor(ids, dtype=torch.int64, device=beginning.prefix.device)


def check_vocabulary(name: str, what: str, most: int, log_probs: Tensor) -> None:
    """Raises ValueError where the largest token id is none."""
    if most >= log_probs.shape[1]:
        raise ValueError(f"{name}: expected {what} below V={log_probs.shape[1]}; got {most}")


def check_batch(name: str, what: str, value: Tensor, beginning: Beginning) -> None:
    """Raises ValueError unless there is one row a sentence."""
    if value.shape[0] != len(beginning.prefix):
        raise ValueError(
            f"{name}: expected {what} for B={len(beginning.prefix)} sentences, in the first dimension; "
            f"got {tuple(value.shape)}"
        )


def integers_of(name: str, what: str, value: object) -> Tensor:
    """int64, of a regular list or array of integers.

    Raises:
        ValueError: it is none.
    """
    try:
        tensor = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{name}: expected {what} to be integers, in a regular array; got {value!r} ({error})"
        ) from None
    if tensor.numel() and (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool):
        raise ValueError(f"{name}: expected integer {what}; got {tensor.dtype}")
    return tensor.to(torch.int64)
