"""How fast this machine reads memory: what the ops' GB/s are a share of.

Reads a buffer far larger than any cache with PyTorch reductions that do next to no arithmetic per byte (sum, max) and
takes the best of all tries: a bound that a kernel can be held against, not a mean. What fits a cache may exceed it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.environment import RESULTS, available_memory, cores, write
from benchmarks.rounds import clock_for

BYTES = 2**30


def readers(buffer: torch.Tensor) -> dict[str, Callable[[], Any]]:
    whole = buffer.view(torch.int64)
    return {"sum of float32": buffer.sum, "max of float32": buffer.amax, "sum of int64": whole.sum}


def measure(threads: int, tries: int, size: int) -> dict[str, Any]:
    torch.set_num_threads(threads)
    name, clock = clock_for(threads)
    buffer = torch.ones(size // 4)
    best: dict[str, float] = {}
    for _ in range(tries):
        for reader, read in readers(buffer).items():
            start = clock()
            read()
            best[reader] = max(best.get(reader, 0.0), size / (clock() - start) / 1e9)
    row = {"threads": threads, "clock": name, "bytes": size, "tries": tries, "GB/s": round(max(best.values()), 2)}
    row["readers"] = {reader: round(value, 2) for reader, value in best.items()}
    print(f"{threads} thread(s): {row['GB/s']} GB/s ({row['readers']})", flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bandwidth", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of results")
    parser.add_argument("--tries", type=int, default=15, help="passes over the buffer per reader (default 15)")
    parser.add_argument("--quick", action="store_true", help="a small buffer, few tries: does it run?")
    options = parser.parse_args()
    size = 2**26 if options.quick else min(BYTES, available_memory() // 4 // 8 * 8)
    tries = 2 if options.quick else options.tries
    rows = [measure(threads, tries, size) for threads in (1, 2) if threads <= cores()]
    write(options.out / "bandwidth.json", "bandwidth", rows, quick=options.quick)


if __name__ == "__main__":
    main()
