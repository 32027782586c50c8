"""The meaning of :func:`s2sfast.location_address`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from s2sfast.reference.memory import Arguments, offsets_of, softmax


def location_address(
    content: Tensor,
    previous: Tensor | None,
    gate: Tensor | None,
    shift: Tensor | None,
    sharpen: Tensor | None,
    *,
    shift_offsets: Sequence[int] | None = None,
) -> Tensor:
    """Graves et al. 2014, eq. 7 to 9; the contract is :func:`s2sfast.location_address`'s."""
    given = Arguments("location_address", "content", content, "B, H, N")
    B, H, N = content.shape
    if gate is None:
        return given.shown(given.real_first)
    if previous is None:
        raise ValueError(f"location_address: expected previous (B, H, N)=({B}, {H}, {N}) with a gate; got None")
    previous = given.like_first("previous", previous, "B, H, N", B, H, N)
    gate = given.like_first("gate", gate, "B, H", B, H)[..., None]
    weights = gate * given.real_first + (1 - gate) * previous
    if shift is not None:
        shift = given.like_first("shift", shift, "B, H, S", B, H, None)
        if shift.shape[2]:  # no taps: no shift
            weights = shifted(weights, shift, offsets_of("location_address", shift.shape[2], shift_offsets))
    if sharpen is not None:
        sharpen = given.like_first("sharpen", sharpen, "B, H", B, H)
        check_sharpen("location_address", "sharpen", sharpen)
        weights = sharpened(weights, sharpen)
    return given.shown(weights)


def check_sharpen(op: str, name: str, sharpen: Tensor) -> None:
    if torch.compiler.is_compiling():
        return
    below = (sharpen < 1).nonzero()
    if below.numel():
        b, h = below[0].tolist()
        raise ValueError(f"{op}: expected {name} >= 1; got {sharpen[b, h].item():g} for sentence {b}, head {h}")


def shifted(weights: Tensor, shift: Tensor, offsets: Sequence[int]) -> Tensor:
    """Circular convolution: tap s moves a weight by offsets[s] slots (eq. 8)."""
    moved = torch.zeros_like(weights)
    for tap, offset in enumerate(offsets):
        moved = moved + shift[..., tap, None] * weights.roll(offset, -1)
    return moved


def sharpened(weights: Tensor, sharpen: Tensor) -> Tensor:
    """weights ** sharpen / sum (eq. 9), as exp(sharpen log(weights / max)) / sum, which keeps the mass where the powers
    themselves are too small for the dtype. What is not above 0, or subnormal, counts as 0, and has gradient 0."""
    if weights.shape[-1] == 0:
        return weights
    tiny = torch.finfo(weights.dtype).tiny
    zero = weights < tiny  # a NaN is not
    some = ~zero.all(-1, keepdim=True)
    peak = weights.detach().amax(-1, keepdim=True).where(some, 1)
    logs = sharpen[..., None] * (weights.masked_fill(zero, 1) / peak).log()
    return softmax(logs.masked_fill(zero & some, -torch.inf)).masked_fill(zero, 0)
