"""The meaning of :func:`s2sfast.memory_read`."""

from __future__ import annotations

from torch import Tensor

from s2sfast.reference.memory import Arguments


def memory_read(memory: Tensor, weights: Tensor) -> Tensor:
    """Graves et al. 2014, eq. 2; the contract is :func:`s2sfast.memory_read`'s."""
    given = Arguments("memory_read", "memory", memory)
    B, N, _ = memory.shape
    weights = given.like_first("weights", weights, "B, H, N", B, None, N)
    return given.shown((weights[..., None] * given.real_first[:, None]).sum(2))
