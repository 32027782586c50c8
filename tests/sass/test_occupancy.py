"""Occupancy against numbers worked out by hand: an SM has 64 warps, 32 blocks and 65536 registers."""

import pytest

from tests.sass.occupancy import occupancy

# arch, registers, shared bytes, threads: blocks, percent, limit
BY_HAND = [
    # 8 warps per block; 32 * 32 registers a warp, 65536 / 1024 = 64 warps.
    ("sm_80", 32, 0, 256, 8, 100.0, "warps"),
    # 33 registers are 40: 1280 a warp, 16384 / 1280 = 12 per scheduler, 48 warps.
    ("sm_80", 33, 0, 256, 6, 75.0, "registers"),
    # 255 are 256: 8192 a warp, 2 per scheduler, 8 warps.
    ("sm_90", 255, 0, 256, 1, 12.5, "registers"),
    # ... of which a block of 1024 threads needs 32.
    ("sm_90", 255, 0, 1024, 0, 0.0, "registers"),
    # A warp per block: the 32 blocks are used up first.
    ("sm_100", 16, 0, 32, 32, 50.0, "blocks"),
    # 33 threads are two warps.
    ("sm_100", 16, 0, 33, 32, 100.0, "warps"),
    # 40 KiB + 1 KiB of the system's: 164 / 41 = 4 blocks of 4 warps, 228 / 41 = 5.
    ("sm_80", 32, 40 * 1024, 128, 4, 25.0, "shared"),
    ("sm_90", 32, 40 * 1024, 128, 5, 31.25, "shared"),
    # The most that a block may have.
    ("sm_80", 32, 163 * 1024, 1024, 1, 50.0, "shared"),
    ("sm_80", 32, 163 * 1024 + 1, 1024, 0, 0.0, "shared"),
    ("sm_100", 32, 227 * 1024, 1024, 1, 50.0, "shared"),
]


@pytest.mark.parametrize(("arch", "registers", "shared", "threads", "blocks", "percent", "limit"), BY_HAND)
def test_occupancy(arch, registers, shared, threads, blocks, percent, limit):
    found = occupancy(arch, registers, shared, threads)
    assert (found.blocks, found.percent, found.limit) == (blocks, percent, limit)
