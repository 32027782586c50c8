"""What is in order is not called a fault, and gives the right result, in every schedule."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

WARP, THREADS = 32, 64
START = [(7 * i) % 64 for i in range(THREADS)]  # each of 0 to 63 once


@pytest.fixture
def launched(library, schedule, monkeypatch):
    """What a kernel makes of memory, the same for each of a few seeds."""
    lib = library("idioms", archs=(90,))

    def launch(kernel: str, start: list[int]) -> list[int]:
        results = []
        for seed in range(4 if schedule == "random" else 1):
            monkeypatch.setenv("PTX_SEED", str(seed))
            memory = np.array(start, np.int32)
            error = getattr(lib, f"{kernel}_launch")(ctypes.c_void_p(memory.ctypes.data))
            assert error == 0, lib.last_report().decode()
            results.append(memory.tolist())
        assert all(result == results[0] for result in results)
        return results[0]

    return launch


def of_warps(values: list[int], function) -> list[int]:
    return [*function(values[:WARP]), *function(values[WARP:])]


def test_a_collective_of_some_lanes_while_the_others_wait_in_a_later_one(launched):
    def expected(values: list[int]) -> list[int]:
        equal = [sum(1 << j for j, w in enumerate(values) if w == v) if v else 0 for v in values]
        return [signed_32(equal[(i + 1) % WARP]) for i in range(WARP)]

    for start in ([i * i % 5 for i in range(THREADS)], [0, 1] * WARP, [3] * THREADS, [0] * 63 + [1]):
        assert launched("match_among_some", start) == of_warps(start, expected)


def signed_32(value: int) -> int:
    return value - 2**32 if value >= 2**31 else value


def test_a_chain_of_barriers_of_two_lanes(launched):
    assert launched("chain_of_lanes", START) == of_warps(START, np.cumsum)


def test_groups_of_a_warp_before_the_whole(launched):
    def expected(values: list[int]) -> list[int]:
        sums = [sum(values[:16])] * 16 + [sum(values[16:24])] * 8 + [sum(values[24:])] * 8
        return [sums[i] + sums[i ^ 16] for i in range(WARP)]

    assert launched("groups_then_all", START) == of_warps(START, expected)


def test_warps_that_sum_in_shared_memory(launched):
    assert launched("tree_of_a_warp", START) == of_warps(START, lambda values: [sum(values)] * WARP)


def test_two_buffers_and_one_barrier(launched):
    assert launched("double_buffer", START) == START[5:] + START[:5]


def test_atomics_a_barrier_and_plain_reads(launched):
    assert launched("atomics_then_plain", START) == [sum(START[i % 4 :: 4]) for i in range(THREADS)]


def test_a_flag_that_many_threads_raise(launched):
    assert launched("volatile_flag", START) == [1] * THREADS
    assert launched("volatile_flag", [0] * THREADS) == [0] * THREADS


def test_warps_that_leave_early(launched):
    assert launched("warps_that_leave", START) == START[:WARP][::-1] + START[WARP:]


def test_bytes_of_a_threads_own(launched):
    words = [int.from_bytes(bytes(v + i for i in range(4)), "little") for v in START]
    assert launched("own_bytes", START) == words


def test_launches_are_in_order(launched):
    first = [v + 1 for v in START[::-1]]
    assert launched("launches_in_a_row", START + [0] * 2 * THREADS) == START + first + [v + 1 for v in first[::-1]]
