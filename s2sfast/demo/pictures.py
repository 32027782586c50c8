"""The demo's two pictures: quality and latency against beam size, and the search tree of one word."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from s2sfast import plot
from s2sfast.demo.decoders import BEAMS, LENGTH_PENALTY, PRUNING
from s2sfast.demo.report import SYSTEMS, Row
from s2sfast.models.g2p import EOS, G2P, MAX_PHONEMES, PHONEMES, START
from s2sfast.search import beam_search

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLOURS = {"package": "#808080", "s2sfast": "#D55E00", "pytorch": "#0072B2"}
_TREE_BEAM = 3  # wider trees no longer fit a screen


def draw_comparison(rows: Sequence[Row], path: Path) -> None:
    """Saves quality (left) and single-word latency (right) against beam size."""
    figure = plot.new_figure(width=10, height=4.2)
    left, right = figure.subplots(1, 2)
    _draw_quality(left, [row for row in rows if row.system == "s2sfast" and row.beam and not row.pruning])
    for system in ("pytorch", "s2sfast"):
        _draw_latency(right, [row for row in rows if row.system == system and row.beam and not row.pruning], system)
    package = next(row for row in rows if row.system == "package")
    right.axhline(
        package.latency_ms_p50, color=_COLOURS["package"], linestyle="dashed", label=f"{SYSTEMS['package']} greedy"
    )
    right.set_ylim(bottom=0)
    right.set_ylabel("one word, ms")
    right.set_title("Latency, median (the bar reaches to the 95th percentile)", fontsize=10)
    right.legend(frameon=False, fontsize=8)
    plot.save_figure(figure, path)


def draw_search(model: G2P, word: str, path: Path) -> None:
    """Saves the tree of the pruned search for one word."""
    result = beam_search(
        model,
        model.encode([word]),
        start=START,
        eos=EOS,
        beam=_TREE_BEAM,
        max_length=MAX_PHONEMES,
        length_penalty=LENGTH_PENALTY,
        pruning=PRUNING,
        return_tree=True,
    )
    plot.beam_tree(
        result.tree,
        PHONEMES,
        path,
        best=result.best(0),
        dropped=2,
        root=word,
        title=f"{word}, beam {_TREE_BEAM}, pruned",
    )


def _draw_quality(axes: Axes, rows: Sequence[Row]) -> None:
    for name, values, style in (
        ("wrong words", [1 - row.accuracy for row in rows], "o-"),
        ("wrong words, no stress", [1 - row.accuracy_no_stress for row in rows], "o--"),
        ("phoneme errors", [row.per for row in rows], "s-"),
        ("phoneme errors, no stress", [row.per_no_stress for row in rows], "s--"),
    ):
        colour = "#009E73" if name.startswith("wrong") else "#D55E00"
        axes.plot(range(len(rows)), [100 * value for value in values], style, color=colour, label=name)
        for x, value in enumerate(values):
            place = (0, -12 if "no stress" in name else 6)  # points from the marker
            axes.annotate(
                f"{100 * value:.1f}", (x, 100 * value), place, textcoords="offset points", ha="center", size=7
            )
    _label_beams(axes)
    axes.set_ylim(0, 125 * (1 - rows[0].accuracy))  # leaves room for the legend
    axes.set_ylabel("per cent")
    axes.set_title("Quality (words of the model's training data)", fontsize=10)
    axes.legend(frameon=False, fontsize=8, ncols=2, loc="upper center")


def _draw_latency(axes: Axes, rows: Sequence[Row], system: str) -> None:
    middle = [row.latency_ms_p50 for row in rows]
    reach = [[0.0] * len(rows), [row.latency_ms_p95 - row.latency_ms_p50 for row in rows]]
    axes.errorbar(
        range(len(rows)), middle, yerr=reach, marker="o", capsize=3, color=_COLOURS[system], label=SYSTEMS[system]
    )
    _label_beams(axes)


def _label_beams(axes: Axes) -> None:
    axes.set_xticks(range(len(BEAMS)), [str(beam) for beam in BEAMS])
    axes.set_xlabel("beam")
