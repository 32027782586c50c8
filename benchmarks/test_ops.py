"""Every op over the bench cases of its table, against every rival it names."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from benchmarks.contestants import BIGGEST_INPUT
from benchmarks.environment import available_memory, cores
from benchmarks.results import OPS_OF
from s2sfast.cases import OPS, Case, Op

THREADS = (1, 2)
_QUICK_BYTES = 4 * 2**20


def bench_cases(op: Op) -> list[Case]:
    return [*op.of("bench"), *op.of("train")]


def quick_cases(op: Op) -> list[Case]:
    """Three sizes: the smallest, the largest below 4 MiB, and one between.

    >>> len(quick_cases(OPS[0]))
    3
    """
    cases = sorted(bench_cases(op), key=lambda case: op.bytes_moved(**case.sizes))
    small = [case for case in cases if op.bytes_moved(**case.sizes) < _QUICK_BYTES] or cases[:1]
    return [small[i] for i in sorted({0, len(small) // 2, len(small) - 1})]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Sizes outside, threads inside: inputs are made once."""
    quick = metafunc.config.getoption("--quick")
    ops = [op for op in OPS if op.name in OPS_OF[metafunc.config.getoption("kind")]]
    chosen = [(op, case) for op in ops for case in (quick_cases(op) if quick else bench_cases(op))]
    values = [
        pytest.param(op, case, threads, id=f"{op.name}-{case.why}-threads{threads}")
        for op, case in chosen
        for threads in THREADS
    ]
    metafunc.parametrize("op,case,threads", values)


def test_op(op: Op, case: Case, threads: int, compete: Callable, leave_out: Callable) -> None:
    moved = op.bytes_moved(**case.sizes)
    reason = ""
    if threads > cores():
        reason = f"{threads} threads on {cores()} core(s)"
    elif moved > BIGGEST_INPUT:
        reason = f"{moved / 2**30:.1f} GiB are more than {BIGGEST_INPUT / 2**30:.0f}"
    elif 2 * moved > 0.8 * available_memory():
        reason = f"{moved / 2**30:.1f} GiB of input, {available_memory() / 2**30:.1f} GiB are free"
    if reason:
        leave_out(op, case, threads, "everyone", reason)
        pytest.skip(reason)
    compete(op, case, threads)
