"""The picture of what an attention looked at."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from s2sfast.plot.figure import new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_NUMBERS = 400  # more of them are too small to read
_WRONG = "#D55E00"


def attention(
    weights: Any,
    source: Sequence[str],
    target: Sequence[str],
    path: str | os.PathLike[str] | None = None,
    *,
    numbers: bool = False,
    wrong: Sequence[int] = (),
    title: str = "",
) -> Figure:
    """Draws which source position each target position looked at: source to the right, target downwards.

    The darker a cell, the more weight it has; the palest is 0 and the darkest 1 in every picture: pictures compare.

    Args:
        weights: ``(L, T)``, a tensor or whatever NumPy reads: ``result.attention[b, i]`` of ``beam_search(...,
                 return_attention=True)``, or the weights of a module whose queries are the targets. Rows and columns
                 beyond the labels are padding and are left out.
        source:  what to write for a source position, at most T labels.
        target:  what to write for a target position, at most L.
        path:    where to save the picture (``.svg``, ``.png``, ``.pdf``); the file appears whole or not at all.
        numbers: writes each weight of at least 0.005 into its cell; for pictures of at most 400 cells.
        wrong:   target positions whose label is to stand out, in orange and bold.
        title:   written above.

    Returns:
        A ``matplotlib.figure.Figure`` that belongs to no window; a notebook shows it as it is.

    Raises:
        ImportError: if matplotlib is not installed.
        ValueError:  weights that are not two-dimensional, are negative, NaN or infinite, or fewer than the labels.
    """
    cells = _cells(weights, len(source), len(target))
    if numbers and cells.numel() > _MOST_NUMBERS:
        raise ValueError(f"attention: expected at most {_MOST_NUMBERS} cells with numbers=True; got {cells.numel()}")
    figure = new_figure(width=1.6 + 0.36 * len(source), height=1.2 + 0.32 * len(target))
    axes = figure.subplots()
    _draw_cells(axes, cells)
    if numbers:
        _write_numbers(axes, cells)
    _label(axes, source, target, set(wrong))
    axes.set_title(title)
    if path is not None:
        save_figure(figure, path)
    return figure


def _cells(weights: Any, columns: int, rows: int) -> torch.Tensor:
    cells = torch.as_tensor(weights).detach().to("cpu", torch.float64)
    if cells.dim() != 2 or cells.shape[0] < rows or cells.shape[1] < columns:
        raise ValueError(
            f"attention: expected weights (L, T) of at least ({rows}, {columns}), as there are labels; "
            f"got {tuple(cells.shape)}"
        )
    cells = cells[:rows, :columns]
    if not bool(((cells >= 0) & cells.isfinite()).all()):
        raise ValueError("attention: expected finite weights >= 0; got others")
    return cells


def _draw_cells(axes: Axes, cells: torch.Tensor) -> None:
    # A mesh is made of shapes; an image would be a bitmap inside the SVG.
    axes.pcolormesh(
        cells.numpy(), cmap="Blues", vmin=0.0, vmax=1.0, edgecolors="#e6e6e6", linewidth=0.5, antialiased=True
    )
    axes.invert_yaxis()  # the first target on top


def _write_numbers(axes: Axes, cells: torch.Tensor) -> None:
    for row, line in enumerate(cells.tolist()):
        for column, weight in enumerate(line):
            if weight >= 0.005:
                colour = "white" if weight > 0.6 else "black"
                axes.text(column + 0.5, row + 0.5, f"{weight:.2f}", ha="center", va="center", fontsize=6, color=colour)


def _label(axes: Axes, source: Sequence[str], target: Sequence[str], wrong: set[int]) -> None:
    axes.set_xticks([column + 0.5 for column in range(len(source))], source)
    axes.set_yticks([row + 0.5 for row in range(len(target))], target)
    if any(len(label) > 2 for label in source):  # they would run into each other
        axes.tick_params(axis="x", labelrotation=60)
    axes.tick_params(length=0)
    axes.xaxis.tick_top()
    for row, label in enumerate(axes.get_yticklabels()):
        if row in wrong:
            label.set_color(_WRONG)
            label.set_fontweight("bold")
    for edge in axes.spines.values():
        edge.set_visible(False)
