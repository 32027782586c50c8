"""What the CUDA kernels should cost, derived from bytes, instructions and latencies; docs/cuda.md words it.

Nothing here is measured on a GPU. What comes from NVIDIA's papers, what from the machine code (projection.json) and
what is only assumed is kept apart: `GPUS`, the kernels' costs, `ASSUMED`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks import projection_sass as sass

TILE, GROUP, WARP = 1024, 32, 32
SCAN_WARPS, REGISTER_WARPS, RADIX_WARPS = 4, 8, 16
REGISTER_MOST_K = 32
STAGED_PARENTS, BACKTRACE_THREADS, BACKTRACE_LOADS = 4096, 128, 4
TILE_BYTES, ROW_BYTES, KEY_BYTES = 24 + 4 + 4 * GROUP, 32, 8
"""Workspace of a tile (sum, maximum, two flags; top; groups), a row, and a row's limit; csrc/beam_topk/sentence.cuh."""


@dataclass(frozen=True)
class Gpu:
    name: str
    arch: str
    sms: int
    clock: float
    """Hz: the one behind the datasheet's peak of float32, which is SMs x lanes x 2 x clock."""
    bandwidth: float
    """Bytes per second, by the datasheet."""
    cache: float
    """Bytes of L2."""
    lanes: dict[str, int]
    """Results per clock and SM: CUDA C++ Programming Guide, "Throughput of Native Arithmetic Instructions"."""

    def seconds(self, cycles: float) -> float:
        return cycles / self.clock


_LANES = {"imad": 64, "alu": 64, "special": 16, "shuffle": 32}
GPUS = (
    Gpu("A100 80GB SXM", "sm_80", 108, 19.5e12 / (108 * 64 * 2), 2.039e12, 40e6, {**_LANES, "fma": 64, "fp64": 32}),
    Gpu("H100 SXM", "sm_90", 132, 67e12 / (132 * 128 * 2), 3.35e12, 50e6, {**_LANES, "fma": 128, "fp64": 64}),
)

ASSUMED = {
    "memory": 0.7e-6,  # a load that no cache has
    "l2": 0.25e-6,  # a load that L2 has
    "shared": 30,  # cycles of a load from shared memory
    "launch": 1.0e-6,  # from one kernel to the next in a CUDA graph
    "host": 2.5e-6,  # of the host, to launch a kernel without a graph
    "merge": 2000,  # cycles in which select joins its warps' lists, without loops over candidates
    "sort": 4000,  # the same for k > 32: 66 exchanges of 2,048 keys, a barrier after each
}
DIGITS = 4
"""Looks of radix selection at the maxima, eight bits each: what it takes to tell 32-bit scores apart."""


