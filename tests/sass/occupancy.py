"""How many blocks of a kernel an SM holds at a time.

Limits: CUDA C++ Programming Guide 13.0, chapter "Compute Capabilities", table "Technical Specifications per Compute
Capability". How registers and shared memory are handed out: cuda_occupancy.h of the CUDA toolkit 13.0, which gave the
same number of blocks in all of 65280 cases tried.
"""

from __future__ import annotations

from dataclasses import dataclass

LANES = 32


@dataclass(frozen=True)
class Limits:
    """Of one SM."""

    warps: int
    blocks: int
    registers: int
    shared: int
    """Bytes that the blocks of an SM may have together."""
    shared_per_block: int
    """Bytes that one block may have, opted in by cudaFuncSetAttribute above 48 KiB."""


LIMITS = {
    "sm_80": Limits(warps=64, blocks=32, registers=64 * 1024, shared=164 * 1024, shared_per_block=163 * 1024),
    "sm_90": Limits(warps=64, blocks=32, registers=64 * 1024, shared=228 * 1024, shared_per_block=227 * 1024),
    "sm_100": Limits(warps=64, blocks=32, registers=64 * 1024, shared=228 * 1024, shared_per_block=227 * 1024),
}
REGISTER_UNIT = 8
"""Registers per thread are handed out in eights: 256 per warp."""
_SCHEDULERS = 4  # an SM's registers are split among them, and a warp stays with one
_SHARED_UNIT = 128
_SHARED_OF_SYSTEM = 1024  # per block, since compute capability 8.0


@dataclass(frozen=True)
class Occupancy:
    blocks: int
    warps: int
    percent: float
    """Warps of those that the SM could hold."""
    limit: str
    """What allows no more: "warps", "blocks", "registers" or "shared"."""


def occupancy(arch: str, registers: int, shared: int, threads: int) -> Occupancy:
    """Blocks per SM, for registers per thread, bytes of shared memory and threads per block.

    >>> occupancy("sm_80", registers=32, shared=0, threads=256)
    Occupancy(blocks=8, warps=64, percent=100.0, limit='warps')
    """
    limits = LIMITS[arch]
    warps = -(-threads // LANES)
    per_warp = round_up(max(registers, 1), REGISTER_UNIT) * LANES
    warps_by_registers = limits.registers // _SCHEDULERS // per_warp * _SCHEDULERS
    per_block = round_up(shared + _SHARED_OF_SYSTEM, _SHARED_UNIT)
    blocks = {
        "warps": limits.warps // warps,
        "blocks": limits.blocks,
        "registers": warps_by_registers // warps,
        "shared": limits.shared // per_block if shared <= limits.shared_per_block else 0,
    }
    limit = min(blocks, key=lambda name: blocks[name])  # of equals the first
    held = blocks[limit] * warps
    return Occupancy(blocks[limit], held, round(100 * held / limits.warps, 2), limit)


def round_up(value: int, unit: int) -> int:
    return -(-value // unit) * unit
