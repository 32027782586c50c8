"""What a table of cases is made of. Tests, benchmarks and docs read the tables; nobody types a size elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass(frozen=True)
class Case:
    """One size of an op, and why it is worth a case; `why` is also the test's id."""

    why: str
    sizes: dict[str, int]
    options: dict[str, Any] = field(default_factory=dict)
    """Further keyword arguments of `Op.sample`."""
    use: tuple[str, ...] = ("test",)
    """"test", "bench" or both."""


@dataclass(frozen=True)
class Failure:
    """A call that must raise ValueError with this text in it."""

    why: str
    spoil: Callable[[tuple, dict], tuple[tuple, dict]]
    """From good (args, kwargs) to bad ones."""
    message: str


def spoil(at: int | str, change: Callable[..., Any]) -> Callable[[tuple, dict], tuple[tuple, dict]]:
    """For Failure: replaces one argument by change(args, kwargs)."""

    def spoiled(args: tuple, kwargs: dict) -> tuple[tuple, dict]:
        value = change(args, kwargs)
        if isinstance(at, str):
            return args, {**kwargs, at: value}
        return (*args[:at], value, *args[at + 1 :]), kwargs

    return spoiled


@dataclass(frozen=True)
class Op:
    """One op: its two implementations, how to make inputs, and its cases."""

    name: str
    fast: Callable
    reference: Callable
    raw: tuple[Callable, Callable[[tuple, dict], tuple]]
    """(the registered op, from (args, kwargs) of `fast` to its arguments), for opcheck."""
    sample: Callable[..., tuple[tuple, dict]]
    """``sample(dtype, device, generator, **sizes, **options)`` -> (args, kwargs)."""
    cases: tuple[Case, ...]
    failures: tuple[Failure, ...]
    dtypes: tuple[torch.dtype, ...]
    bytes_moved: Callable[..., int]
    """Of memory that must be read or written, from the sizes, in float32."""
    tolerance: dict[torch.dtype, float] = field(default_factory=dict)
    """How far an output x in this dtype may be from the reference in float64: so many times (1 + the largest |x|).
    Empty: outputs are equal, or the test of the op knows how to compare them."""
    differentiable: tuple[str, ...] = ()
    """The arguments that have a gradient."""
    by_matmul: Callable[[Case], bool] = lambda case: False
    """Where torch's matmul takes part, whose bits depend on the number of threads and the batch."""
    rivals: dict[str, Callable] = field(default_factory=dict)
    """Other ways to get the same from PyTorch or NumPy, by name; same arguments as `fast`."""

    def of(self, use: str) -> tuple[Case, ...]:
        return tuple(case for case in self.cases if use in case.use)
