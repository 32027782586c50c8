"""The table of cases of :func:`s2sfast.cosine_attention`."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from s2sfast import ops, reference
from s2sfast.cases import attention
from s2sfast.cases.table import Failure, Op, spoil
from s2sfast.types import AttentionOutput


def _own(
    inputs: attention.Inputs, B: int, Q: int, T: int, D: int, *, strength: float | None = None, **eps: Any
) -> dict[str, Any]:
    drawn = inputs.per_query(B, Q, 1).squeeze(-1) * 4 if strength is None else strength
    return {"strength": drawn, **eps}


sample = partial(attention.draw, own=_own)


def eager(query: Tensor, keys: Tensor, *, strength: float) -> AttentionOutput:
    """The best spelling: normalize both, matmul, softmax, matmul."""
    normalize = torch.nn.functional.normalize
    weights = (normalize(query, dim=-1) * strength @ normalize(keys, dim=-1).mT).softmax(-1)
    return AttentionOutput(weights @ keys, weights)


def eager_usual(query: Tensor, keys: Tensor, *, strength: float) -> AttentionOutput:
    """F.cosine_similarity of broadcast queries and keys."""
    similarity = torch.nn.functional.cosine_similarity(query.unsqueeze(2), keys.unsqueeze(1), dim=-1)
    weights = (strength * similarity).softmax(-1)
    return AttentionOutput(weights @ keys, weights)


def _raw(args: tuple, kwargs: dict) -> tuple:
    query, keys, *values = args
    strength, single = kwargs["strength"], query.dim() == 2
    if isinstance(strength, Tensor):
        given: tuple = (strength.unsqueeze(1) if single else strength, 1.0)
    else:
        given = (None, strength)
    mode = ("clamp", "sqrt", "product").index(kwargs.get("eps_mode", "clamp"))
    masks = kwargs.get("mask"), kwargs.get("lengths")
    return (
        query.unsqueeze(1) if single else query,
        keys,
        *(values or [None]),
        *given,
        kwargs.get("eps", 1e-8),
        mode,
        *masks,
    )


def _bench(cases: tuple) -> tuple:
    return tuple(type(case)(case.why, case.sizes, {"strength": 3.0}, case.use) for case in cases)


OP = Op(
    name="cosine_attention",
    fast=ops.cosine_attention,
    reference=reference.cosine_attention,
    raw=(torch.ops.s2sfast.cosine_attention.default, _raw),
    sample=sample,
    cases=(
        *attention.COMMON,
        attention.test("one-strength", 2, 5, 20, 32, strength=-2.5),
        attention.test("strength-of-0", 2, 5, 20, 32, strength=0.0, mask="per-query"),
        *(
            attention.test(f"{mode}-eps-{eps}", 2, 5, 20, 12, eps_mode=mode, eps=eps, mask="per-query")
            for mode in ("clamp", "sqrt", "product")
            for eps in (0.0, 0.5, 3.5)
        ),
        attention.test("many-queries-product", 2, 20, 25, 16, eps_mode="product", eps=0.5, lengths="int64"),
        *_bench((*attention.DECODE[:2], attention.DECODE[3], attention.TRAIN[1])),
    ),
    failures=(
        *attention.failures("cosine_attention"),
        Failure("eps-mode", spoil("eps_mode", lambda a, k: "max"), "expected eps_mode to be clamp, sqrt or product"),
        Failure("eps-negative", spoil("eps", lambda a, k: -1.0), "expected eps in [0, inf)"),
        Failure("strength-shape", spoil("strength", lambda a, k: k["strength"][:1]), "expected strength (B, Q)=(2, 5)"),
        Failure("strength-dtype", spoil("strength", lambda a, k: k["strength"].double()), "expected strength in the"),
    ),
    dtypes=tuple(attention.TOLERANCE),
    bytes_moved=attention.bytes_moved,
    tolerance=attention.TOLERANCE,
    differentiable=("query", "keys", "values", "strength"),
    rivals={"eager": eager, "eager_usual": eager_usual},
)
