"""What a call costs before it does any work.

An empty op with three outputs does not exist in the library. Two stand-ins: the op itself on an empty batch, B=0, which
goes through Python, the dispatcher and all checks, allocates its three outputs and finds nothing to do; and an op of
PyTorch with three outputs on an empty tensor, called by the same way (torch.ops), without any Python or check of ours.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.environment import RESULTS, write
from benchmarks.rounds import interleave
from s2sfast.cases import beam_topk

ABOUT = {
    "fast": "s2sfast.beam_topk",
    "out": "s2sfast.beam_topk with out=",
    "empty": "s2sfast.beam_topk at B=0: checks and allocates three outputs (a stand-in for an empty op)",
    "empty out": "the same with out=: checks only",
    "aten": "torch.ops.aten.native_layer_norm of an empty tensor: three outputs, PyTorch's own (another stand-in)",
    "raw": "torch.ops.s2sfast.beam_topk, without the Python function around it",
    "three torch.empty": "allocating the three outputs in Python, for orientation",
}


def contestants() -> tuple[dict[str, int], dict[str, Callable[[], Any]]]:
    op = beam_topk.OP
    sizes = min(op.of("bench"), key=lambda case: op.bytes_moved(**case.sizes)).sizes
    generator = torch.Generator().manual_seed(0)

    def sample(**changes: int) -> tuple[tuple, dict]:
        return op.sample(torch.float32, "cpu", generator, **{**sizes, **changes})

    args, kwargs = sample()
    none, _ = sample(B=0)
    raw, arguments = op.raw
    shape = (sizes["B"], sizes["k"])

    def allocate() -> tuple:
        return torch.empty(shape), torch.empty(shape, dtype=torch.int64), torch.empty(shape, dtype=torch.int64)

    return sizes, {
        "fast": partial(op.fast, *args),
        "out": partial(op.fast, *args, out=op.fast(*args)),
        "empty": partial(op.fast, *none),
        "empty out": partial(op.fast, *none, out=op.fast(*none)),
        "aten": partial(torch.ops.aten.native_layer_norm.default, torch.empty(0, 1), [1], None, None, 1e-5),
        "raw": partial(raw, *arguments(args, kwargs)),
        "three torch.empty": allocate,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.empty_op", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of results")
    parser.add_argument("--quick", action="store_true", help="few rounds: does it run?")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sizes, functions = contestants()
    effort: dict[str, Any] = {"rounds": 5, "budget": 0.3} if options.quick else {"rounds": 101, "budget": 20.0}
    rows = []
    for name, timing in interleave(functions, threads=1, **effort).items():
        print(f"{name:18s} {timing.median * 1e6:6.2f} us", flush=True)
        rows.append({"op": "beam_topk", "sizes": sizes, "threads": 1, "provider": name, **timing.as_dict()})
    write(options.out / "empty_op.json", "empty_op", rows, providers=ABOUT, quick=options.quick)


if __name__ == "__main__":
    main()
