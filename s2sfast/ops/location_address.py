"""Where the focus on a memory moves to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from s2sfast import _native  # noqa: F401  registers torch.ops.s2sfast
from s2sfast.ops import memory as machine
from s2sfast.ops.attention import diagnosis, first_derivative_of, gradients, promoted, real_of, wants_gradient

_raw = torch.ops.s2sfast.location_address.default
_raw_backward = torch.ops.s2sfast.location_address_backward.default


def location_address(
    content: Tensor,
    previous: Tensor | None,
    gate: Tensor | None,
    shift: Tensor | None,
    sharpen: Tensor | None,
    *,
    shift_offsets: Sequence[int] | None = None,
) -> Tensor:
    r"""Weights of memory slots from a content weighting and the weights of the step before.

    .. math:: g_n = gate\, content_n + (1 - gate)\, previous_n, \quad
              m_n = \sum_s shift_s\, g_{n - offset_s}, \quad
              w_n = m_n^{sharpen} \Big/ \sum_i m_i^{sharpen}

    Args:
        content: ``(B, H, N)`` float32, float64, bfloat16 or float16; sums are in float32, or float64 for float64.
        previous: ``(B, H, N)`` in the same dtype; None only without a gate.
        gate: ``(B, H)`` in the same dtype, usually in [0, 1]. None: the content weighting is the result, and previous,
            shift and sharpen are not looked at.
        shift: ``(B, H, S)`` in the same dtype, on CUDA of at most 16 taps: tap s moves the focus by offset s. None or
            S = 0: no shift.
        sharpen: ``(B, H)`` in the same dtype, at least 1. None: no sharpening.
        shift_offsets: S integers, modulo N. None: symmetric, (-1, 0, 1) for S = 3; S is odd then.

    Returns:
        ``(B, H, N)`` in the dtype of content. With sharpening every row sums to 1, for any sharpen in [1, 100] and N up
        to 65,536, also where rows are flat or hold zeros; a row of zeros stays one. Weights that are negative, or below
        the smallest normal number, count as 0.

    Raises:
        ValueError: shapes, dtypes or devices disagree, an even S without offsets, more taps than CUDA allows, or a
            sharpen below 1 (on CUDA found late: :func:`s2sfast.synchronize`).

    Differentiable once in all tensors; gradients are finite, and 0 at exact zeros of a row that is sharpened. Same bits
    for any number of threads. The meaning: :func:`s2sfast.reference.location_address`. Source: Graves, Wayne &
    Danihelka 2014, arXiv:1410.5401, eq. 7 to 9.

    >>> import torch, s2sfast
    >>> content = torch.tensor([[[1.0, 0.0, 0.0, 0.0]]])  # B=1, H=1, N=4
    >>> shift = torch.tensor([[[0.0, 0.2, 0.8]]])
    >>> s2sfast.location_address(content, content, torch.ones(1, 1), shift, torch.tensor([[2.0]]))
    tensor([[[0.0588, 0.9412, 0.0000, 0.0000]]])
    """
    try:
        if gate is None:
            if content.dim() != 3:
                raise ValueError(f"location_address: expected content (B, H, N); got {tuple(content.shape)}")
            return content.clone()
        if previous is None:
            sizes = ", ".join(map(str, content.shape))
            raise ValueError(f"location_address: expected previous (B, H, N)=({sizes}) with a gate; got None")
        if shift is not None and shift.dim() == 3 and shift.shape[2] == 0:
            shift = None
        tensors = promoted(content, previous, gate, shift, sharpen)
        arguments = (*tensors, machine.offsets("location_address", shift_offsets))
        if wants_gradient(*tensors):
            return _LocationAddress.apply(*arguments)
        return machine.like(tensors[0], _raw(*arguments))
    except (RuntimeError, AttributeError, TypeError, ValueError) as error:
        optional = {"previous": previous, "gate": gate, "shift": shift, "sharpen": sharpen}
        raise diagnosis("location_address", error, {"content": content}, optional) from None


class _LocationAddress(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Any:
        weights = _raw(*arguments)
        ctx.save_for_backward(*arguments[:5], weights)
        ctx.offsets = arguments[5]
        return machine.like(arguments[0], weights)

    @staticmethod
    @first_derivative_of("location_address")
    def backward(ctx: Any, grad: Tensor) -> Any:
        *inputs, weights = ctx.saved_tensors
        found = _raw_backward(grad, *inputs, ctx.offsets, weights)
        return *gradients(tuple(inputs), found), None


@torch.library.register_fake("s2sfast::location_address")
def _(content, previous, gate, shift, sharpen, shift_offsets):
    return content.new_empty(content.shape, dtype=real_of(content.dtype))


@torch.library.register_fake("s2sfast::location_address_backward")
def _(grad, content, previous, gate, shift, sharpen, shift_offsets, weights):
    B, H, _ = content.shape
    sizes = (
        content.shape,
        content.shape,
        gate.shape,
        (B, H, 0) if shift is None else shift.shape,
        (B, 0) if sharpen is None else sharpen.shape,
    )
    return tuple(weights.new_empty(size) for size in sizes)
