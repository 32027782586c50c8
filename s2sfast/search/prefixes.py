"""What every row has been fed and has generated: built only for those who ask for it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from s2sfast.search.candidates import Candidates


class Prefixes:
    """(R, t) tokens of each row, its prefix first."""

    def __init__(self, prefix: Tensor):
        self.tokens = prefix

    def follow(self, rows: Tensor, tokens: Tensor) -> None:
        self.tokens = torch.cat((self.tokens.index_select(0, rows), tokens[:, None]), 1)

    def continued(self, candidates: Candidates, beams: int) -> Tensor:
        """(S, C, t + 1) with the candidates' own tokens."""
        first = torch.arange(0, len(candidates.tokens) * beams, beams, device=self.tokens.device)
        rows = candidates.parents + first[:, None]
        return torch.cat((self.tokens[rows], candidates.tokens[:, :, None]), 2)

    def ask(self, function: Callable[[Tensor], Tensor], candidates: Candidates, beams: int) -> Tensor:
        """(S, C) bool, the function's answers for the sequences (S * C, t + 1)."""
        shape = candidates.tokens.shape
        answer = function(self.continued(candidates, beams).flatten(0, 1))
        if not isinstance(answer, Tensor) or answer.dtype != torch.bool or answer.numel() != shape.numel():
            got = f"{tuple(answer.shape)} {answer.dtype}" if isinstance(answer, Tensor) else type(answer).__name__
            raise ValueError(f"beam_search: expected ends to return bool ({shape.numel()},); got {got}")
        return answer.reshape(shape)
