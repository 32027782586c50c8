"""The best hypotheses of each sentence so far."""

from __future__ import annotations

import torch
from torch import Tensor


class Hypotheses:
    """N places per sentence, sorted by score, best first; of equal scores the earlier found stands first.

    A hypothesis is a candidate of some step: its code is step * C + column, where C candidates are ranked each step.
    The rest is looked up in the history at the end.
    """

    def __init__(self, sentences: int, places: int, candidates: int, device: torch.device):
        self.scores = torch.full(
            (sentences, places), -torch.inf, dtype=torch.float32, device=device
        )  # -inf: a free place
        self.codes = torch.zeros((sentences, places), dtype=torch.int64, device=device)
        self._columns = torch.arange(candidates, device=device)

    def add(self, rows: Tensor | None, scores: Tensor, step: int) -> None:
        """Merges the candidates of a step (S, C), in the order of their rank, into the places of `rows` (None: all).

        A score of -inf is no hypothesis.
        """
        old_scores = self.scores if rows is None else self.scores.index_select(0, rows)
        old_codes = self.codes if rows is None else self.codes.index_select(0, rows)
        codes = (self._columns + step * len(self._columns)).expand_as(scores)
        ranked, order = torch.cat((old_scores, scores), 1).sort(dim=1, descending=True, stable=True)
        places = self.scores.shape[1]
        best, kept = ranked[:, :places], torch.cat((old_codes, codes), 1).gather(1, order[:, :places])
        if rows is None:
            self.scores, self.codes = best, kept
        else:
            self.scores.index_copy_(0, rows, best)
            self.codes.index_copy_(0, rows, kept)
