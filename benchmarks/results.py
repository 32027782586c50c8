"""Reads the JSON files of a folder and finds what the report asks for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

OURS = ("fast", "out")
NOT_RIVALS = (*OURS, "logsumexp", "floor")
OPS_OF = {
    "ops": ("beam_topk", "backtrace"),
    "attention": (
        "dot_attention", "bilinear_attention", "cosine_attention", "additive_scores", "additive_attention",
        "pointer_mixture", "pointer_nll",
    ),
    "ntm": ("content_address", "location_address", "memory_read", "memory_write", "ntm_step"),
}  # fmt: skip
"""The ops whose rows a file has, by its kind: of the search, of attention and copying, of a Neural Turing Machine."""
OPS_KINDS = tuple(OPS_OF)
KINDS = (*OPS_KINDS, "bandwidth", "empty_op", "search_overhead", "search_rivals", "search_quality")


@dataclass
class Row:
    """One contestant at one size and number of threads. Seconds."""

    op: str
    case: str
    threads: int
    provider: str
    median: float
    q1: float
    q3: float
    rounds: int
    bytes_moved: int = 0
    info: dict[str, Any] = field(default_factory=dict)
    elsewhere: bool = False
    """On another machine than the first file of its kind; the case says so."""

    @property
    def rate(self) -> float:
        """GB/s of what the op must move, whatever the contestant moves beyond it."""
        return self.bytes_moved / self.median / 1e9


@dataclass
class Results:
    files: dict[str, dict[str, Any]]
    """By kind; "KIND, ISA" for ops that were measured on a second machine."""
    rows: list[Row]
    """Of the ops."""

    def of(self, op: str, threads: int) -> dict[str, dict[str, Row]]:
        """{case: {provider: row}} in the order of the table of cases."""
        found: dict[str, dict[str, Row]] = {}
        for row in self.rows:
            if (row.op, row.threads) == (op, threads):
                found.setdefault(row.case, {})[row.provider] = row
        return found

    def about(self, what: str) -> Any:
        """`what` of the files of ops together: "providers" (a dict) or "left_out" (a list)."""
        parts = [content[what] for content in self.files.values() if content["kind"] in OPS_KINDS]
        if what == "providers":
            return {op: texts for part in parts for op, texts in part.items()}
        return [entry for part in parts for entry in part]

    def ops(self) -> list[tuple[str, int]]:
        return sorted(dict.fromkeys((row.op, row.threads) for row in self.rows), key=lambda x: x[1])

    def bandwidth(self, threads: int) -> float | None:
        """Measured, in GB/s."""
        rows = self.files.get("bandwidth", {}).get("rows", [])
        return next((row["GB/s"] for row in rows if row["threads"] == threads), None)

    def extra(self, kind: str) -> list[dict[str, Any]]:
        return self.files.get(kind, {}).get("rows", [])


def best_rival(rows: dict[str, Row]) -> Row | None:
    """The fastest that is not ours and does the same work."""
    return min((row for row in rows.values() if row.provider not in NOT_RIVALS), key=lambda r: r.median, default=None)


def load(folder: Path) -> Results:
    """Raises:
    SystemExit: no results, or a file that is none.
    """
    files: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("*.json")):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise SystemExit(f"benchmarks: {path.name} is not JSON: {error}") from error
        kind = content.get("kind") if isinstance(content, dict) else None
        if kind not in KINDS:
            raise SystemExit(f"benchmarks: expected {path.name} to be of kind {', '.join(KINDS)}; got {kind}")
        name = kind
        if kind in files and kind in OPS_KINDS:
            name = f"{kind}, {where(content)['machine']['isa']}"
        if name in files:
            raise SystemExit(f"benchmarks: expected one file of {name} in the folder; {path.name} is another")
        files[name] = content
    if "ops" not in files:
        raise SystemExit("benchmarks: no results of the ops; run `make bench`, or the commands in benchmarks/README.md")
    return Results(files, [row for kind in OPS_KINDS for row in _rows(files, kind)])


def _rows(files: dict[str, dict[str, Any]], kind: str) -> Iterator[Row]:
    for name, content in files.items():
        if content["kind"] != kind:
            continue
        machine = name.removeprefix(kind)
        for benchmark in content["benchmarks"]:
            info, stats = benchmark["extra_info"], benchmark["stats"]
            keys = {key: info[key] for key in ("op", "case", "threads", "provider", "bytes_moved")}
            keys["case"] += machine
            times = {key: stats[key] for key in ("median", "q1", "q3", "rounds")}
            yield Row(**keys, **times, info=info, elsewhere=bool(machine))


def where(content: dict[str, Any]) -> dict[str, Any]:
    """Machine, versions, commit and date of one file, in the form that `environment` has."""
    if "machine_info" not in content:
        return {name: content[name] for name in ("machine", "versions", "commit", "date")}
    machine = dict(content["machine_info"])
    versions = machine.pop("versions")
    return {"machine": machine, "versions": versions, "commit": content["commit_info"], "date": content["datetime"]}
