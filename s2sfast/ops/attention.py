"""What the attention functions share on their way to the registered ops and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from s2sfast.types import AttentionOutput


def real_of(dtype: torch.dtype) -> torch.dtype:
    """What numbers of a dtype are computed in."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def wants_gradient(*tensors: Tensor | None) -> bool:
    if torch.is_grad_enabled():
        for t in tensors:  # any() of a generator takes twice as long
            if t is not None and t.requires_grad:
                return True
    return False


def first_derivative_of(op: str) -> Callable[[Callable], Callable]:
    """Of a backward that is not itself differentiable: that it is asked for a graph is an error. (With
    once_differentiable alone the gradient would be a constant to whoever differentiates it.)"""

    def decorate(backward: Callable) -> Callable:
        once = once_differentiable(backward)

        def run(ctx: Any, *gradients: Any) -> Any:
            if not torch.compiler.is_compiling() and torch.is_grad_enabled():
                raise RuntimeError(
                    f"{op}: expected a first derivative; got create_graph=True, and it has no second one: "
                    f"s2sfast.reference.{op} has"
                )
            return once(ctx, *gradients)

        return run

    return decorate


def promoted(query: Tensor, *others: Any) -> tuple[Any, ...]:
    """As they are; within ``torch.autocast`` all in the widest dtype among them, as autocast does where dtypes meet."""
    if not torch.is_autocast_enabled("cpu" if query.is_cpu else query.device.type):
        return query, *others
    floats = [x for x in (query, *others) if isinstance(x, Tensor) and x.is_floating_point()]
    dtype = floats[0].dtype
    for x in floats[1:]:
        dtype = torch.promote_types(dtype, x.dtype)
    return tuple(x.to(dtype) if isinstance(x, Tensor) and x.is_floating_point() else x for x in (query, *others))


def with_queries(query: Tensor) -> Tensor:
    """(B, Q, D), also of one query."""
    return query.unsqueeze(1) if query.dim() == 2 else query


def output(query: Tensor, context: Tensor, weights: Tensor, need_weights: bool) -> AttentionOutput:
    """What the caller gets, for the query that he gave."""
    if query.dim() == 2:
        context, weights = context.squeeze(1), weights.squeeze(1)
    dtype = query.dtype
    if context.dtype != dtype or weights.dtype != dtype:
        context, weights = context.to(dtype), weights.to(dtype)
    return AttentionOutput(context, weights if need_weights else None)


def diagnosis(op: str, error: Exception, tensors: dict[str, Any], optional: dict[str, Any]) -> Exception:
    """What is wrong with the types of the arguments, if it is that; else the error itself."""
    for name, value in {**tensors, **{n: v for n, v in optional.items() if v is not None}}.items():
        if not isinstance(value, Tensor):
            return ValueError(f"{op}: expected {name} to be a tensor; got {type(value).__name__}")
    return error


def gradients(inputs: tuple[Tensor | None, ...], found: tuple[Tensor, ...]) -> tuple[Tensor | None, ...]:
    """Each in the dtype of what it is the gradient of."""
    return tuple(None if x is None else g.to(x.dtype) for x, g in zip(inputs, found, strict=True))


def context_gradient(given: Tensor | None, weights: Tensor, values: Tensor) -> Tensor:
    """Zeros where only the weights have a gradient."""
    if given is not None:
        return given
    return weights.new_zeros((*weights.shape[:2], values.shape[2]))


def fake_forward(query: Tensor, keys: Tensor, values: Tensor | None) -> tuple[Tensor, Tensor]:
    width = (keys if values is None else values).shape[2]
    context = keys.new_empty((query.shape[0], query.shape[1], width))
    return context, keys.new_empty((query.shape[0], query.shape[1], keys.shape[1]), dtype=real_of(keys.dtype))


def fake_gradients(weights: Tensor, query: Tensor, keys: Tensor, values: Tensor | None) -> tuple[Tensor, ...]:
    return (
        weights.new_empty(query.shape),
        weights.new_empty(keys.shape),
        weights.new_empty((0,) if values is None else values.shape),
    )
