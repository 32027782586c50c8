"""What the ops of a Neural Turing Machine share: their arguments, checked and in the dtype of the computation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from s2sfast.reference.attention import DTYPES, real_of

COMPOSITIONS, ORDERS = ("sequential", "product"), ("write_read", "read_write")


class Arguments:
    """Those of a call, in the dtype and on the device of the first."""

    def __init__(self, op: str, name: str, first: Tensor, letters: str = "B, N, M") -> None:
        self.op, self.name, self.first = op, name, first
        self.expect(first.dim() == 3, f"{name} ({letters})", first)
        self._expect_floating(name, first)
        self.real_first = self.real(first)

    def expect(self, ok: bool, what: str, got: Tensor) -> None:
        if not ok:
            raise ValueError(f"{self.op}: expected {what}; got {tuple(got.shape)}")

    def _expect_floating(self, name: str, value: Tensor) -> None:
        if value.dtype not in DTYPES:
            raise ValueError(
                f"{self.op}: expected floating {name} (float32, float64, bfloat16, float16); got another dtype"
            )

    def real(self, value: Tensor) -> Tensor:
        return value.to(real_of(self.first.dtype))

    def like_first(self, name: str, value: Tensor, letters: str, *sizes: int | None) -> Tensor:
        """None stands for a size that may be any."""
        given = value.shape[: len(sizes)] if value.dim() == len(sizes) else [None] * len(sizes)
        wanted = [got if size is None else size for size, got in zip(sizes, given, strict=True)]
        shown = ", ".join(
            letter if w is None else str(w) for w, letter in zip(wanted, letters.split(", "), strict=True)
        )
        self.expect(tuple(value.shape) == tuple(wanted), f"{name} ({letters})=({shown})", value)
        self._expect_floating(name, value)
        if value.dtype != self.first.dtype:
            raise ValueError(f"{self.op}: expected {name} in the dtype of {self.name}; got another dtype")
        if value.device != self.first.device:
            raise ValueError(f"{self.op}: expected {name} on the device of {self.name}")
        return self.real(value)

    def shown(self, value: Tensor) -> Tensor:
        """As it is returned."""
        return value.to(self.first.dtype)


def softmax(scores: Tensor) -> Tensor:
    """Of the last dimension, its sum in float64: a float32 sum of 65,536 numbers may be off by 3e-5."""
    if scores.shape[-1] == 0:
        return scores
    powers = (scores - scores.detach().amax(-1, keepdim=True)).exp()
    return powers / powers.sum(-1, keepdim=True, dtype=torch.float64).to(scores.dtype)


def offsets_of(op: str, taps: int, shift_offsets: Sequence[int] | None) -> list[int]:
    """Where each tap of a shift moves the focus to."""
    if shift_offsets is None:
        if taps % 2 == 0:
            raise ValueError(f"{op}: expected shift_offsets where the number of taps is even; got None for S={taps}")
        return list(range(-(taps // 2), taps // 2 + 1))
    if len(shift_offsets) != taps:
        raise ValueError(f"{op}: expected shift_offsets of S={taps} integers; got {len(shift_offsets)}")
    return list(shift_offsets)


def expect_one_of(op: str, name: str, known: tuple[str, ...], got: str) -> None:
    if got not in known:
        raise ValueError(f"{op}: expected {name} to be {' or '.join(known)}; got {got!r}")
