"""The order of threads and blocks is chosen by PTX_SCHEDULE and repeats with PTX_SEED."""

from __future__ import annotations

import ctypes

import numpy as np

BLOCKS, THREADS = 3, 96


def pointer(values: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(values.ctypes.data)


def tickets(library) -> list[int]:
    """The turn of each thread."""
    counter, order = np.zeros(1, np.int32), np.full(BLOCKS * THREADS, -1, np.int32)
    assert library("orders").take_tickets(pointer(counter), pointer(order), BLOCKS, THREADS) == 0
    assert sorted(order.tolist()) == list(range(BLOCKS * THREADS))
    return order.tolist()


def test_forward_and_reverse(library, monkeypatch):
    forward = list(range(BLOCKS * THREADS))
    assert tickets(library) == forward
    monkeypatch.setenv("PTX_SCHEDULE", "reverse")
    assert tickets(library) == forward[::-1]


def test_random_repeats_with_its_seed(library, monkeypatch):
    monkeypatch.setenv("PTX_SCHEDULE", "random")
    turns = {}
    for seed in ("1", "2", "1"):
        monkeypatch.setenv("PTX_SEED", seed)
        turns.setdefault(seed, []).append(tickets(library))
    assert turns["1"][0] == turns["1"][1] != turns["2"][0]
    assert turns["1"][0] != sorted(turns["1"][0])


def test_a_drawn_seed_is_told_and_can_be_used(library, monkeypatch, capfd):
    monkeypatch.setenv("PTX_SCHEDULE", "random")
    drawn = tickets(library)
    assert tickets(library) == drawn  # one seed for the process
    told = capfd.readouterr().err
    assert "ptx: random schedule; repeat it with PTX_SEED=" in told
    monkeypatch.setenv("PTX_SEED", told.strip().rpartition("=")[2])
    assert tickets(library) == drawn


def test_unwritten_shared_memory_is_poison(library):
    out = np.zeros(32, np.int32)
    assert library("orders").read_poison(pointer(out)) == 0
    assert (out == -1).all()


def test_symbols(library):
    out = np.zeros(32, np.int32)
    assert library("orders").use_symbols(pointer(out), 10) == 42
    assert sorted(out.tolist()) == list(range(15, 47))
