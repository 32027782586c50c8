"""Where in a memory a key is found."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from s2sfast import _native  # noqa: F401  registers torch.ops.s2sfast
from s2sfast.ops import memory as machine
from s2sfast.ops.attention import diagnosis, first_derivative_of, gradients, promoted, real_of, wants_gradient

_raw = torch.ops.s2sfast.content_address.default
_raw_backward = torch.ops.s2sfast.content_address_backward.default


def content_address(
    memory: Tensor, key: Tensor, strength: Tensor, *, eps: float = 1e-8, eps_mode: str = "clamp"
) -> Tensor:
    r"""Weights of memory slots by their similarity to a key.

    .. math:: w_{h,n} = \mathrm{softmax}_n(strength_h \cos(key_h, memory_n))

    Args:
        memory: ``(B, N, M)`` float32, float64, bfloat16 or float16; sums are in float32, or float64 for float64.
        key: ``(B, H, M)`` in the same dtype, one for each head.
        strength: ``(B, H)`` in the same dtype; any sign. 0 weighs all slots alike.
        eps: keeps a norm of 0 apart; finite, at least 0.
        eps_mode: "clamp": each norm is at least eps, as in ``torch.nn.functional.cosine_similarity``; "sqrt": a norm is
            sqrt(sum of squares + eps), whose gradient is bounded; "product": the product of the norms plus eps.

    Returns:
        ``(B, H, N)`` in the dtype of the memory; every row sums to 1.

    Raises:
        ValueError: shapes, dtypes or devices disagree, or an eps or eps_mode that is none.

    Differentiable once in memory, key and strength; the gradient of a norm is 0 where the norm is 0 or clamped. The
    memory is read once, by all heads together. Same bits for any number of threads. The meaning:
    :func:`s2sfast.reference.content_address`. Source: Graves, Wayne & Danihelka 2014, arXiv:1410.5401, eq. 5 and 6.

    >>> import torch, s2sfast
    >>> memory = torch.tensor([[[3.0, 0.0], [0.0, 0.5]]])  # B=1, N=2, M=2
    >>> s2sfast.content_address(memory, torch.tensor([[[0.1, 0.0]]]), torch.tensor([[2.0]]))
    tensor([[[0.8808, 0.1192]]])
    """
    try:
        memory, key, strength = promoted(memory, key, strength)
        options = eps, machine.number_of("content_address", "eps_mode", machine.EPS_MODES, eps_mode)
        if wants_gradient(memory, key, strength):
            return _ContentAddress.apply(memory, key, strength, *options)
        return machine.like(memory, _raw(memory, key, strength, *options)[0])
    except (RuntimeError, AttributeError, TypeError, ValueError) as error:
        machine.check_eps("content_address", eps)
        raise diagnosis("content_address", error, {"memory": memory, "key": key, "strength": strength}, {}) from None


class _ContentAddress(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Any:
        weights, cosines, norms = _raw(*arguments)
        ctx.save_for_backward(*arguments[:3], weights, cosines, norms)
        ctx.options = arguments[3:]
        return machine.like(arguments[0], weights)

    @staticmethod
    @first_derivative_of("content_address")
    def backward(ctx: Any, grad: Tensor) -> Any:
        *inputs, weights, cosines, norms = ctx.saved_tensors
        found = _raw_backward(grad, *inputs, *ctx.options, weights, cosines, norms)
        return *gradients(tuple(inputs), found), None, None


@torch.library.register_fake("s2sfast::content_address")
def _(memory, key, strength, eps, eps_mode):
    real = real_of(memory.dtype)
    B, N, _ = memory.shape
    H = key.shape[1]
    weights = memory.new_empty((B, H, N), dtype=real)
    return weights, torch.empty_like(weights), memory.new_empty((B, 1 if H else 0, N), dtype=real)


@torch.library.register_fake("s2sfast::content_address_backward")
def _(grad, memory, key, strength, eps, eps_mode, weights, cosines, norms):
    return tuple(x.new_empty(x.shape, dtype=weights.dtype) for x in (memory, key, strength))
