"""The demo's results as a table for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from s2sfast.demo.decoders import PRUNING
from s2sfast.demo.gold import Gold
from s2sfast.demo.measure import Run
from s2sfast.demo.metrics import quality

SYSTEMS = {"package": "g2p-en's NumPy", "s2sfast": "s2sfast", "pytorch": "plain PyTorch"}

CAVEAT = "The model was fitted on these words: the figures say how well it fits CMUdict, not how it generalises."


class Row(NamedTuple):
    """One line of the table. Rates are fractions, latencies milliseconds; ``beam`` None is greedy search.

    ``same_as_s2sfast``: of how many words the first answer equals that of s2sfast's search with the same settings.
    """

    system: str
    beam: int | None
    pruning: bool
    per: float
    accuracy: float
    per_no_stress: float
    accuracy_no_stress: float
    words_per_second: float
    latency_ms_p50: float
    latency_ms_p95: float
    model_rows: int
    candidates: int
    pruned: int
    same_as_s2sfast: int


def table_rows(runs: Sequence[Run], words: Sequence[str], gold: Gold) -> list[Row]:
    """The figures of every run, in the order of the runs."""
    ours = {(run.decoder.beam, run.decoder.pruning): run.answers for run in runs if run.decoder.system == "s2sfast"}
    rows = []
    for run in runs:
        decoder = run.decoder
        twins = zip(run.answers, ours[decoder.beam, decoder.pruning], strict=True)
        rows.append(
            Row(
                decoder.system,
                decoder.beam,
                decoder.pruning,
                *quality(words, run.answers, gold),
                words_per_second=run.words_per_second,
                latency_ms_p50=run.latency_ms(50),
                latency_ms_p95=run.latency_ms(95),
                model_rows=run.model_rows,
                candidates=run.candidates,
                pruned=run.pruned,
                same_as_s2sfast=sum(answer == twin for answer, twin in twins),
            )
        )
    return rows


def as_table(rows: Sequence[Row]) -> str:
    """The table that the demo prints, one line per search, the systems apart."""
    cells = [[heading for heading, _ in _COLUMNS], *([show(row) for _, show in _COLUMNS] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in cells]
    parted = [lines[0], "-" * len(lines[0])]
    for row, line in zip(rows, lines[1:], strict=True):
        new_system = row.beam is None and row is not rows[0]
        parted += ["", line] if new_system else [line]
    return "\n".join(parted)


def search_name(beam: int | None, pruning: bool) -> str:
    """What the table calls a search."""
    return ("greedy" if beam is None else f"beam {beam}") + (" pruned" if pruning else "")


_COLUMNS: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("system", lambda row: SYSTEMS[row.system]),
    ("search", lambda row: search_name(row.beam, row.pruning)),
    ("PER %", lambda row: f"{100 * row.per:.2f}"),
    ("no stress", lambda row: f"{100 * row.per_no_stress:.2f}"),
    ("words right %", lambda row: f"{100 * row.accuracy:.1f}"),
    ("no stress", lambda row: f"{100 * row.accuracy_no_stress:.1f}"),
    ("words/s", lambda row: f"{row.words_per_second:,.0f}"),
    ("p50 ms", lambda row: f"{row.latency_ms_p50:.2f}"),
    ("p95 ms", lambda row: f"{row.latency_ms_p95:.2f}"),
    ("model rows", lambda row: f"{row.model_rows:,}"),
    ("candidates", lambda row: f"{row.candidates:,}"),
    ("pruned", lambda row: f"{row.pruned:,}" if row.pruning else "-"),
)


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows as plain objects; a pruned search names its rules."""
    return [row._asdict() | {"pruning": {"absolute": PRUNING.absolute} if row.pruning else None} for row in rows]
