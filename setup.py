"""Builds the two extension modules. What is compiled, and how, is said once: in CMakeLists.txt."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent.resolve()
CUDA_SETTINGS = {  # see CMakeLists.txt
    "S2SFAST_CUDA": os.environ.get("S2SFAST_CUDA", "AUTO"),
    "S2SFAST_CUDA_ARCHS": os.environ.get("S2SFAST_CUDA_ARCHS", "80;90;100"),
}


def find_tool(name: str) -> str:
    """A tool of this Python's environment, activated or not, else the one on PATH."""
    found = shutil.which(name, path=os.pathsep.join((sysconfig.get_path("scripts"), os.environ.get("PATH", ""))))
    if found is None:
        raise SystemExit(f"s2sfast: {name} is missing: pip install {name}")
    return found


class CMakeBuild(build_ext):
    """Runs CMake once for both modules and puts them where setuptools wants them (the source tree with -e)."""

    def build_extensions(self):
        out = Path(self.get_ext_fullpath(self.extensions[0].name)).resolve().parent
        build = ROOT / "build" / sysconfig.get_platform()
        cmake, ninja = find_tool("cmake"), find_tool("ninja")
        configure = [
            cmake, "-S", ROOT, "-B", build, "-G", "Ninja",
            f"-DPython_EXECUTABLE={sys.executable}",
            # The one in the cache may be of a build environment long gone.
            f"-DCMAKE_MAKE_PROGRAM={ninja}",
            f"-DS2SFAST_OUTPUT_DIR={out}",
            *(f"-D{name}={value}" for name, value in CUDA_SETTINGS.items()),
        ]  # fmt: skip
        subprocess.run(configure, check=True)
        subprocess.run([cmake, "--build", build], check=True)
        for module in out.glob("_*.so"):
            os.utime(module)  # newer than every source: `import s2sfast` tells a stale build by the dates


setup(
    ext_modules=[
        Extension("s2sfast._ops", sources=[], py_limited_api=True),
        Extension("s2sfast._engine", sources=[]),
    ],
    cmdclass={"build_ext": CMakeBuild},
)
