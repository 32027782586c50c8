"""Every candidate a search looked at, as a tree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


@dataclass(frozen=True, slots=True)
class Node:
    """One candidate. `fate` is kept (ran on), finished (a hypothesis), outranked, or pruned (cut by a rule)."""

    index: int
    parent: int
    """Index of the node it continues; -1 at the first step."""
    step: int
    """0-based."""
    token: int
    score: float
    """Cumulative log-probability."""
    fate: str


class TreeStep(NamedTuple):
    """What one step saw. S sentences, C candidates, K beams."""

    sentences: Tensor
    """(S,) which sentences of the batch."""
    scores: Tensor
    """(S, C) as (S, C) parents and tokens: the ranked candidates, then those that pruning dropped; -inf: none."""
    parents: Tensor
    tokens: Tensor
    finished: Tensor
    """(S, C) bool: became a hypothesis."""
    pruned: Tensor
    """(S, C) bool."""
    beams: Tensor
    """(S, K) which candidate each beam slot holds now, -1: none."""


class BeamTree:
    """The search tree of each sentence."""

    def __init__(self, steps: list[TreeStep]):
        self._steps = steps

    def nodes(self, b: int) -> list[Node]:
        """All candidates of sentence b, step by step, best first within a step."""
        nodes: list[Node] = []
        slots = [-1]  # the node in each beam slot
        for number, step in enumerate(self._steps):
            where = (step.sentences == b).nonzero().flatten()
            if not where.numel():
                break
            slots = _add_step(nodes, slots, number, step, int(where))
        return nodes


def _add_step(nodes: list[Node], slots: list[int], number: int, step: TreeStep, row: int) -> list[int]:
    beams = step.beams[row].tolist()
    made: dict[int, int] = {}
    scores, parents, tokens = step.scores[row].tolist(), step.parents[row].tolist(), step.tokens[row].tolist()
    finished, pruned = step.finished[row].tolist(), step.pruned[row].tolist()
    for c, score in enumerate(scores):
        if score == float("-inf"):
            continue
        if pruned[c]:
            fate = "pruned"
        elif finished[c]:
            fate = "finished"
        else:
            fate = "kept" if c in beams else "outranked"
        made[c] = len(nodes)
        nodes.append(Node(made[c], slots[parents[c]], number, tokens[c], score, fate))
    return [made.get(c, -1) for c in beams]
