"""Attention by dot products."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from s2sfast import _native  # noqa: F401  registers torch.ops.s2sfast
from s2sfast.ops import attention
from s2sfast.types import AttentionOutput

_raw = torch.ops.s2sfast.dot_attention.default
_raw_backward = torch.ops.s2sfast.dot_attention_backward.default


def dot_attention(
    query: Tensor,
    keys: Tensor,
    values: Tensor | None = None,
    *,
    scale: float = 1.0,
    mask: Tensor | None = None,
    lengths: Tensor | None = None,
    need_weights: bool = True,
) -> AttentionOutput:
    r"""Attends to positions in proportion to the exponential of a dot product.

    .. math:: w_{q,t} = \mathrm{softmax}_t(scale \; query_q \cdot keys_t), \quad context_q = \sum_t w_{q,t} values_t

    At decode time the K beams of a sentence are its Q queries: its keys and values are never copied for them.

    Args:
        query: ``(B, Q, D)``, or ``(B, D)`` for one query, whose outputs then have no dimension Q. float32, float64,
            bfloat16 or float16; sums are in float32, or float64 for float64.
        keys: ``(B, T, D)`` in the dtype of the query.
        values: ``(B, T, E)`` in that dtype; None: the keys.
        scale: times the dot products; Vaswani et al. use ``D ** -0.5``.
        mask: ``(B, T)`` or ``(B, Q, T)`` bool, True = may be attended to.
        lengths: ``(B,)`` int32 or int64 in [0, T]: positions from there on are masked. With a mask, both hold.
        need_weights: False: the weights are not returned.

    Returns:
        :class:`~s2sfast.AttentionOutput` of ``context (B, Q, E)`` and ``weights (B, Q, T)`` in the dtype of the query.
        A row in which all is masked has zero weights and a zero context, and passes back zero gradients. What stands at
        a masked position reaches nothing, NaN included.

    Raises:
        ValueError: shapes, dtypes or devices disagree, or a length outside [0, T] (on CUDA found late, see
            :func:`s2sfast.synchronize`).

    Differentiable in query, keys and values; memory for that is O(inputs + B Q T). The meaning:
    :func:`s2sfast.reference.dot_attention`. Source: Luong, Pham & Manning 2015, arXiv:1508.04025, equation 8; scaled:
    Vaswani et al. 2017, arXiv:1706.03762, equation 1.

    >>> import torch, s2sfast
    >>> keys = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])  # B=1, T=2, D=2
    >>> found = s2sfast.dot_attention(torch.tensor([[[1.0, 1.0], [0.0, 8.0]]]), keys)
    >>> found.weights
    tensor([[[5.0000e-01, 5.0000e-01],
             [3.3535e-04, 9.9966e-01]]])
    >>> found.context.shape
    torch.Size([1, 2, 2])
    """
    try:
        q, keys, values = attention.promoted(query, keys, values)
        context, weights = attend(attention.with_queries(q), keys, values, scale, mask, lengths, False)
        return attention.output(q, context, weights, need_weights)
    except (RuntimeError, AttributeError, TypeError, ValueError) as error:
        needed, optional = {"query": query, "keys": keys}, {"values": values, "mask": mask, "lengths": lengths}
        raise attention.diagnosis("dot_attention", error, needed, optional) from None


def attend(
    query: Tensor,
    keys: Tensor,
    values: Tensor | None,
    scale: float,
    mask: Tensor | None,
    lengths: Tensor | None,
    projected: bool,
) -> tuple[Tensor, Tensor]:
    """(context, weights). `projected`: for bilinear_attention, whose query is in the dtype of the computation."""
    if attention.wants_gradient(query, keys, values):
        return _DotAttention.apply(query, keys, values, scale, mask, lengths, projected)
    return _raw(query, keys, values, scale, mask, lengths, projected)


class _DotAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Any, keys: Any, values: Any, *options: Any) -> Any:
        scale, mask, lengths, projected = options
        context, weights = _raw(query, keys, values, *options)
        ctx.save_for_backward(query, keys, values, mask, lengths, weights)
        ctx.scale, ctx.projected = scale, projected
        ctx.set_materialize_grads(False)
        return context, weights

    @staticmethod
    @attention.first_derivative_of("dot_attention")
    def backward(ctx: Any, grad_context: Any, grad_weights: Any) -> Any:
        query, keys, values, mask, lengths, weights = ctx.saved_tensors
        grad_context = attention.context_gradient(grad_context, weights, keys if values is None else values)
        found = _raw_backward(
            grad_context, grad_weights, query, keys, values, ctx.scale, mask, lengths, ctx.projected, weights
        )
        return *attention.gradients((query, keys, values), found), None, None, None, None


@torch.library.register_fake("s2sfast::dot_attention")
def _(query, keys, values, scale, mask, lengths, projected):
    return attention.fake_forward(query, keys, values)


@torch.library.register_fake("s2sfast::dot_attention_backward")
def _(grad_context, grad_weights, query, keys, values, scale, mask, lengths, projected, weights):
    return attention.fake_gradients(weights, query, keys, values)
