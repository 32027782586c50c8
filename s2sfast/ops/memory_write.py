"""Writing to a memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from s2sfast import _native  # noqa: F401  registers torch.ops.s2sfast
from s2sfast.ops import memory as machine
from s2sfast.ops.attention import diagnosis, first_derivative_of, gradients, promoted, real_of, wants_gradient

_raw = torch.ops.s2sfast.memory_write.default
_raw_backward = torch.ops.s2sfast.memory_write_backward.default


def memory_write(
    memory: Tensor, weights: Tensor, erase: Tensor, add: Tensor, *, composition: str = "sequential"
) -> Tensor:
    r"""Erases from memory slots and adds to them.

    .. math:: memory_n \leftarrow memory_n (1 - w_{h,n}\, erase_h) + w_{h,n}\, add_h

    Args:
        memory: ``(B, N, M)`` float32, float64, bfloat16 or float16; sums are in float32, or float64 for float64.
        weights: ``(B, H, N)`` in the same dtype.
        erase: ``(B, H, M)`` in the same dtype, usually in [0, 1]: the share that is erased where the weight is 1.
        add: ``(B, H, M)`` in the same dtype.
        composition: what several heads do to one slot. "sequential": one after the other, as above; "product":
            ``memory * prod_h(1 - w_h erase_h) + sum_h w_h add_h`` (Graves et al. 2016, Nature 538:471).

    Returns:
        The new memory, ``(B, N, M)`` in the dtype of the old one, which is left as it is. Where a weight and an erase
        are 1, a head leaves exactly what it adds.

    Raises:
        ValueError: shapes, dtypes or devices disagree, or another composition.

    Differentiable once in all four. The memory is read once and written once for all heads. Same bits for any number of
    threads. The meaning: :func:`s2sfast.reference.memory_write`. Source: Graves, Wayne & Danihelka 2014,
    arXiv:1410.5401, eq. 3 and 4.

    >>> import torch, s2sfast
    >>> memory = torch.tensor([[[1.0, 10.0], [2.0, 20.0]]])  # B=1, N=2, M=2
    >>> weights, erase, add = torch.tensor([[[1.0, 0.5]]]), torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[7.0, 8.0]]])
    >>> s2sfast.memory_write(memory, weights, erase, add)
    tensor([[[ 7.0000, 18.0000],
             [ 4.5000, 24.0000]]])
    """
    try:
        tensors = promoted(memory, weights, erase, add)
        arguments = *tensors, machine.number_of("memory_write", "composition", machine.COMPOSITIONS, composition)
        if wants_gradient(*tensors):
            return _MemoryWrite.apply(*arguments)
        return machine.like(tensors[0], _raw(*arguments))
    except (RuntimeError, AttributeError, TypeError, ValueError) as error:
        given = {"memory": memory, "weights": weights, "erase": erase, "add": add}
        raise diagnosis("memory_write", error, given, {}) from None


class _MemoryWrite(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Any:
        ctx.save_for_backward(*arguments[:4])
        ctx.composition = arguments[4]
        return machine.like(arguments[0], _raw(*arguments))

    @staticmethod
    @first_derivative_of("memory_write")
    def backward(ctx: Any, grad: Tensor) -> Any:
        found = _raw_backward(grad, *ctx.saved_tensors, ctx.composition)
        return *gradients(ctx.saved_tensors, found), None


@torch.library.register_fake("s2sfast::memory_write")
def _(memory, weights, erase, add, composition):
    return memory.new_empty(memory.shape, dtype=real_of(memory.dtype))


@torch.library.register_fake("s2sfast::memory_write_backward")
def _(grad, memory, weights, erase, add, composition):
    real = real_of(memory.dtype)
    return tuple(x.new_empty(x.shape, dtype=real) for x in (memory, weights, erase, add))
