"""The table of cases of :func:`s2sfast.backtrace`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from s2sfast import ops, reference
from s2sfast.cases.table import Case, Failure, Op, spoil


def sample(
    dtype: torch.dtype,
    device: str,
    generator: torch.Generator,
    *,
    L: int,
    B: int,
    K: int,
    n: int,
    steps: bool = True,
    strided: bool = False,
) -> tuple[tuple, dict]:
    """Random backpointers; dtype is int64, whatever is asked for."""

    def integers(high: int, *size: int) -> Tensor:
        return torch.randint(0, max(high, 1), size, generator=generator, device="cpu").to(device)

    parents, tokens = integers(K, L, B, K), integers(10**6, L, B, K)
    if strided:
        parents, tokens = integers(K, B, K, L).permute(2, 0, 1), integers(10**6, L, B, 2 * K)[:, :, ::2]
    kwargs = {"steps": integers(L + 1, B, n)} if steps else {}
    return (parents, tokens, integers(K, B, n)), kwargs


def bytes_moved(*, L: int, B: int, K: int, n: int) -> int:
    return 8 * (3 * L * B * n + 2 * B * n)


def _test(why: str, L: int, B: int, K: int, n: int, **options: Any) -> Case:
    return Case(why, {"L": L, "B": B, "K": K, "n": n}, options)


CASES = (
    _test("one-of-everything", 1, 1, 1, 1),
    _test("no-steps", 0, 2, 3, 2),
    _test("empty-batch", 4, 0, 3, 2),
    _test("no-hypotheses", 4, 2, 3, 0),
    _test("ragged", 9, 3, 5, 4),
    _test("all-of-full-length", 9, 3, 5, 4, steps=False),
    _test("more-hypotheses-than-beams", 6, 2, 2, 7),
    _test("strided", 7, 3, 4, 3, strided=True),
    Case("usual", {"L": 50, "B": 8, "K": 5, "n": 5}, use=("test", "bench")),
    Case("long", {"L": 500, "B": 32, "K": 10, "n": 10}, use=("bench",)),
)


def _spoil(at: int | str, change: Any) -> Any:
    return spoil(at, lambda args, kwargs: change(kwargs[at] if isinstance(at, str) else args[at]))


FAILURES = (
    Failure("parents-2d", _spoil(0, lambda x: x[0]), "expected parents (L, B, K); got (8, 5)"),
    Failure("tokens-shape", _spoil(1, lambda x: x[:-1]), "expected tokens (L, B, K)=(50, 8, 5); got (49, 8, 5)"),
    Failure("beams-shape", _spoil(2, lambda x: x[:-1]), "expected beams (B, n)=(8, n); got (7, 5)"),
    Failure("steps-shape", _spoil("steps", lambda x: x[:, :-1]), "expected steps (B, n)=(8, 5); got (8, 4)"),
    Failure("int32-parents", _spoil(0, lambda x: x.int()), "expected int64 parents"),
    Failure("int32-steps", _spoil("steps", lambda x: x.int()), "expected int64 steps"),
    Failure("steps-too-long", _spoil("steps", lambda x: x * 0 + 51), "expected steps in [0, L]=[0, 50]"),
    Failure("steps-negative", _spoil("steps", lambda x: x * 0 - 1), "expected steps in [0, L]=[0, 50]"),
    Failure("beam-outside", _spoil(2, lambda x: x * 0 + 5), "expected beams and parents in [0, K)=[0, 5)"),
    Failure("parent-outside", _spoil(0, lambda x: x * 0 - 1), "expected beams and parents in [0, K)=[0, 5)"),
)

OP = Op(
    name="backtrace",
    fast=ops.backtrace,
    reference=reference.backtrace,
    raw=(torch.ops.s2sfast.backtrace.default, lambda args, kwargs: (*args, kwargs.get("steps"))),
    sample=sample,
    cases=CASES,
    failures=FAILURES,
    dtypes=(torch.int64,),
    bytes_moved=bytes_moved,
)
