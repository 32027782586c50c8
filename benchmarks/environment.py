"""Where and with what a benchmark ran. No host name and no path: results are committed."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
_BUILT_FROM = ("csrc", "s2sfast", "CMakeLists.txt", "setup.py")


def environment(*packages: str) -> dict[str, Any]:
    """Machine, versions, commit and date; `packages` are further distributions whose version matters."""
    return {"machine": machine(), "versions": versions(*packages), "commit": commit(), "date": now()}


def machine() -> dict[str, Any]:
    import s2sfast  # not at the top: the report needs the places alone, and no built extension

    info = s2sfast.info()
    return {
        "cpu": _cpu_model(),
        "cores": cores(),
        "caches": _caches(),
        "memory_gib": round(_meminfo("MemTotal") / 2**30),
        "isa": info["isa"],
        "isas_found": info["isas_found"],
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions(*packages: str) -> dict[str, str]:
    import s2sfast

    info = s2sfast.info()
    own = "of the commit" if "not installed" in info["s2sfast"] else info["s2sfast"]
    found = {"python": info["python"], "torch": info["torch"], "numpy": info["numpy"], "s2sfast": own}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def commit() -> dict[str, Any]:
    """The commit, and whether what the library is built from differs from it."""

    def git(*arguments: str) -> str:
        command = ["git", "--no-optional-locks", "-C", str(ROOT), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return {"id": git("rev-parse", "HEAD"), "dirty": bool(git("status", "--porcelain", "--", *_BUILT_FROM))}
    except (OSError, subprocess.CalledProcessError):
        return {"id": "unknown", "dirty": False}


def now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def available_memory() -> int:
    """Bytes; without /proc/meminfo (not Linux) a cautious 4 GiB."""
    return _meminfo("MemAvailable") or 4 * 2**30


def write(path: Path, kind: str, rows: list[dict[str, Any]], *packages: str, **more: Any) -> None:
    """Results of the benchmarks that pytest does not run, in one form."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"kind": kind, **environment(*packages), **more, "rows": rows}, indent=1)
    path.write_text(text + "\n", encoding="utf-8")
    print(f"wrote {path.name}", flush=True)


def _meminfo(name: str) -> int:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name + ":")), 0)


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def _caches() -> dict[str, str]:
    """Sizes that the first core sees, as in {"L1d": "32K", "L2": "1024K"}."""
    found = {}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        kind = (folder / "type").read_text().strip()
        if kind != "Instruction":
            name = "L" + (folder / "level").read_text().strip() + ("d" if kind == "Data" else "")
            found[name] = (folder / "size").read_text().strip()
    return found
