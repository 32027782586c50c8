"""Attention by a bilinear form: a projection of the query, then dot products."""

from __future__ import annotations

from torch import Tensor

from s2sfast.ops import attention
from s2sfast.ops.dot_attention import attend
from s2sfast.types import AttentionOutput


def bilinear_attention(
    query: Tensor,
    keys: Tensor,
    values: Tensor | None = None,
    *,
    weight: Tensor,
    mask: Tensor | None = None,
    lengths: Tensor | None = None,
    need_weights: bool = True,
) -> AttentionOutput:
    r"""Attends to positions in proportion to the exponential of a bilinear form ("general" attention).

    .. math:: w_{q,t} = \mathrm{softmax}_t(query_q^\top W keys_t), \quad context_q = \sum_t w_{q,t} values_t

    Args:
        query: ``(B, Q, C)``, or ``(B, C)`` for one query, whose outputs then have no dimension Q. float32, float64,
            bfloat16 or float16; sums are in float32, or float64 for float64.
        keys: ``(B, T, D)`` in the dtype of the query.
        values: ``(B, T, E)`` in that dtype; None: the keys.
        weight: ``(C, D)`` in that dtype. Of a ``torch.nn.Linear`` for the keys, ``linear.weight``; of one for the
            query, ``linear.weight.T``.
        mask: ``(B, T)`` or ``(B, Q, T)`` bool, True = may be attended to.
        lengths: ``(B,)`` int32 or int64 in [0, T]: positions from there on are masked. With a mask, both hold.
        need_weights: False: the weights are not returned.

    Returns:
        :class:`~s2sfast.AttentionOutput` of ``context (B, Q, E)`` and ``weights (B, Q, T)``, as of
        :func:`s2sfast.dot_attention`, masked rows and positions included.

    Raises:
        ValueError: shapes, dtypes or devices disagree, or a length outside [0, T] (on CUDA found late).

    Differentiable in query, keys, values and weight. The projection of the query is torch's matmul, in the dtype of the
    sums; the rest is :func:`s2sfast.dot_attention`. The meaning: :func:`s2sfast.reference.bilinear_attention`. Source:
    Luong, Pham & Manning 2015, arXiv:1508.04025, equation 8, "general".

    >>> import torch, s2sfast
    >>> keys = torch.eye(2)[None]  # B=1, T=2, D=2
    >>> weight = torch.tensor([[0.0, 2.0]])  # C=1
    >>> s2sfast.bilinear_attention(torch.ones(1, 1), keys, weight=weight).weights
    tensor([[0.1192, 0.8808]])
    """
    try:
        q, keys, values, weight = attention.promoted(query, keys, values, weight)
        _check(q, keys, weight)
        real = attention.real_of(keys.dtype)
        projected = (attention.with_queries(q).to(real) @ weight.to(real)).to(real)  # autocast multiplies in half
        context, weights = attend(projected, keys, values, 1.0, mask, lengths, True)
        return attention.output(q, context, weights, need_weights)
    except (RuntimeError, AttributeError, TypeError, ValueError) as error:
        needed = {"query": query, "keys": keys, "weight": weight}
        optional = {"values": values, "mask": mask, "lengths": lengths}
        raise attention.diagnosis("bilinear_attention", error, needed, optional) from None


def _check(query: Tensor, keys: Tensor, weight: Tensor) -> None:
    """What the op that follows cannot see."""

    def expect(ok: bool, what: str, got: object) -> None:
        if not ok:
            raise ValueError(f"bilinear_attention: expected {what}; got {got}")

    expect(keys.dim() == 3, "keys (B, T, D)", tuple(keys.shape))
    B, _, D = keys.shape
    expect(weight.dim() == 2 and weight.shape[1] == D, f"weight (C, D)=(C, {D})", tuple(weight.shape))
    C = weight.shape[0]
    expect(query.dim() in (2, 3), "query (B, Q, C) or (B, C)", tuple(query.shape))
    shape = f"(B, C)=({B}, {C})" if query.dim() == 2 else f"(B, Q, C)=({B}, Q, {C})"
    expect(query.shape[0] == B and query.shape[-1] == C, f"query {shape}", tuple(query.shape))
    for name, value in (("keys", keys), ("weight", weight)):
        expect(
            value.is_floating_point(),
            f"floating {name} (float32, float64, bfloat16, float16)",
            "another dtype",
        )
        expect(value.dtype == query.dtype, f"{name} in the dtype of query", "another dtype")
        if value.device != query.device:
            raise ValueError(f"bilinear_attention: expected {name} on the device of query")
