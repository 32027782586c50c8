"""The table of cases of :func:`s2sfast.memory_write`."""

from __future__ import annotations

from typing import Any

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
    whole: bool = False,
    **options: Any,
) -> tuple[tuple, dict]:
    """With `whole`, some slots are written to and erased altogether, by several heads."""
    drawn = memory.inputs(dtype, device, generator, strided)
    heads = memory.Heads(drawn, B, H)
    weights, erase = heads.weights(N), heads.erase(M)
    if whole:
        weights, erase = weights.clone(), erase.clone()
        weights[:, :2, ::5], erase[:, :2, ::2] = 1, 1
    return (drawn.rows(B, N, M, expanded), weights, erase, heads.vector(M)), options


def eager(memory: Tensor, weights: Tensor, erase: Any, add: Any) -> Tensor:
    """The best spelling: a head after the other, by outer products."""
    for w, e, a in zip(weights.unbind(1), erase.unbind(1), add.unbind(1), strict=True):
        memory = memory * (1 - w[..., None] * e[:, None]) + w[..., None] * a[:, None]
    return memory


def bytes_moved(*, B: int, N: int, M: int, H: int) -> int:
    return 4 * B * (2 * N * M + H * N + 2 * H * M)


OP = Op(
    name="memory_write",
    fast=ops.memory_write,
    reference=reference.memory_write,
    raw=(
        torch.ops.s2sfast.memory_write.default,
        lambda args, kwargs: (*args, ("sequential", "product").index(kwargs.get("composition", "sequential"))),
    ),
    sample=sample,
    cases=(
        *memory.COMMON,
        test("many-heads-product", memory.sizes(1, 70, 21, 18), composition="product"),
        test("product", memory.sizes(2, 37, 12, 3), composition="product"),
        test("erased-altogether", memory.sizes(2, 37, 12, 3), whole=True),
        test("erased-altogether-product", memory.sizes(2, 37, 12, 3), whole=True, composition="product"),
        *memory.BENCH,
    ),
    failures=(
        *memory.MEMORY_FAILURES,
        Failure(
            "weights-slots", change(1, lambda x: x[..., 1:]), "expected weights (B, H, N)=(2, 3, 20); got (2, 3, 19)"
        ),
        Failure("erase-shape", change(2, lambda x: x[:, 1:]), "expected erase (B, H, M)=(2, 3, 12); got (2, 2, 12)"),
        Failure("add-shape", change(3, lambda x: x[..., 1:]), "expected add (B, H, M)=(2, 3, 12); got (2, 3, 11)"),
        Failure("add-dtype", change(3, Tensor.double), "expected add in the dtype of memory; got another dtype"),
        Failure(
            "composition", change("composition", lambda _: "sum"), "expected composition to be sequential or product"
        ),
    ),
    dtypes=tuple(memory.TOLERANCE),
    bytes_moved=bytes_moved,
    tolerance=memory.TOLERANCE,
    differentiable=("memory", "weights", "erase", "add"),
    rivals={"eager": eager},
)
