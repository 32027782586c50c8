"""The cases for training: an op forward and back, every gradient taken."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from s2sfast.cases import Case, Op


def trains(case: Case) -> bool:
    return "train" in case.use


def leaves_of(op: Op, args: tuple, kwargs: dict) -> tuple[tuple, dict, list[Tensor]]:
    """(args, kwargs, those tensors among them that want a gradient)."""
    names = list(inspect.signature(op.reference).parameters)
    leaves: list[Tensor] = []

    def leaf(name: str, value: Any) -> Any:
        if name not in op.differentiable or not isinstance(value, Tensor):
            return value
        leaves.append(value.detach().clone().requires_grad_())
        return leaves[-1]

    made = tuple(leaf(name, value) for name, value in zip(names, args, strict=False))
    return made, {name: leaf(name, value) for name, value in kwargs.items()}, leaves


def forward_and_back(op: Op, function: Callable, args: tuple, kwargs: dict) -> Callable[[], list[Tensor]]:
    """Without arguments; returns the first output and the gradients of its sum with fixed weights."""
    args, kwargs, leaves = leaves_of(op, args, kwargs)
    weights = _weights(op, args, kwargs)

    def run() -> list[Tensor]:
        output = _first(function(*args, **kwargs))
        return [output.detach(), *torch.autograd.grad(output, leaves, weights.to(output.dtype))]

    return run


def _first(result: Any) -> Tensor:
    return result if isinstance(result, Tensor) else result[0]


def truth_of(op: Op, args: tuple, kwargs: dict) -> list[Tensor]:
    """By the reference in float64, sentence by sentence where there are sentences: it takes much memory."""

    def wide(x: Any) -> Any:
        return x.double() if isinstance(x, Tensor) and x.is_floating_point() else x

    args, kwargs = tuple(map(wide, args)), {name: wide(x) for name, x in kwargs.items()}
    if not op.name.startswith(("dot", "bilinear", "cosine", "additive")):
        return forward_and_back(op, op.reference, args, kwargs)()
    query, keys = args
    _, own, _ = leaves_of(op, (), kwargs)
    shared = [x for x in own.values() if isinstance(x, Tensor) and x.requires_grad]
    weights = _weights(op, args, kwargs).double()
    rows, sums = [], [torch.zeros_like(x) for x in shared]
    for b in range(query.shape[0]):
        q, k = (x[b : b + 1].clone().requires_grad_() for x in (query, keys))
        output = _first(op.reference(q, k, **own))
        dq, dk, *more = torch.autograd.grad(output, [q, k, *shared], weights[b : b + 1])
        rows.append((output.detach(), dq, dk))
        sums = [total + part for total, part in zip(sums, more, strict=True)]
    return [*(torch.cat(part) for part in zip(*rows, strict=True)), *sums]


def _weights(op: Op, args: tuple, kwargs: dict) -> Tensor:
    with torch.no_grad():
        shape = _first(op.fast(*args, **kwargs)).shape
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))
