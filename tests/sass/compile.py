"""Compiles CUDA sources to cubins, in parallel and only when something changed, and reads what ptxas says of them."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.sass.tools import ROOT, run

ARCHS = ("sm_80", "sm_90", "sm_100")
FLAGS = ("-std=c++20", "-O3", "-DNDEBUG", "--expt-relaxed-constexpr", f"-I{ROOT / 'csrc'}")
BUILD = ROOT / "build" / "sass"


@dataclass(frozen=True)
class Resources:
    """What one kernel takes, by `ptxas -v`; sizes in bytes, registers per thread."""

    registers: int
    spill_stores: int
    spill_loads: int
    stack: int
    shared: int
    barriers: int


@dataclass(frozen=True)
class Cubin:
    source: Path
    arch: str
    path: Path
    resources: dict[str, Resources]
    """By mangled name; kernels only, no device functions."""


def project_sources() -> list[Path]:
    return sorted((ROOT / "csrc").rglob("*_cuda.cu"))


def compile_all(
    sources: Iterable[Path], archs: Sequence[str] = ARCHS, build: Path = BUILD, flags: Sequence[str] = FLAGS
) -> list[Cubin]:
    """One cubin per source and arch."""
    build.mkdir(parents=True, exist_ok=True)
    version = compiler_version()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with ThreadPoolExecutor(cores) as pool:  # threads only wait for nvcc
        jobs = [
            pool.submit(_compile, Path(source), arch, build, tuple(flags), version)
            for source in sources
            for arch in archs
        ]
        return [job.result() for job in jobs]


def compiler_version() -> str:
    """As in "13.0.88"."""
    found = re.search(r"\bV(\d+(?:\.\d+)+)", run("nvcc", "--version"))
    return found[1] if found else "unknown"


def _compile(source: Path, arch: str, build: Path, flags: tuple[str, ...], version: str) -> Cubin:
    source = source.resolve()
    # The command and the compiler are part of the name: other flags make another file.
    key = hashlib.sha256("\0".join((str(source), version, *flags)).encode()).hexdigest()[:10]
    cubin = build / f"{source.stem}-{key}.{arch}.cubin"
    log, dependencies = cubin.with_suffix(".log"), cubin.with_suffix(".d")
    if not _fresh(cubin, log, dependencies):
        log.unlink(missing_ok=True)  # written last: its presence says that all of the build succeeded
        command = [*flags, f"-arch={arch}", "-cubin", "-Xptxas", "-v", "-MD", "-MF", dependencies]
        log.write_text(run("nvcc", *command, source, "-o", cubin), encoding="utf-8")
    return Cubin(source, arch, cubin, parse_ptxas(log.read_text(encoding="utf-8")))


def _fresh(cubin: Path, log: Path, dependencies: Path) -> bool:
    if not (cubin.exists() and log.exists() and dependencies.exists()):
        return False
    built = log.stat().st_mtime_ns
    return all(path.exists() and path.stat().st_mtime_ns < built for path in parse_depfile(dependencies.read_text()))


def parse_depfile(text: str) -> list[Path]:
    r"""What a makefile rule depends on.

    >>> [str(path) for path in parse_depfile("k.cubin : a.cu \\\n  my\\ header.h\n")]
    ['a.cu', 'my header.h']
    """
    words = re.split(r"(?<!\\)\s+", text.replace("\\\n", " ").partition(" : ")[2].strip())
    return [Path(word.replace("\\ ", " ")) for word in words if word]


def parse_ptxas(log: str) -> dict[str, Resources]:
    """What `ptxas -v` printed, per kernel. Device functions that were not inlined have lines too; they are left out."""
    found = {}
    for name, text in re.findall(r"Compiling entry function '(\S+)'(.*?)(?=Compiling entry function|\Z)", log, re.S):
        frame = re.search(
            rf"Function properties for {re.escape(name)}\s+"
            r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads",
            text,
        )
        used = re.search(r"Used (\d+) registers.*", text)
        if frame is None or used is None:
            raise ValueError(f"ptxas -v says nothing of {name} that is understood:\n{text}")
        stack, stores, loads = map(int, frame.groups())
        shared, barriers = _number(r"(\d+) bytes smem", used[0]), _number(r"used (\d+) barriers", used[0])
        found[name] = Resources(int(used[1]), stores, loads, stack, shared, barriers)
    return found


def _number(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    return int(found[1]) if found else 0
