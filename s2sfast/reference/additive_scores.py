"""The meaning of :func:`s2sfast.additive_scores`."""

from __future__ import annotations

import torch
from torch import Tensor

from s2sfast.reference.attention import Arguments


def additive_scores(
    query: Tensor,
    keys: Tensor,
    *,
    v: Tensor,
    features: Tensor | None = None,
    feature_weight: Tensor | None = None,
    mask: Tensor | None = None,
    lengths: Tensor | None = None,
) -> Tensor:
    """v . tanh(q + k + features @ feature_weight); the contract is :func:`s2sfast.additive_scores`'s."""
    given = Arguments("additive_scores", query, keys, None, mask, lengths)
    scores = scores_of(given, v, features, feature_weight)
    return given.shown(scores.masked_fill(~given.allowed, -torch.inf))


def scores_of(given: Arguments, v: Tensor, features: Tensor | None, feature_weight: Tensor | None) -> Tensor:
    """(B, Q, T), 0 where masked."""
    _, _, T, D = given.sizes
    given.expect(tuple(v.shape) == (D,), f"v (D,)=({D},)", v)
    given.expect_like_query("v", v)
    inside = given.pairs(given.query[:, :, None]) + given.pairs(given.keys[:, None])
    if (features is None) != (feature_weight is None):
        raise ValueError(f"{given.op}: expected features and feature_weight together; got one of them")
    if features is not None and feature_weight is not None:
        given.expect(
            feature_weight.dim() == 2 and feature_weight.shape[1] == D,
            f"feature_weight (C, D)=(C, {D})",
            feature_weight,
        )
        for name, value in (("features", features), ("feature_weight", feature_weight)):
            given.expect_like_query(name, value)
        features = given.per_query("features", features, ("T", T), ("C", feature_weight.shape[0]))
        inside = inside + given.pairs(features) @ given.real(feature_weight)
    return torch.tanh(inside) @ given.real(v)
