"""Every candidate a search looked at, as a tree."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import torch
from torch import Tensor

from s2sfast.search.candidates import Candidates
from s2sfast.search.ranking import Offer, Ranking
from s2sfast.types import Pruning

PRUNING = tuple(field.name for field in fields(Pruning))


@dataclass(frozen=True, slots=True)
class Node:
    """One candidate. `fate` is kept (ran on), finished (a hypothesis), outranked, or pruned (cut by `rule`)."""

    index: int
    parent: int
    """Index of the node it continues; -1 at the first step."""
    step: int
    """0-based."""
    token: int
    score: float
    """Cumulative log-probability."""
    fate: str
    rule: str | None = None
    """The field of :class:`s2sfast.Pruning` that cut it, the first of them in their order."""


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
    """(S, C) int64, which of the fields of Pruning cut it; -1: none."""
    beams: Tensor
    """(S, K) which candidate each beam slot holds now, -1: none."""


def tree_step(
    sentences: Tensor,
    forced: Tensor,
    ranking: Ranking,
    offer: Offer,
    found: Candidates,
    running: Candidates,
    finishing: Tensor | None,
) -> TreeStep:
    """From what the step offered, what was found in it, what runs on and what ended."""
    vocabulary = offer.logits.shape[2]

    def identity(x: Candidates) -> Tensor:
        return (x.parents * vocabulary + x.tokens).masked_fill(x.scores == -torch.inf, -1)

    def absent(x: Candidates, among: Candidates) -> Tensor:
        mine, theirs = identity(x), identity(among)
        return (mine >= 0) & ~(mine[:, :, None] == theirs[:, None, :]).any(2)

    unpruned = found if offer.pruning is None else ranking.rank(replace(offer, pruning=None))
    cut = torch.full_like(unpruned.parents, -1)
    dropped = absent(unpruned, found) & ~forced[:, None]
    for number, alone in reversed(list(enumerate(_one_by_one(offer.pruning)))):
        if alone is not None:
            gone = dropped & absent(unpruned, ranking.rank(replace(offer, pruning=alone)))
            cut = cut.masked_fill(gone, number)
    finished = torch.zeros_like(found.parents, dtype=torch.bool) if finishing is None else finishing
    scores, parents, tokens = (torch.cat(pair, 1) for pair in zip(found[:3], unpruned[:3], strict=True))
    mine = identity(found)
    at = identity(running)[:, :, None] == mine[:, None, :]
    return TreeStep(
        sentences,
        forced,
        scores.masked_fill(torch.cat((mine < 0, ~dropped), 1), -torch.inf),
        parents,
        tokens,
        torch.cat((finished, torch.zeros_like(dropped)), 1),
        torch.cat((torch.full_like(found.parents, -1), cut), 1),
        at.to(torch.uint8).argmax(2).masked_fill(~at.any(2) | (running.scores == -torch.inf), -1),
    )


def _one_by_one(pruning: Pruning | None) -> list[Pruning | None]:
    """Each field alone, None where it is off."""
    if pruning is None:
        return []
    settings = {name: getattr(pruning, name) for name in PRUNING}
    return [None if value is None else Pruning(**{name: value}) for name, value in settings.items()]


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
        if pruned[c] >= 0:
            fate = "pruned"
        elif finished[c]:
            fate = "finished"
        else:
            fate = "kept" if c in beams else "outranked"
        made[c] = len(nodes)
        parent = slots[parents[c]] if slots else -1
        rule = PRUNING[pruned[c]] if pruned[c] >= 0 else None
        nodes.append(Node(made[c], parent, number, tokens[c], score, fate, rule))
    return [made.get(c, -1) for c in beams]
