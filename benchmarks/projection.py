"""Prints the tables of docs/cuda.md: projected, not measured. `python -m benchmarks.report` puts them into the page."""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks import projection_sass as sass
from benchmarks.environment import RESULTS
from benchmarks.projection_model import (
    ASSUMED,
    GPUS,
    TILE,
    TILE_BYTES,
    Gpu,
    additive_training,
    decode,
    step,
    tile_cycles,
    walk,
)
from benchmarks.results import Results, load
from benchmarks.text import seconds, table

SHOWN = (1_000, 32_000, 256_000)
"""Sizes of the vocabulary; the bench cases have one more."""
LABEL = "**Projected, not measured.**"


def section(results: Results) -> str:
    """`results` say which cases there are: the page must be made where nothing is built yet."""
    kept = sass.load()
    parts = [_about(kept), "### The scan, tile by tile", f"{LABEL} {SCAN}", _scan(kept["kernels"])]
    for gpu in GPUS:
        parts += [
            f"### A step of beam_topk on an {gpu.name}",
            f"{LABEL} {STEP}",
            _steps(gpu, kept["kernels"], sizes_of(results, "beam_topk")),
        ]
    parts += ["### backtrace", f"{LABEL} {BACK}", _walks(kept["kernels"], sizes_of(results, "backtrace"))]
    parts += ["### A step of attention", f"{LABEL} {ATTENTION}", _decodes(kept["kernels"])]
    parts += ["### Training with additive attention", f"{LABEL} {TRAINING}", _training(kept["kernels"])]
    return "\n\n".join(parts)


SCAN = """\
A warp's work on 1,024 logits of a row. Bytes: the tile and the workspace it leaves, written and read again. Cycles: of
one SM, at full load; the highest of the three decides. "In flight" is what the resident warps of an SM have asked
for at most, against what bandwidth times latency needs of an SM."""
STEP = """\
float32, no options: k = 2 K, 2 launches. "Blocks": of the scan, and of select. "Step": both kernels in a CUDA graph."""
BACK = """\
One launch for a whole search; `n` hypotheses of `L` steps. The walk is a chain of loads, so latency is all there is."""

ATTENTION = """\
A step of decoding: B sentences, Q beams, T positions, D columns, keys = values, float32, both launches in a CUDA graph.
"Issue" is of the schedulers or the busiest pipe; the chain, of one warp's instructions; the highest of three decides.
The bytes count the workspace, which L2 holds as a rule."""
TRAINING = """\
The additive scores of a batch, and their gradients without softmax and context. What a tanh takes of the
schedulers or the busiest pipe, sums included, times their number; nothing else is near it."""
DECODES = (
    {"B": 1, "Q": 5, "T": 64, "D": 512},
    {"B": 16, "Q": 5, "T": 64, "D": 512},
    {"B": 16, "Q": 5, "T": 1024, "D": 512},
)
TRAINED = {"B": 16, "Q": 256, "T": 256, "D": 512}


def _about(kept: dict[str, Any]) -> str:
    head = ["", "SMs", "clock, GHz", "bandwidth, TB/s", "L2, MB", "float32 lanes per SM"]
    lines = []
    for gpu in GPUS:
        rates = f"{gpu.clock / 1e9:.2f}", f"{gpu.bandwidth / 1e12:.2f}", f"{gpu.cache / 1e6:g}"
        lines.append([gpu.name, str(gpu.sms), *rates, str(gpu.lanes["fma"])])
    times = {name: value if value > 1 else f"{value * 1e6:g} us" for name, value in ASSUMED.items()}
    assumed = (
        f"Assumed: a load from memory {times['memory']}, from L2 {times['l2']}, from shared memory {times['shared']} "
        f"cycles; {times['launch']} from kernel to kernel in a graph, {times['host']} of the host per launch without "
        f"one; {times['merge']} cycles to merge the lists of select's warps, {times['sort']} with radix selection to "
        f"sort. Machine code of nvcc {kept['gates']['nvcc']}."
    )
    return table(head, lines) + "\n\n" + assumed


def _scan(kernels: dict[str, Any]) -> str:
    head = [
        "logits, GPU",
        "bytes",
        "instructions",
        "per logit",
        "cycles: bandwidth",
        "issue",
        "busiest pipe",
        "decides",
    ]
    lines = []
    for name, dtype, element in zip(sass.SCANS, ("float32", "bfloat16", "float16"), (4, 2, 2), strict=True):
        for gpu in GPUS:
            tile = kernels[name][gpu.arch]
            cycles = tile_cycles(gpu, tile)
            size = tile_bytes(element)
            memory = size * gpu.sms * gpu.clock / gpu.bandwidth
            pipe = max((pipe for pipe in cycles if pipe != "issue"), key=lambda pipe: cycles[pipe])
            limits = {"bandwidth": memory, "issue": cycles["issue"], pipe: cycles[pipe]}
            first, second = sorted(limits, key=lambda limit: -limits[limit])[:2]
            verdict = f"{first}, {limits[first] / limits[second]:.1f}x before {second}"
            work = str(size), str(tile["slots"]), f"{tile['slots'] / 32:.1f}"  # 32 lanes, 1,024 logits
            spent = f"{memory:.0f}", f"{cycles['issue']:.0f}", f"{cycles[pipe]:.0f} ({pipe})"
            lines.append([f"{dtype}, {gpu.name}", *work, *spent, verdict])
    return table(head, lines) + "\n\n" + _in_flight()


