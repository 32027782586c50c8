"""The cases for training: an op forward and back, every gradient taken."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from s2sfast.cases import Case, Op
from s2sfast.types import NTMStep


def trains(case: Case) -> bool:
    return "train" in case.use


def leaves_of(op: Op, args: tuple, kwargs: dict) -> tuple[tuple, dict, list[Tensor]]:
    """(args, kwargs, those tensors among them that want a gradient)."""
    names = list(inspect.signature(op.reference).parameters)
    leaves: list[Tensor] = []

    def fresh(value: Any) -> Any:
        if isinstance(value, tuple):
            return value._replace(**{n: fresh(x) for n, x in zip(value._fields, value, strict=True)})
        if not isinstance(value, Tensor):
            return value
        leaves.append(value.detach().clone().requires_grad_())
        return leaves[-1]

    def leaf(name: str, value: Any) -> Any:
        return fresh(value) if name in op.differentiable else value

    made = tuple(leaf(name, value) for name, value in zip(names, args, strict=False))
    return made, {name: leaf(name, value) for name, value in kwargs.items()}, leaves


def forward_and_back(
    op: Op, function: Callable, args: tuple, kwargs: dict, given: list[Tensor] | None = None
) -> Callable[[], list[Tensor]]:
    """Without arguments; returns the outputs that are learnt from and the gradients of their sum with fixed weights."""
    args, kwargs, leaves = leaves_of(op, args, kwargs)
    weights = _weights(op, args, kwargs) if given is None else given

    def run() -> list[Tensor]:
        outputs = _learnt_from(function(*args, **kwargs))
        along = [weight.to(x.dtype) for weight, x in zip(weights, outputs, strict=True)]
        return [*(x.detach() for x in outputs), *torch.autograd.grad(outputs, leaves, along)]

    return run


def _learnt_from(result: Any) -> tuple[Tensor, ...]:
    """The context of an attention; memory and reads of a step; else what there is."""
    if isinstance(result, Tensor):
        return (result,)
    return tuple(result[:2] if isinstance(result, NTMStep) else result[:1])


def truth_of(op: Op, args: tuple, kwargs: dict) -> list[Tensor]:
    """By the reference in float64, sentence by sentence where there are sentences: it takes much memory."""
    args, kwargs = tree_map(_wide, args), tree_map(_wide, kwargs)
    weights = [weight.double() for weight in _weights(op, args, kwargs)]
    if op.name.startswith("pointer"):
        return forward_and_back(op, op.reference, args, kwargs, weights)()
    if not op.name.startswith(("dot", "bilinear", "cosine", "additive")):
        return _by_sentence(op, args, kwargs, weights)
    query, keys = args
    _, own, _ = leaves_of(op, (), kwargs)
    shared = [x for x in own.values() if isinstance(x, Tensor) and x.requires_grad]
    rows, sums = [], [torch.zeros_like(x) for x in shared]
    for b in range(query.shape[0]):
        q, k = (x[b : b + 1].clone().requires_grad_() for x in (query, keys))
        (output,) = _learnt_from(op.reference(q, k, **own))
        dq, dk, *more = torch.autograd.grad(output, [q, k, *shared], weights[0][b : b + 1])
        rows.append((output.detach(), dq, dk))
        sums = [total + part for total, part in zip(sums, more, strict=True)]
    return [*(torch.cat(part) for part in zip(*rows, strict=True)), *sums]


def _wide(x: Any) -> Any:
    return x.double() if isinstance(x, Tensor) and x.is_floating_point() else x


def sentence(arguments: Any, b: int) -> Any:
    """That of a batch."""
    return tree_map(lambda x: x[b : b + 1] if isinstance(x, Tensor) else x, arguments)


def _by_sentence(op: Op, args: tuple, kwargs: dict, weights: list[Tensor]) -> list[Tensor]:
    found = [
        forward_and_back(op, op.reference, sentence(args, b), sentence(kwargs, b), sentence(weights, b))()
        for b in range(args[0].shape[0])
    ]
    return [torch.cat(part) for part in zip(*found, strict=True)]


def _weights(op: Op, args: tuple, kwargs: dict) -> list[Tensor]:
    with torch.no_grad():
        shapes = [x.shape for x in _learnt_from(op.fast(*args, **kwargs))]
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(shape, generator=generator) for shape in shapes]
