"""The backpointers of a search.

A step only appends its tensors to a list. When sentences leave, the list is closed with the index of those it speaks
of; everything is laid out once, at the end.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Step(NamedTuple):
    """What one step leaves behind. S sentences alive, C candidates, K beams."""

    sums: Tensor
    """(S, C) log-probabilities of the ranked candidates, as (S, C) parents and tokens; -inf: none."""
    parents: Tensor
    tokens: Tensor
    slots: Tensor | None
    """(S, K) the candidate in each beam slot; None: the first K."""
    attention: Tensor | None
    """(S, W, T) of the rows that the model ran."""
    ends: Tensor | None = None
    """(S, C) bool, which candidates end; None: those whose token is eos."""


class History:
    """All steps, in order."""

    def __init__(self) -> None:
        self._open: list[Step] = []
        self._closed: list[tuple[Tensor | None, list[Step]]] = []

    def append(self, step: Step) -> None:
        self._open.append(step)

    def close(self, sentences: Tensor | None) -> None:
        """The steps since the last call spoke of these sentences (None: of all)."""
        self._closed.append((sentences, self._open))
        self._open = []

    def __len__(self) -> int:
        return sum(len(steps) for _, steps in self._closed)

    def sequence(self, sentence: int, last: int, column: int, alive: Tensor | None) -> list[int]:
        """The tokens of the sentence's candidate `column` of step `last`, from the first step on.

        `alive`: the sentences of the steps since the last :meth:`close`.
        """
        steps = [(at, step) for at, steps in (*self._closed, (alive, self._open)) for step in steps]
        tokens: list[int] = []
        for at, step in reversed(steps[: last + 1]):
            row = sentence if at is None else int((at == sentence).nonzero())
            if tokens:  # `column` is a beam of this step's candidates
                column = column if step.slots is None else int(step.slots[row, column])
            tokens.append(int(step.tokens[row, column]))
            column = int(step.parents[row, column])
        return tokens[::-1]

    def candidates(self, batch: int) -> tuple[Tensor, Tensor, Tensor]:
        """Sums, parents and tokens, each (L, B, C); where a sentence was gone: -inf, 0, -1."""
        return (
            self._laid_out([(at, [s.sums for s in steps]) for at, steps in self._closed], batch, -torch.inf),
            self._laid_out([(at, [s.parents for s in steps]) for at, steps in self._closed], batch, 0),
            self._laid_out([(at, [s.tokens for s in steps]) for at, steps in self._closed], batch, -1),
        )

    def slots(self, batch: int, beams: int, device: torch.device) -> Tensor | None:
        """(L, B, K) the candidate in each beam slot; None: always the first K."""
        if all(step.slots is None for _, steps in self._closed for step in steps):
            return None
        first = torch.arange(beams, device=device)
        parts = [
            (at, [first.expand(s.sums.shape[0], beams) if s.slots is None else s.slots for s in steps])
            for at, steps in self._closed
        ]
        return self._laid_out(parts, batch, 0)

    def attention(self, batch: int) -> Tensor:
        """(L, B, K, T), zero where a step ran fewer rows."""
        return self._laid_out(
            [(at, [s.attention for s in steps if s.attention is not None]) for at, steps in self._closed], batch, 0.0
        )

    def ends(self, batch: int) -> Tensor:
        """(L, B, C) bool."""
        return self._laid_out(
            [(at, [s.ends for s in steps if s.ends is not None]) for at, steps in self._closed], batch, False
        )

    @staticmethod
    def _laid_out(parts: list[tuple[Tensor | None, list[Tensor]]], batch: int, fill: float) -> Tensor:
        """Stacks (S, W, ...) tensors to (L, B, W, ...), filled up where a sentence was gone or a step was narrower."""
        everything = [tensor for _, tensors in parts for tensor in tensors]
        if len(parts) == 1 and parts[0][0] is None and all(t.shape == everything[0].shape for t in everything):
            return torch.stack(everything)
        width = max(tensor.shape[1] for tensor in everything)
        like = everything[0]
        whole = like.new_full((len(everything), batch, width, *like.shape[2:]), fill)
        begin = 0
        for at, tensors in parts:
            for row, tensor in zip(whole[begin:], tensors, strict=False):
                if at is None:
                    row[:, : tensor.shape[1]].copy_(tensor)
                else:
                    row[:, : tensor.shape[1]].index_copy_(0, at, tensor)
            begin += len(tensors)
        return whole
