"""What the project set itself, and whether the results meet it. Cases are named as in the tables of cases."""

from __future__ import annotations

from typing import Any

from benchmarks import attention_aims, ntm_aims, search_aims
from benchmarks.results import Results
from benchmarks.verdict import Verdict

SPEEDUPS = (("B1-K5-V32k", 10.0), ("B8-K5-V32k", 10.0), ("B1-K5-V256k", 10.0), ("B1-K50-V32k", 4.0))
"""Of beam_topk over the best eager spelling, float32, one thread."""
FLOOR = 2.0
"""Times a bare log-sum-exp pass, one thread."""
CALL_COST = 3e-6
"""Seconds that a call at the smallest size may take beyond an empty op."""


def verdicts(results: Results) -> list[Verdict]:
    return [
        *_speedups(results),
        *_call_costs(results),
        _log_sum_exp(results),
        *attention_aims.verdicts(results),
        *ntm_aims.verdicts(results),
        *search_aims.verdicts(results),
    ]


def _speedups(results: Results) -> list[Verdict]:
    found = []
    for case, wanted in SPEEDUPS:
        rows = results.of("beam_topk", 1).get(case, {})
        aim = f"beam_topk {case}, one thread, over the best eager spelling"
        if "fast" not in rows or "eager" not in rows:
            found.append(Verdict(aim, f"{wanted:g}x", "-", None))
            continue
        got = rows["eager"].median / rows["fast"].median
        note = "" if got >= wanted else f" by {wanted / got:.2f}x"
        found.append(Verdict(aim, f"at least {wanted:g}x", f"{got:.1f}x", got >= wanted, note))
    return found


def _call_costs(results: Results) -> list[Verdict]:
    rows: dict[str, dict[str, Any]] = {row["provider"]: row for row in results.extra("empty_op")}
    found = []
    for provider, empty in (("fast", "empty"), ("fast", "aten"), ("out", "empty out")):
        aim = f"a call of beam_topk at the smallest size, `{provider}`, beyond the stand-in `{empty}` for an empty op"
        wanted = f"at most {CALL_COST * 1e6:g} us"
        if provider not in rows or empty not in rows:
            found.append(Verdict(aim, wanted, "-", None))
            continue
        beyond = rows[provider]["median"] - rows[empty]["median"]
        note = "" if beyond <= CALL_COST else f" by {(beyond - CALL_COST) * 1e6:.1f} us"
        got = f"{beyond * 1e6:.1f} us ({rows[provider]['median'] * 1e6:.1f} - {rows[empty]['median'] * 1e6:.1f})"
        found.append(Verdict(aim, wanted, got, beyond <= CALL_COST, note))
    return found


def _log_sum_exp(results: Results) -> Verdict:
    ratios = {}
    for case, _ in SPEEDUPS:
        rows = results.of("beam_topk", 1).get(case, {})
        if "fast" in rows and "floor" in rows:
            ratios[case] = rows["fast"].median / rows["floor"].median
    shown = ", ".join(f"{ratio:.2f}x ({case})" for case, ratio in ratios.items()) or "-"
    met = max(ratios.values()) <= FLOOR if ratios else None
    return Verdict("beam_topk against a bare log-sum-exp pass", f"at most {FLOOR:g}x", shown, met)
