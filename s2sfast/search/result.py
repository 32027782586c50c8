"""What a search returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from s2sfast.search.tree import BeamTree


@dataclass
class SearchStats:
    """What a search did, summed over its sentences."""

    steps: int = 0
    """Calls of the model's step (a prefill counts as one)."""
    model_rows: int = 0
    """Rows those calls ran."""
    candidates: int = 0
    """Candidates that the steps ranked."""
    pruned: int = 0
    """Places among the ranked candidates that pruning left empty."""


@dataclass(eq=False)  # tensors have no one truth value
class BeamResult:
    """The n best hypotheses of each sentence, best first. L is the longest length found.

    Places that no hypothesis fills have score -inf and length 0.
    """

    tokens: Tensor
    """``(B, n_best, L)`` int64, without start and prefix, with eos if generated, padded with -1."""
    lengths: Tensor
    """``(B, n_best)`` int64."""
    scores: Tensor
    """``(B, n_best)`` float32, as ranked: log-probabilities after the length penalty."""
    log_probs: Tensor
    """``(B, n_best)`` float32, sums of the tokens' log-probabilities (natural log)."""
    token_log_probs: Tensor
    """``(B, n_best, L)`` float32, padded with 0: the differences of the running sums."""
    finished: Tensor
    """``(B, n_best)`` bool: the hypothesis ended with eos, not at max_length."""
    attention: Tensor | None = None
    """``(B, n_best, L, T)``: what the step attended to when it chose each token; 0 beyond the length."""
    constraints_met: Tensor | None = None
    """``(B, n_best)`` int64, how many constraints each hypothesis meets; None: none were given."""
    satisfied: Tensor | None = None
    """``(B, n_best)`` bool: the hypothesis meets all constraints of its sentence; None: none were given."""
    tree: BeamTree | None = None
    """Every candidate the search looked at, with ``return_tree=True``."""
    stats: SearchStats = field(default_factory=SearchStats)

    def best(self, b: int) -> list[int]:
        """The tokens of sentence b's best hypothesis; empty where there is none."""
        return self.tokens[b, 0, : int(self.lengths[b, 0])].tolist()
