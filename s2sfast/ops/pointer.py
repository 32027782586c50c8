"""What the two pointer-generator ops share on Python's side."""

from __future__ import annotations

from typing import Any

import torch

from s2sfast.ops import attention

_library = torch.library.Library("s2sfast", "FRAGMENT")


def no_graph(*names: str) -> None:
    """The raw ops make no graph: a torch.autograd.Function around them does."""
    for name in names:
        _library.impl(name, torch.library.fallthrough_kernel, "Autograd")


def diagnosis(op: str, error: Exception, tensors: dict[str, Any], name: str, integer: Any) -> Exception:
    """What is wrong with the types of the arguments, if it is that; else the error itself."""
    found = attention.diagnosis(op, error, tensors, {})
    if found is not error or isinstance(error, ValueError):
        return found
    if integer is not None and (not isinstance(integer, int) or isinstance(integer, bool)):
        return ValueError(f"{op}: expected an integer {name}; got {integer!r}")
    if tensors["vocab_logits"].dim() == 0:
        return ValueError(f"{op}: expected vocab_logits (R, V); got ()")
    return error
