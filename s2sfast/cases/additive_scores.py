"""The table of cases of :func:`s2sfast.additive_scores`."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from s2sfast import ops, reference
from s2sfast.cases import attention
from s2sfast.cases.table import Case, Failure, Op, spoil


def own(inputs: attention.Inputs, B: int, Q: int, T: int, D: int, *, C: int = 0) -> dict[str, Any]:
    found = {"v": inputs.normal(D) * max(D, 1) ** -0.5}
    if C:
        found |= {"features": inputs.per_query(B, Q, T, C), "feature_weight": inputs.normal(C, D)}
    return found


sample = partial(attention.draw, own=own)


def eager(query: Tensor, keys: Tensor, *, v: Tensor) -> Tensor:
    """Broadcast, tanh, matrix times vector."""
    return torch.tanh(query.unsqueeze(2) + keys.unsqueeze(1)) @ v


def raw(args: tuple, kwargs: dict) -> tuple:
    query, keys, *values = args
    features, single = kwargs.get("features"), query.dim() == 2
    if single and features is not None:
        features = features.unsqueeze(1)
    rest = features, kwargs.get("feature_weight"), kwargs.get("mask"), kwargs.get("lengths")
    return query.unsqueeze(1) if single else query, keys, *values, kwargs["v"], *rest


FEATURES = (
    attention.test("coverage", 2, 5, 20, 32, C=1),
    attention.test("coverage-of-one-query", 3, 1, 19, 24, single=True, C=1, lengths="int64"),
    attention.test("location-features", 2, 4, 21, 33, C=10, mask="per-query"),
    attention.test("features-many-groups", 2, 3, 9, 300, C=3, lengths="int64"),
    attention.test("features-strided", 2, 3, 9, 12, C=3, strided=True),
)

FAILURES = (
    Failure("v-shape", spoil("v", lambda a, k: k["v"][1:]), "expected v (D,)=(32,); got (31,)"),
    Failure("v-dtype", spoil("v", lambda a, k: k["v"].double()), "expected v in the dtype of query"),
    Failure(
        "features-alone",
        spoil("features", lambda a, k: torch.zeros(2, 5, 20, 3)),
        "expected features and feature_weight together",
    ),
    Failure(
        "features-shape",
        lambda a, k: (a, {**k, "features": torch.zeros(2, 5, 19, 3), "feature_weight": torch.zeros(3, 32)}),
        "expected features (B, Q, T, C)=(2, 5, 20, 3); got (2, 5, 19, 3)",
    ),
    Failure(
        "feature-weight-shape",
        lambda a, k: (a, {**k, "features": torch.zeros(2, 5, 20, 3), "feature_weight": torch.zeros(3, 31)}),
        "expected feature_weight (C, D)=(C, 32); got (3, 31)",
    ),
)


def without_values(cases: tuple[Case, ...]) -> tuple[Case, ...]:
    return tuple(
        Case(case.why, {n: x for n, x in case.sizes.items() if n != "E"}, case.options, case.use) for case in cases
    )


OP = Op(
    name="additive_scores",
    fast=ops.additive_scores,
    reference=reference.additive_scores,
    raw=(torch.ops.s2sfast.additive_scores.default, raw),
    sample=sample,
    cases=without_values((*attention.COMMON, *FEATURES, attention.DECODE[3], attention.TRAIN[1])),
    failures=(*attention.failures("additive_scores", values=False), *FAILURES),
    dtypes=tuple(attention.TOLERANCE),
    bytes_moved=attention.bytes_moved,
    tolerance=attention.TOLERANCE,
    differentiable=("query", "keys", "v", "features", "feature_weight"),
    rivals={"eager": eager},
)
