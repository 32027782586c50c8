"""The best hypotheses of each sentence so far."""

from __future__ import annotations

import torch
from torch import Tensor


class Hypotheses:
    """N places per sentence, best first; of equal ones the earlier found stands first.

    A hypothesis is a candidate of some step: its code is step * C + column, where C candidates are ranked each step.
    The rest is looked up in the history at the end.
    """

    def __init__(
        self,
        sentences: int,
        places: int,
        candidates: int,
        device: torch.device,
        compete: bool,
        goals: Tensor | None = None,
    ):
        shape = (sentences, places)
        self.ranks = torch.full(shape, -torch.inf, dtype=torch.float32, device=device)  # -inf: a free place
        self.codes = torch.zeros(shape, dtype=torch.int64, device=device)
        self.scores = self.ranks.clone() if compete else None  # None: they are the ranks
        self.tiers = None if goals is None else torch.full(shape, -1, dtype=torch.int64, device=device)
        self._goals = goals
        self.found = torch.zeros(sentences, dtype=torch.int64, device=device)
        self.led = torch.zeros(sentences, dtype=torch.bool, device=device)
        self._columns = torch.arange(candidates, device=device)

    def add(
        self,
        rows: Tensor | None,
        finishing: Tensor,
        ranks: Tensor,
        scores: Tensor,
        step: int,
        tiers: Tensor | None = None,
    ) -> None:
        """Merges those candidates of a step (S, C) that `finishing` names into the places of `rows` (None: all).

        They stand in the order of their tier, then of their rank; a rank of -inf is no hypothesis.
        """
        finishing = finishing & (ranks > -torch.inf)
        every = slice(None) if rows is None else rows
        self.found[every] += finishing.sum(1)
        self.led[every] |= finishing[:, 0]
        places = self.ranks.shape[1]
        ranked = torch.cat((self.ranks[every], ranks.where(finishing, -torch.inf)), 1)
        order = ranked.sort(dim=1, descending=True, stable=True).indices
        if self.tiers is not None and tiers is not None:
            tiered = torch.cat((self.tiers[every], tiers.where(finishing, -1)), 1)
            order = order.gather(1, tiered.gather(1, order).sort(dim=1, descending=True, stable=True).indices)
            self.tiers[every] = tiered.gather(1, order[:, :places])
        order = order[:, :places]
        codes = (self._columns + step * len(self._columns)).expand_as(ranks)
        self.ranks[every] = ranked.gather(1, order)
        self.codes[every] = torch.cat((self.codes[every], codes), 1).gather(1, order)
        if self.scores is not None:
            self.scores[every] = torch.cat((self.scores[every], scores), 1).gather(1, order)

    def compete(self, rows: Tensor | None, ranks: Tensor, beam: int) -> Tensor:
        """(S, C) bool: which candidates are among the `beam` best of candidates and hypotheses; the others go.

        Of equals, a hypothesis stands before a candidate.
        """
        every = slice(None) if rows is None else rows
        kept = self.ranks[every]  # (S, N)
        before = (kept[:, :, None] >= ranks[:, None, :]).sum(1) + self._columns
        behind = (ranks[:, None, :] > kept[:, :, None]).sum(2) + torch.arange(kept.shape[1], device=kept.device)
        self.ranks[every] = kept.masked_fill(behind >= beam, -torch.inf)
        return (before < beam) & (ranks > -torch.inf)

    def reached(self, n: int) -> tuple[Tensor | None, Tensor | None]:
        """((B, n) the tiers of the n best, 0 where there is none; (B, n) bool: they reach the goal)."""
        if self.tiers is None or self._goals is None:
            return None, None
        tiers = self.tiers[:, :n]
        return tiers.clamp(min=0), tiers >= self._goals[:, None]

    def best(self, n: int) -> tuple[Tensor, Tensor]:
        """(scores, codes), each (B, n), best first; -inf where there is none."""
        if self.scores is None:
            return self.ranks[:, :n], self.codes[:, :n]
        scores, order = self.scores.masked_fill(self.ranks == -torch.inf, -torch.inf).sort(
            dim=1, descending=True, stable=True
        )
        return scores[:, :n], self.codes.gather(1, order[:, :n])
