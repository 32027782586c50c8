"""The table of cases of :func:`s2sfast.bilinear_attention`."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from s2sfast import ops, reference
from s2sfast.cases import attention
from s2sfast.cases.table import Failure, Op, spoil
from s2sfast.types import AttentionOutput


def _own(inputs: attention.Inputs, B: int, Q: int, T: int, D: int) -> dict[str, Any]:
    return {"weight": inputs.normal(D, D) * max(D, 1) ** -0.5}


sample = partial(attention.draw, own=_own)


def eager(query: Tensor, keys: Tensor, *, weight: Tensor) -> AttentionOutput:
    """The best spelling: three matmuls and a softmax."""
    weights = (query @ weight @ keys.mT).softmax(-1)
    return AttentionOutput(weights @ keys, weights)


def _raw(args: tuple, kwargs: dict) -> tuple:
    """Of the op beneath, which gets the projected query."""
    query, keys, *values = args
    query = query.unsqueeze(1) if query.dim() == 2 else query
    real = torch.float64 if keys.dtype == torch.float64 else torch.float32
    projected = query.to(real) @ kwargs["weight"].to(real)
    return projected, keys, *(values or [None]), 1.0, kwargs.get("mask"), kwargs.get("lengths"), True


OP = Op(
    name="bilinear_attention",
    fast=ops.bilinear_attention,
    reference=reference.bilinear_attention,
    raw=(torch.ops.s2sfast.dot_attention.default, _raw),
    sample=sample,
    cases=(*attention.COMMON, attention.DECODE[3], attention.TRAIN[1]),
    failures=(
        *attention.failures("bilinear_attention", query_width="C"),
        Failure("weight-shape", spoil("weight", lambda a, k: k["weight"][:, 1:]), "expected weight (C, D)=(C, 32)"),
        Failure("weight-dtype", spoil("weight", lambda a, k: k["weight"].double()), "expected weight in the dtype"),
    ),
    dtypes=tuple(attention.TOLERANCE),
    bytes_moved=attention.bytes_moved,
    tolerance=attention.TOLERANCE,
    by_matmul=lambda case: True,  # the projection of the query
    differentiable=("query", "keys", "values", "weight"),
    rivals={"eager": eager},
)
