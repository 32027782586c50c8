"""What whole decodes were to reach, on one thread, and what became of it."""

from __future__ import annotations

from typing import Any

from benchmarks.results import Results
from benchmarks.verdict import Verdict

OUTSIDE = 5.0
"""How many times less than transformers' the time outside the model should be."""
END_TO_END = (("whisper", 2.2), ("marian", 1.15))
"""Times faster than transformers, one sentence, five beams."""
BOUNDS = {
    "marian outside": "traced by line, 0.3 ms is the ranking, 0.45 ms the rest of the search, 0.2 ms inputs and masks, "
    "0.35 ms what transformers does around its decoder, on caches that 150 MB of weights have emptied: a torch "
    "operation of 5 us takes 50 there",
    "t5 outside": "as Marian",
    "bart outside": "as Marian",
    "whisper": "the encoder, 0.6 to 1.2 s, is the same on both sides; then the output layer's 80 MB of weights",
}
"""What an aim was missed for."""


def verdicts(results: Results) -> list[Verdict]:
    found = []
    rows = [row for row in results.extra("search_rivals") if row["threads"] == 1 and row["beam"] == 5]
    for family in dict.fromkeys(row["family"] for row in rows):
        for batch in sorted({row["batch"] for row in rows}):
            ours, theirs = (_row(rows, family, batch, name) for name in ("s2sfast", "transformers"))
            if ours and theirs:
                aim = f"{family} K=5 B={batch}, time outside the model over transformers'"
                found.append(_judged(aim, theirs["outside"] / ours["outside"], OUTSIDE, f"{family} outside"))
    for family, wanted in END_TO_END:
        ours, theirs, other = (_row(rows, family, 1, name) for name in ("s2sfast", "transformers", "ctranslate2"))
        if ours and theirs:
            aim = f"{family} K=5 B=1, a whole decode over transformers'"
            judged = _judged(aim, theirs["median"] / ours["median"], wanted, family)
            if other and not judged.met:
                judged.note += f"; CTranslate2 reaches {theirs['median'] / other['median']:.2f}x"
            found.append(judged)
    return found


def _row(rows: list[dict[str, Any]], family: str, batch: int, provider: str) -> dict[str, Any] | None:
    wanted = {"family": family, "batch": batch, "provider": provider}
    return next((row for row in rows if wanted.items() <= row.items()), None)


def _judged(aim: str, got: float, wanted: float, bound: str) -> Verdict:
    note = "" if got >= wanted else f" by {wanted / got:.2f}x: {BOUNDS.get(bound, 'not known why')}"
    return Verdict(aim, f"at least {wanted:g}x", f"{got:.1f}x" if got >= 2 else f"{got:.2f}x", got >= wanted, note)
