"""What the tables of the Neural Turing Machine's ops share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from s2sfast.cases.attention import Inputs
from s2sfast.cases.table import Case, Failure, spoil

TOLERANCE = {torch.float32: 4e-6, torch.float64: 1e-13, torch.bfloat16: 1e-2, torch.float16: 2e-3}


def inputs(dtype: torch.dtype, device: str, generator: torch.Generator, strided: bool = False) -> Inputs:
    return Inputs(dtype, device, generator, False, strided)


class Heads:
    """Draws what heads ask for, as a controller would give it."""

    def __init__(self, drawn: Inputs, B: int, H: int) -> None:
        self.drawn, self.B, self.H = drawn, B, H

    def _of(self, width: int, function: Callable[[Tensor], Tensor]) -> Tensor:
        return function(self.drawn.normal(self.B, self.H, width).double()).to(self.drawn.dtype)

    def vector(self, M: int) -> Tensor:
        return self.drawn.normal(self.B, self.H, M)

    def erase(self, M: int) -> Tensor:
        return self._of(M, Tensor.sigmoid)

    def strength(self) -> Tensor:
        return self._of(1, lambda x: 4 * x.exp()).squeeze(-1)

    def gate(self) -> Tensor:
        return self._of(1, Tensor.sigmoid).squeeze(-1)

    def sharpen(self) -> Tensor:
        return self._of(1, lambda x: 1 + torch.nn.functional.softplus(x)).squeeze(-1)

    def shift(self, S: int) -> Tensor:
        return self._of(S, lambda x: x.softmax(-1))

    def weights(self, N: int, zeros: bool = False) -> Tensor:
        """Rows of weights; with `zeros` a third is 0, and so is all of the last row."""
        found = self._of(N, lambda x: (2 * x).softmax(-1)) if N else self.drawn.normal(self.B, self.H, N)
        if zeros:
            found = found.clone()
            found[..., ::3] = 0
            found[-1:, -1:] = 0
        return found


def test(why: str, sizes: dict[str, int], **options: Any) -> Case:
    return Case(why, sizes, options)


def bench(use: str, why: str, sizes: dict[str, int], **options: Any) -> Case:
    """Forward ("bench"), or forward and back ("train")."""
    return Case(why if use == "bench" else f"{why}-back", sizes, options, use=(use,))


def sizes(B: int, N: int, M: int, H: int) -> dict[str, int]:
    return {"B": B, "N": N, "M": M, "H": H}


COMMON = (
    test("usual", sizes(2, 20, 12, 3)),
    test("one-of-everything", sizes(1, 1, 1, 1)),
    test("empty-batch", sizes(0, 4, 3, 2)),
    test("no-heads", sizes(2, 4, 3, 0)),
    test("no-slots", sizes(2, 0, 3, 2)),
    test("no-width", sizes(2, 4, 0, 2)),
    test("paper", sizes(1, 128, 20, 1)),
    test("odd-everything", sizes(3, 131, 33, 7)),
    test("many-heads", sizes(1, 70, 21, 18)),
    test("strided", sizes(2, 70, 12, 2), strided=True),
    test("expanded", sizes(3, 11, 12, 2), expanded=True),
)
"""Of an op on a memory."""
BENCH = tuple(
    bench(use, f"B{B}-N{N}-M{M}-H{H}", sizes(B, N, M, H))
    for use in ("bench", "train")
    for B, N, M, H in ((1, 128, 20, 1), (16, 1024, 64, 4))
)


def change(at: int | str, how: Callable[[Any], Any]) -> Callable[[tuple, dict], tuple[tuple, dict]]:
    """For Failure: one argument is changed, by position or name."""
    return spoil(at, lambda args, kwargs: how(kwargs.get(at) if isinstance(at, str) else args[at]))


MEMORY_FAILURES = (
    Failure("memory-2d", change(0, lambda x: x[0]), "expected memory (B, N, M); got (20, 12)"),
    Failure("integer-memory", change(0, Tensor.long), "expected floating memory"),
    Failure("memory-dtype", change(0, Tensor.double), "in the dtype of memory; got another dtype"),
)
"""Of a call with sizes B2-N20-M12."""
