"""Greedy search as transformers has it: processors see logits, and the highest of what they leave is taken."""

from __future__ import annotations

from typing import Any

import torch

from s2sfast.search.arguments import prepare
from s2sfast.search.candidates import Candidates
from s2sfast.search.loop import Loop
from s2sfast.search.penalties import LengthPenalty
from s2sfast.search.ranking import ByLogProb, Offer
from s2sfast.search.result import BeamResult
from s2sfast.search.rules import Greedy


class Highest(ByLogProb):
    """Each step's highest logit, whatever came before: sums of them would lose what decides between two tokens."""

    falls = False

    def rank(self, offer: Offer) -> Candidates:
        nothing = torch.zeros_like(offer.scores)
        return Candidates.of(self._topk(offer.logits, nothing, 1, bias=offer.bias, normalized=offer.normalized))


@torch.no_grad()
def greedy_search(step: Any, state: Any, **options: Any) -> BeamResult:
    """As :func:`s2sfast.greedy_search` of a step with ``normalized``; only its tokens mean anything."""
    arguments = prepare(
        "greedy_search", step, state, beam=1, n_best=1, penalty=LengthPenalty(alpha=0.0), rule=Greedy(),
        ranking=Highest(), pruning=None, batch_size=None, prefix_lengths=None, state_dims=0, temperature=1.0,
        backend="fast", **options,
    )  # fmt: skip
    return Loop(arguments).run()
