"""The output layer of a model, at the few rows of a step."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

MOST_ROWS = 8
LEAST_WEIGHTS = 2**22

_lock = threading.Lock()
_patched: dict[int, list[Any]] = {}  # by id of a layer: [it, searches that run]


def project(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``linear(x, weight, bias)``: the same sums, on the CPU in another order where there are 2 to 8 rows.

    torch's product reads a large weight about half as fast when it stands on the right and has a few rows to meet; as
    ``(weight @ x.T).T`` it reads it at the speed of memory (docs/hf.md).
    """
    rows = x.numel() // x.shape[-1] if x.numel() else 0
    suits = x.dtype == torch.float32 == weight.dtype and x.device.type == "cpu" and weight.numel() >= LEAST_WEIGHTS
    if not suits or not 2 <= rows <= MOST_ROWS or torch.is_grad_enabled():
        return linear(x, weight, bias)
    product = torch.mm(weight, x.reshape(rows, -1).T).T.contiguous()
    return (product if bias is None else product.add_(bias)).view(*x.shape[:-1], -1)


@contextmanager
def projecting(model: Any) -> Iterator[None]:
    """Within, the model's output layer multiplies by :func:`project`, if it is a plain ``nn.Linear``."""
    head = model.get_output_embeddings()
    if type(head) is not nn.Linear or ("forward" in vars(head) and id(head) not in _patched):
        yield
        return
    with _lock:
        held = _patched.setdefault(id(head), [head, 0])
        held[1] += 1
        vars(head)["forward"] = lambda x: project(x, head.weight, head.bias)
    try:
        yield
    finally:
        with _lock:
            held[1] -= 1
            if not held[1]:
                del _patched[id(head)], vars(head)["forward"]
