"""Every candidate a search looked at, as a tree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from s2sfast.types import BeamCandidates


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
    forced: Tensor
    """(S,) bool: still inside its prefix, nothing was chosen."""
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


def tree_step(
    sentences: Tensor,
    forced: Tensor,
    vocabulary: int,
    found: BeamCandidates,
    unpruned: BeamCandidates,
    running: BeamCandidates,
    finishing: Tensor | None,
) -> TreeStep:
    """From what the search ranked, what it would have ranked without pruning, what runs on and what ended."""

    def identity(x: BeamCandidates) -> Tensor:
        return (x.parents * vocabulary + x.tokens).masked_fill(x.scores == -torch.inf, -1)

    mine, seen = identity(found), identity(unpruned)
    dropped = (seen >= 0) & ~(seen[:, :, None] == mine[:, None, :]).any(2)
    scores, parents, tokens = (torch.cat(pair, 1) for pair in zip(found, unpruned, strict=True))
    finished = torch.zeros_like(dropped) if finishing is None else finishing
    none = torch.zeros_like(dropped)
    at = identity(running)[:, :, None] == mine[:, None, :]
    return TreeStep(
        sentences,
        forced,
        scores.masked_fill(torch.cat((mine < 0, ~dropped), 1), -torch.inf),
        parents,
        tokens,
        torch.cat((finished, none), 1),
        torch.cat((none, dropped), 1),
        at.to(torch.uint8).argmax(2).masked_fill(~at.any(2) | (running.scores == -torch.inf), -1),
    )


class BeamTree:
    """The search tree of each sentence."""

    def __init__(self, steps: list[TreeStep]):
        self._steps = steps

    def nodes(self, b: int) -> list[Node]:
        """All candidates of sentence b, step by step, best first within a step; tokens of its prefix are no nodes."""
        nodes: list[Node] = []
        slots: list[int] = []  # the node in each beam slot; none before the first step
        number = 0
        for step in self._steps:
            where = (step.sentences == b).nonzero().flatten()
            if not where.numel():
                break
            row = int(where)
            if not step.forced[row]:
                slots = _add_step(nodes, slots, number, step, row)
                number += 1
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
        nodes.append(Node(made[c], slots[parents[c]] if slots else -1, number, tokens[c], score, fate))
    return [made.get(c, -1) for c in beams]
