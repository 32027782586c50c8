"""An aim and what became of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.results import Results, Row


@dataclass
class Verdict:
    aim: str
    wanted: str
    got: str
    met: bool | None
    """None: not measured."""
    note: str = ""

    @property
    def text(self) -> str:
        return "not measured" if self.met is None else ("met" if self.met else "**missed**") + self.note


def compare(
    results: Results, op: str, case: str, rival: str, judge: Callable[[Row, Row], Verdict], aim: str
) -> Verdict:
    """What `judge` says of our row and the rival's, on one thread."""
    rows = results.of(op, 1).get(case, {})
    if "fast" not in rows or rival not in rows:
        return Verdict(aim, "-", "-", None)
    return judge(rows["fast"], rows[rival])


def faster(
    results: Results, op: str, case: str, rival: str, wanted: float, bounds: Mapping[tuple[str, str], str]
) -> Verdict:
    """`bounds`: what an aim was missed for, by op and rival."""
    aim = f"{op} {case}, one thread, over `{rival}`"

    def judge(ours: Row, theirs: Row) -> Verdict:
        got = theirs.median / ours.median
        note = "" if got >= wanted else f" by {wanted / got:.2f}x: {bounds.get((op, rival), 'not known why')}"
        return Verdict(aim, f"at least {wanted:g}x", f"{got:.1f}x", got >= wanted, note)

    return compare(results, op, case, rival, judge, aim)
