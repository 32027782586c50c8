"""The meaning of :func:`s2sfast.bilinear_attention`."""

from __future__ import annotations

from torch import Tensor

from s2sfast.reference.attention import Arguments
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
    """Attention by q W k; the contract is :func:`s2sfast.bilinear_attention`'s."""
    C = weight.shape[0] if weight.dim() else 0
    given = Arguments("bilinear_attention", query, keys, values, mask, lengths, width=C)
    D = given.sizes[3]
    given.expect(weight.dim() == 2 and weight.shape[1] == D, f"weight (C, D)=(C, {D})", weight)
    given.expect_like_query("weight", weight)
    projected = given.query @ given.real(weight)
    scores = (given.pairs(projected[:, :, None]) * given.pairs(given.keys[:, None])).sum(-1)
    return given.attend(scores, need_weights)
