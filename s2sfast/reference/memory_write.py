"""The meaning of :func:`s2sfast.memory_write`."""

from __future__ import annotations

from torch import Tensor

from s2sfast.reference.memory import COMPOSITIONS, Arguments, expect_one_of


def memory_write(
    memory: Tensor, weights: Tensor, erase: Tensor, add: Tensor, *, composition: str = "sequential"
) -> Tensor:
    """Graves et al. 2014, eq. 3 and 4; the contract is :func:`s2sfast.memory_write`'s."""
    given = Arguments("memory_write", "memory", memory)
    B, N, M = memory.shape
    weights = given.like_first("weights", weights, "B, H, N", B, None, N)
    H = weights.shape[1]
    erase = given.like_first("erase", erase, "B, H, M", B, H, M)
    add = given.like_first("add", add, "B, H, M", B, H, M)
    expect_one_of("memory_write", "composition", COMPOSITIONS, composition)
    kept = 1 - weights[..., None] * erase[:, :, None]  # (B, H, N, M)
    added = weights[..., None] * add[:, :, None]
    if composition == "product":
        return given.shown(given.real_first * kept.prod(1) + added.sum(1))
    written = given.real_first
    for head in range(H):
        written = written * kept[:, head] + added[:, head]
    return given.shown(written)
