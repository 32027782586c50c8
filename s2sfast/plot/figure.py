"""Figures: how they are made and saved. matplotlib (the extra ``demo``) is imported only when a picture is drawn."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of this size in inches, outside pyplot's global state; works without a display."""
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise ImportError('plots need the package matplotlib; pip install "s2sfast[demo]"') from error
    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Saves under the format that the name's suffix says; the same figure gives the same bytes.

    The picture is written beside its place and then moved there, so that an interrupted run leaves no broken file.
    """
    import matplotlib

    target = Path(path)
    suffix = target.suffix.lower() or ".png"
    handle, name = tempfile.mkstemp(prefix=f".{target.stem}-", suffix=suffix, dir=target.parent)
    os.close(handle)
    try:
        # Text stays text in SVG: searchable, and small. The salt and the absent date make the bytes repeatable.
        with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "s2sfast"}):
            figure.savefig(name, dpi=150, metadata={"Date": None} if suffix == ".svg" else None)
        os.chmod(name, 0o666 & ~_umask())  # mkstemp made it private
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise


def _umask() -> int:
    mask = os.umask(0)  # there is no other way to read it
    os.umask(mask)
    return mask
