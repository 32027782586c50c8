"""Keeps the scores of every step, where somebody asks for them."""

from __future__ import annotations

import math

from torch import Tensor


class Record:
    """log-probabilities and logits of each step, laid out as transformers does: (B * K, V).

    What stands in rows of sentences that had left is -inf; no returned hypothesis goes through them.
    """

    def __init__(self, batch: int, beams: int):
        self._batch, self._beams = batch, beams
        self._scores: list[Tensor] = []
        self._logits: list[Tensor] = []

    def add_scores(self, ids: Tensor, log_probs: Tensor) -> None:
        """Of the sentences `ids` (S,), (R, V)."""
        self._scores.append(self._laid_out(ids, log_probs))

    def add_logits(self, ids: Tensor, logits: Tensor) -> None:
        self._logits.append(self._laid_out(ids, logits))

    def scores(self) -> tuple[Tensor, ...]:
        return tuple(self._scores)

    def logits(self) -> tuple[Tensor, ...]:
        return tuple(self._logits)

    def _laid_out(self, ids: Tensor, rows: Tensor) -> Tensor:
        V = rows.shape[-1]
        by_sentence = rows.view(len(ids), -1, V).expand(-1, self._beams, V) if len(rows) == len(ids) else rows
        whole = rows.new_full((self._batch, self._beams, V), -math.inf)
        whole[ids] = by_sentence.reshape(len(ids), self._beams, V)
        return whole.view(-1, V)
