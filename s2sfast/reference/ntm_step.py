"""The meaning of :func:`s2sfast.ntm_step`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor
from torch.nn.functional import softplus

from s2sfast.reference.content_address import content_address
from s2sfast.reference.cosine_attention import check_eps
from s2sfast.reference.location_address import check_sharpen, location_address
from s2sfast.reference.memory import COMPOSITIONS, ORDERS, Arguments, expect_one_of, offsets_of
from s2sfast.reference.memory_read import memory_read
from s2sfast.reference.memory_write import memory_write
from s2sfast.types import NTMActivation, NTMHead, NTMStep

OP = "ntm_step"


def ntm_step(
    memory: Tensor,
    read_previous: Tensor | None,
    write_previous: Tensor | None,
    read_head: NTMHead | Tensor | None,
    write_head: NTMHead | Tensor,
    *,
    order: str = "write_read",
    composition: str = "sequential",
    shift_offsets: Sequence[int] | None = None,
    eps: float = 1e-8,
    eps_mode: str = "clamp",
    activation: NTMActivation | None = None,
) -> NTMStep:
    """A step made of the single ops; the contract is :func:`s2sfast.ntm_step`'s."""
    given = Arguments(OP, "memory", memory)
    expect_one_of(OP, "order", ORDERS, order)
    expect_one_of(OP, "composition", COMPOSITIONS, composition)
    check_eps(OP, eps, eps_mode)
    heads = {"write": checked_head(given, "write", write_head, write_previous, shift_offsets)}
    if read_head is not None:
        heads["read"] = checked_head(given, "read", read_head, read_previous, shift_offsets)
    elif order != "write_read":
        raise ValueError(f"{OP}: expected a read_head with order={order!r}; got None")
    if activation is not None:
        heads = {kind: activated(head, activation) for kind, head in heads.items()}
    for kind, head in heads.items():
        if head.gate is not None and head.sharpen is not None:
            check_sharpen(OP, f"{kind}_head.sharpen", head.sharpen)

    def address(of: Tensor, kind: str, previous: Tensor | None) -> Tensor:
        head = heads[kind]
        content = content_address(of, head.key, head.strength, eps=eps, eps_mode=eps_mode)
        return location_address(content, previous, head.gate, head.shift, head.sharpen, shift_offsets=shift_offsets)

    write: Any = heads["write"]  # has erase and add: checked
    write_weights = address(memory, "write", write_previous)
    written = memory_write(memory, write_weights, write.erase, write.add, composition=composition)
    looked_at = written if order == "write_read" else memory
    read_weights = write_weights if read_head is None else address(looked_at, "read", read_previous)
    return NTMStep(written, memory_read(looked_at, read_weights), read_weights, write_weights)


def checked_head(
    given: Arguments, kind: str, head: NTMHead | Tensor, previous: Tensor | None, shift_offsets: Sequence[int] | None
) -> NTMHead:
    """In the dtype of the memory as it was given."""
    B, N, M = given.first.shape
    name, H, write = f"{kind}_head", "W" if kind == "write" else "R", kind == "write"
    if isinstance(head, Tensor):
        least = (3 if write else 1) * M + 3
        what = f"{name} (B, {H}, P)=({B}, {H}, P), P at least {least}"
        given.expect(head.dim() == 3 and head.shape[0] == B and head.shape[2] >= least, what, head)
        head = NTMHead.split(head, M, write=write)
    given.like_first(f"{name}.key", head.key, f"B, {H}, M", B, None, M)
    heads = head.key.shape[1]
    given.like_first(f"{name}.strength", head.strength, f"B, {H}", B, heads)
    if write:
        for field in ("erase", "add"):
            value = getattr(head, field)
            if value is None:
                raise ValueError(f"{OP}: expected {name}.{field} (B, W, M)=({B}, {heads}, {M}); got None")
            given.like_first(f"{name}.{field}", value, "B, W, M", B, heads, M)
    if head.gate is None:
        return head
    given.like_first(f"{name}.gate", head.gate, f"B, {H}", B, heads)
    sizes = f"{kind}_previous (B, {H}, N)=({B}, {heads}, {N})"
    if previous is None:
        raise ValueError(f"{OP}: expected {sizes} with a gate; got None")
    given.like_first(f"{kind}_previous", previous, f"B, {H}, N", B, heads, N)
    if head.shift is not None:
        given.like_first(f"{name}.shift", head.shift, f"B, {H}, S", B, heads, None)
        if head.shift.shape[2]:
            offsets_of(OP, head.shift.shape[2], shift_offsets)
    if head.sharpen is not None:
        given.like_first(f"{name}.sharpen", head.sharpen, f"B, {H}", B, heads)
    return head


def activated(head: NTMHead, activation: NTMActivation) -> NTMHead:
    def through(value: Tensor | None, function: Callable[[Tensor], Tensor]) -> Tensor | None:
        return None if value is None else function(value)

    strength = softplus(head.strength)
    return NTMHead(
        key=head.key.tanh() if activation.key == "tanh" else head.key,
        strength=1 + strength if activation.strength == "oneplus" else strength,
        gate=through(head.gate, Tensor.sigmoid),
        shift=through(head.shift, lambda x: x.softmax(-1)),
        sharpen=through(head.sharpen, lambda x: 1 + softplus(x)),
        erase=through(head.erase, Tensor.sigmoid),
        add=through(head.add, Tensor.tanh) if activation.add == "tanh" else head.add,
    )
