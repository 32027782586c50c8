"""Keeps what the model said at every step, where somebody asks for it."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from s2sfast.search.processors.base import Tracker


class Record:
    """The tensors (R, V) of each step, laid out as transformers does: (B * K, V).

    Rows that no hypothesis goes through, those of sentences that had left among them, are -inf.
    """

    def __init__(self, batch: int, beams: int):
        self._batch, self._beams = batch, beams
        self.steps: tuple[Tensor, ...] = ()

    def add(self, ids: Tensor, rows: Tensor) -> None:
        """Of the sentences `ids` (S,)."""
        by_sentence = rows.view(len(ids), -1, rows.shape[-1])
        whole = rows.new_full((self._batch, self._beams, rows.shape[-1]), -math.inf)
        if not self.steps:  # there was one row a sentence, which there stands for all
            by_sentence = by_sentence.expand(-1, self._beams, -1)
        whole[ids, : by_sentence.shape[1]] = by_sentence
        self.steps += (whole.flatten(0, 1),)


class Recorder(Tracker):
    """The last of the processors: what it sees is what the candidates are ranked by."""

    def __init__(self, record: Record, decoder: Any):
        self._record, self._decoder = record, decoder

    def begin(self, beginning: Any) -> Recorder:
        return self

    def __call__(self, log_probs: Tensor) -> Tensor:
        self._record.add(self._decoder.ids, log_probs)
        return log_probs

    def follow(self, rows: Tensor, tokens: Tensor) -> None:
        pass
