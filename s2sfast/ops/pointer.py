"""What the two pointer-generator ops share on Python's side."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_library = torch.library.Library("s2sfast", "FRAGMENT")


def no_graph(*names: str) -> None:
    """The raw ops make no graph: a torch.autograd.Function around them does."""
    for name in names:
        _library.impl(name, torch.library.fallthrough_kernel, "Autograd")


def real_of(dtype: torch.dtype) -> torch.dtype:
    """What numbers of a dtype are computed in."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def diagnosis(op: str, tensors: dict[str, Any], integers: dict[str, Any]) -> ValueError | None:
    """What is wrong with the types of the arguments, if it is that."""
    for name, value in tensors.items():
        if not isinstance(value, Tensor):
            return ValueError(f"{op}: expected {name} to be a tensor; got {type(value).__name__}")
    for name, value in integers.items():
        if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
            return ValueError(f"{op}: expected an integer {name}; got {value!r}")
    if tensors["vocab_logits"].dim() == 0:
        return ValueError(f"{op}: expected vocab_logits (R, V); got ()")
    return None
