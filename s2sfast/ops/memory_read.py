"""Reading from a memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from s2sfast import _native  # noqa: F401  registers torch.ops.s2sfast
from s2sfast.ops import memory as machine
from s2sfast.ops.attention import diagnosis, first_derivative_of, gradients, promoted, real_of, wants_gradient

_raw = torch.ops.s2sfast.memory_read.default
_raw_backward = torch.ops.s2sfast.memory_read_backward.default


def memory_read(memory: Tensor, weights: Tensor) -> Tensor:
    r"""Weighted sums of memory slots.

    .. math:: read_h = \sum_n w_{h,n}\, memory_n

    Args:
        memory: ``(B, N, M)`` float32, float64, bfloat16 or float16; sums are in float32, or float64 for float64.
        weights: ``(B, H, N)`` in the same dtype.

    Returns:
        ``(B, H, M)`` in the dtype of the memory.

    Raises:
        ValueError: shapes, dtypes or devices disagree.

    Differentiable once in both. The memory is read once, by all heads together. Same bits for any number of threads.
    The meaning: :func:`s2sfast.reference.memory_read`. Source: Graves, Wayne & Danihelka 2014, arXiv:1410.5401, eq. 2.

    >>> import torch, s2sfast
    >>> memory = torch.tensor([[[1.0, 10.0], [2.0, 20.0]]])  # B=1, N=2, M=2
    >>> s2sfast.memory_read(memory, torch.tensor([[[0.5, 0.5]]]))
    tensor([[[ 1.5000, 15.0000]]])
    """
    try:
        memory, weights = promoted(memory, weights)
        if wants_gradient(memory, weights):
            return _MemoryRead.apply(memory, weights)
        return machine.like(memory, _raw(memory, weights))
    except (RuntimeError, AttributeError, TypeError, ValueError) as error:
        raise diagnosis("memory_read", error, {"memory": memory, "weights": weights}, {}) from None


class _MemoryRead(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, memory: Tensor, weights: Tensor) -> Any:
        ctx.save_for_backward(memory, weights)
        return machine.like(memory, _raw(memory, weights))

    @staticmethod
    @first_derivative_of("memory_read")
    def backward(ctx: Any, grad: Tensor) -> Any:
        return gradients(ctx.saved_tensors, _raw_backward(grad, *ctx.saved_tensors))


@torch.library.register_fake("s2sfast::memory_read")
def _(memory, weights):
    B, _, M = memory.shape
    return memory.new_empty((B, weights.shape[1], M), dtype=real_of(memory.dtype))


@torch.library.register_fake("s2sfast::memory_read_backward")
def _(grad, memory, weights):
    return tuple(x.new_empty(x.shape, dtype=real_of(memory.dtype)) for x in (memory, weights))
