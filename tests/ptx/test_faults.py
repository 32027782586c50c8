"""Each planted fault is called by its name; each mended twin runs clean, in every schedule."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

import numpy as np
import pytest

SOURCE = Path(__file__).parent / "kernels" / "faults.cu"
LAUNCH_FAILURE, INVALID_VALUE, INVALID_CONFIGURATION = 719, 1, 9

# Kernel in kernels/faults.cu -> what its report says, as regular expressions.
FAULTS = {
    "missing_syncthreads": [
        "race in shared memory: (read after write|write after read) of 4 bytes",
        r"row \+ \d+ bytes",
    ],
    "missing_second_syncthreads": ["race in shared memory", "4 bytes"],
    "missing_syncwarp": ["race in shared memory", "before: thread"],
    "syncwarp_of_the_wrong_half": ["race in shared memory"],
    "shuffle_for_a_barrier": ["race in shared memory"],
    "write_after_reads_of_a_warp": ["race in shared memory: (write after read|read after write)", "thread 63"],
    "neighbouring_halves": ["race in shared memory: write after write of 2 bytes"],
    "bytes_then_words": ["race in shared memory"],
    "misaligned_vector": ["misaligned access: 16 bytes at global address"],
    "static_overrun": ["shared memory out of bounds", "row at 0 of 256 bytes"],
    "dynamic_overrun": ["shared memory out of bounds", "dynamic at 0 of 256 bytes"],
    "generic_overrun": ["shared memory out of bounds", "row at 0 of 256 bytes"],
    "local_memory_of_another_thread": ["invalid address: local memory of another thread"],
    "divergent_barrier": ["divergent barrier", r"thread \d+ \(\d+,0,0\) has exited without reaching it"],
    "two_barriers_meet": ["divergent barrier: threads meet in different barriers"],
    "exit_before_barrier": ["divergent barrier: thread 5 .* has exited without reaching it"],
    "lane_not_in_its_mask": ["wrong warp mask: lane 31 is not in its own mask 0x7fffffff"],
    "mask_names_an_exited_lane": ["wrong warp mask: mask 0xffffffff names lane 7, which has exited"],
    "mask_names_a_missing_lane": ["wrong warp mask: mask 0xffffffff names lane 16, which does not exist"],
    "lanes_disagree_on_the_mask": ["wrong warp mask: lanes disagree on the mask"],
    "lanes_in_different_collectives": ["wrong warp collective: lanes meet in different collectives"],
    "masks_in_a_circle": ["deadlock: lanes 0x0000000[1246] of mask 0x0000000[356] never come"],
    "shuffle_from_outside_the_mask": [r"shuffle from outside the mask: lane \d+ reads lane 20"],
    "lanes_never_come": ["divergent barrier: lanes 0xffff0000 of mask 0xffffffff never come"],
    "global_race_in_a_block": ["race in global memory", "4 bytes in global memory at 0x"],
    "race_between_blocks": ["race between blocks: write after write", "of another block"],
    "reads_of_another_block": ["race between blocks: (read after write|write after read)"],
    "plain_write_and_atomic": ["race in global memory: (atomic write after write|write after atomic write)"],
    "plain_read_after_atomics": ["race in shared memory: (read after atomic write|atomic write after read)"],
    "spins_forever": ["no progress: the thread has gone back 10000 times"],
    "null_pointer": ["invalid address: 0x"],
    "traps": ["trap"],
}


def run(lib, kernel: str, mended: bool) -> tuple[int, str]:
    memory = np.zeros(4096, np.int32)
    error = getattr(lib, f"{kernel}_launch")(mended, memory.ctypes.data_as(ctypes.c_void_p))
    return error, lib.last_report().decode()


def lines_of(kernel: str) -> range:
    """Where the kernel stands in faults.cu: its first to its last line."""
    lines = SOURCE.read_text().splitlines()
    first = next(i for i, line in enumerate(lines) if re.search(rf"\b{kernel}\(int\* memory", line))
    last = next(i for i in range(first, len(lines)) if lines[i] == "}")
    return range(first + 1, last + 2)


@pytest.mark.parametrize("kernel", FAULTS)
def test_a_planted_fault_is_named(library, schedule, arch, kernel, monkeypatch):
    monkeypatch.setenv("PTX_STEPS", "10000")
    error, report = run(library("faults"), kernel, mended=False)
    assert error == LAUNCH_FAILURE
    for expected in FAULTS[kernel]:
        assert re.search(expected, report), report
    assert f"{kernel}<false>" in report.replace("(bool)0", "false")
    assert f"sm_{arch}" in report
    assert f"schedule {schedule}" in report


@pytest.mark.parametrize("kernel", FAULTS)
def test_the_mended_twin_runs_clean(library, schedule, arch, kernel):
    error, report = run(library("faults"), kernel, mended=True)
    assert error == 0, report


@pytest.mark.parametrize("kernel", FAULTS)
def test_a_report_names_lines(library, kernel, monkeypatch):
    """Of the .cu file and of the PTX, for both accesses of a race."""
    monkeypatch.setenv("PTX_STEPS", "10000")
    _, report = run(library("faults"), kernel, mended=False)
    places = re.findall(r"faults\.cu:(\d+) \(faults\.compute_100\.ptx:\d+: \S+", report)
    assert len(places) >= (2 if report.startswith("race") else 1), report
    assert all(int(line) in lines_of(kernel) for line in places), report


def test_races_can_be_left_out(library, monkeypatch):
    monkeypatch.setenv("PTX_RACES", "0")
    error, report = run(library("faults"), "missing_syncwarp", mended=False)
    assert error == 0, report


def test_the_error_is_cleared(library):
    """A process goes on after a fault: the next launch is judged by itself."""
    lib = library("faults")
    assert run(lib, "traps", mended=False)[0] == LAUNCH_FAILURE
    assert run(lib, "traps", mended=True)[0] == 0


def test_too_much_shared_memory_is_refused(library):
    error, report = run(library("faults"), "too_much_shared_memory", mended=False)
    assert error == INVALID_VALUE
    assert "65536 bytes of dynamic shared memory, besides 0 static ones: 49152 are allowed" in report
    assert run(library("faults"), "too_much_shared_memory", mended=True)[0] == 0


def test_more_threads_than_launch_bounds_are_refused(library):
    error, report = run(library("faults"), "too_many_for_its_bounds", mended=False)
    assert error == INVALID_VALUE
    assert "64 threads exceed the __launch_bounds__ of 32" in report
    assert run(library("faults"), "too_many_for_its_bounds", mended=True)[0] == 0


@pytest.mark.parametrize(
    ("grid", "block", "accepted"),
    [((1, 1), (1024, 1), True), ((1, 1), (1025, 1), False), ((1, 1), (64, 17), False), ((0, 1), (32, 1), False),
     ((1, 1), (0, 1), False), ((1, 65535), (1, 1), True), ((1, 65536), (1, 1), False)],
)  # fmt: skip
def test_launches_are_validated(library, grid, block, accepted, monkeypatch):
    monkeypatch.setenv("PTX_RACES", "0")  # blocks write the same places
    memory = np.zeros(4096, np.int32)
    error = library("faults").configured_launch(memory.ctypes.data_as(ctypes.c_void_p), *grid, *block)
    assert error == (0 if accepted else INVALID_CONFIGURATION)


def test_an_architecture_that_is_not_linked_in(library, monkeypatch):
    monkeypatch.setenv("PTX_ARCH", "75")
    error, report = run(library("faults"), "traps", mended=True)
    assert error == 98
    assert "traps<true>" in report.replace("(bool)1", "true")
    assert "not for the architecture in use" in report
