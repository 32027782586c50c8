"""The meaning of :func:`s2sfast.dot_attention`."""

from __future__ import annotations

from torch import Tensor

from s2sfast.reference.attention import Arguments
from s2sfast.types import AttentionOutput


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
    """Attention by scale * q . k; the contract is :func:`s2sfast.dot_attention`'s."""
    given = Arguments("dot_attention", query, keys, values, mask, lengths)
    scores = (given.pairs(given.query[:, :, None]) * given.pairs(given.keys[:, None])).sum(-1) * scale
    return given.attend(scores, need_weights)
