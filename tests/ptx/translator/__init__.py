"""PTX, as nvcc writes it, to C++ for the runtime beside this folder: one statement per instruction."""

from __future__ import annotations

from pathlib import Path

from tests.ptx.translator.emit import emit_module
from tests.ptx.translator.parse import PtxError, parse

__all__ = ["PtxError", "translate"]


def translate(ptx: Path, cpp: Path, arch: int | None = None) -> None:
    """Writes the C++ of a PTX file. `arch` (80, 90, ...) is what its `.target` says, where it is not given.

    Raises:
        PtxError: at anything that is not known for sure; the message has the file, the line and the text.
    """
    module = parse(ptx.read_text(), ptx.name)
    cpp.write_text(emit_module(module, arch or module.arch))
