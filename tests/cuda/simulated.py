"""Builds the ops module whose CUDA device exists only in software.

It is the real thing but for two files: `device.h` takes every tensor for one of the device, and tests/ptx stands in
for the CUDA runtime. Checks, workspaces, launch arithmetic and kernels are what nvcc and g++ make of csrc/. Loaded as
`s2sfast._ops`, it puts the whole package on that device.

    python -m tests.cuda.simulated       # after `make build`; prints where the module is
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shlex
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

from tests.ptx.build import BuildError, build, included, is_fresh, link
from tests.ptx.translator import PtxError

ROOT = Path(__file__).resolve().parents[2]
OWN_DEVICE = Path(__file__).parent / "host"
REAL_BUILD = ROOT / "build" / sysconfig.get_platform()
OUT = ROOT / "build" / "simulated"
ARCHS = (80, 90, 100)


def kernel_sources(csrc: Path = ROOT / "csrc") -> list[Path]:
    return sorted(csrc.rglob("*_cuda.cu"))


def make(out: Path = OUT, archs: tuple[int, ...] = ARCHS, csrc: Path = ROOT / "csrc", jobs: int | None = None) -> Path:
    """The module with the kernels of a source folder: the project's, or a changed copy.

    Raises:
        BuildError: a step failed, or there is no real build to take the commands from.
        PtxError: the PTX holds what tests/ptx does not know.
    """
    kernels = build(kernel_sources(csrc), out, archs, include_dirs=[csrc], jobs=jobs)
    return link([*kernels, *host_objects(OUT), REAL_BUILD / "libs2sfast_kernels.a"], out / "_ops.abi3.so", link_flags())


def make_without_cuda(out: Path = OUT / "without_cuda") -> Path:
    """The module as it is built where there is no nvcc: it has no kernels, and its device is asked for all the same."""
    objects = host_objects(out, without=("-DS2SFAST_CUDA",))
    return link([*objects, REAL_BUILD / "libs2sfast_kernels.a"], out / "_ops.abi3.so", link_flags())


def can_build() -> bool:
    return (REAL_BUILD / "compile_commands.json").exists()


def host_objects(out: Path, without: tuple[str, ...] = ()) -> list[Path]:
    """The ops, compiled by the commands of the real build, with the other device.h in front."""
    if not can_build():
        raise BuildError(f"no commands in {REAL_BUILD.relative_to(ROOT)}: run `make build` first")
    commands = json.loads((REAL_BUILD / "compile_commands.json").read_text())
    entries = [entry for entry in commands if "/_ops.dir/" in entry["output"]]
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        made = [
            pool.submit(host_object, shlex.split(entry["command"]), Path(entry["file"]), out, without)
            for entry in entries
        ]
        return [one.result() for one in made]


def host_object(command: list[str], source: Path, out: Path, without: tuple[str, ...]) -> Path:
    made = out / "ops" / f"{source.stem}.o"
    made.parent.mkdir(parents=True, exist_ok=True)
    dependencies = made.with_suffix(".d")
    command = [part for part in command if part not in without]
    command[command.index("-o") + 1] = str(made)
    command[1:1] = [f"-I{OWN_DEVICE}", "-MD", "-MF", str(dependencies)]
    if not is_fresh([made], [source, Path(__file__), *included(dependencies)]):
        done = subprocess.run(command, cwd=REAL_BUILD, capture_output=True, text=True)
        if done.returncode != 0:
            raise BuildError(f"{shlex.join(command)}\n{done.stderr}")
    return made


def link_flags() -> list[str]:
    torch = Path(importlib.util.find_spec("torch").submodule_search_locations[0])
    return [f"-L{torch / 'lib'}", "-ltorch_cpu", "-Wl,--exclude-libs,ALL"]


def load(module: Path) -> ModuleType:
    """Puts the module in the place of s2sfast._ops; before s2sfast is imported."""
    import torch  # noqa: F401  the module finds libtorch already loaded

    assert "s2sfast" not in sys.modules, "the ops are registered once in a process"
    spec = importlib.util.spec_from_file_location("s2sfast._ops", module)
    ops = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(ops)
    sys.modules["s2sfast._ops"] = ops
    return ops


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.cuda.simulated",
        description="Builds the ops module whose CUDA kernels run on the CPU, from their PTX.",
    )
    parser.add_argument("--arch", type=int, action="append", help=f"as in 90; may be repeated (default: {ARCHS})")
    options = parser.parse_args()
    try:
        print(make(archs=tuple(options.arch or ARCHS)).relative_to(ROOT))
    except (BuildError, PtxError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
