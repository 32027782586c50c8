"""Fails if an AVX object defines a weak symbol that another object could define too.

Of several weak definitions the linker keeps any one. One that was compiled with AVX must not become the one that
everybody calls, on processors without AVX too; so each weak symbol of such an object has to carry the namespace of its
instruction set in its name, which no other object's symbols do.

    python tests/check_symbols.py BUILD_FOLDER
"""

from __future__ import annotations

import argparse
import platform
import re
import subprocess
import sys
from pathlib import Path

ISAS = ("avx2", "avx512") if platform.machine() in ("x86_64", "AMD64") else ()  # elsewhere only the baseline is built
# A line of `nm -C`: the address, the kind, the name. W, V: weak and defined; u: unique, kept once like a weak one.
WEAK = re.compile(r"^[0-9a-f]+ (?P<kind>[WVu]) (?P<name>.+)$", re.MULTILINE)


def weak_symbols(object_file: Path) -> list[re.Match[str]]:
    listing = subprocess.run(["nm", "-C", object_file], check=True, capture_output=True, text=True).stdout
    return list(WEAK.finditer(listing))


def is_own(name: str, isa: str) -> bool:
    """Whether a demangled name belongs to the namespace, or could not be what it is without it (an argument's type)."""
    return re.search(rf"\bs2sfast::{isa}::", name) is not None


def check(build: Path, isa: str) -> int:
    """Prints what the objects of one instruction set hold; returns the number of symbols that must not be there."""
    objects = sorted((build / "CMakeFiles" / f"kernels_{isa}.dir").rglob("*.o"))
    if not objects:
        print(f"check_symbols: no object of kernels_{isa} in {build}; build it first", file=sys.stderr)
        raise SystemExit(2)
    weak = [(file, symbol) for file in objects for symbol in weak_symbols(file)]
    foreign = [(file, symbol) for file, symbol in weak if not is_own(symbol["name"], isa)]
    print(f"kernels_{isa}: {len(objects)} objects, {len(weak)} weak symbols, {len(foreign)} outside s2sfast::{isa}")
    for file, symbol in foreign:
        print(f"  {file.relative_to(build)}: {symbol['kind']} {symbol['name']}", file=sys.stderr)
    return len(foreign)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=Path, metavar="BUILD_FOLDER")
    build = parser.parse_args().build
    return 1 if sum(check(build, isa) for isa in ISAS) else 0


if __name__ == "__main__":
    sys.exit(main())
