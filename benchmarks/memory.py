"""The memory that a call needs at its peak, beyond what stands before it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

_SELF = Path("/proc/self")


def peak(function: Callable[[], Any]) -> int | None:
    """Bytes of resident memory, the result included; None where the system does not tell (Linux does).

    What earlier calls freed is given back to the system first, so that using it again counts.
    """
    try:
        ctypes.CDLL(None).malloc_trim(0)
        (_SELF / "clear_refs").write_text("5")  # resets VmHWM to VmRSS, see proc(5)
        before = _status("VmRSS")
        kept = function()
        most = _status("VmHWM") - before
    except (OSError, AttributeError):
        return None
    del kept
    return max(most, 0)


def _status(name: str) -> int:
    for line in (_SELF / "status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"no {name}")
