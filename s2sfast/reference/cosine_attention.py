"""The meaning of :func:`s2sfast.cosine_attention`."""

from __future__ import annotations

import torch
from torch import Tensor

from s2sfast.reference.attention import Arguments
from s2sfast.types import AttentionOutput

EPS_MODES = ("clamp", "sqrt", "product")


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
    """Attention by strength * cosine(q, k); the contract is :func:`s2sfast.cosine_attention`'s."""
    given = Arguments("cosine_attention", query, keys, values, mask, lengths)
    check_eps("cosine_attention", eps, eps_mode)
    if isinstance(strength, Tensor):
        given.expect_like_query("strength", strength)
        strength = given.per_query("strength", strength)[..., None] if strength.dim() else given.real(strength)
    # Ones where masked: with eps=0 a vector of zeros has no cosine.
    query_pairs, key_pairs = given.pairs(given.query[:, :, None], 1), given.pairs(given.keys[:, None], 1)
    similarity = cosine(query_pairs, key_pairs, eps, eps_mode)
    return given.attend(strength * similarity, need_weights)


def check_eps(op: str, eps: float, eps_mode: str) -> None:
    if eps_mode not in EPS_MODES:
        raise ValueError(f"{op}: expected eps_mode to be clamp, sqrt or product; got {eps_mode!r}")
    if not 0 <= eps < float("inf"):
        raise ValueError(f"{op}: expected eps in [0, inf); got {eps!r}")


def cosine(a: Tensor, b: Tensor, eps: float, eps_mode: str) -> Tensor:
    """Of the last dimension. A norm of 0 has gradient 0."""
    dot = (a * b).sum(-1)
    if eps_mode == "sqrt":
        return dot / (((a * a).sum(-1) + eps).sqrt() * ((b * b).sum(-1) + eps).sqrt())
    norm_a, norm_b = torch.linalg.vector_norm(a, dim=-1), torch.linalg.vector_norm(b, dim=-1)
    if eps_mode == "clamp":
        return dot / (norm_a.clamp(min=eps) * norm_b.clamp(min=eps))
    return dot / (norm_a * norm_b + eps)
