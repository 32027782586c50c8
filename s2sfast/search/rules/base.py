"""What a search asks of a rule: how many candidates to rank, which of them end, which sentences are done."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from s2sfast.search.penalties import Length, Penalty


@dataclass
class Ranked:
    """The candidates of a step. S sentences alive, C candidates, best first."""

    ends: Tensor
    """(S, C) bool: the token is eos."""
    last: Tensor | bool
    """No token may follow this one; (S, 1) where sentences differ."""
    beam: int
    found: Tensor
    """(S,) how many hypotheses each sentence has found before this step."""

    @property
    def leading(self) -> Tensor:
        """(C,) bool: among the `beam` best."""
        return _first(self.beam, self.ends.shape[1], self.ends.device)


@dataclass
class Progress:
    """What a stopping rule may look at. S sentences alive."""

    running: Tensor
    """(S,) float32, the best that runs; -inf where nothing runs."""
    worst: Tensor
    """(S,) float32, the score of the worst of the hypotheses a sentence keeps; -inf while a place is free."""
    found: Tensor
    """(S,) how many hypotheses have been found, kept or not."""
    led: Tensor
    """(S,) bool: the best candidate of this or an earlier step became a hypothesis."""
    length: Length
    """Tokens that the running ones have generated; (S,) where sentences differ."""
    max_length: Length
    """The most they may generate."""
    penalty: Penalty
    covered: bool
    """A coverage penalty is part of the scores."""
    beam: int
    n_best: int


class Rule:
    """A system's beam search. Subclasses say what differs from the common case."""

    closes_with_eos = False
    """The last token that max_length allows must be eos."""
    renormalizes = False
    """An eos that min_length forbids leaves the logits, before the log-softmax."""
    stays = False
    """Finished hypotheses stay in the beam, take a place there, and are pushed out by better ones."""

    waits_until_full = False
    """No sentence stops before all its places are filled, so `stops` need not be asked."""

    def candidates(self, beam: int, eos_ids: int) -> int:
        """How many candidates a step ranks per sentence."""
        return 2 * beam

    def per_beam(self, beam: int) -> int | None:
        """How many of them one beam may offer, after the first step; None: no limit."""
        return None

    def places(self, beam: int, n_best: int) -> int:
        """How many hypotheses a sentence keeps."""
        if n_best > beam:
            raise ValueError(
                f"beam_search: rules.{type(self).__name__} keeps as many hypotheses as beams: "
                f"expected n_best <= {beam}; got {n_best}"
            )
        return n_best

    def counted(self, generated: Length) -> Length:
        """The length that the penalty sees, of so many generated tokens with eos."""
        return generated

    def finishes(self, ranked: Ranked) -> Tensor:
        """(S, C) bool: which candidates become hypotheses.

        Asked when one of the first `beam` ends, or some sentence is at its max_length.
        """
        return (ranked.ends if ranked.last is False else ranked.ends | ranked.last) & ranked.leading

    def stops(self, progress: Progress) -> Tensor:
        """(S,) bool: which sentences need no further step. Asked from the first hypothesis on."""
        raise NotImplementedError


@lru_cache(maxsize=64)
def _first(beam: int, candidates: int, device: torch.device) -> Tensor:
    return torch.arange(candidates, device=device) < beam
