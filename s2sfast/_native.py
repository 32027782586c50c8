"""Loads the compiled half, or says how to build it."""

from __future__ import annotations

from pathlib import Path

import torch  # noqa: F401  _ops finds libtorch already loaded: it has no path to it of its own

_PACKAGE = Path(__file__).parent
_HOW = "Build it with `make build` in a checkout, or `pip install --no-build-isolation .` (see README.md, Install)."

try:
    from s2sfast import _engine, _ops
except ImportError as error:
    if "S2SFAST_ISA" in str(error):
        raise
    raise ImportError(f"s2sfast: the compiled extension is missing or does not load ({error}). {_HOW}") from error

raise_faults = _ops.raise_faults


def _check_fresh() -> None:
    """In a checkout: no C++ source may be newer than the modules built from it."""
    sources = _PACKAGE.parent / "csrc"
    if not sources.is_dir() or not (_PACKAGE.parent / "CMakeLists.txt").is_file():
        return  # an installed package
    built = min(Path(module.__file__ or "").stat().st_mtime for module in (_ops, _engine))
    for source in sources.rglob("*.*"):
        if source.stat().st_mtime > built:
            name = source.relative_to(_PACKAGE.parent)
            raise ImportError(f"s2sfast: the compiled extension is stale: {name} is newer than it. {_HOW}")


_check_fresh()
