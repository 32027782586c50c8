"""The meaning of :func:`s2sfast.backtrace`."""

from __future__ import annotations

import torch
from torch import Tensor


def backtrace(parents: Tensor, tokens: Tensor, beams: Tensor, *, steps: Tensor | None = None) -> Tensor:
    """Follows backpointers from last token to first; the contract is :func:`s2sfast.backtrace`'s."""
    L, B, K = _checked_sizes(parents, tokens, beams, steps)
    steps = torch.full_like(beams, L) if steps is None else steps
    if ((steps < 0) | (steps > L)).any():
        raise ValueError(f"backtrace: expected steps in [0, L]=[0, {L}]; got {steps.tolist()}")
    sequences = parents.new_full((B, beams.shape[1], L), -1)
    slot = beams.clone()
    for step in reversed(range(L)):
        here = step < steps  # (B, n): this hypothesis has a token at this step
        if (here & ((slot < 0) | (slot >= K))).any():
            raise ValueError(
                f"backtrace: expected beams and parents in [0, K)=[0, {K}); got {slot.tolist()} at step {step}"
            )
        at = slot.where(here, 0)
        sequences[:, :, step] = tokens[step].gather(1, at).where(here, -1)
        slot = parents[step].gather(1, at).where(here, slot)
    return sequences


def _checked_sizes(parents: Tensor, tokens: Tensor, beams: Tensor, steps: Tensor | None) -> tuple[int, int, int]:
    def expect(ok: bool, what: str, got: Tensor) -> None:
        if not ok:
            raise ValueError(f"backtrace: expected {what}; got {tuple(got.shape)}")

    expect(parents.dim() == 3, "parents (L, B, K)", parents)
    expect(beams.dim() == 2, "beams (B, n)", beams)
    L, B, K = parents.shape
    expect(tokens.shape == parents.shape, f"tokens (L, B, K)=({L}, {B}, {K})", tokens)
    expect(beams.shape[0] == B, f"beams (B, n)=({B}, n)", beams)
    expect(
        steps is None or steps.shape == beams.shape,
        f"steps (B, n)={tuple(beams.shape)}",
        beams if steps is None else steps,
    )
    for name, value in (("parents", parents), ("tokens", tokens), ("beams", beams), ("steps", steps)):
        if value is not None and value.dtype != torch.int64:
            raise ValueError(f"backtrace: expected int64 {name}; got another dtype")
    return L, B, K
