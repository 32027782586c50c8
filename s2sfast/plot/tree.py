"""The picture of the tree that a search built."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from s2sfast.plot.figure import new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from s2sfast.search import Node

    Nodes = Iterable[Node]
    Labels = Sequence[str] | Mapping[int, str]

_ROOT = -1  # parent of the first tokens

# Okabe and Ito's palette: told apart by colour-blind readers, and in grey print.
_BEST, _FINISHED, _RUNNING = "#D55E00", "#009E73", "#0072B2"
_OUTRANKED, _PRUNED = "#b3b3b3", "#c9c9c9"


def beam_tree(
    nodes_or_tree: Nodes | Any,
    labels: Labels,
    path: str | os.PathLike[str] | None = None,
    *,
    sentence: int = 0,
    best: Sequence[int] | None = None,
    dropped: int = 3,
    root: str = "",
    title: str = "",
) -> Figure:
    """Draws the tree that a beam search built for one sentence: time runs to the right, better siblings stand higher.

    The best hypothesis is a thick orange line; other running beams are blue; finished hypotheses end in a green square
    with their log-probability; what the search looked at and dropped is grey, with a cross and the
    rule's name where a pruning rule cut it.

    Args:
        nodes_or_tree: ``result.tree`` of ``beam_search(..., return_tree=True)``, or the nodes of one sentence.
        labels:        what to write for a token: ``labels[token]``.
        path:          where to save the picture (``.svg``, ``.png``, ``.pdf``); the file appears whole or not at all.
        sentence:      which sentence of a ``result.tree``; of no account for nodes.
        best:          tokens of the hypothesis to bring out, eos included if generated; by default the finished one
                       with the highest log-probability (the ranking may differ under a length penalty).
        dropped:       how many outranked and how many pruned candidates to draw per step, the most probable ones.
        root:          label of the root.
        title:         written above.

    Returns:
        A ``matplotlib.figure.Figure`` that belongs to no window; a notebook shows it as it is.

    Raises:
        ImportError: if matplotlib is not installed.
        ValueError:  if ``best`` is no path of the tree, or ``dropped`` is negative.
    """
    if dropped < 0:
        raise ValueError(f"beam_tree: expected dropped >= 0; got {dropped}")
    nodes = list(nodes_or_tree.nodes(sentence) if hasattr(nodes_or_tree, "nodes") else nodes_or_tree)
    best_path = _most_probable(nodes) if best is None else _follow(nodes, best)
    layout = _lay_out(_worth_drawing(nodes, dropped, best_path), best_path)
    figure = new_figure(width=2.0 + 0.8 * layout.steps, height=1.2 + 0.26 * layout.rows)
    axes = figure.subplots()
    _draw_tree(axes, layout, best_path, labels, root)
    _draw_legend(figure, layout)
    axes.set_title(title)
    if path is not None:
        save_figure(figure, path)
    return figure


class _Layout(NamedTuple):
    nodes: list[Node]  # those to draw
    row: dict[int, int]  # by index of the node; 0 is the top
    rows: int
    steps: int


def _worth_drawing(nodes: list[Node], dropped: int, best_path: Sequence[int]) -> list[Node]:
    """Every beam and hypothesis, and the most probable of the rest: a search looks at K times V candidates a step."""
    rest: defaultdict[tuple[int, str], list[Node]] = defaultdict(list)
    for node in nodes:
        if node.fate not in ("kept", "finished"):
            rest[node.step, node.fate].append(node)
    chosen = {node.index for group in rest.values() for node in sorted(group, key=lambda n: -n.score)[:dropped]}
    chosen.update(best_path)
    return [node for node in nodes if node.fate in ("kept", "finished") or node.index in chosen]


def _lay_out(nodes: list[Node], best_path: Sequence[int]) -> _Layout:
    """Best path on top; a parent stands level with its first child; all others move up as far as there is room."""
    children: defaultdict[int, list[Node]] = defaultdict(list)
    for node in nodes:
        children[node.parent].append(node)
    on_best = set(best_path)
    for siblings in children.values():
        siblings.sort(key=lambda node: (node.index not in on_best, -node.score))

    row: dict[int, int] = {_ROOT: 0}
    free: defaultdict[int, int] = defaultdict(int)  # by step: the first row below everything placed there
    pending = children[_ROOT][::-1]  # a stack: long outputs would exceed the recursion limit
    while pending:
        node = pending.pop()
        if node is children[node.parent][0]:
            row[node.index] = row[node.parent]
        else:
            row[node.index] = max(free[step] for step in _steps_of_line(node, children))
        free[node.step] = row[node.index] + 1
        pending += children[node.index][::-1]
    return _Layout(nodes, row, max(row.values()) + 1, 1 + max((node.step for node in nodes), default=0))


def _steps_of_line(node: Node, children: Mapping[int, list[Node]]) -> range:
    """The steps taken up by a node and the first descendants on its row; scores and rules need room behind theirs."""
    last = node
    while below := children.get(last.index):
        last = below[0]
    return range(node.step, last.step + (2 if last.fate in ("finished", "pruned") else 1))


def _most_probable(nodes: list[Node]) -> list[int]:
    finished = [node for node in nodes if node.fate == "finished"]
    if not finished:
        return []
    by_index = {node.index: node for node in nodes}
    path = [max(finished, key=lambda node: node.score)]
    while path[-1].parent != _ROOT:
        path.append(by_index[path[-1].parent])
    return [node.index for node in reversed(path)]


def _follow(nodes: list[Node], tokens: Sequence[int]) -> list[int]:
    child = {(node.parent, node.token): node.index for node in nodes}
    path: list[int] = []
    for token in tokens:
        index = child.get((path[-1] if path else _ROOT, token))
        if index is None:
            raise ValueError(f"beam_tree: expected best to be a path of the tree; token {len(path)} ({token}) is not")
        path.append(index)
    return path


def _draw_tree(axes: Axes, layout: _Layout, best_path: Sequence[int], labels: Labels, root: str) -> None:
    on_best = set(best_path)
    axes.text(0.25, 0, root, ha="right", va="center", zorder=9, bbox=_box("black"))
    for node in layout.nodes:
        _draw_node(axes, node, layout, labels[node.token], _style(node.fate, node.index in on_best))
    axes.set_xlim(-0.1 - 0.12 * len(root), layout.steps + 1.1)
    axes.set_ylim(layout.rows - 0.4, -0.8)  # downwards
    axes.set_axis_off()


def _draw_node(axes: Axes, node: Node, layout: _Layout, label: str, style: _Style) -> None:
    x, y, parent_y = node.step + 1, layout.row[node.index], layout.row[node.parent]
    elbow = x - 0.5  # labels reach less than half way
    line: dict[str, Any] = {"color": style.colour, "linewidth": style.width, "linestyle": style.dashes}
    axes.plot([x - 1, elbow, elbow, x], [parent_y, parent_y, y, y], zorder=style.order, **line)
    text: dict[str, Any] = {"va": "center", "zorder": 4 + style.order}
    box = _box(style.colour, square=node.fate == "finished")
    axes.text(x, y, label, ha="center", fontsize=8, color=style.text, bbox=box, **text)
    if node.fate == "finished":
        axes.text(x + 0.34, y, f"{node.score:.2f}", fontsize=7, color=style.colour, **text)
    elif node.fate == "pruned":
        axes.plot([x - 0.36], [y], marker="x", markersize=4, color=style.text, zorder=style.order)
        axes.text(x + 0.34, y, node.rule or "", fontsize=6, color=style.text, **text)


class _Style(NamedTuple):
    colour: str
    text: str
    width: float
    dashes: str
    order: int


def _style(fate: str, best: bool) -> _Style:
    if best:
        return _Style(_FINISHED if fate == "finished" else _BEST, "black", 2.6, "solid", 3)
    return {
        "kept": _Style(_RUNNING, "black", 1.2, "solid", 2),
        "finished": _Style(_FINISHED, "black", 1.2, "solid", 2),
        "outranked": _Style(_OUTRANKED, "#808080", 0.8, "solid", 1),
        "pruned": _Style(_PRUNED, "#999999", 0.8, "dashed", 1),
    }[fate]


def _box(edge: str, square: bool = False) -> dict[str, Any]:
    return {"boxstyle": f"{'square' if square else 'round'},pad=0.25", "facecolor": "white", "edgecolor": edge}


def _draw_legend(figure: Figure, layout: _Layout) -> None:
    from matplotlib.lines import Line2D

    entries = {
        "best": Line2D([], [], color=_BEST, linewidth=2.6, label="best hypothesis"),
        "kept": Line2D([], [], color=_RUNNING, linewidth=1.2, label="running beam"),
        "finished": Line2D([], [], color=_FINISHED, marker="s", fillstyle="none", label="finished, log-probability"),
        "outranked": Line2D([], [], color=_OUTRANKED, linewidth=0.8, label="outranked (the most probable)"),
        "pruned": Line2D([], [], color=_PRUNED, linestyle="dashed", marker="x", label="pruned, by which rule"),
    }
    fates = {"best"} | {node.fate for node in layout.nodes}
    handles = [entry for fate, entry in entries.items() if fate in fates]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
