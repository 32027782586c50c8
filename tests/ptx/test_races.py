"""The race detector against an oracle: random little programs, judged by happens-before, access by access.

Whether a program has a race depends on what its barriers order and never on the schedule, so the detector has to find
a race in every schedule if there is one, and none in any otherwise.
"""

from __future__ import annotations

import ctypes
import random
import re
from typing import NamedTuple

import numpy as np
import pytest

# As kernels/programs.cu numbers operations; to the first four comes log2(bytes).
READ, WRITE, VOLATILE_READ, VOLATILE_WRITE = 0, 5, 10, 15
ATOMIC, SYNC_WARP, SYNC_THREADS = {4: 20, 8: 21}, 22, 23
# How reports call them; volatile accesses may meet each other.
KINDS = {
    READ: "read", WRITE: "write", VOLATILE_READ: "atomic read", VOLATILE_WRITE: "atomic write", "add": "atomic write"
}  # fmt: skip

WARP, THREADS = 32, 34  # a block is a warp and two lanes of another
PAGE, SHARED_PAGES = 4096, 48  # programs get pages of the detector's that none has split into small cells before
PROGRAMS = 3000


class Access(NamedTuple):
    block: int
    thread: int
    kind: str
    shared: bool
    offset: int
    width: int
    clock: dict[int, int]  # of each thread of the block: up to which of its intervals between barriers it is seen


def is_race(before: Access, after: Access) -> bool:
    same_block = before.block == after.block
    if (same_block and before.thread == after.thread) or before.shared != after.shared:
        return False
    if before.shared and not same_block:
        return False
    if before.offset + before.width <= after.offset or after.offset + after.width <= before.offset:
        return False
    if ("atomic" in before.kind and "atomic" in after.kind) or "write" not in before.kind + after.kind:
        return False
    return not (same_block and after.clock[before.thread] >= before.clock[before.thread])


class Program:
    """Made in an order in which it can run: no barrier is waited for in vain."""

    def __init__(self, seed: int) -> None:
        self.random = rng = random.Random(seed)
        self.blocks = rng.choice([1, 1, 1, 2])
        self.operations = [[] for _ in range(self.blocks * THREADS)]
        self.accesses: list[Access] = []
        self.races: list[tuple[Access, Access]] = []
        self.caution = rng.choice([1, 0.9, 0.7, 0.5])  # how many of the accesses that would race are left out
        self.bytes = rng.choice([4, 16, 64])
        self.favourite = rng.choice([None, READ, VOLATILE_READ, VOLATILE_WRITE])  # most accesses are of this kind
        self.spaces = rng.choice([[True], [False], [True, False]])  # shared memory, global memory or both
        for block in range(self.blocks):
            active = rng.sample(range(WARP), rng.randint(2, 6)) + rng.sample(range(WARP, THREADS), rng.randint(0, 2))
            clocks = {thread: {other: int(other == thread) for other in active} for thread in active}
            steps = rng.randint(3, 60)
            wide_until = rng.choice([0, steps // 2])
            for step in range(steps):
                choice = rng.random()
                if choice < 0.05:
                    self.emit(block, range(THREADS), SYNC_THREADS)
                    join(clocks, active)
                elif choice < 0.3:
                    warp = rng.choice(active) // WARP
                    lanes = [thread for thread in active if thread // WARP == warp]
                    lanes = rng.sample(lanes, rng.choice([rng.randint(1, len(lanes)), max(1, len(lanes) - 1)]))
                    self.emit(block, lanes, SYNC_WARP, mask=sum(1 << lane % WARP for lane in lanes))
                    join(clocks, lanes)
                else:
                    thread = rng.choice(active)
                    self.access(block, thread, dict(clocks[thread]), least=8 if step < wide_until else 1)

    def emit(self, block: int, threads, code: int, shared: bool = False, offset: int = 0, mask: int = 0) -> None:
        for thread in threads:
            self.operations[block * THREADS + thread].append((code, shared, offset, mask))

    def access(self, block: int, thread: int, clock: dict[int, int], least: int) -> None:
        rng = self.random
        kind = rng.choice([READ, READ, WRITE, VOLATILE_READ, VOLATILE_WRITE, "add"])
        if self.favourite is not None and rng.random() < 0.8:
            kind = self.favourite
        widths = ATOMIC if kind == "add" else (1, 2, 4, 8, 16)
        width = rng.choice([w for w in widths if min(least, self.bytes) <= w <= self.bytes])
        code = ATOMIC[width] if kind == "add" else kind + width.bit_length() - 1
        made = Access(
            block, thread, KINDS[kind], rng.choice(self.spaces), rng.randrange(0, self.bytes, width), width, clock
        )
        races = [(earlier, made) for earlier in self.accesses if is_race(earlier, made)]
        if races and rng.random() < self.caution:
            return
        self.races += races
        self.accesses.append(made)
        self.emit(block, [thread], code, made.shared, made.offset)

    def run(self, lib, number: int, memory: np.ndarray) -> tuple[int, str]:
        starts = np.cumsum([0, *map(len, self.operations)], dtype=np.uint32)
        rows = np.array([row for rows in self.operations for row in rows] or [(0, 0, 0, 0)], np.uint32)
        pointers = [ctypes.c_void_p(values.ctypes.data) for values in (rows, starts, memory)]
        shared_page = number % SHARED_PAGES * PAGE
        error = lib.run_program(*pointers, shared_page, SHARED_PAGES * PAGE, self.blocks, THREADS)
        return error, lib.last_report().decode()


def join(clocks: dict[int, dict[int, int]], threads: list[int]) -> None:
    """A barrier of these threads: what came before it in one is seen after it by all."""
    joined = {other: max(clocks[thread][other] for thread in threads) for other in clocks}
    for thread in threads:
        clocks[thread] = {**joined, thread: joined[thread] + 1}


def pair(race: tuple[Access, Access]) -> frozenset:
    return frozenset((access.thread, access.kind) for access in race)


REPORT = re.compile(
    r"race (between blocks|in shared memory|in global memory): ([a-z ]+) after .*\n"
    r"  the ([a-z ]+) before: thread (\d+).*\n  in block \(\d+,0,0\), thread (\d+)"
)


@pytest.fixture(scope="module")
def programs() -> list[Program]:
    return [Program(seed) for seed in range(PROGRAMS)]


def test_the_programs_are_worth_running(programs):
    racing = [program for program in programs if program.races]
    assert PROGRAMS // 4 < len(racing) < PROGRAMS * 3 // 4
    found = {(race[0].shared, *sorted(access.kind for access in race)) for program in racing for race in program.races}
    assert len(found) == 2 * 5, "in shared and in global memory each pair of kinds that can race"


def test_verdicts_are_those_of_the_oracle(library, schedule, programs, monkeypatch):
    lib = library("programs", archs=(90,))
    memory = np.zeros((PROGRAMS + 1, PAGE), np.uint8)
    start = -memory.ctypes.data % PAGE
    fresh = memory.reshape(-1)[start : start + PROGRAMS * PAGE].reshape(PROGRAMS, PAGE)
    for number, program in enumerate(programs):
        monkeypatch.setenv("PTX_SEED", str(number))
        error, report = program.run(lib, number, fresh[number])
        assert (error != 0) == bool(program.races), f"program {number}: {report}"
        if error:
            where, now, before, first, second = REPORT.match(report).groups()
            found = frozenset([(int(first), before), (int(second), now)])
            same_block = [race for race in program.races if (race[0].block == race[1].block) == (where[0] == "i")]
            assert found in map(pair, same_block), f"program {number}: {report}"
