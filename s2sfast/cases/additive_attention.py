"""The table of cases of :func:`s2sfast.additive_attention`."""

from __future__ import annotations

import torch
from torch import Tensor

from s2sfast import ops, reference
from s2sfast.cases import additive_scores, attention
from s2sfast.cases.table import Op
from s2sfast.types import AttentionOutput


def eager(query: Tensor, keys: Tensor, *, v: Tensor) -> AttentionOutput:
    """The best spelling: broadcast, tanh, matrix times vector, softmax, matmul."""
    weights = additive_scores.eager(query, keys, v=v).softmax(-1)
    return AttentionOutput(weights @ keys, weights)


def _raw(args: tuple, kwargs: dict) -> tuple:
    query, keys, *rest = additive_scores.raw(args[:2], kwargs)
    return query, keys, args[2] if len(args) == 3 else None, *rest


OP = Op(
    name="additive_attention",
    fast=ops.additive_attention,
    reference=reference.additive_attention,
    raw=(torch.ops.s2sfast.additive_attention.default, _raw),
    sample=additive_scores.sample,
    cases=(*attention.COMMON, *additive_scores.FEATURES, *attention.DECODE, *attention.TRAIN),
    failures=(*attention.failures("additive_attention"), *additive_scores.FAILURES),
    dtypes=tuple(attention.TOLERANCE),
    bytes_moved=attention.bytes_moved,
    tolerance=attention.TOLERANCE,
    differentiable=("query", "keys", "values", "v", "features", "feature_weight"),
    rivals={"eager": eager},
)
