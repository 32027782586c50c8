"""The table of cases of :func:`s2sfast.memory_write`."""

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


def _sizes(B: int, N: int, M: int, H: int) -> dict[str, int]:
    return {"B": B, "N": N, "M": M, "H": H}


def _bench(use: str, B: int, N: int, M: int, H: int) -> Case:
    return memory.bench(use, f"B{B}-N{N}-M{M}-H{H}", _sizes(B, N, M, H))


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
        test("usual", _sizes(2, 20, 12, 3)),
        test("one-of-everything", _sizes(1, 1, 1, 1)),
        test("empty-batch", _sizes(0, 4, 3, 2)),
        test("no-heads", _sizes(2, 4, 3, 0)),
        test("no-slots", _sizes(2, 0, 3, 2)),
        test("no-width", _sizes(2, 4, 0, 2)),
        test("paper", _sizes(1, 128, 20, 1)),
        test("odd-everything", _sizes(3, 131, 33, 7)),
        test("many-heads", _sizes(1, 70, 21, 18)),
        test("many-heads-product", _sizes(1, 70, 21, 18), composition="product"),
        test("product", _sizes(2, 37, 12, 3), composition="product"),
        test("erased-altogether", _sizes(2, 37, 12, 3), whole=True),
        test("erased-altogether-product", _sizes(2, 37, 12, 3), whole=True, composition="product"),
        test("strided", _sizes(2, 70, 12, 2), strided=True),
        test("expanded", _sizes(3, 11, 12, 2), expanded=True),
        *(_bench(use, *sizes) for use in ("bench", "train") for sizes in ((1, 128, 20, 1), (16, 1024, 64, 4))),
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
