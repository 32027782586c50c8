"""What the project set itself for the Neural Turing Machine: float32, one thread."""

from __future__ import annotations

from benchmarks.results import Results
from benchmarks.verdict import Verdict, faster

FASTER = (
    *(("B1-N128-M20-heads1" + kind, "eager", 30.0) for kind in ("", "-raw")),
    *(("B1-N128-M20-heads1" + kind, "compiled", 15.0) for kind in ("", "-raw")),
    *(("B1-N128-M20-heads1" + kind, "eager", 15.0) for kind in ("-back", "-raw-back")),
    *(("B1-N128-M20-heads1" + kind, "compiled", 8.0) for kind in ("-back", "-raw-back")),
    *(("B16-N1024-M64-heads4" + kind, "compiled", 3.0) for kind in ("", "-raw")),
    *(("B16-N1024-M64-heads4" + kind, "compiled", 15.0) for kind in ("-back", "-raw-back")),
)
"""Of ntm_step; "-raw": the heads are a controller's numbers; "-back": forward and back."""
BOUNDS = {
    "B1-N128-M20": "the call bounds it, see docs/ntm_step.md; the aim was set where the rivals were slower",
    "B16-N1024-M64": "multiply-adds of all heads are about half, the rest memory beyond L2 and rows of weights, see "
    "docs/ntm_step.md; the aim was set where the rival was slower",
}
"""What an aim was missed for, by size."""


def verdicts(results: Results) -> list[Verdict]:
    found = []
    for case, rival, wanted in FASTER:
        why = next(text for size, text in BOUNDS.items() if case.startswith(size))
        found.append(faster(results, "ntm_step", case, rival, wanted, {("ntm_step", rival): why}))
    return found
