"""Whole decodes against transformers' generate and CTranslate2 on the same weights, and the time outside the model.

Every system decodes the same number of tokens, eos being kept out of reach; the best hypotheses are compared before
anything is timed. The time outside the model is what is left of a decode when the calls of encoder, decoder and output
layer are taken away: per step, from two lengths, and once for a decode.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

import s2sfast
from benchmarks.environment import RESULTS, cores, write
from benchmarks.rounds import interleave
from benchmarks.search_models import Twins, make

FAMILIES = ("marian", "t5", "bart", "whisper")
BEAMS = (1, 2, 5, 10, 20, 50)
BATCHES = (1, 8)
TOKENS = 32
Decode = Callable[[], list[list[int]]]
MOST_ROWS = 80
"""Beams times sentences; more is left out: minutes a decode on one core."""


def generate(twins: Twins, inputs: dict[str, Tensor], beam: int, tokens: int, ours: bool) -> list[list[int]]:
    """The best hypothesis of each sentence, its prompt left out."""
    eos = twins.model.generation_config.eos_token_id
    options: dict[str, Any] = {"num_beams": beam, "do_sample": False, "length_penalty": 1.0, "early_stopping": True}
    options |= {"suppress_tokens": [eos], "max_new_tokens": tokens}
    if ours:
        options["custom_generate"] = s2sfast.hf.beam_search
    with torch.no_grad():
        found = twins.model.generate(**inputs, **options)
    return [row[-tokens:] for row in found.tolist()]


class Outside:
    """Measures what decodes spend outside encoder, decoder and output layer."""

    def __init__(self, model: Any):
        self._parts = [model.get_encoder(), model.get_decoder(), model.get_output_embeddings()]
        self._decoder = model.get_decoder()

    def of(self, decodes: dict[str, tuple[Decode, Decode]], budget: float) -> dict[str, dict[str, float]]:
        """For each (short, long): seconds a step, and of the rest of a decode; they take turns, 3 to 9 times."""
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in decodes}
        start = time.monotonic()
        for turn in range(9):
            if turn >= 3 and time.monotonic() - start > budget:
                break
            for name, (short, long) in decodes.items():
                (few, little), (many, much) = self._once(short), self._once(long)
                step = (much - little) / (many - few)
                taken[name].append((step, much - many * step))
        found = {}
        for name, turns in taken.items():
            step, once = (median(values) for values in zip(*turns, strict=True))
            found[name] = {"outside": float(f"{step:.4g}"), "once": float(f"{once:.4g}")}
        return found

    def _once(self, decode: Decode) -> tuple[int, float]:
        """(steps, seconds outside)"""
        clock = time.process_time
        inside, steps = [0.0], [0]
        begun: list[float] = []

        def enter(module: Any, *_: Any) -> None:
            steps[0] += module is self._decoder
            begun.append(clock())

        def leave(*_: Any) -> None:
            start = begun.pop()
            if not begun:
                inside[0] += clock() - start

        hooks = [part.register_forward_pre_hook(enter) for part in self._parts]
        hooks += [part.register_forward_hook(leave) for part in self._parts]
        try:
            start = clock()
            decode()
            return steps[0], clock() - start - inside[0]
        finally:
            for hook in hooks:
                hook.remove()


def race(twins: Twins, batch: int, beam: int, threads: int, tokens: int, budget: float) -> list[dict[str, Any]]:
    """The rows of one setting, one a system."""
    inputs = twins.inputs(batch)
    decodes: dict[str, Decode] = {
        "s2sfast": partial(generate, twins, inputs, beam, tokens, True),
        "transformers": partial(generate, twins, inputs, beam, tokens, False),
        "ctranslate2": partial(twins.translate, inputs, beam, tokens, threads),
    }
    torch.set_num_threads(threads)
    answers = {name: decode() for name, decode in decodes.items()}
    assert answers["s2sfast"] == answers["transformers"], f"{twins.name}: s2sfast and transformers disagree"
    timings = interleave(decodes, threads=threads, budget=budget, rounds=9)
    # The clocks of several threads tell too little.
    outside = _outside(twins, inputs, beam, tokens, budget) if threads == 1 else {}
    rows = []
    for name, timing in timings.items():
        same = sum(a == b for a, b in zip(answers[name], answers["s2sfast"], strict=True))
        row = {"family": twins.name, "batch": batch, "beam": beam, "tokens": tokens, "threads": threads}
        row |= {"provider": name, "same": same, **timing.as_dict()}
        rows.append(row | outside.get(name, {}))
        print(
            f"{twins.name} B={batch} K={beam} threads={threads} {name:13s} {timing.median * 1e3:9.1f} ms"
            + (f", outside the model {outside[name]} s" if name in outside else f", same {same}"),
            flush=True,
        )
    return rows


def _outside(
    twins: Twins, inputs: dict[str, Tensor], beam: int, tokens: int, budget: float
) -> dict[str, dict[str, float]]:
    lengths = (tokens // 4, tokens)
    decodes = {
        name: tuple(partial(generate, twins, inputs, beam, n, name == "s2sfast") for n in lengths)
        for name in ("s2sfast", "transformers")
    }
    return Outside(twins.model).of(decodes, budget)


def settings(beams: list[int], batches: list[int], threads: list[int]) -> list[tuple[int, int, int]]:
    return [(b, k, n) for n in threads for b in batches for k in beams if b * k <= MOST_ROWS]


def main() -> None:
    about = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search_rivals", description=about)
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--beams", nargs="+", type=int, default=list(BEAMS), metavar="K")
    parser.add_argument("--batches", nargs="+", type=int, default=list(BATCHES), metavar="B")
    parser.add_argument("--threads", nargs="+", type=int, default=sorted({1, cores()}), metavar="N")
    parser.add_argument("--budget", type=float, default=25.0, help="seconds of timing for each setting")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of results")
    parser.add_argument("--quick", action="store_true", help="one small setting a family: does it run?")
    options = parser.parse_args()
    import transformers

    transformers.logging.set_verbosity_error()
    if options.quick:
        options.beams, options.batches, options.threads, options.budget = [2], [1], [1], 0.0
    rows, start = [], time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for family in options.families:
            twins = make(family, Path(folder) / family)
            for batch, beam, threads in settings(options.beams, options.batches, options.threads):
                rows += race(twins, batch, beam, threads, 4 if options.quick else TOKENS, options.budget)
    print(f"{time.monotonic() - start:.0f} s")
    write(options.out / "search_rivals.json", "search_rivals", rows, "transformers", "ctranslate2", quick=options.quick)


if __name__ == "__main__":
    main()
