"""The scores of additive attention alone, as pointer networks use them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from s2sfast import _native  # noqa: F401  registers torch.ops.s2sfast
from s2sfast.ops import attention

_raw = torch.ops.s2sfast.additive_scores.default
_raw_backward = torch.ops.s2sfast.additive_scores_backward.default


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
    r"""Scores every position by a small network of one hidden layer.

    .. math:: s_{q,t} = v \cdot \tanh(query_q + keys_t + features_{q,t} \; feature\_weight)

    Args:
        query: ``(B, Q, D)``, or ``(B, D)`` for one query, already projected; the output then has no dimension Q.
            float32, float64, bfloat16 or float16; sums are in float32, or float64 for float64.
        keys: ``(B, T, D)``, already projected, in the dtype of the query.
        v: ``(D,)`` in that dtype.
        features: ``(B, Q, T, C)``, or ``(B, T, C)`` for a 2-D query, in that dtype: coverage (C = 1), or what a
            convolution makes of earlier weights. With ``feature_weight``, or neither.
        feature_weight: ``(C, D)`` in that dtype.
        mask: ``(B, T)`` or ``(B, Q, T)`` bool, True = may be attended to.
        lengths: ``(B,)`` int32 or int64 in [0, T]: positions from there on are masked. With a mask, both hold.

    Returns:
        ``(B, Q, T)`` in the dtype of the query, -inf where masked. What stands at a masked position reaches nothing,
        NaN included.

    Raises:
        ValueError: shapes, dtypes or devices disagree, or a length outside [0, T] (on CUDA found late).

    Differentiable in query, keys, v, features and feature_weight: nothing of size B Q T D is kept, the tanh is computed
    once more. The meaning: :func:`s2sfast.reference.additive_scores`. Source: Vinyals, Fortunato & Jaitly 2015,
    arXiv:1506.03134, equation 3; coverage: See, Liu & Manning 2017, arXiv:1704.04368, equation 11.

    >>> import torch, s2sfast
    >>> keys = torch.tensor([[[0.0], [1.0], [9.0]]])  # B=1, T=3, D=1
    >>> s2sfast.additive_scores(torch.zeros(1, 1), keys, v=torch.ones(1), lengths=torch.tensor([2]))
    tensor([[0.0000, 0.7616,   -inf]])
    """
    try:
        q, keys, v, features, feature_weight = attention.promoted(query, keys, v, features, feature_weight)
        arguments = (attention.with_queries(q), keys, v, per_query(q, features), feature_weight, mask, lengths)
        function = _AdditiveScores.apply if attention.wants_gradient(*arguments[:5]) else _raw
        scores = function(*arguments)
        return scores.squeeze(1) if q.dim() == 2 else scores
    except (RuntimeError, AttributeError, TypeError, ValueError) as error:
        needed = {"query": query, "keys": keys, "v": v}
        optional = {"features": features, "feature_weight": feature_weight, "mask": mask, "lengths": lengths}
        raise attention.diagnosis("additive_scores", error, needed, optional) from None


def per_query(query: Tensor, features: Tensor | None) -> Tensor | None:
    """(B, Q, T, C), also of one query."""
    return features.unsqueeze(1) if features is not None and query.dim() == 2 else features


class _AdditiveScores(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Any:
        ctx.save_for_backward(*arguments)
        return _raw(*arguments)

    @staticmethod
    @attention.first_derivative_of("additive_scores")
    def backward(ctx: Any, grad_scores: Any) -> Any:
        found = _raw_backward(grad_scores, *ctx.saved_tensors)
        return *attention.gradients(ctx.saved_tensors[:5], found), None, None


@torch.library.register_fake("s2sfast::additive_scores")
def _(query, keys, v, features, feature_weight, mask, lengths):
    return keys.new_empty((query.shape[0], query.shape[1], keys.shape[1]))


@torch.library.register_fake("s2sfast::additive_scores_backward")
def _(grad_scores, query, keys, v, features, feature_weight, mask, lengths):
    return fake_gradients(query, keys, v, features, feature_weight)


def fake_gradients(query: Tensor, keys: Tensor, v: Tensor, features: Any, feature_weight: Any) -> tuple[Tensor, ...]:
    real = attention.real_of(keys.dtype)

    def empty(size: Any) -> Tensor:
        return keys.new_empty(size, dtype=real)

    B, Q, T, D = *query.shape[:2], *keys.shape[1:]
    if features is None:
        return empty(query.shape), empty(keys.shape), empty(v.shape), empty((B, Q, T, 0)), empty((0, D))
    return empty(query.shape), empty(keys.shape), empty(v.shape), empty(features.shape), empty(feature_weight.shape)
