"""Times every op on a CUDA device, against eager PyTorch and torch.compile: gpu_ops.json and gpu_ops.md.

`benchmarks/gpu.sh` calls this after it has built and tested. Contestants take turns (rounds.py) and are checked first
(contestants.py). Time is taken by CUDA events, in two states of the L2 cache: "warm", calls one after the other on the
same input, as in a decode step that follows the model's; and "flushed", the cache filled with something else before
each call. Warm calls are timed as a loop would see them, so where the host is slower than the device it counts; in
flushed ones the host runs ahead, and only the device counts.
"""

from __future__ import annotations

import argparse
import inspect
import json
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

import s2sfast
from benchmarks import contestants, environment, rounds
from benchmarks.bandwidth import readers
from benchmarks.gpu_tables import document
from benchmarks.test_ops import quick_cases
from s2sfast.cases import OPS, Case, Op

GRAPH = "graph"
ABOUT_GRAPH = "a CUDA graph of `{of}`, replayed"
FLUSHED_SAMPLE = 2e-4
"""Seconds of a sample between flushes, which themselves take much longer."""
_SECONDS = 1e-3  # in a millisecond, which is what events count in


class CudaDevice:
    """What the measurement asks of a device; the tests have another."""

    name = "cuda"

    def __init__(self) -> None:
        cache = torch.cuda.get_device_properties(0).L2_cache_size
        self._filler = torch.empty(max(4 * cache, 2**26), dtype=torch.int8, device="cuda")

    def free_memory(self) -> int:
        torch.cuda.empty_cache()
        return torch.cuda.mem_get_info()[0]

    def synchronize(self) -> None:
        s2sfast.synchronize()  # raises what the ops have found

    def warm(self, function: Callable[[], Any], calls: int) -> float:
        start, end = _event(), _event()
        start.record()
        for _ in range(calls):
            function()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) * _SECONDS

    def flushed(self, function: Callable[[], Any], calls: int) -> float:
        pairs = [(_event(), _event()) for _ in range(calls)]
        for start, end in pairs:
            self._filler.zero_()
            start.record()
            function()
            end.record()
        torch.cuda.synchronize()
        return sum(start.elapsed_time(end) for start, end in pairs) * _SECONDS

    def capture(self, function: Callable[[], Any]) -> tuple[Callable[[], Any], Any]:
        """(a replay, where its answer stands)."""
        function()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            answer = function()
        graph.replay()
        torch.cuda.synchronize()
        return graph.replay, answer

    def describe(self) -> dict[str, Any]:
        found = torch.cuda.get_device_properties(0)
        return {
            "name": found.name,
            "capability": f"{found.major}.{found.minor}",
            "sms": found.multi_processor_count,
            "l2_mb": round(found.L2_cache_size / 1e6, 1),
            "memory_gib": round(found.total_memory / 2**30, 1),
            "driver": _driver(),
            "cuda": torch.version.cuda,
            "read_GB/s": _read_rate(self),
        }


def _event() -> torch.cuda.Event:
    return torch.cuda.Event(enable_timing=True)


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.split()
    except (OSError, subprocess.SubprocessError):
        found = []
    return found[0] if found else "unknown"


