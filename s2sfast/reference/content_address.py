"""The meaning of :func:`s2sfast.content_address`."""

from __future__ import annotations

from torch import Tensor

from s2sfast.reference.cosine_attention import check_eps, cosine
from s2sfast.reference.memory import Arguments, softmax


def content_address(
    memory: Tensor, key: Tensor, strength: Tensor, *, eps: float = 1e-8, eps_mode: str = "clamp"
) -> Tensor:
    """Graves et al. 2014, eq. 5 and 6; the contract is :func:`s2sfast.content_address`'s."""
    given = Arguments("content_address", "memory", memory)
    B, _, M = memory.shape
    key = given.like_first("key", key, "B, H, M", B, None, M)
    strength = given.like_first("strength", strength, "B, H", B, key.shape[1])
    check_eps("content_address", eps, eps_mode)
    similarity = cosine(key[:, :, None], given.real_first[:, None], eps, eps_mode)
    return given.shown(softmax(strength[..., None] * similarity))
