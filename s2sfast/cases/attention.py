"""What the tables of the attentions share: inputs, cases and calls that must fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from s2sfast.cases.table import Case, Failure, spoil

TOLERANCE = {torch.float32: 4e-6, torch.float64: 1e-13, torch.bfloat16: 1e-2, torch.float16: 2e-3}


class Inputs:
    """Draws a call's tensors: unit variance, the same numbers for every dtype."""

    def __init__(self, dtype: torch.dtype, device: str, generator: torch.Generator, single: bool, strided: bool):
        self.dtype, self.device, self.generator = dtype, device, generator
        self.single, self.strided = single, strided

    def normal(self, *size: int) -> Tensor:
        wide = (*size[:-1], 2 * size[-1]) if self.strided else size
        x = torch.randn(wide, generator=self.generator, device="cpu").to(self.device, self.dtype)
        return x[..., ::2] if self.strided else x

    def per_query(self, *size: int) -> Tensor:
        """(B, Q, ...), or (B, ...) for a 2-D query."""
        x = self.normal(*size)
        return x[:, 0] if self.single else x

    def rows(self, B: int, rows: int, width: int, expanded: bool) -> Tensor:
        return self.normal(1, rows, width).expand(B, rows, width) if expanded else self.normal(B, rows, width)

    def masks(self, B: int, Q: int, T: int, mask: str, lengths: str) -> dict[str, Tensor]:
        found = {}
        if mask:
            shape = {"shared": (B, T), "per-query": (B, Q, T), "nothing": (B, Q, T)}[mask]
            drawn = torch.rand(shape, generator=self.generator, device="cpu") < (0 if mask == "nothing" else 0.6)
            if mask == "per-query" and drawn.numel():
                drawn[0, 0] = False  # one row attends to nothing
            found["mask"] = drawn.to(self.device)
        if lengths:
            drawn = torch.randint(0, T + 1, (B,), generator=self.generator, device="cpu", dtype=torch.int64)
            drawn[0] = 0
            found["lengths"] = drawn.to(self.device, getattr(torch, lengths))
        return found


def draw(
    dtype: torch.dtype,
    device: str,
    generator: torch.Generator,
    own: Callable[..., dict[str, Any]],
    *,
    B: int,
    Q: int,
    T: int,
    D: int,
    E: int = 0,
    single: bool = False,
    strided: bool = False,
    expanded: bool = False,
    mask: str = "",
    lengths: str = "",
    large: bool = False,
    **options: Any,
) -> tuple[tuple, dict]:
    """(args, kwargs) of an attention; E = 0: the values are the keys. `own(inputs, B, Q, T, D, **options)` makes what
    the op has beside query, keys, values and masks."""
    inputs = Inputs(dtype, device, generator, single, strided)
    query = inputs.per_query(B, Q, D)
    keys = inputs.rows(B, T, D, expanded)
    if large:  # scores far apart: weights of 0 and 1
        query, keys = query * 3, keys * 3
    args = (query, keys, inputs.rows(B, T, E, expanded)) if E else (query, keys)
    return args, {**own(inputs, B, Q, T, D, **options), **inputs.masks(B, Q, T, mask, lengths)}


def test(why: str, B: int, Q: int, T: int, D: int, E: int = 0, **options: Any) -> Case:
    sizes = {"B": B, "Q": Q, "T": T, "D": D, **({"E": E} if E else {})}
    return Case(why, sizes, options)


def bench(use: str, B: int, Q: int, T: int, D: int, **options: Any) -> Case:
    return Case(f"B{B}-Q{Q}-T{T}-D{D}", {"B": B, "Q": Q, "T": T, "D": D}, options, use=(use,))


