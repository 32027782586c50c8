"""The table of cases of :func:`s2sfast.location_address`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from s2sfast import ops, reference
from s2sfast.cases import memory
from s2sfast.cases.memory import change, test
from s2sfast.cases.table import Case, Failure, Op


def sample(
    dtype: torch.dtype,
    device: str,
    generator: torch.Generator,
    *,
    B: int,
    N: int,
    H: int,
    S: int,
    strided: bool = False,
    zeros: bool = False,
    sharpen: float | None = None,
    without: tuple[str, ...] = (),
    **options: Any,
) -> tuple[tuple, dict]:
    heads = memory.Heads(memory.inputs(dtype, device, generator, strided), B, H)
    content, previous, gate, shift, exponent = (
        heads.weights(N, zeros), heads.weights(N, zeros), heads.gate(), heads.shift(S), heads.sharpen(),
    )  # fmt: skip
    parts = {"gate": gate, "shift": shift, "sharpen": exponent if sharpen is None else 0 * exponent + sharpen}
    return (content, previous, *(None if name in without else x for name, x in parts.items())), options


def eager(
    content: Tensor, previous: Tensor | None, gate: Any, shift: Any, sharpen: Any, *, shift_offsets: Any = None
) -> Tensor:
    """The best spelling: rolled rows, and the power of each weight."""
    gate, S = gate[..., None], shift.shape[2]
    weights = gate * content + (1 - gate) * previous
    weights = sum((weights.roll(s - S // 2, -1) * shift[..., s : s + 1] for s in range(S)), torch.zeros(()))
    powers = weights ** sharpen[..., None]
    return powers / powers.sum(-1, keepdim=True)


def bytes_moved(*, B: int, N: int, H: int, S: int) -> int:
    return 4 * B * H * (3 * N + S + 2)


def _sizes(B: int, N: int, H: int, S: int) -> dict[str, int]:
    return {"B": B, "N": N, "H": H, "S": S}


def _bench(use: str, B: int, N: int, H: int) -> Case:
    return memory.bench(use, f"B{B}-N{N}-H{H}-S3", _sizes(B, N, H, 3))


def _gate(content: Tensor, gate: Tensor | None) -> Tensor:
    return content.new_ones(content.shape[:2]) if gate is None else gate


def _raw(args: tuple, kwargs: dict) -> tuple:
    content, previous, gate, shift, sharpen = args  # without a gate the registered op is not asked
    shift = shift if shift is not None and shift.shape[2] else None
    return (
        content,
        previous,
        _gate(content, gate),
        shift,
        sharpen,
        kwargs.get("shift_offsets"),
    )


OP = Op(
    name="location_address",
    fast=ops.location_address,
    reference=reference.location_address,
    raw=(torch.ops.s2sfast.location_address.default, _raw),
    sample=sample,
    cases=(
        test("usual", _sizes(2, 20, 3, 3)),
        test("one-of-everything", _sizes(1, 1, 1, 1)),
        test("empty-batch", _sizes(0, 4, 2, 3)),
        test("no-heads", _sizes(2, 4, 0, 3)),
        test("no-slots", _sizes(2, 0, 2, 3)),
        test("paper", _sizes(1, 128, 1, 3)),
        test("odd-everything", _sizes(3, 131, 5, 7)),
        test("more-taps-than-slots", _sizes(2, 5, 2, 9)),
        test("even-taps", _sizes(2, 37, 3, 4), shift_offsets=[-2, 0, 1, 40]),
        test("offsets-beyond-the-slots", _sizes(2, 37, 3, 3), shift_offsets=[-100, 2**40, 36]),
        test("the-same-offset-twice", _sizes(2, 37, 3, 3), shift_offsets=[1, 1, 0]),
        test("exact-zeros", _sizes(2, 37, 3, 1), zeros=True),
        test("exact-zeros-shifted", _sizes(2, 37, 3, 3), zeros=True),
        test("no-shift", _sizes(2, 37, 3, 3), without=("shift",)),
        test("no-taps", _sizes(2, 37, 3, 0)),
        test("no-sharpening", _sizes(2, 37, 3, 3), without=("sharpen",)),
        test("gate-alone", _sizes(2, 37, 3, 3), without=("shift", "sharpen")),
        test("content-alone", _sizes(2, 37, 3, 3), without=("gate",)),
        test("sharpen-of-1", _sizes(2, 37, 3, 3), sharpen=1.0),
        test("sharpen-of-100", _sizes(2, 37, 3, 3), sharpen=100.0),
        test("strided", _sizes(2, 70, 2, 3), strided=True),
        *(_bench(use, *sizes) for use in ("bench", "train") for sizes in ((1, 128, 1), (16, 1024, 4))),
    ),
    failures=(
        Failure("content-2d", change(0, lambda x: x[0]), "expected content (B, H, N); got (3, 20)"),
        Failure("integer-content", change(0, Tensor.long), "expected floating content"),
        Failure("content-dtype", change(0, Tensor.double), "in the dtype of content; got another dtype"),
        Failure(
            "previous-shape", change(1, lambda x: x[..., 1:]), "expected previous (B, H, N)=(2, 3, 20); got (2, 3, 19)"
        ),
        Failure(
            "previous-missing",
            change(1, lambda _: None),
            "expected previous (B, H, N)=(2, 3, 20) with a gate; got None",
        ),
        Failure("gate-shape", change(2, lambda x: x[:, 1:]), "expected gate (B, H)=(2, 3); got (2, 2)"),
        Failure("shift-shape", change(3, lambda x: x[:1]), "expected shift (B, H, S)=(2, 3, 3); got (1, 3, 3)"),
        Failure("sharpen-shape", change(4, lambda x: x[:, 1:]), "expected sharpen (B, H)=(2, 3); got (2, 2)"),
        Failure(
            "even-taps-without-offsets",
            change(3, lambda x: x[..., 1:]),
            "expected shift_offsets where the number of taps is even; got None for S=2",
        ),
        Failure(
            "too-few-offsets",
            change("shift_offsets", lambda _: [0, 1]),
            "expected shift_offsets of S=3 integers; got 2",
        ),
        Failure(
            "sharpen-below-1",
            change(4, lambda x: torch.where(torch.arange(6).view(2, 3).to(x.device) == 4, 0.5, x)),
            "expected sharpen >= 1; got 0.5 for sentence 1, head 1",
        ),
    ),
    dtypes=tuple(memory.TOLERANCE),
    bytes_moved=bytes_moved,
    tolerance=memory.TOLERANCE,
    differentiable=("content", "previous", "gate", "shift", "sharpen"),
    rivals={"eager": eager},
)
