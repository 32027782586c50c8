"""Runs the tests of the ops on CUDA: in software, for three architectures and three schedules, and on a GPU if present.

    python -m tests.cuda.suite           # what `make test` runs; builds the module first
    python -m tests.cuda.suite --all     # three architectures, not one drawn anew: what `make test-cuda` runs
    python -m tests.cuda.suite --only simulated:90:reverse -- -k phonemes -x

Where there is no nvcc it says so and succeeds, unless S2SFAST_CUDA=1 asks for CUDA.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch

from tests.cuda import simulated
from tests.machine import SCHEDULES
from tests.ptx.build import BuildError, find_nvcc
from tests.ptx.translator import PtxError

OPS = ("tests/test_ops.py", "tests/test_beam_topk.py", "tests/test_backtrace.py", "tests/test_pointer.py", "tests/cuda")
GRADIENTS = ("tests/test_gradients.py",)
# What tells whether a search runs on a device; other systems' rules and the variants are the same Python on any.
SEARCH = tuple(f"tests/search/test_{of}.py" for of in ("contract", "errors", "exact", "findings", "watching"))
# What torch makes of an op, which no architecture or order of threads changes: almost half of the time, so once.
TORCHS = ("--deselect=tests/test_ops.py::test_opcheck", "--deselect=tests/test_ops.py::test_compiles_whole")


@dataclass(frozen=True)
class Run:
    machine: str
    tests: tuple[str, ...]
    options: tuple[str, ...] = ()
    """For pytest."""


@dataclass(frozen=True)
class Outcome:
    run: Run
    passed: bool
    seconds: float
    output: str


def runs(archs: tuple[int, ...]) -> list[Run]:
    """Each architecture in each schedule.

    The search is the same Python on every machine: it goes along once, the longest run first. So do the gradients of
    the table, since tests/cuda/test_attention_device.py has its own for every machine."""
    software = [f"simulated:{arch}:{schedule}{seed(schedule)}" for arch in archs for schedule in SCHEDULES]
    real = [Run("cuda", (*OPS, *SEARCH, *GRADIENTS))] if torch.cuda.is_available() else []
    once = [Run(f"simulated:{archs[-1]}:forward", SEARCH), Run(f"simulated:{archs[-1]}:reverse", GRADIENTS)]
    first, *others = software
    return [*real, *once, Run(first, OPS), *(Run(machine, OPS, TORCHS) for machine in others)]


def seed(schedule: str) -> str:
    """Another order in every run, and a name that repeats it."""
    return f":{random.randrange(10**9)}" if schedule == "random" else ""


def execute(run: Run, pytest_options: list[str]) -> Outcome:
    command = [sys.executable, "-m", "pytest", "--machine", run.machine, "-p", "no:cacheprovider"]
    start = time.monotonic()
    done = subprocess.run(
        [*command, *run.tests, *run.options, *pytest_options],
        cwd=simulated.ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    return Outcome(run, done.returncode == 0, time.monotonic() - start, done.stdout + done.stderr)


def show(outcome: Outcome) -> None:
    *_, last = outcome.output.strip().splitlines() or [""]
    verdict = "passed" if outcome.passed else "FAILED"
    tests = " ".join(outcome.run.tests)
    print(f"{verdict}  {outcome.run.machine:30} {outcome.seconds:4.0f} s  {tests}: {last}", flush=True)
    if not outcome.passed:
        print(outcome.output, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.cuda.suite",
        description="Runs the tests of the ops on CUDA devices: in software, and on a GPU if there is one.",
        epilog="What follows -- goes to pytest.",
    )
    parser.add_argument("-j", "--jobs", type=int, default=len(os.sched_getaffinity(0)), help="runs at a time (cores)")
    parser.add_argument("--all", action="store_true", help="all architectures, not one drawn anew")
    parser.add_argument("--only", action="append", metavar="MACHINE", help="one of tests/machine.py; may be repeated")
    parser.add_argument("pytest_options", nargs="*", help="for pytest")
    options = parser.parse_args()
    if find_nvcc() is None:
        print("skipped: no nvcc", file=sys.stderr)
        return 1 if os.environ.get("S2SFAST_CUDA") == "1" else 0
    archs = simulated.ARCHS if options.all or options.only else (random.choice(simulated.ARCHS),)
    try:
        simulated.make(archs=archs)
    except (BuildError, PtxError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    chosen = [Run(machine, OPS) for machine in options.only] if options.only else runs(archs)
    with ThreadPoolExecutor(options.jobs) as pool:
        outcomes = []
        for outcome in pool.map(lambda run: execute(run, options.pytest_options), chosen):
            show(outcome)
            outcomes.append(outcome)
    return 0 if all(outcome.passed for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
