"""The meaning of :func:`s2sfast.additive_attention`."""

from __future__ import annotations

from torch import Tensor

from s2sfast.reference.additive_scores import scores_of
from s2sfast.reference.attention import Arguments
from s2sfast.types import AttentionOutput


def additive_attention(
    query: Tensor,
    keys: Tensor,
    values: Tensor | None = None,
    *,
    v: Tensor,
    features: Tensor | None = None,
    feature_weight: Tensor | None = None,
    mask: Tensor | None = None,
    lengths: Tensor | None = None,
    need_weights: bool = True,
) -> AttentionOutput:
    """Attention by v . tanh(q + k + f W); the contract is :func:`s2sfast.additive_attention`'s."""
    given = Arguments("additive_attention", query, keys, values, mask, lengths)
    return given.attend(scores_of(given, v, features, feature_weight), need_weights)
