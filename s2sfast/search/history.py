"""The backpointers of a search, and the way back through them.

While no sentence leaves the batch a step only appends its tensors to a list. When some leave, the list is closed with
the index of the sentences it speaks of; everything is laid out as (L, B, K) once, at the end.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class History:
    """Named (S, ...) tensors per step, S being the sentences alive; the second dimension may differ between steps."""

    def __init__(self, names: tuple[str, ...]):
        self._names = names
        self._open: dict[str, list[Tensor]] = {name: [] for name in names}
        self._closed: list[tuple[Tensor | None, dict[str, list[Tensor]]]] = []

    def append(self, **tensors: Tensor) -> None:
        for name in self._names:
            self._open[name].append(tensors[name])

    def close(self, sentences: Tensor | None) -> None:
        """The steps since the last call spoke of these sentences (None: of all)."""
        self._closed.append((sentences, self._open))
        self._open = {name: [] for name in self._names}

    def laid_out(self, name: str, batch: int, fill: float) -> Tensor:
        """(L, B, K, ...) of all steps, filled up where a sentence was gone or a step was narrower."""
        if len(self._closed) == 1 and self._closed[0][0] is None and self._closed[0][1][name]:
            steps = self._closed[0][1][name]
            if all(tensor.shape == steps[0].shape for tensor in steps):
                return torch.stack(steps)
        return self._scattered(name, batch, fill)

    def _scattered(self, name: str, batch: int, fill: float) -> Tensor:
        steps = [(at, tensor) for at, lists in self._closed for tensor in lists[name]]
        if not steps:
            return torch.empty((0, batch, 0), dtype=torch.int64)
        like = steps[0][1]
        width = max(tensor.shape[1] for _, tensor in steps)
        whole = like.new_full((len(steps), batch, width, *like.shape[2:]), fill)
        for row, (at, tensor) in zip(whole, steps, strict=True):
            row = row[:, : tensor.shape[1]]
            if at is None:
                row.copy_(tensor)
            else:
                row.index_copy_(0, at, tensor)
        return whole


class Paths:
    """The way of each hypothesis (B, n) through the steps of a search, found by backtrace.

    A hypothesis has `steps` tokens (forced ones of a ragged prefix included); the last one continues slot `parents` of
    the step before.
    """

    def __init__(self, backtrace: Callable, parents: Tensor, tokens: Tensor, hypothesis_parents: Tensor, steps: Tensor):
        self.steps = steps
        self.before = (steps - 1).clamp(min=0)
        self._end = hypothesis_parents
        length = int(steps.max()) if steps.numel() else 0
        parents, tokens = parents[: max(length - 1, 0)], tokens[: max(length - 1, 0)]
        self.tokens = self._with_end(backtrace(parents, tokens, self._end, steps=self.before), -1)
        self.parents = self._with_end(backtrace(parents, parents, self._end, steps=self.before), 0)
        self.parents = self._put_last(self.parents, self._end).clamp(min=0)

    def _with_end(self, sequences: Tensor, fill: int) -> Tensor:
        return torch.nn.functional.pad(sequences, (0, 1), value=fill)

    def _put_last(self, sequences: Tensor, last: Tensor) -> Tensor:
        """Writes each hypothesis' last entry; those without any step keep what they have."""
        at = self.before[..., None]
        kept = sequences.gather(2, at)
        return sequences.scatter(
            2, at, torch.where(self.steps[..., None] > 0, last[..., None].to(sequences.dtype), kept)
        )

    def sequences(self, last: Tensor) -> Tensor:
        """(B, n, L) tokens, ending with `last` (B, n), padded with -1."""
        return self._put_last(self.tokens, last)

    def differences(self, before: Tensor, last: Tensor) -> Tensor:
        """(B, n, L): what each token added to a running sum that was `before` it and ends as `last` (B, n)."""
        after = torch.nn.functional.pad(before[:, :, 1:], (0, 1))
        return self._put_last(after, last) - before

    def along(self, values: Tensor) -> Tensor:
        """Picks ``values[l, b, parent slot at l]`` of (L, B, K, ...) for every step: (B, n, L, ...)."""
        L = self.parents.shape[2]
        values = values[:L]
        step = torch.arange(L, device=values.device)
        sentence = torch.arange(values.shape[1], device=values.device)[:, None, None]
        return values[step, sentence, self.parents]
