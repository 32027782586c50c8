"""Builds .cu files into objects that run on the CPU, and links them.

    from tests.ptx.build import build, link
    objects = build(["a.cu", "b.cu"], "build/ptx", archs=(80, 90), include_dirs=["csrc"])
    library = link(objects, "build/ptx/libkernels.so")

Each .cu file goes through nvcc once, for the host object with its `<<<>>>` stubs and for the PTX of every architecture;
each PTX is translated to C++ and compiled. Only what is older than its inputs is made again.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tests.ptx.translator import PtxError, translate

HERE = Path(__file__).resolve().parent
RUNTIME = HERE / "runtime"
TOOL = [*sorted(RUNTIME.glob("*")), *sorted((HERE / "translator").glob("*.py")), HERE / "build.py"]
NVCC_FLAGS = (
    "-std=c++20",
    "-O3",
    "-DNDEBUG",
    "-lineinfo",
    "--expt-relaxed-constexpr",
    "-Xcompiler=-fPIC,-fvisibility=hidden",
)
# Contraction is off: PTX's mul and add stay apart. Registers are reinterpreted freely, signed overflow wraps.
CXX_FLAGS = ("-std=c++20", "-fPIC", "-fvisibility=hidden", "-fwrapv", "-fno-strict-aliasing", "-ffp-contract=off")
TRANSLATED_FLAGS = (*CXX_FLAGS, "-O1", "-w")  # PTX declares more registers than it uses
RUNTIME_FLAGS = (*CXX_FLAGS, "-O2", "-Wall", "-Wextra")


class BuildError(Exception):
    """A step that failed: its command and what it said."""


def find_nvcc() -> Path | None:
    """$CUDA_HOME/bin, PATH, /usr/local/cuda/bin, then the PyPI package in this Python; None if there is none."""
    packages = Path(sysconfig.get_path("purelib")) / "nvidia" / "cu13" / "bin"
    home = os.environ.get("CUDA_HOME")
    on_path = shutil.which("nvcc")
    places = [
        *([Path(home) / "bin" / "nvcc"] if home else []),
        *([Path(on_path)] if on_path else []),
        Path("/usr/local/cuda/bin/nvcc"),
        packages / "nvcc",
    ]
    return next((place for place in places if os.access(place, os.X_OK)), None)


def cuda_include(nvcc: Path) -> Path:
    """The folder of cuda_runtime_api.h, as nvcc itself says it."""
    said = subprocess.run([nvcc, "--dryrun", "-x", "cu", "-c", os.devnull], capture_output=True, text=True).stderr
    folders = [Path(folder) for folder in re.findall(r'-I([^"\s]+)', said)]
    folders += [nvcc.resolve().parent.parent / "include"]
    for folder in folders:
        if (folder / "cuda_runtime_api.h").exists():
            return folder
    raise BuildError(f"{nvcc}: no cuda_runtime_api.h beside it (PyPI: nvidia-cuda-runtime)")


def build(
    sources: Iterable[str | Path],
    out: str | Path,
    archs: Sequence[int] = (90,),
    include_dirs: Sequence[str | Path] = (),
    nvcc_flags: Sequence[str] = (),
    jobs: int | None = None,
) -> list[Path]:
    """Objects to link: of the host, of every (file, architecture), and of the runtime.

    Args:
        sources: .cu files, or .ptx files (without a host side; for tests of the tool itself).
        out: folder for everything that is made.
        archs: as in 80, 90, 100; the runtime takes the highest one, or what PTX_ARCH says.
        include_dirs: folders for #include.
        nvcc_flags: more of nvcc's options, as in "-DNAME=1".
        jobs: how many steps at a time; default: the number of cores.

    Raises:
        BuildError: with the command and its output, if a step fails, and if there is no nvcc.
        PtxError: if the PTX holds something the translator does not know; it names file, line and text.
    """
    nvcc = find_nvcc()
    if nvcc is None:
        raise BuildError("no nvcc: not in $CUDA_HOME/bin, PATH, /usr/local/cuda/bin or the PyPI folder nvidia/cu13/bin")
    folder, paths = Path(out).absolute(), [Path(source).absolute() for source in sources]
    doubled = sorted({path.stem for path in paths if sum(other.stem == path.stem for other in paths) > 1})
    if doubled:
        raise BuildError(f"two sources of one name: {', '.join(doubled)}")
    with _alone_in(folder), ThreadPoolExecutor(jobs or len(os.sched_getaffinity(0))) as pool:
        runtime = [pool.submit(runtime_object, source, folder, nvcc) for source in sorted(RUNTIME.glob("*.cpp"))]
        hosts = {
            path: pool.submit(host_object, path, folder, nvcc, archs, include_dirs, nvcc_flags)
            for path in paths
            if path.suffix != ".ptx"
        }
        objects = [host.result() for host in hosts.values()]
        kernels = [
            pool.submit(
                kernel_object, path if path not in hosts else ptx_file(path, folder, arch), path.stem, arch, folder
            )
            for path in paths
            for arch in archs
        ]
        return objects + [step.result() for step in (*kernels, *runtime)]


def link(objects: Iterable[str | Path], out: str | Path, extra_flags: Sequence[str] = ()) -> Path:
    """A shared library. The stand-in for libcudart in it is hidden: it clashes with no real one in the process."""
    library, inputs = Path(out).absolute(), [Path(item).absolute() for item in objects]
    command = ["g++", "-shared", "-Wl,-Bsymbolic", "-o", str(library), *map(str, inputs), *extra_flags]
    with _alone_in(library.parent):
        run_step([library], inputs, command)
    return library


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Other processes that build there wait: tests run side by side."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# --- steps -------------------------------------------------------------------------------------------


def runtime_object(source: Path, folder: Path, nvcc: Path) -> Path:
    made = folder / "runtime" / f"{source.stem}.o"
    flags = [*RUNTIME_FLAGS, *(["-frounding-math"] if source.stem == "rounding" else [])]
    if source.stem == "cudart":
        flags += ["-isystem", str(cuda_include(nvcc))]
    run_step([made], TOOL, ["g++", *flags, "-c", str(source), "-o", str(made)])
    return made


def host_object(
    source: Path,
    folder: Path,
    nvcc: Path,
    archs: Sequence[int],
    include_dirs: Sequence[str | Path],
    flags: Sequence[str],
) -> Path:
    """Also leaves the PTX of each architecture. In one run: names of static kernels hold a number drawn anew."""
    place = folder / source.stem
    made, dependencies = place / "host.o", place / "host.d"
    wanted = [f"-gencode=arch=compute_{arch},code=compute_{arch}" for arch in archs]
    includes = [f"-I{Path(include).absolute()}" for include in include_dirs]
    command = [str(nvcc), *NVCC_FLAGS, *wanted, *includes, *flags, "-c", str(source), "-o", str(made)]
    command += ["-MD", "-MF", str(dependencies), "--keep", "--keep-dir", str(place)]
    inputs = [source, HERE / "build.py", *included(dependencies)]
    run_step([made, *(ptx_file(source, folder, arch) for arch in archs)], inputs, command, one_arch=len(archs) == 1)
    return made


def ptx_file(source: Path, folder: Path, arch: int) -> Path:
    return folder / source.stem / f"{source.stem}.compute_{arch}.ptx"


def kernel_object(ptx: Path, stem: str, arch: int, folder: Path) -> Path:
    place = folder / stem
    made, cpp = place / f"compute_{arch}.o", place / f"compute_{arch}.cpp"
    place.mkdir(parents=True, exist_ok=True)
    if not is_fresh([cpp], [ptx, *TOOL]):
        translate(ptx, cpp, arch)
    command = ["g++", *TRANSLATED_FLAGS, f"-I{RUNTIME}", "-c", str(cpp), "-o", str(made)]
    run_step([made], [cpp, *TOOL], command)
    return made


def included(dependencies: Path) -> list[Path]:
    """What a depfile of the last run lists."""
    if not dependencies.exists():
        return []
    # nvcc puts a space before the colon, g++ none.
    _, _, files = dependencies.read_text().replace("\\\n", " ").partition(": ")
    return [Path(file) for file in shlex.split(files)]


def is_fresh(outputs: Sequence[Path], inputs: Iterable[Path]) -> bool:
    try:
        oldest = min(path.stat().st_mtime_ns for path in outputs)
        return all(path.stat().st_mtime_ns <= oldest for path in inputs)
    except FileNotFoundError:
        return False


def run_step(outputs: Sequence[Path], inputs: Iterable[Path], command: list[str], one_arch: bool = False) -> None:
    """Runs a command, unless its outputs are newer than its inputs and came from the same command."""
    note = outputs[0].with_name(outputs[0].name + ".command")
    text = shlex.join(command)
    if is_fresh(outputs, inputs) and note.exists() and note.read_text() == text:
        return
    outputs[0].parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise BuildError(f"{text}\n{done.stdout}{done.stderr}")
    if one_arch:  # then nvcc leaves the architecture out of the name
        ptx = outputs[1]
        ptx.with_name(re.sub(r"\.compute_\d+", "", ptx.name)).rename(ptx)
    note.write_text(text)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.ptx.build",
        description="Builds .cu files into a shared library whose kernels run on the CPU, from PTX that nvcc makes.",
        epilog="The environment variables that the library reads are listed in tests/ptx/README.md.",
    )
    parser.add_argument("sources", nargs="+", type=Path, help=".cu files (or .ptx files, without a host side)")
    parser.add_argument("--out", type=Path, default=Path("build/ptx"), help="folder for all that is made (build/ptx)")
    parser.add_argument("--library", type=Path, help="link this .so; without it the objects are listed")
    parser.add_argument(
        "--arch", type=int, action="append", help="architecture, as in 90; may be repeated (default 90)"
    )
    parser.add_argument("-I", dest="include_dirs", action="append", default=[], help="folder for #include")
    parser.add_argument("--nvcc-flag", action="append", default=[], help="more for nvcc, as in --nvcc-flag=-DNAME=1")
    parser.add_argument("-j", "--jobs", type=int, help="steps at a time (default: the number of cores)")
    options = parser.parse_args()
    try:
        objects = build(
            options.sources, options.out, options.arch or (90,), options.include_dirs, options.nvcc_flag, options.jobs
        )
        made = [link(objects, options.library)] if options.library else objects
    except (BuildError, PtxError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(*made, sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
