"""What the functions of a Neural Turing Machine share on their way to the registered ops and back."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from torch import Tensor

EPS_MODES = {"clamp": 0, "sqrt": 1, "product": 2}
COMPOSITIONS = {"sequential": 0, "product": 1}
ORDERS = {"write_read": 0, "read_write": 1}


def number_of(op: str, name: str, known: dict[str, int], got: Any) -> int:
    """Of a word among several."""
    try:
        return known[got]
    except (KeyError, TypeError):
        *some, last = known
        raise ValueError(f"{op}: expected {name} to be {', '.join(some)} or {last}; got {got!r}") from None


def like(x: Tensor, found: Tensor) -> Tensor:
    """In the dtype of x."""
    return found if found.dtype == x.dtype else found.to(x.dtype)


def offsets(op: str, shift_offsets: Sequence[int] | None) -> list[int] | None:
    if shift_offsets is None:
        return None
    try:
        return [operator.index(offset) for offset in shift_offsets]
    except TypeError:
        raise ValueError(f"{op}: expected shift_offsets to be integers; got {shift_offsets!r}") from None


def check_eps(op: str, eps: Any) -> None:
    """Of a call that has failed."""
    if not isinstance(eps, (int, float)):
        raise ValueError(f"{op}: expected eps in [0, inf); got {eps!r}") from None
