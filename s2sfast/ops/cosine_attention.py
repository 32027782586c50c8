"""Attention by cosine similarity."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from s2sfast import _native  # noqa: F401  registers torch.ops.s2sfast
from s2sfast.ops import attention
from s2sfast.types import AttentionOutput

_raw = torch.ops.s2sfast.cosine_attention.default
_raw_backward = torch.ops.s2sfast.cosine_attention_backward.default

_EPS_MODES = {"clamp": 0, "sqrt": 1, "product": 2}


def cosine_attention(
    query: Tensor,
    keys: Tensor,
    values: Tensor | None = None,
    *,
    strength: float | Tensor = 1.0,
    eps: float = 1e-8,
    eps_mode: str = "clamp",
    mask: Tensor | None = None,
    lengths: Tensor | None = None,
    need_weights: bool = True,
) -> AttentionOutput:
    r"""Attends to positions in proportion to the exponential of a cosine similarity with a strength.

    .. math:: w_{q,t} = \mathrm{softmax}_t(strength_q \cos(query_q, keys_t)), \quad
              context_q = \sum_t w_{q,t} values_t

    Args:
        query: ``(B, Q, D)``, or ``(B, D)`` for one query, whose outputs then have no dimension Q. float32, float64,
            bfloat16 or float16; sums are in float32, or float64 for float64.
        keys: ``(B, T, D)`` in the dtype of the query.
        values: ``(B, T, E)`` in that dtype; None: the keys.
        strength: a number, or ``(B, Q)`` (``(B,)`` for a 2-D query) or a single number as a tensor, in the dtype of the
            query. Any sign; 0 attends to all alike.
        eps: keeps a norm of 0 apart; finite, at least 0.
        eps_mode: "clamp": each norm is at least eps, as in ``torch.nn.functional.cosine_similarity``; "sqrt": a norm is
            sqrt(sum of squares + eps), whose gradient is bounded; "product": the product of the norms plus eps.
        mask: ``(B, T)`` or ``(B, Q, T)`` bool, True = may be attended to.
        lengths: ``(B,)`` int32 or int64 in [0, T]: positions from there on are masked. With a mask, both hold.
        need_weights: False: the weights are not returned.

    Returns:
        :class:`~s2sfast.AttentionOutput` of ``context (B, Q, E)`` and ``weights (B, Q, T)``, as of
        :func:`s2sfast.dot_attention`, masked rows and positions included.

    Raises:
        ValueError: shapes, dtypes or devices disagree, an eps or eps_mode that is none, or a length outside [0, T] (on
            CUDA found late).

    Differentiable in query, keys, values and strength; the gradient of a norm is 0 where the norm is 0 or clamped. The
    meaning: :func:`s2sfast.reference.cosine_attention`. Source: Graves, Wayne & Danihelka 2014, arXiv:1410.5401,
    equations 5 and 6.

    >>> import torch, s2sfast
    >>> keys = torch.tensor([[[3.0, 0.0], [0.0, 0.5]]])  # B=1, T=2, D=2
    >>> s2sfast.cosine_attention(torch.tensor([[0.1, 0.0]]), keys, strength=2.0).weights
    tensor([[0.8808, 0.1192]])
    """
    try:
        q, keys, values, strength = attention.promoted(query, keys, values, strength)
        if eps_mode not in _EPS_MODES:
            raise ValueError(f"cosine_attention: expected eps_mode to be clamp, sqrt or product; got {eps_mode!r}")
        queries = attention.with_queries(q)
        per_query, scale = _strength(strength, queries, q.dim() == 2)
        options = (scale, eps, _EPS_MODES[eps_mode], mask, lengths)
        if attention.wants_gradient(queries, keys, values, per_query):
            context, weights = _CosineAttention.apply(queries, keys, values, per_query, *options)
        else:
            context, weights = _raw(queries, keys, values, per_query, *options)
        return attention.output(q, context, weights, need_weights)
    except (RuntimeError, AttributeError, TypeError, ValueError) as error:
        needed, optional = {"query": query, "keys": keys}, {"values": values, "mask": mask, "lengths": lengths}
        raise attention.diagnosis("cosine_attention", error, needed, optional) from None


def _strength(strength: float | Tensor, query: Tensor, single: bool) -> tuple[Tensor | None, float]:
    """(a strength for each query or None, a factor)."""
    if not isinstance(strength, Tensor):
        return None, float(strength)
    if strength.dim() == 0:
        return strength.expand(query.shape[:-1]), 1.0
    if strength.dim() != (1 if single else 2):
        raise ValueError(
            f"cosine_attention: expected strength {'(B,)' if single else '(B, Q)'}; got {tuple(strength.shape)}"
        )
    return (strength.unsqueeze(1) if single else strength), 1.0


class _CosineAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, query: Any, keys: Any, values: Any, strength: Any, *options: Any) -> Any:
        *ctx.numbers, mask, lengths = options
        context, weights = _raw(query, keys, values, strength, *options)
        ctx.save_for_backward(query, keys, values, strength, mask, lengths, weights)
        ctx.set_materialize_grads(False)
        return context, weights

    @staticmethod
    @attention.first_derivative_of("cosine_attention")
    def backward(ctx: Any, grad_context: Any, grad_weights: Any) -> Any:
        query, keys, values, strength, mask, lengths, weights = ctx.saved_tensors
        grad_context = attention.context_gradient(grad_context, weights, keys if values is None else values)
        found = _raw_backward(
            grad_context, grad_weights, query, keys, values, strength, *ctx.numbers, mask, lengths, weights
        )
        return *attention.gradients((query, keys, values, strength), found), *(None,) * 5


@torch.library.register_fake("s2sfast::cosine_attention")
def _(query, keys, values, strength, scale, eps, eps_mode, mask, lengths):
    return attention.fake_forward(query, keys, values)


@torch.library.register_fake("s2sfast::cosine_attention_backward")
def _(grad_context, grad_weights, query, keys, values, strength, scale, eps, eps_mode, mask, lengths, weights):
    dstrength = weights.new_empty((0 if strength is None else query.shape[0], query.shape[1]))
    return *attention.fake_gradients(weights, query, keys, values), dstrength
