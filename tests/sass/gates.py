"""What each kernel must keep to: tests/sass/gates.json against what is measured.

The table has two parts. `needs` is written by people: per kernel, or per pattern of names as in "scan<*, true>", what
its hot code is asked for, and why; of several patterns that fit, the longest counts. `kernels` is written by
`python -m tests.sass --update`: caps per kernel and architecture with the measured values beside them. The rule for
caps: registers, the next multiple of 8, which is the unit that registers are handed out in, so what fits below the cap
costs no occupancy; spills, stack and local memory, 0. An update lowers caps and never raises them, nor drops a row:
that takes `--loosen KERNEL`, or an editor. It changes no need that is there.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from tests.sass.compile import compiler_version
from tests.sass.occupancy import REGISTER_UNIT, round_up
from tests.sass.report import WIDE, Kernel

TABLE = Path(__file__).with_name("gates.json")
ZERO_CAPS = ("spill_bytes", "stack_bytes", "local_instructions")
LOOP, KERNEL = "loop", "kernel"


@dataclass(frozen=True)
class Need:
    """A row of `needs`."""

    why: str
    wide: bool
    """The hot loads are of 16 bytes per thread, every one of them, and there is one."""
    in_flight: int
    """Hot loads in flight at least."""
    occupancy: float
    """Percent at least."""
    where: str = LOOP
    """What is hot: "loop", the loop with the most bytes in flight; "kernel", the spot of the kernel with the most, for
    kernels whose hot code is unrolled until no loop is left."""
    dynamic_shared: int = 0
    """Bytes that a launch asks for, at most: counts in the occupancy."""


@dataclass(frozen=True)
class Failure:
    kernel: str
    arch: str
    expected: str
    got: str

    def __str__(self) -> str:
        return f"{self.kernel}, {self.arch}: expected {self.expected}, got {self.got}"


def load(path: Path = TABLE) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"needs": {}, "kernels": {}}


def save(table: dict[str, Any], path: Path = TABLE) -> None:
    """One line per need and per architecture of a kernel, so that a change shows as a line of a diff."""

    def lines(rows: dict[str, Any], indent: str) -> str:
        return ",\n".join(f"{indent}{json.dumps(key)}: {json.dumps(row)}" for key, row in rows.items())

    kernels = [f"  {json.dumps(name)}: {{\n{lines(rows, '   ')}\n  }}" for name, rows in table["kernels"].items()]
    parts = [f' "nvcc": {json.dumps(table["nvcc"])}', f' "needs": {{\n{lines(table["needs"], "  ")}\n }}']
    parts.append(' "kernels": {\n' + ",\n".join(kernels) + "\n }")
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


def check(kernels: Sequence[Kernel], table: dict[str, Any]) -> list[Failure]:
    """Every gate that is broken, in the order of the kernels; then what the table has and the code has not."""
    failures = [failure for kernel in kernels for failure in _check_kernel(kernel, table)]
    failures += _doubles(kernels)
    names = {kernel.name for kernel in kernels}
    every = "every arch"
    for name in table["kernels"].keys() - names:
        failures.append(Failure(name, every, "a kernel of this name, for its row in the table", "none"))
    for pattern in table["needs"]:
        if not any(fnmatchcase(name, pattern) for name in names):
            failures.append(Failure(pattern, every, "a kernel of this name, for its row in the needs", "none"))
    return failures


def _check_kernel(kernel: Kernel, table: dict[str, Any]) -> list[Failure]:
    failures: list[Failure] = []

    def fail(expected: str, got: object) -> None:
        failures.append(Failure(kernel.name, kernel.arch, expected, str(got)))

    row = table["kernels"].get(kernel.name, {}).get(kernel.arch)
    need = _need(kernel.name, table)
    if row is None:
        fail("a row in the table (python -m tests.sass --update)", "none")
    if need is None:
        fail("a row in the needs (python -m tests.sass --update)", "none")
    values = measured(kernel, need)
    if row is not None:
        for what, cap in row["caps"].items():
            if values[what] > cap:
                fail(f"{what} <= {cap}", values[what])
        if table.get("nvcc") == compiler_version() and row["measured"] != values:  # another compiler differs of course
            changed = [what for what in values if values[what] != row["measured"].get(what)]
            fail(f"measured values up to date (python -m tests.sass --update): {', '.join(changed)}", "older ones")
    if need is not None:
        failures += _check_need(kernel, need, values)
    return failures


def _check_need(kernel: Kernel, need: Need, values: dict[str, Any]) -> list[Failure]:
    broken = []
    if not need.why.strip():
        broken.append(("a reason (why) in the needs", "none"))
    if need.wide and (not values["hot_widths"] or min(values["hot_widths"]) < WIDE):
        widths = f"widths {values['hot_widths']}" if values["hot_widths"] else "no loads"
        broken.append((f"128-bit loads only in the hot {need.where}", widths))
    if values["in_flight"] < need.in_flight:
        broken.append((f"loads in flight >= {need.in_flight}", values["in_flight"]))
    if values["occupancy"] is None:
        broken.append(("__launch_bounds__", "none"))
    elif values["occupancy"] < need.occupancy:
        broken.append((f"occupancy >= {need.occupancy:g} %", f"{values['occupancy']:g} %"))
    return [Failure(kernel.name, kernel.arch, expected, str(got)) for expected, got in broken]


def _doubles(kernels: Iterable[Kernel]) -> list[Failure]:
    sources: dict[tuple[str, str], list[str]] = {}
    for kernel in kernels:
        sources.setdefault((kernel.name, kernel.arch), []).append(kernel.source)
    return [
        Failure(name, arch, "one kernel of this name", " and ".join(found))
        for (name, arch), found in sources.items()
        if len(found) > 1
    ]


def _need(name: str, table: dict[str, Any]) -> Need | None:
    """The row that fits; of several the longest, so that a kernel can be an exception to a pattern."""
    fitting = [pattern for pattern in table["needs"] if pattern == name or fnmatchcase(name, pattern)]
    return Need(**table["needs"][max(fitting, key=len)]) if fitting else None


def measured(kernel: Kernel, need: Need | None = None) -> dict[str, Any]:
    """What the caps and needs of a kernel are held against."""
    unrolled = need is not None and need.where == KERNEL
    region = kernel.whole if unrolled else kernel.hot
    held = kernel.occupancy(need.dynamic_shared if need else 0)
    return {
        "registers": kernel.resources.registers,
        "spill_bytes": kernel.resources.spill_stores + kernel.resources.spill_loads,
        "stack_bytes": kernel.resources.stack,
        "local_instructions": kernel.local,
        "shared_bytes": kernel.resources.shared,
        "threads": kernel.threads,
        "occupancy": held.percent if held else None,
        "wide_loads": kernel.wide_loads,
        # Of a kernel without loops, only the loads of its densest spot are hot.
        "hot_widths": sorted(set(region.loads if region.depth else region.in_flight)),
        "in_flight": len(region.in_flight),
        "issue_cycles": region.fullest.cycles,
        "issue_slots": region.fullest.slots,
    }


def update(
    kernels: Sequence[Kernel], table: dict[str, Any], loosen: Iterable[str] = ()
) -> tuple[dict[str, Any], list[str]]:
    """The table with values measured anew and caps by the rule, and what has to be said about it.

    A kernel without a need gets one of what it reaches now, with an empty `why`: the check fails until that is written.
    """
    loosened, notes = set(loosen), []
    needs, names = dict(table["needs"]), {kernel.name for kernel in kernels}
    rows = {name: dict(of) for name, of in table["kernels"].items() if name in names or name not in loosened}
    for name in sorted(names):
        if _need(name, table) is None:
            needs[name] = _reached([kernel for kernel in kernels if kernel.name == name])
            notes.append(f"{name}: a need of what it reaches now was added; write its why")
    for name in sorted(table["kernels"].keys() - names):
        notes.append(f"{name}: no such kernel; its row is " + ("dropped" if name in loosened else "kept (--loosen)"))
    new = {"needs": needs, "kernels": rows}
    for kernel in kernels:
        values = measured(kernel, _need(kernel.name, new))
        old = rows.setdefault(kernel.name, {}).get(kernel.arch, {}).get("caps", {})
        caps = {"registers": round_up(values["registers"], REGISTER_UNIT)}
        caps |= {what: values[what] if kernel.name in loosened else 0 for what in ZERO_CAPS}
        if kernel.name not in loosened:
            caps = {what: min(cap, old.get(what, cap)) for what, cap in caps.items()}
        rows[kernel.name][kernel.arch] = {"caps": caps, "measured": values}
        notes += [
            f"{kernel.name}, {kernel.arch}: {what} {values[what]} is over its cap {cap}, which stays (--loosen)"
            for what, cap in caps.items()
            if values[what] > cap
        ]
    return {"nvcc": compiler_version(), "needs": needs, "kernels": dict(sorted(rows.items()))}, notes


def _reached(kernels: list[Kernel]) -> dict[str, Any]:
    values = [measured(kernel) for kernel in kernels]
    return {
        "why": "",
        "where": LOOP if all(kernel.hot.depth for kernel in kernels) else KERNEL,
        "wide": all(of["hot_widths"] and min(of["hot_widths"]) >= WIDE for of in values),
        "in_flight": min(of["in_flight"] for of in values),
        "occupancy": min(of["occupancy"] or 0 for of in values),
    }