def _read_rate(device: CudaDevice) -> float:
    """GB/s of the best reading reduction over a buffer far larger than L2."""
    size = min(4 * 2**30, device.free_memory() // 4 // 8 * 8)
    buffer = torch.ones(size // 4, device="cuda")
    best = min(device.warm(read, 1) for read in readers(buffer).values() for _ in range(8))
    return round(size / best / 1e9, 1)


# --- measuring ------------------------------------------------------------------------------------------


def names_of(op: Op) -> list[str]:
    """Contestants that run on a device; numpy does not."""
    return [name for name in contestants.names_of(op) if not name.startswith("numpy") and name != "floor"]


def about(op: Op) -> dict[str, str]:
    known = contestants.about(op)
    return {**{name: known[name] for name in names_of(op)}, GRAPH: ABOUT_GRAPH.format(of=_captured(op))}


def _captured(op: Op) -> str:
    return "out" if "out" in inspect.signature(op.fast).parameters else "fast"


def measure(
    op: Op, case: Case, device: Any, budget: float, compiled: bool
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """(rows, reasons of those left out) of one case; raises AssertionError for a wrong answer."""
    moved = op.bytes_moved(**case.sizes)
    if 4 * moved > device.free_memory():
        return [], {"everyone": f"{moved / 2**30:.1f} GiB of input, {device.free_memory() / 2**30:.1f} GiB are free"}
    generator = torch.Generator("cpu").manual_seed(0)
    args, kwargs = op.sample(op.dtypes[0], device.name, generator, **case.sizes, **case.options)
    truth = contestants.truth_of(op, args, kwargs)
    names = [name for name in names_of(op) if compiled or name != contestants.COMPILED]
    functions, left_out = contestants.enter(op, args, kwargs, truth, not compiled, names, device.free_memory)
    if not compiled:
        left_out[contestants.COMPILED] = "not compiled: a quick run, or the time went to other sizes"
    try:
        functions[GRAPH], answer = device.capture(functions[_captured(op)])
    except (RuntimeError, KeyError) as error:
        left_out[GRAPH] = f"failed: {' '.join(str(error).split())[:120]}"
    else:
        contestants.check(answer, truth, f"{op.name}, {GRAPH}", op)
    rows = []
    for cache, timer, sample in (("warm", device.warm, 2e-3), ("flushed", device.flushed, FLUSHED_SAMPLE)):
        options = {"threads": 1, "budget": budget / 2, "rounds": 15, "sample": sample}
        timings = rounds.interleave(functions, timer=(f"CUDA events, L2 {cache}", timer), **options)
        rows += [_row(op, case, name, cache, moved, timing) for name, timing in timings.items()]
    device.synchronize()
    return rows, left_out


def _row(op: Op, case: Case, provider: str, cache: str, moved: int, timing: rounds.Timing) -> dict[str, Any]:
    keys = {"op": op.name, "case": case.why, "provider": provider, "cache": cache}
    dtype = str(op.dtypes[0]).removeprefix("torch.")
    return {**keys, "sizes": case.sizes, "dtype": dtype, "bytes_moved": moved, **timing.as_dict()}


def run(
    chosen: Iterable[tuple[Op, Case]], device: Any, seconds: float, quick: bool
) -> tuple[list[dict[str, Any]], list[dict[str, str]], list[str]]:
    """(rows, who was left out and why, what failed) of all cases in about so many seconds."""
    chosen = list(chosen)
    rows: list[dict[str, Any]] = []
    left_out: list[dict[str, str]] = []
    wrong: list[str] = []
    start = time.monotonic()
    for number, (op, case) in enumerate(chosen, start=1):
        # torch.compile takes more than all the rest; a case compiles if those before it have not spent its time.
        on_time = time.monotonic() - start <= seconds * number / len(chosen)
        try:
            found, reasons = measure(op, case, device, 0.4 * seconds / len(chosen), on_time and not quick)
        except torch.OutOfMemoryError:
            found, reasons = [], {"everyone": "out of memory"}
        except (AssertionError, ValueError, RuntimeError) as error:  # an answer, a fault in good data, a kernel
            wrong.append(f"{op.name} {case.why}: {type(error).__name__}: {' '.join(str(error).split())[:300]}")
            print(f"[{number}/{len(chosen)}] FAILED: {wrong[-1]}", flush=True)
            if isinstance(error, RuntimeError):
                break  # the device answers nothing any more
            continue
        rows += found
        left_out += [{"op": op.name, "case": case.why, "provider": who, "reason": why} for who, why in reasons.items()]
        warm = [f"{row['provider']} {row['median'] * 1e6:.4g}" for row in found if row["cache"] == "warm"]
        print(f"[{number}/{len(chosen)}] {op.name} {case.why}, us: {', '.join(warm)}", flush=True)
    return rows, left_out, wrong


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path, help="folder for gpu_ops.json and gpu_ops.md")
    parser.add_argument("--seconds", type=float, default=240, help="about how long all of it may take (default 240)")
    parser.add_argument("--quick", action="store_true", help="three sizes an op, no torch.compile: does it run?")
    parser.add_argument("--only", default="", metavar="TEXT", help="cases whose name holds this text, as in K5-V32k")
    parser.add_argument("--commit", default="", help="names the commit where git is not there to ask")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("no CUDA device that torch can use")
    chosen = [
        (op, case)
        for op in OPS
        for case in (quick_cases(op) if options.quick else op.of("bench"))
        if options.only in case.why
    ]
    device = CudaDevice()
    gpu = device.describe()
    seconds = min(options.seconds, 30) if options.quick else options.seconds
    rows, left_out, wrong = run(chosen, device, seconds, options.quick)
    more: dict[str, Any] = {"gpu": gpu, "quick": options.quick, "wrong": wrong, "left_out": left_out}
    if options.commit:
        more["commit"] = {"id": options.commit, "dirty": False}
    more["providers"] = {op.name: about(op) for op in OPS}
    path = options.out / "gpu_ops.json"
    environment.write(path, "gpu_ops", rows, "triton", **more)
    content = json.loads(path.read_text(encoding="utf-8"))
    path.with_suffix(".md").write_text(document(content), encoding="utf-8")
    return 1 if wrong or not rows else 0


if __name__ == "__main__":
    raise SystemExit(main())
