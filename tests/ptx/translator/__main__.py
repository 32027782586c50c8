"""Translates one PTX file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.ptx.translator import PtxError, translate

DESCRIPTION = """\
Translates a PTX file, as nvcc writes it, into a C++ file for the runtime in tests/ptx/runtime: every instruction
becomes one statement. An instruction, a modifier or an operand that is not known for sure is an error with file, line
and text.
"""
EPILOG = """\
Make the PTX with -lineinfo, so that reports name lines of the .cu file:
  nvcc -std=c++20 -O3 -DNDEBUG -lineinfo -arch=compute_90 -ptx kernels.cu -o kernels.ptx
  python -m tests.ptx.translator kernels.ptx kernels.cpp
Compile the result with: g++ -std=c++20 -O1 -fwrapv -fno-strict-aliasing -ffp-contract=off -I tests/ptx/runtime
(python -m tests.ptx.build does all of this).
"""


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.ptx.translator",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("ptx", type=Path, help="the PTX file to read")
    parser.add_argument("cpp", type=Path, help="the C++ file to write")
    parser.add_argument(
        "--arch", type=int, help="architecture to register kernels under, as in 90 (default: its .target)"
    )
    options = parser.parse_args()
    try:
        translate(options.ptx, options.cpp, options.arch)
    except PtxError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
