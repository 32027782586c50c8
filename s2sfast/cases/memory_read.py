"""The table of cases of :func:`s2sfast.memory_read`."""

from __future__ import annotations

import torch
from torch import Tensor

from s2sfast import ops, reference
from s2sfast.cases import memory
from s2sfast.cases.memory import change, test
from s2sfast.cases.table import Failure, Op


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


OP = Op(
    name="memory_read",
    fast=ops.memory_read,
    reference=reference.memory_read,
    raw=(torch.ops.s2sfast.memory_read.default, lambda args, kwargs: args),
    sample=sample,
    cases=(
        *memory.COMMON,
        test("wide", memory.sizes(1, 66, 150, 2)),
        *memory.BENCH,
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