COMMON = (
    test("one-of-everything", 1, 1, 1, 1),
    test("empty-batch", 0, 2, 3, 4),
    test("no-queries", 2, 0, 3, 4),
    test("no-positions", 2, 3, 0, 4),
    test("one-column", 2, 3, 5, 1),
    test("beams", 2, 5, 20, 32),
    test("odd-everything", 3, 5, 17, 33, 7),
    test("beyond-a-block", 2, 6, 65, 20, 130),
    test("one-query", 3, 1, 19, 24, single=True),
    test("one-query-with-lengths", 3, 1, 19, 24, 5, single=True, lengths="int64"),
    test("lengths", 3, 4, 21, 16, lengths="int32"),
    test("mask-of-a-sentence", 3, 4, 21, 16, 9, mask="shared"),
    test("mask-of-a-query", 3, 4, 21, 16, mask="per-query"),
    test("mask-and-lengths", 3, 4, 21, 16, 9, mask="per-query", lengths="int64"),
    test("all-masked", 2, 3, 9, 8, mask="nothing"),
    test("strided", 2, 5, 11, 12, 6, strided=True),
    test("expanded", 3, 2, 11, 12, 6, expanded=True),
    test("far-apart", 2, 3, 40, 16, large=True),
    test("many-queries", 2, 20, 25, 16, 8),
    test("many-queries-with-lengths", 2, 20, 25, 16, lengths="int64"),
    test("many-queries-mask-of-a-query", 2, 20, 25, 16, 8, mask="per-query"),
)

DECODE = tuple(
    bench("bench", B, Q, T, D)
    for B, Q, T, D in ((1, 1, 64, 512), (1, 5, 64, 512), (1, 5, 1024, 512), (16, 5, 64, 512), (16, 5, 512, 256))
)
TRAIN = tuple(bench("train", B, Q, T, D) for B, Q, T, D in ((64, 1, 50, 512), (16, 64, 64, 512), (16, 256, 256, 512)))


def by_matmul(case: Case) -> bool:
    """On the CPU, more queries than a block holds (docs/decisions/007)."""
    return case.sizes["Q"] > 16


def bytes_moved(*, B: int, Q: int, T: int, D: int, E: int = 0) -> int:
    return 4 * (B * Q * (D + (E or D)) + B * T * (D + E) + B * Q * T)


def _spoil(at: int | str, change: Callable[[Any], Any]) -> Callable[[tuple, dict], tuple[tuple, dict]]:
    return spoil(at, lambda args, kwargs: change(kwargs.get(at) if isinstance(at, str) else args[at]))


def failures(op: str, query_width: str = "D", values: bool = True) -> tuple[Failure, ...]:
    """Of a call with sizes B2-Q5-T20-D32."""
    of_values = (
        Failure("values-shape", lambda a, k: ((*a[:2], a[1][:, 1:]), k), "expected values (B, T, E)=(2, 20, E)"),
        Failure("values-dtype", lambda a, k: ((*a[:2], a[1].double()), k), "expected values in the dtype of query"),
    )
    return (
        Failure(
            "query-1d", _spoil(0, lambda x: x[0, 0]), f"expected query (B, Q, {query_width}) or (B, {query_width})"
        ),
        Failure("keys-2d", _spoil(1, lambda x: x[0]), "expected keys (B, T, D); got (20, 32)"),
        Failure("query-batch", _spoil(0, lambda x: x[:1]), f"expected query (B, Q, {query_width})=(2, Q, 32)"),
        Failure("query-width", _spoil(0, lambda x: x[..., 1:]), "got (2, 5, 31)"),
        Failure("integer-keys", _spoil(1, lambda x: x.long()), "expected floating keys"),
        Failure("keys-dtype", _spoil(1, lambda x: x.double()), "expected keys in the dtype of query"),
        Failure("mask-shape", _spoil("mask", lambda _: torch.ones(2, 19).bool()), "expected mask (B, T)=(2, 20)"),
        Failure("mask-dtype", _spoil("mask", lambda _: torch.ones(2, 20)), "expected mask to be bool"),
        Failure("lengths-shape", _spoil("lengths", lambda _: torch.ones(3).long()), "expected lengths (B,)=(2,)"),
        Failure("lengths-dtype", _spoil("lengths", lambda _: torch.ones(2)), "expected lengths to be int32 or int64"),
        Failure(
            "length-beyond",
            _spoil("lengths", lambda _: torch.tensor([20, 21])),
            "expected lengths in [0, T]=[0, 20]; got 21 for sentence 1",
        ),
        Failure(
            "length-negative",
            _spoil("lengths", lambda _: torch.tensor([-1, 20])),
            "expected lengths in [0, T]=[0, 20]; got -1 for sentence 0",
        ),
        *(of_values if values else ()),
    )
