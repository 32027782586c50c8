"""Where nvcc and NVIDIA's disassemblers are, and how they are called."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
_PACKAGES = {"nvdisasm": "nvidia-cuda-nvdisasm==13.5.37", "cuobjdump": "nvidia-cuda-cuobjdump==13.5.37"}


class MissingTool(RuntimeError):
    """A program that the report stands on is not installed."""


def find(name: str) -> str:
    """The path of a program. Compilers: $CUDA_HOME, PATH, then PyPI's; disassemblers: PyPI's, then the others."""
    places = [_in_toolkit(name), _in_site_packages(name)]
    if name in _PACKAGES:
        places.reverse()  # a toolkit's own is older, and the output of these versions is what the parser was tried on
    found = next((place for place in places if place), None)
    if found is None:
        hint = f"pip install {_PACKAGES[name]}" if name in _PACKAGES else "install it or put it on PATH"
        raise MissingTool(f"no {name}: {hint}")
    return found


def missing(*names: str) -> list[str]:
    """Those of the programs that are not there, as reasons to skip a test: ["no nvcc"]."""

    def absent(name: str) -> bool:
        try:
            return not find(name)
        except MissingTool:
            return True

    return [f"no {name}" for name in names if absent(name)]


def run(name: str, *arguments: str | Path, text: str | None = None) -> str:
    """What a program prints; with its messages, an error if it fails."""
    done = subprocess.run([find(name), *map(str, arguments)], input=text, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{name} failed with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr if name == "nvcc" else done.stdout  # ptxas reports on stderr


def _in_toolkit(name: str) -> str | None:
    home = os.environ.get("CUDA_HOME")
    folders = ([f"{home}/bin"] if home else []) + [os.environ.get("PATH", os.defpath), "/usr/local/cuda/bin"]
    return shutil.which(name, path=os.pathsep.join(folders))


def _in_site_packages(name: str) -> str | None:
    """NVIDIA's packages on PyPI put programs into site-packages/nvidia/cu13/bin, which is on nobody's PATH."""
    found = [path for entry in sys.path if entry for path in sorted(Path(entry).glob(f"nvidia/*/bin/{name}"))]
    return str(found[-1]) if found else None
