"""The table of cases of :func:`s2sfast.memory_read`."""

from __future__ import annotations

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
    M: int,
    H: int,
    strided: bool = False,
    expanded: bool = False,
) -> tuple[tuple, dict]:
    drawn = memory.inputs(dtype, device, generator, strided)
    return (drawn.rows(B, N, M, expanded), memory.Heads(drawn, B, H).weights(N)), {}


def eager(memory: Tensor, weights: Tensor) -> Tensor:
    """The best spelling: torch.bmm."""
    return torch.bmm(weights, memory)


def bytes_moved(*, B: int, N: int, M: int, H: int) -> int:
    return 4 * B * (N * M + H * N + H * M)


def _sizes(B: int, N: int, M: int, H: int) -> dict[str, int]:
    return {"B": B, "N": N, "M": M, "H": H}


def _bench(use: str, B: int, N: int, M: int, H: int) -> Case:
    return memory.bench(use, f"B{B}-N{N}-M{M}-H{H}", _sizes(B, N, M, H))


OP = Op(
    name="memory_read",
    fast=ops.memory_read,
    reference=reference.memory_read,
    raw=(torch.ops.s2sfast.memory_read.default, lambda args, kwargs: args),
    sample=sample,
    cases=(
        test("usual", _sizes(2, 20, 12, 3)),
        test("one-of-everything", _sizes(1, 1, 1, 1)),
        test("empty-batch", _sizes(0, 4, 3, 2)),
        test("no-heads", _sizes(2, 4, 3, 0)),
        test("no-slots", _sizes(2, 0, 3, 2)),
        test("no-width", _sizes(2, 4, 0, 2)),
        test("paper", _sizes(1, 128, 20, 1)),
        test("odd-everything", _sizes(3, 131, 33, 7)),
        test("many-heads", _sizes(1, 70, 21, 18)),
        test("wide", _sizes(1, 66, 150, 2)),
        test("strided", _sizes(2, 70, 12, 2), strided=True),
        test("expanded", _sizes(3, 11, 12, 2), expanded=True),
        *(_bench(use, *sizes) for use in ("bench", "train") for sizes in ((1, 128, 20, 1), (16, 1024, 64, 4))),
    ),
    failures=(
        *memory.MEMORY_FAILURES,
        Failure(
            "weights-slots", change(1, lambda x: x[..., 1:]), "expected weights (B, H, N)=(2, 3, 20); got (2, 3, 19)"
        ),
        Failure("weights-2d", change(1, lambda x: x[0]), "expected weights (B, H, N)=(2, H, 20); got (3, 20)"),
        Failure("integer-weights", change(1, Tensor.long), "expected floating weights"),
    ),
    dtypes=tuple(memory.TOLERANCE),
    bytes_moved=bytes_moved,
    tolerance=memory.TOLERANCE,
    differentiable=("memory", "weights"),
    rivals={"eager": eager},
)
