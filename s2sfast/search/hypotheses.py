"""The best hypotheses of each sentence so far."""

from __future__ import annotations

import torch
from torch import Tensor


class Hypotheses:
    """N places per sentence, sorted by score, best first; of equal scores the earlier found stands first.

    A hypothesis is a running beam's slot and one more token; its other tokens are found by backtrace at the end.
    """

    def __init__(self, sentences: int, places: int, device: torch.device):
        def table(fill: float, dtype: torch.dtype) -> Tensor:
            return torch.full((sentences, places), fill, dtype=dtype, device=device)

        self.scores = table(-torch.inf, torch.float32)
        self.log_probs = table(-torch.inf, torch.float32)
        self.lengths = table(0, torch.int64)
        self.ended = table(0, torch.bool)
        self.parents = table(0, torch.int64)
        self.tokens = table(-1, torch.int64)
        self.found_at = table(0, torch.int64)

    FIELDS = ("scores", "log_probs", "lengths", "ended", "parents", "tokens", "found_at")

    def add(self, rows: Tensor | None, **new: Tensor) -> None:
        """Merges new ones (S, C), in the order of their rank, into the places of `rows` (S,) (None: all).

        A score of -inf is no hypothesis.
        """
        old = {name: getattr(self, name) for name in self.FIELDS}
        if rows is not None:
            old = {name: value.index_select(0, rows) for name, value in old.items()}
        places = old["scores"].shape[1]
        ranked = torch.cat((old["scores"], new["scores"]), 1).sort(dim=1, descending=True, stable=True)
        order = ranked.indices[:, :places]
        for name in self.FIELDS:
            merged = torch.cat((old[name], new[name]), 1).gather(1, order)
            if rows is None:
                setattr(self, name, merged)
            else:
                getattr(self, name).index_copy_(0, rows, merged)
