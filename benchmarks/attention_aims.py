"""What the project set itself for attention and copying: float32, one thread."""

from __future__ import annotations

from benchmarks.results import Results, Row
from benchmarks.verdict import Verdict, compare, faster

FASTER = (
    ("additive_attention", "B16-Q5-T64-D512", "compiled", 8.0),
    ("additive_attention", "B16-Q64-T64-D512", "eager", 12.0),
    ("additive_attention", "B16-Q64-T64-D512", "compiled", 12.0),
    ("additive_attention", "B16-Q256-T256-D512", "eager", 12.0),
    ("additive_attention", "B16-Q256-T256-D512", "compiled", 12.0),
    ("cosine_attention", "B16-Q5-T64-D512", "eager", 5.0),
    ("dot_attention", "B1-Q1-T64-D512", "sdpa", 3.0),
    ("dot_attention", "B1-Q5-T64-D512", "sdpa", 3.0),
    ("dot_attention", "B1-Q5-T1024-D512", "sdpa", 3.0),
    ("pointer_nll", "R800-V50k-T100", "eager", 4.0),
    ("pointer_nll", "R800-V50k-T400", "eager", 4.0),
)
LEANER = (
    ("additive_attention", "B16-Q64-T64-D512", "eager", 0.02),
    ("additive_attention", "B16-Q256-T256-D512", "eager", 0.02),
    ("additive_attention", "B16-Q256-T256-D512", "compiled", 0.02),
    ("pointer_nll", "R800-V50k-T100", "eager", 0.2),
    ("pointer_nll", "R800-V50k-T400", "eager", 0.2),
)
"""Peak memory, as a share of the rival's."""
BOUNDS = {
    (
        "additive_attention",
        "compiled",
    ): "the tanh bounds it, see the row on it; the aim was set where the rival was slower",
    (
        "cosine_attention",
        "eager",
    ): "float32 multiply-adds bound it: products, norms and sums of every key; the aim was set "
    "where the rival was slower",
    ("dot_attention", "sdpa"): "at one query the call itself, at five the multiply-adds; the rival is spelled with a "
    "dimension of heads, which makes it faster",
    ("pointer_nll", "eager"): "the gradient of the logits, which has to be returned, is a third of the rival's peak",
}
"""What an aim was missed for."""
FLOOR = ("additive_attention", "B16-Q5-T64-D512", 1.3)


def verdicts(results: Results) -> list[Verdict]:
    found = [faster(results, *aim, BOUNDS) for aim in FASTER] + [_leaner(results, *aim) for aim in LEANER]
    return [*found, _floor(results), _never_slower(results)]


def _leaner(results: Results, op: str, case: str, rival: str, wanted: float) -> Verdict:
    aim = f"{op} {case}, forward and back: peak memory, of `{rival}`'s"

    def judge(ours: Row, theirs: Row) -> Verdict:
        mine, other = ours.info.get("peak_bytes"), theirs.info.get("peak_bytes")
        if not mine or not other:
            return Verdict(aim, f"at most {100 * wanted:g} %", "-", None)
        got = f"{100 * mine / other:.1f} % ({mine / 1e6:.3g} of {other / 1e6:.4g} MB)"
        met = mine <= wanted * other
        note = "" if met else f": {BOUNDS.get((op, rival), 'not known why')}"
        return Verdict(aim, f"at most {100 * wanted:g} %", got, met, note)

    return compare(results, op, case, rival, judge, aim)


def _floor(results: Results) -> Verdict:
    op, case, wanted = FLOOR
    aim = f"{op} {case}, one thread, against the bare tanh of its numbers"

    def judge(ours: Row, floor: Row) -> Verdict:
        got = ours.median / floor.median
        return Verdict(aim, f"at most {wanted:g}x", f"{got:.2f}x", got <= wanted)

    return compare(results, op, case, "floor", judge, aim)


def _never_slower(results: Results) -> Verdict:
    """Of dot attention, at every size and number of threads, against SDPA."""
    aim, ratios = "dot_attention against SDPA, every row", {}
    for threads in (1, 2):
        for case, rows in results.of("dot_attention", threads).items():
            if "fast" in rows and "sdpa" in rows:
                ratios[f"{case}, {threads} thread(s)"] = rows["sdpa"].median / rows["fast"].median
    if not ratios:
        return Verdict(aim, "never slower", "-", None)
    slower = [f"{ratio:.2f}x ({where})" for where, ratio in ratios.items() if ratio < 1]
    return Verdict(aim, "never slower", ", ".join(slower) or f"at least {min(ratios.values()):.2f}x", not slower)
