"""gpu_ops.json as a page: what `benchmarks/gpu.sh` leaves for people."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from benchmarks import projection_sass
from benchmarks.projection_model import GPUS, step, walk
from benchmarks.results import Row, best_rival
from benchmarks.tables import spread
from benchmarks.text import seconds, table, times

OURS = ("fast", "out", "graph")
HOW = """\
Medians by CUDA events, quartiles in brackets; contestants took turns, and each one's answer was compared with the
reference first. L2 warm: calls one after the other on the same input, host included where it is the slower one. L2
flushed: the cache is overwritten before each call, the host runs ahead. "over" is the best rival's median over that of
the best of ours: below 1 we lose, and the row says so. Warm, `graph` does not count there: a graph takes the host's
time away, and a rival would gain by one too. GB/s counts what the op must read and write; "of read" is its share of
the read rate measured on this device, and is above 100 % where the input stays in L2. "projected": docs/cuda.md."""


def document(content: dict[str, Any]) -> str:
    gpu, commit = content["gpu"], content["commit"]
    versions = ", ".join(f"{name} {value}" for name, value in content["versions"].items())
    about = (
        f"{gpu['name']} (capability {gpu['capability']}, {gpu['sms']} SMs, L2 {gpu['l2_mb']} MB, "
        f"{gpu['memory_gib']} GiB), driver {gpu['driver']}, CUDA {gpu['cuda']}, {versions}, commit {commit['id'][:10]}"
        f"{' with changes' if commit['dirty'] else ''}, {content['date'][:10]}. "
        f"Measured read rate: {gpu['read_GB/s']:g} GB/s."
    )
    parts = ["# Ops on CUDA, measured", about, HOW]
    if content["quick"]:
        parts.append("**From a quick run: good for nothing but a look.**")
    if content["wrong"]:
        parts.append("**Failed**, so no times:\n\n" + "\n".join(f"* {line}" for line in content["wrong"]))
    for op in dict.fromkeys(row["op"] for row in content["rows"]):
        for cache in ("warm", "flushed"):
            parts += [f"## {op}, L2 {cache}", _table(content, op, cache)]
    about_providers = [
        f"* {op}, `{name}`: {text}" for op, of in content["providers"].items() for name, text in of.items()
    ]
    return "\n\n".join([*parts, "## Contestants", "\n".join(about_providers), _left_out(content["left_out"])]) + "\n"


def _table(content: dict[str, Any], op: str, cache: str) -> str:
    cases: dict[str, dict[str, Row]] = {}
    for row in content["rows"]:
        if (row["op"], row["cache"]) == (op, cache):
            cases.setdefault(row["case"], {})[row["provider"]] = _row(row)
    names = list(dict.fromkeys(name for rows in cases.values() for name in rows))
    limit = content["gpu"]["read_GB/s"]
    lines = []
    for case, rows in cases.items():
        ours = [rows[name] for name in (OURS if cache == "flushed" else OURS[:2]) if name in rows]
        best = min(ours, key=lambda row: row.median)
        rival = best_rival({name: row for name, row in rows.items() if name not in OURS})
        lost = rival is not None and rival.median < best.median
        over = f"{times(rival.median / best.median)} ({rival.provider})" if rival else "-"
        line = [f"**LOSS** {case}" if lost else case, over, f"{best.rate:.0f}", f"{100 * best.rate / limit:.0f} %"]
        line.append(_projected(content["gpu"]["name"], op, best.info["sizes"]))
        lines.append(line + [spread(rows[name]) if name in rows else "left out" for name in names])
    marked = [f"{name} (not the same work)" if name == "logsumexp" else name for name in names]
    return table(["case", "over", "GB/s", "of read", "projected", *marked], lines)


def _row(row: dict[str, Any]) -> Row:
    keys = {name: row[name] for name in ("op", "case", "provider", "median", "q1", "q3", "rounds", "bytes_moved")}
    return Row(**keys, threads=1, info=row)


def _projected(gpu_name: str, op: str, sizes: dict[str, int]) -> str:
    """For a device that the projection is of; "-" for others."""
    gpu = next((gpu for gpu in GPUS if gpu.name.split()[0] in gpu_name), None)
    try:
        kernels = projection_sass.load()["kernels"]
    except SystemExit:
        return "-"  # of other code; `python -m benchmarks.report --check` says so
    model = {"beam_topk": step, "backtrace": walk}.get(op)
    return "-" if gpu is None or model is None else seconds(model(gpu, kernels, **sizes).total)


def _left_out(entries: list[dict[str, str]]) -> str:
    if not entries:
        return "Nothing was left out."
    reasons: dict[str, list[str]] = {}
    for entry in entries:
        reasons.setdefault(f"{entry['op']}, `{entry['provider']}`: {entry['reason']}", []).append(entry["case"])
    return "Left out:\n\n" + "\n".join(f"* {why}: {', '.join(of)}" for why, of in reasons.items())


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu_tables", description="Prints the page of a gpu_ops.json."
    )
    parser.add_argument("json", type=Path, help="what benchmarks/gpu.sh has written")
    print(document(json.loads(parser.parse_args().json.read_text(encoding="utf-8"))), end="")


if __name__ == "__main__":
    main()