def ceil(a: float, b: float) -> int:
    return int(-(-a // b))


# --- beam_topk ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """One call of beam_topk without options, on one GPU. Seconds."""

    launches: int
    scan_blocks: int
    moved: int
    floor: float
    issue: float
    scan: float
    select: float

    @property
    def total(self) -> float:
        """In a CUDA graph."""
        return self.scan + self.select + self.launches * ASSUMED["launch"]

    @property
    def bound(self) -> str:
        overhead = self.launches * ASSUMED["launch"]
        latency = self.scan - max(self.floor, self.issue)
        parts = {"bandwidth": self.floor, "issue": self.issue if self.issue > self.floor else 0.0}
        parts |= {"select": self.select, "latency": latency + overhead}
        return max(parts, key=lambda part: parts[part])


def tiles_of(V: int) -> int:
    return ceil(V, TILE)


def workspace(B: int, K: int, V: int, limited: bool = False) -> int:
    """Bytes, each array rounded up to 16.

    >>> workspace(B=1, K=5, V=32_000)
    25120
    """
    rows, tiles = B * K, B * K * tiles_of(V)
    arrays = (24 * tiles, ROW_BYTES * rows, 4 * tiles, 4 * GROUP * tiles, KEY_BYTES * rows * limited)
    return sum(ceil(size, 16) * 16 for size in arrays)


def moved(B: int, K: int, V: int, k: int, element: int = 4) -> int:
    """Bytes that a call reads and writes: logits, scores, the workspace written and read again, the groups looked at
    again, outputs."""
    logits, scores, outputs = element * B * K * V, 4 * B * K, 20 * B * k
    again = element * GROUP * B * min(k, K * tiles_of(V) * GROUP)
    return logits + scores + 2 * workspace(B, K, V) + again + outputs


def tile_cycles(gpu: Gpu, tile: dict[str, Any]) -> dict[str, float]:
    """Cycles of an SM that a tile takes of its four schedulers ("issue") and of each pipe."""
    pipes = {pipe: count * WARP / gpu.lanes[pipe] for pipe, count in tile["pipes"].items()}
    return {"issue": tile["slots"] / 4, **pipes}


def step(gpu: Gpu, kernels: dict[str, Any], B: int, K: int, V: int, k: int) -> Step:
    tile = kernels[sass.SCANS[0]][gpu.arch]
    tiles = tiles_of(V)
    bytes_moved = moved(B, K, V, k)
    floor = bytes_moved / gpu.bandwidth
    issue = gpu.seconds(B * K * tiles * max(tile_cycles(gpu, tile).values()) / gpu.sms)
    first = ASSUMED["memory"] + gpu.seconds(tile["cycles"])  # until the first tile is done
    blocks = B * K * ceil(tiles, SCAN_WARPS)
    return Step(2, blocks, bytes_moved, floor, issue, max(floor, issue) + first, select(gpu, kernels, B, K, V, k))


def select(gpu: Gpu, kernels: dict[str, Any], B: int, K: int, V: int, k: int) -> float:
    """A block per sentence, all at once as long as there is an SM for each."""
    radix = k > REGISTER_MOST_K
    cost = kernels[sass.RADIX if radix else sass.REGISTERS][gpu.arch]
    warps, passes = (RADIX_WARPS, DIGITS) if radix else (REGISTER_WARPS, 1)
    tiles = tiles_of(V)
    by_group = K * tiles < 8 * k
    maxima, tops = K * tiles * (GROUP if by_group else 1), K * tiles
    looks = passes * ceil(maxima, WARP) + ceil(tops, WARP)
    chain = passes * ceil(maxima, WARP * warps) + ceil(tops, WARP * warps)  # of the busiest warp
    look, row = cost["look"], cost["row"]
    looking = max(
        gpu.seconds(looks * look["slots"] / 4), chain * (gpu.seconds(look["cycles"]) + ASSUMED["l2"])
    )  # all warps issue all the time, or each waits for its loads
    joining = ceil(K, warps) * (gpu.seconds(row["cycles"]) + 2 * ceil(tiles, 4 * WARP) * ASSUMED["l2"])
    again = ceil(min(k, maxima), warps) * 2 * ASSUMED["l2"]
    merging = gpu.seconds(ASSUMED["sort" if radix else "merge"])
    return ceil(B, gpu.sms) * (joining + looking + again + merging)


# --- backtrace ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Walk:
    """One call of backtrace. Seconds."""

    blocks: int
    moved: int
    floor: float
    copying: float
    walking: float
    fetching: float

    @property
    def total(self) -> float:
        return ASSUMED["launch"] + self.copying + self.walking + self.fetching


def walk(gpu: Gpu, kernels: dict[str, Any], L: int, B: int, K: int, n: int) -> Walk:
    """All parents are read, and of the tokens a sector of 32 bytes each, where neighbours do not share one."""
    cost = kernels[sass.BACKTRACE][gpu.arch]
    copy, back, fetch = (cost[part] for part in ("copy", "walk", "fetch"))
    bytes_moved = 8 * L * B * K + min(32 * L * B * n, 8 * L * B * K) + 3 * 8 * L * B * n + 16 * B * n
    chunk = STAGED_PARENTS // K
    chunks = [chunk] * (L // chunk) + [L % chunk] * (L % chunk > 0)
    rounds = sum(ceil(steps * K, BACKTRACE_LOADS * BACKTRACE_THREADS) for steps in chunks)
    copying = rounds * (gpu.seconds(copy["cycles"]) + ASSUMED["l2"])
    walking = L * gpu.seconds(back["cycles"] / back["steps"] + ASSUMED["shared"])
    lines = ceil(min(n, BACKTRACE_THREADS), BACKTRACE_THREADS // WARP)  # of a warp
    rounds = lines * sum(ceil(steps, BACKTRACE_LOADS * WARP) for steps in chunks)
    fetching = rounds * (gpu.seconds(fetch["cycles"]) + 2 * ASSUMED["l2"])  # a slot, then its token
    blocks = B * ceil(n, BACKTRACE_THREADS)
    return Walk(blocks, bytes_moved, bytes_moved / gpu.bandwidth, copying, walking, fetching)


# --- attention ----------------------------------------------------------------------------------------


DECODE_WARPS, DECODE_COLUMNS, VALUE_COLUMNS, VALUE_ROWS, VALUE_QUERIES = 8, 512, 128, 4, 4


@dataclass(frozen=True)
class Decode:
    """A step of attention for Q beams, keys = values, float32. Seconds."""

    blocks: int
    moved: int
    floor: float
    issue: float
    chain: float
    """Of the busiest warp's instructions, one after the other."""
    merge: float

    @property
    def total(self) -> float:
        """In a CUDA graph."""
        return ASSUMED["memory"] + max(self.floor, self.issue, self.chain) + self.merge + 2 * ASSUMED["launch"]

    @property
    def bound(self) -> str:
        parts = {"bandwidth": self.floor, "issue": self.issue, "a warp's chain": self.chain}
        parts["launches and loads"] = self.total - max(parts.values())
        return max(parts, key=lambda part: parts[part])


def busiest(gpu: Gpu, loop: dict[str, Any]) -> float:
    """Cycles of an SM that a warp's turn takes of what it is short of, its schedulers or a pipe."""
    return max(tile_cycles(gpu, loop).values())


def positions_of_a_part(T: int, reading: int) -> int:
    """As csrc/attention/decode.h has it.

    >>> positions_of_a_part(64, 1), positions_of_a_part(64, 4)
    (8, 16)
    """
    part = 8
    while part * part < reading * T:
        part += 8
    return part


def decode(gpu: Gpu, kernels: dict[str, Any], additive: bool, B: int, Q: int, T: int, D: int) -> Decode:
    cost = kernels[sass.ADDITIVE if additive else sass.DOT][gpu.arch]
    score, value = cost["score"], cost["value"]
    part = positions_of_a_part(T, 1 if additive else 4)
    parts = ceil(T, part)
    keys = Q * ceil(D, DECODE_COLUMNS)  # turns of the scoring loop for a key
    values = ceil(ceil(Q, VALUE_QUERIES) * ceil(D, VALUE_COLUMNS), DECODE_WARPS) * ceil(part, VALUE_ROWS)  # of a warp
    busy = part * keys * busiest(gpu, score) + DECODE_WARPS * values * busiest(gpu, value)
    cycles = ceil(part, DECODE_WARPS) * keys * score["cycles"] + values * value["cycles"]
    bytes_moved = 4 * (B * T * D + 2 * B * Q * D + 3 * B * Q * T + 2 * B * parts * Q * (D + 2))
    issue = ceil(B * parts, gpu.sms) * gpu.seconds(busy)
    chain = ceil(B * parts, 2 * gpu.sms) * gpu.seconds(cycles)  # two blocks on an SM
    merge = (2 * ceil(parts, WARP) + ceil(parts, 4)) * ASSUMED["l2"]
    return Decode(B * parts, bytes_moved, bytes_moved / gpu.bandwidth, issue, chain, merge)


@dataclass(frozen=True)
class AdditiveTraining:
    """The additive scores of a whole batch and their gradients, float32; both are bound by what they issue. Seconds."""

    tanh: int
    forward: float
    backward: float
    floor: float
    """Of the backward: the inputs, dscores, gradients and the splits' parts."""


def additive_training(gpu: Gpu, kernels: dict[str, Any], B: int, Q: int, T: int, D: int) -> AdditiveTraining:
    count = B * Q * T * D

    def issued(name: str) -> float:
        loop = kernels[name][gpu.arch]
        return gpu.seconds(count / WARP / loop["tanh"] * busiest(gpu, loop) / gpu.sms)

    splits = min(8, ceil(T, 32))
    moved = 4 * (2 * B * (Q + T) * D + B * Q * T + 2 * splits * B * Q * D)
    return AdditiveTraining(count, issued(sass.TILES), issued(sass.COLUMNS), moved / gpu.bandwidth)
