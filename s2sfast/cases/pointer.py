"""What the tables of the two pointer-generator ops share: the inputs, and PyTorch's ways to get P."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from s2sfast.cases.table import Case

DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-13, torch.bfloat16: 8e-3, torch.float16: 1e-3}
DIFFERENTIABLE = ("vocab_logits", "copy_weights", "p_gen_logit")


def inputs(
    dtype: torch.dtype,
    device: str,
    generator: torch.Generator,
    *,
    R: int,
    V: int,
    T: int,
    S: int,
    new: int = 0,
    ignored: float = 0.0,
    few: bool = False,
    gate: float = 0.0,
    forbidden: float = 0.0,
    zeros: float = 0.0,
    layout: str = "dense",
) -> tuple[Tensor, ...]:
    """Unit-variance logits, a softmax over the source, ids below V + `new`; `few` ids are shared by many positions."""

    def normal(*size: int) -> Tensor:
        return torch.randn(size, generator=generator, dtype=torch.float32, device="cpu")

    def below(share: float, *size: int) -> Tensor:
        return torch.rand(size, generator=generator, device="cpu") < share

    logits, scores = (normal(V, R).T, normal(T, R).T) if layout == "transposed" else (normal(R, V), normal(R, T))
    if layout == "expanded":
        logits, scores = normal(1, V).expand(R, V), normal(1, T).expand(R, T)
    if layout == "last-position":
        logits, scores = normal(R, 3, V)[:, -1], normal(R, 3, T)[:, -1]
    high = max(min(3, V + new) if few else V + new, 1)
    ids = torch.randint(0, high, (S, T), generator=generator, device="cpu")
    gates = torch.where(below(0.5, R), gate, -gate) if gate else normal(R)
    weights = scores.softmax(-1).masked_fill(below(zeros, R, T), 0) if layout == "dense" else scores.softmax(-1)
    if forbidden:
        logits = logits.masked_fill(below(forbidden, R, V), -math.inf)
    ids = ids.masked_fill(below(ignored, S, T), -1)
    floats = (x.to(device, dtype) for x in (logits, weights, gates))
    logits, weights, gates = floats
    return logits, weights, ids.to(device), gates


def test(why: str, R: int, V: int, T: int, S: int, **options: Any) -> Case:
    return Case(why, {"R": R, "V": V, "T": T, "S": S}, options)


CASES = (
    test("usual", 10, 74, 9, 2, new=6, ignored=0.2),
    test("one-of-everything", 1, 1, 1, 1),
    test("empty-batch", 0, 7, 5, 0),
    test("rows-gone-sources-left", 0, 7, 5, 3),
    test("no-source", 3, 40, 0, 3),
    test("no-vocabulary", 4, 0, 6, 2, new=5),
    test("one-word", 5, 1, 4, 5, new=2),
    test("tail-of-a-vector", 3, 17, 5, 1),
    test("block-and-one", 2, 513, 33, 2),
    test("tile-and-one", 2, 1025, 129, 1, new=3),
    test("two-pieces", 1, 16385, 40, 1, new=1),
    test("many-pieces-one-row", 1, 70_001, 300, 1, new=50),
    test("more-rows-than-threads", 9, 23_000, 20, 3),
    test("five-beams-share-a-source", 20, 300, 50, 4, new=10),
    test("equal-ids", 6, 50, 40, 2, new=2, few=True),
    test("all-ignored", 4, 30, 8, 2, ignored=1.1),
    test("saturated", 12, 60, 30, 3, gate=200.0, few=True),
    test("infinite-gate", 12, 60, 30, 3, gate=math.inf, few=True),
    test("forbidden-words", 6, 200, 20, 2, forbidden=0.9, new=4),
    test("all-words-forbidden", 6, 20, 20, 2, forbidden=1.1, new=4),
    test("zero-weights", 8, 40, 20, 2, zeros=0.5, few=True),
    test("columns-far-apart", 4, 129, 20, 2, layout="transposed"),
    test("one-row-expanded", 4, 129, 20, 2, layout="expanded"),
    test("last-position-of-a-decoder", 4, 129, 20, 2, layout="last-position"),
)


def rows_of_ids(source_ids: Tensor, rows: int) -> Tensor:
    return source_ids.repeat_interleave(rows // max(len(source_ids), 1), 0)
