"""Atomics in both memories, addresses of any memory, and jumps through a table."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy as np
import pytest

from tests.ptx.conftest import BUILD
from tests.ptx.test_instructions import CORNERS_32, CORNERS_64, pairs, run, same


@pytest.fixture
def memory(library):
    return library("memory", archs=(90,))


OPERATIONS: dict[str, Callable[[int, int], int]] = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "min": min,
    "max": max,
    "and": lambda x, y: x & y,
    "or": lambda x, y: x | y,
    "xor": lambda x, y: x ^ y,
    "exch": lambda x, y: y,
    "cas": lambda x, y: 7 if x == y else x,
    # PTX ISA, "atom": inc goes from y to 0; dec from 0, and from above y, to y.
    "inc": lambda x, y: 0 if x >= y else x + 1,
    "dec": lambda x, y: y if x == 0 or x > y else x - 1,
}
INTEGER_ATOMICS = [
    "add_s32", "add_u32", "add_u64", "sub_u32", "min_s32", "min_u32", "min_s64", "min_u64", "max_s32", "max_u32",
    "max_s64", "max_u64", "and_u32", "and_u64", "or_u32", "or_u64", "xor_u32", "xor_u64", "exch_u32", "exch_u64",
    "inc_u32", "dec_u32", "cas_u16", "cas_u32", "cas_u64",
]  # fmt: skip


def atomic(lib, name: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A row for each thread: found and left in global memory, found and left in shared memory."""
    out, cells = np.zeros((len(x), 4), x.dtype), np.zeros_like(x)
    pointers = [ctypes.c_void_p(values.ctypes.data) for values in (out, x, y, cells)]
    assert getattr(lib, name)(len(x), *pointers) == 0, lib.last_report().decode()
    return out


@pytest.mark.parametrize("name", INTEGER_ATOMICS)
def test_atomics_on_integers(memory, name):
    operation, _, kind = name.partition("_")
    bits = int(kind[1:])
    corners = [v % 2**bits for v in (CORNERS_64 if bits == 64 else CORNERS_32.tolist())]
    unsigned, dtype = f"u{bits // 8}", f"{'i' if kind[0] == 's' else 'u'}{bits // 8}"
    x, y = (np.array(values.tolist(), unsigned).view(dtype) for values in pairs(np.array(corners, object)))
    exact = [OPERATIONS[operation](a, b) for a, b in zip(x.tolist(), y.tolist(), strict=True)]
    left = np.array([v % 2**bits for v in exact], unsigned).view(dtype)
    np.testing.assert_array_equal(atomic(memory, name, x, y), np.stack([x, left, x, left], axis=1))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_atomics_on_floats(memory, kind):
    x, y = pairs(np.array([0, -0.0, 1, 0.1, -1e-3, 3e38, -3e38, np.inf], kind))
    found = atomic(memory, f"add_f{8 * x.itemsize}", x, y)
    for column, expected in enumerate((x, x + y, x, x + y)):
        same(np.ascontiguousarray(found[:, column]), expected)


def test_atomics_are_in_the_ptx_of_both_memories(memory):
    """Or the tests above would test something else."""
    text = (BUILD / "memory" / "memory.compute_90.ptx").read_text()
    for operation in ("add", "min", "max", "and", "or", "xor", "exch", "inc", "dec", "cas"):
        assert f"atom.shared.{operation}." in text
        assert f"atom.global.{operation}." in text


def test_pointers_to_any_memory(memory, schedule):
    which = np.tile(np.array([0, 1, 2], np.uint32), 20)
    count = len(which)
    out, cells = np.zeros((count, 4), np.uint32), np.zeros(count, np.uint32)
    pointers = [ctypes.c_void_p(values.ctypes.data) for values in (out, which, cells)]
    assert memory.any_memory(count, *pointers) == 0, memory.last_report().decode()
    for i, space in enumerate(which.tolist()):
        shared, in_global, own = 1000 + i, 2000 + i, 10 * (i % 4 + 1)
        old = (shared, in_global, own)[space] + 5
        grown = 105 if space < 2 else 0
        expected = [old, shared + in_global + grown, own + 5 * (space == 2), 1 << space]
        assert out[i].tolist() == expected


def test_jumps_through_a_table(memory):
    index = np.array([0, 1, 2, 3, 3, 0], np.uint32)
    same(run(memory, "table", np.uint32, index), [10, 20, 10, 30, 30, 10])
    out = np.zeros(1, np.uint32)
    beyond = np.array([4], np.uint32)
    assert memory.table(1, ctypes.c_void_p(out.ctypes.data), ctypes.c_void_p(beyond.ctypes.data)) == 719
    assert memory.last_report().decode().startswith("trap")
