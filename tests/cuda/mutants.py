"""Takes the barriers out of the kernels, one at a time, and sees whether a test notices.

    python -m tests.cuda.mutants                 # all: a quarter of an hour on two cores
    python -m tests.cuda.mutants --list
    python -m tests.cuda.mutants radix.cuh#2     # one

A barrier that no test misses must stand in REDUNDANT, with the reason why it stays; one that stands there and is missed
is an error too. docs/testing.md tells the last result.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from tests.cuda import simulated
from tests.machine import SCHEDULES

CSRC = simulated.ROOT / "csrc"
BARRIER = re.compile(r"__sync(?:threads|warp)\([^()]*\);")
ARCH = 90
TESTS = (
    "tests/cuda/test_device.py",
    "tests/cuda/test_attention_device.py",
    "tests/cuda/test_ntm_device.py",
    "tests/test_beam_topk.py",
    "tests/test_backtrace.py",
    "tests/test_ops.py",
)

REDUNDANT: dict[str, str] = {}
"""By the barrier's name (`Barrier.name`): why it may be taken out unnoticed, and why it is there."""


@dataclass(frozen=True)
class Barrier:
    file: Path
    line: int
    number: int
    """Of the barrier in its file, from 1: it moves less than the line does."""

    @property
    def name(self) -> str:
        return f"{self.file.name}#{self.number}"

    def __str__(self) -> str:
        return f"{self.name} ({self.file.relative_to(CSRC)}:{self.line})"


@dataclass(frozen=True)
class Verdict:
    barrier: Barrier
    noticed_by: str
    """The first test that failed, or "" where all passed."""
    how: str


def barriers() -> list[Barrier]:
    found = []
    for file in sorted([*CSRC.rglob("*.cu"), *CSRC.rglob("*.cuh")]):
        lines = [n for n, text in enumerate(file.read_text().splitlines(), 1) if BARRIER.search(text)]
        found += [Barrier(file, line, number) for number, line in enumerate(lines, 1)]
    return found


@contextmanager
def taken_out(barrier: Barrier, csrc: Path) -> Iterator[None]:
    """A copy of the sources is without the barrier meanwhile."""
    file = csrc / barrier.file.relative_to(CSRC)
    text = file.read_text()
    lines = text.splitlines(keepends=True)
    lines[barrier.line - 1] = BARRIER.sub(";", lines[barrier.line - 1])
    file.write_text("".join(lines))
    try:
        yield
    finally:
        file.write_text(text)


def judge(barrier: Barrier, folder: Path) -> Verdict:
    """Builds the kernels without the barrier and runs the tests until one fails."""
    csrc = folder / "csrc"
    if not csrc.exists():
        shutil.copytree(CSRC, csrc)
    with taken_out(barrier, csrc):
        module = simulated.make(folder / "out", (ARCH,), csrc, jobs=1)
    for schedule in SCHEDULES:
        done = run_tests(f"simulated:{ARCH}:{schedule}" + (":1" if schedule == "random" else ""), module)
        if done.returncode != 0:
            test = re.search(r"^FAILED \S+::(\S+)", done.stdout, re.MULTILINE)
            if test is None:  # not even collected: that tells nothing of the barrier
                raise RuntimeError(f"{barrier}: the tests could not run:\n{done.stdout}{done.stderr}")
            how = re.search(r"CUDA error: (.*)", done.stdout)
            return Verdict(barrier, test[1], (how[1] if how else "wrong result")[:60])
    return Verdict(barrier, "", "")


def run_tests(machine: str, module: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-x", "--machine", machine, "-p", "no:cacheprovider"]
    chosen = ["-k", "not opcheck and not compiles and not threads and not left_alone"]
    environment = {**os.environ, "SIMULATED_OPS": str(module), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, *TESTS, *chosen], cwd=simulated.ROOT, env=environment, capture_output=True, text=True
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cuda.mutants", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="barriers, as --list names them (default: all)")
    parser.add_argument("--list", action="store_true", help="name the barriers and stop")
    parser.add_argument("-j", "--jobs", type=int, default=len(os.sched_getaffinity(0)), help="at a time (cores)")
    options = parser.parse_args()
    known = {barrier.name: barrier for barrier in barriers()}
    if options.list:
        print(*known.values(), sep="\n")
        return 0
    if strange := [name for name in options.names if name not in known]:
        parser.error(f"no such barrier: {', '.join(strange)}; --list names them")
    chosen = [known[name] for name in options.names] or list(known.values())
    wrong = []
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(options.jobs) as pool:
        verdicts = pool.map(lambda barrier: judge(barrier, Path(folder) / threading.current_thread().name), chosen)
        for verdict in tqdm(verdicts, total=len(chosen), unit="mutant"):
            expected = verdict.barrier.name in REDUNDANT
            wrong += [verdict] if bool(verdict.noticed_by) == expected else []
            noticed = f"noticed by {verdict.noticed_by}: {verdict.how}" if verdict.noticed_by else "not noticed"
            tqdm.write(f"{verdict.barrier}: {noticed}" + (f" ({REDUNDANT[verdict.barrier.name]})" if expected else ""))
    print(f"{len(chosen)} barriers, {len(wrong)} not as they should be")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
