"""The table of cases of :func:`s2sfast.dot_attention`."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from s2sfast import ops, reference
from s2sfast.cases import attention
from s2sfast.cases.table import Op
from s2sfast.types import AttentionOutput


def _own(inputs: attention.Inputs, *sizes: int, scale: float = 1.0) -> dict[str, Any]:
    return {"scale": scale}


sample = partial(attention.draw, own=_own)


def eager(query: Tensor, keys: Tensor, *, scale: float) -> AttentionOutput:
    """The best spelling: matmul, softmax, matmul."""
    weights = (query * scale @ keys.mT).softmax(-1)
    return AttentionOutput(weights @ keys, weights)


def sdpa(query: Tensor, keys: Tensor, *, scale: float) -> AttentionOutput:
    """torch.nn.functional.scaled_dot_product_attention, which returns no weights."""
    q, k = query.unsqueeze(1), keys.unsqueeze(1)  # with a dimension of heads it is faster on a CPU
    context = torch.nn.functional.scaled_dot_product_attention(q, k, k, scale=scale)
    return AttentionOutput(context.squeeze(1), None)


def _raw(args: tuple, kwargs: dict) -> tuple:
    query, keys, *values = args
    query = query.unsqueeze(1) if query.dim() == 2 else query
    return query, keys, *(values or [None]), kwargs["scale"], kwargs.get("mask"), kwargs.get("lengths"), False


OP = Op(
    name="dot_attention",
    fast=ops.dot_attention,
    reference=reference.dot_attention,
    raw=(torch.ops.s2sfast.dot_attention.default, _raw),
    sample=sample,
    cases=(
        *attention.COMMON,
        attention.test("scaled", 2, 5, 20, 32, scale=32**-0.5),
        attention.test("scale-negative", 2, 5, 20, 32, scale=-0.5, lengths="int64"),
        attention.test("many-queries-scale-zero", 2, 20, 25, 16, scale=0.0, mask="shared"),
        *attention.DECODE,
        *attention.TRAIN,
    ),
    failures=attention.failures("dot_attention"),
    dtypes=tuple(attention.TOLERANCE),
    bytes_moved=attention.bytes_moved,
    tolerance=attention.TOLERANCE,
    by_matmul=attention.by_matmul,
    differentiable=("query", "keys", "values"),
    rivals={"eager": eager, "sdpa": sdpa},
)
