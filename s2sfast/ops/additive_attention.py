"""Attention by a small network of one hidden layer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from s2sfast import _native  # noqa: F401  registers torch.ops.s2sfast
from s2sfast.ops import attention
from s2sfast.ops.additive_scores import fake_gradients, per_query
from s2sfast.types import AttentionOutput

_raw = torch.ops.s2sfast.additive_attention.default
_raw_backward = torch.ops.s2sfast.additive_attention_backward.default


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
    r"""Attends to positions in proportion to the exponential of an additive score.

    .. math:: w_{q,t} = \mathrm{softmax}_t(v \cdot \tanh(query_q + keys_t + features_{q,t} \; feature\_weight)), \quad
              context_q = \sum_t w_{q,t} values_t

    Query and keys arrive projected: project the keys once for a source, not at every step. At decode time the K beams
    of a sentence are its Q queries: its keys and values are never copied for them.

    Args:
        query: ``(B, Q, D)``, or ``(B, D)`` for one query, already projected; outputs then have no dimension Q.
            float32, float64, bfloat16 or float16; sums are in float32, or float64 for float64.
        keys: ``(B, T, D)``, already projected, in the dtype of the query.
        values: ``(B, T, E)`` in that dtype; None: the keys.
        v: ``(D,)`` in that dtype.
        features: ``(B, Q, T, C)``, or ``(B, T, C)`` for a 2-D query, in that dtype: coverage (C = 1), or what a
            convolution makes of earlier weights. With ``feature_weight``, or neither.
        feature_weight: ``(C, D)`` in that dtype.
        mask: ``(B, T)`` or ``(B, Q, T)`` bool, True = may be attended to.
        lengths: ``(B,)`` int32 or int64 in [0, T]: positions from there on are masked. With a mask, both hold.
        need_weights: False: the weights are not returned.

    Returns:
        :class:`~s2sfast.AttentionOutput` of ``context (B, Q, E)`` and ``weights (B, Q, T)``, as of
        :func:`s2sfast.dot_attention`, masked rows and positions included.

    Raises:
        ValueError: shapes, dtypes or devices disagree, or a length outside [0, T] (on CUDA found late).

    Differentiable in query, keys, values, v, features and feature_weight: nothing of size B Q T D is kept, the tanh is
    computed once more. The meaning: :func:`s2sfast.reference.additive_attention`. Source: Bahdanau, Cho & Bengio 2015,
    arXiv:1409.0473, appendix A.1.2; coverage: See, Liu & Manning 2017, arXiv:1704.04368, equation 11.

    >>> import torch, s2sfast
    >>> keys = torch.tensor([[[0.0], [1.0]]])  # B=1, T=2, D=1
    >>> s2sfast.additive_attention(torch.zeros(1, 1), keys, v=torch.ones(1)).weights
    tensor([[0.3183, 0.6817]])
    """
    try:
        q, keys, values, v, features, feature_weight = attention.promoted(
            query, keys, values, v, features, feature_weight
        )
        arguments = (attention.with_queries(q), keys, values, v, per_query(q, features), feature_weight, mask, lengths)
        function = _AdditiveAttention.apply if attention.wants_gradient(*arguments[:6]) else _raw
        context, weights = function(*arguments)
        return attention.output(q, context, weights, need_weights)
    except (RuntimeError, AttributeError, TypeError, ValueError) as error:
        needed = {"query": query, "keys": keys, "v": v}
        optional = {
            "values": values, "features": features, "feature_weight": feature_weight, "mask": mask, "lengths": lengths
        }  # fmt: skip
        raise attention.diagnosis("additive_attention", error, needed, optional) from None


class _AdditiveAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Any:
        context, weights = _raw(*arguments)
        ctx.save_for_backward(*arguments, weights)
        ctx.set_materialize_grads(False)
        return context, weights

    @staticmethod
    @attention.first_derivative_of("additive_attention")
    def backward(ctx: Any, grad_context: Any, grad_weights: Any) -> Any:
        *arguments, weights = ctx.saved_tensors
        keys, values = arguments[1:3]
        grad_context = attention.context_gradient(grad_context, weights, keys if values is None else values)
        found = _raw_backward(grad_context, grad_weights, *arguments, weights)
        return *attention.gradients(tuple(arguments[:6]), found), None, None


@torch.library.register_fake("s2sfast::additive_attention")
def _(query, keys, values, v, features, feature_weight, mask, lengths):
    return attention.fake_forward(query, keys, values)


@torch.library.register_fake("s2sfast::additive_attention_backward")
def _(grad_context, grad_weights, query, keys, values, v, features, feature_weight, mask, lengths, weights):
    _, _, dv, dfeatures, dfeature_weight = fake_gradients(query, keys, v, features, feature_weight)
    return *attention.fake_gradients(weights, query, keys, values), dv, dfeatures, dfeature_weight