def tile_bytes(element: int) -> int:
    return element * TILE + 2 * TILE_BYTES


def _in_flight() -> str:
    lines = []
    for gpu in GPUS:
        need = gpu.bandwidth * ASSUMED["memory"] / gpu.sms
        for name, dtype in zip(sass.SCANS, ("float32", "bfloat16", "float16"), strict=True):
            row = sass.measured(name, gpu.arch)
            warps = row["occupancy"] / 100 * 64
            have = warps * 32 * 16 * row["in_flight"]
            lines.append([f"{dtype}, {gpu.name}", f"{warps:g}", f"{have / 1e3:.0f} KB", f"{need / 1e3:.0f} KB"])
    return table(["logits, GPU", "warps per SM", "in flight", "needed"], lines)


def _steps(gpu: Gpu, kernels: dict[str, Any], cases: dict[str, dict[str, int]]) -> str:
    head = ["case", "blocks", "moved, MB", "bandwidth floor", "issue bound", "scan", "select", "step", "bound by"]
    lines = []
    for case, sizes in cases.items():
        if sizes["V"] not in SHOWN:
            continue
        found = step(gpu, kernels, **sizes)
        times = [_short(x) for x in (found.floor, found.issue, found.scan, found.select, found.total)]
        blocks = f"{found.scan_blocks}, {sizes['B']}"
        lines.append([case, blocks, megabytes(found.moved), *times, found.bound])
    return table(head, lines)


def _walks(kernels: dict[str, Any], cases: dict[str, dict[str, int]]) -> str:
    head = ["case, GPU", "blocks", "moved, MB", "bandwidth floor", "copying parents", "walking back", "tokens", "call"]
    lines = []
    for case, sizes in cases.items():
        written = ", ".join(f"{name}={value}" for name, value in sizes.items())
        for gpu in GPUS:
            found = walk(gpu, kernels, **sizes)
            times = [_short(x) for x in (found.floor, found.copying, found.walking, found.fetching, found.total)]
            lines.append([f"{case} ({written}), {gpu.name}", str(found.blocks), megabytes(found.moved), *times])
    return table(head, lines)


def _decodes(kernels: dict[str, Any]) -> str:
    head = [
        "score, case, GPU",
        "blocks",
        "moved, MB",
        "bandwidth floor",
        "issue bound",
        "chain",
        "merge",
        "step",
        "bound by",
    ]
    lines = []
    for score in ("dot", "additive"):
        for sizes in DECODES:
            for gpu in GPUS:
                found = decode(gpu, kernels, score == "additive", **sizes)
                times = [_short(x) for x in (found.floor, found.issue, found.chain, found.merge, found.total)]
                name = f"{score}, {'-'.join(f'{letter}{size}' for letter, size in sizes.items())}, {gpu.name}"
                lines.append([name, str(found.blocks), megabytes(found.moved), *times, found.bound])
    return table(head, lines)


def _training(kernels: dict[str, Any]) -> str:
    lines = []
    for gpu in GPUS:
        found = additive_training(gpu, kernels, **TRAINED)
        name = f"{'-'.join(f'{letter}{size}' for letter, size in TRAINED.items())}, {gpu.name}"
        times = [_short(x) for x in (found.forward, found.backward, found.floor)]
        lines.append([name, f"{found.tanh / 1e6:.0f}", *times])
    return table(["case, GPU", "tanh, millions", "scores", "gradients", "bandwidth floor of these"], lines)


def sizes_of(results: Results, op: str) -> dict[str, dict[str, int]]:
    return {row.case: row.info["sizes"] for row in results.rows if row.op == op}


def megabytes(size: float) -> str:
    """
    >>> megabytes(4_720), megabytes(1_760_000_000)
    ('0.005', '1760')
    """
    return f"{size / 1e6:.3f}" if size < 1e5 else f"{size / 1e6:.1f}" if size < 1e8 else f"{size / 1e6:.0f}"


def _short(value: float) -> str:
    return seconds(value) if value >= 1e-8 else "< 0.01 us"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.projection", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "--read-sass", action="store_true", help="read the machine code anew (nvcc, nvdisasm): projection.json"
    )
    options = parser.parse_args()
    if options.read_sass:
        sass.read()
    print(section(load(RESULTS)))


if __name__ == "__main__":
    main()
