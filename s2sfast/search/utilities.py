"""How alike two sequences are: utilities for minimum-Bayes-risk reranking, on tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from s2sfast.search.arguments import integer


@runtime_checkable
class Utility(Protocol):
    """One that judges all pairs of a sentence at once."""

    def pairwise(self, hypotheses: Tensor, lengths: Tensor, references: Tensor, reference_lengths: Tensor) -> Tensor:
        """(N, L) tokens and (N,) lengths, (M, L') and (M,): (N, M). What is beyond a length means nothing."""


@dataclass(frozen=True)
class NgramF:
    r"""The overlap of n-grams: the mean, over n = 1 ... order, of

    .. math:: F_n = \frac{2 \sum_g \min(c_h(g), c_r(g))}{\sum_g c_h(g) + \sum_g c_r(g)}

    where :math:`c(g)` counts the n-gram g: the F1 of n-gram precision and recall, clipped as in BLEU (Papineni et al.
    2002, P02-1040), on tokens. Symmetric, in [0, 1]. An n of which neither sequence has an n-gram is left out; two
    empty sequences score 1.

    Args:
        order: the longest n-gram, at least 1.

    Unigrams 4 / 5, bigrams 2 / 3:

    >>> import torch
    >>> utility = NgramF(order=2)
    >>> utility.pairwise(torch.tensor([[5, 6, -1]]), torch.tensor([2]), torch.tensor([[5, 6, 7]]), torch.tensor([3]))
    tensor([[0.7333]])
    """

    order: int = 4

    def __post_init__(self) -> None:
        integer("NgramF", "order", self.order)

    def pairwise(self, hypotheses: Tensor, lengths: Tensor, references: Tensor, reference_lengths: Tensor) -> Tensor:
        """(N, M) float32; shapes as :class:`Utility` has them."""
        total = torch.zeros((len(lengths), len(reference_lengths)), device=lengths.device)
        orders = torch.zeros_like(total)
        for n in range(1, self.order + 1):
            ours, theirs = _counts(hypotheses, lengths, references, reference_lengths, n)
            grams = ours.sum(1)[:, None] + theirs.sum(1)
            matches = torch.stack([torch.minimum(row, theirs).sum(1) for row in ours]) if len(ours) else grams
            total += 2 * matches / grams.clamp(min=1)
            orders += grams > 0
        return torch.where(orders > 0, total / orders.clamp(min=1), 1.0)


def _counts(
    hypotheses: Tensor, lengths: Tensor, references: Tensor, reference_lengths: Tensor, n: int
) -> tuple[Tensor, Tensor]:
    """(N, G) and (M, G): how often each sequence has each of the G n-grams there are."""
    grams, owners = [], []
    for tokens, ends, first in ((hypotheses, lengths, 0), (references, reference_lengths, len(lengths))):
        windows = tokens.unfold(1, n, 1) if tokens.shape[1] >= n else tokens.new_zeros((len(tokens), 0, n))
        inside = torch.arange(windows.shape[1], device=tokens.device) <= ends[:, None] - n
        grams.append(windows[inside])
        owners.append(inside.nonzero()[:, 0] + first)
    kinds, ids = torch.cat(grams).unique(dim=0, return_inverse=True)
    N = len(lengths)
    counts = torch.zeros((N + len(reference_lengths), len(kinds)), device=lengths.device)
    counts.index_put_((torch.cat(owners), ids), torch.ones((), device=lengths.device), accumulate=True)
    return counts[:N], counts[N:]


@dataclass(frozen=True)
class EditSimilarity:
    """1 - d / max(lengths), d the Levenshtein distance: the fewest insertions, deletions and substitutions that make
    one sequence the other. Symmetric, in [0, 1]; two empty sequences score 1.

    One substitution in three tokens:

    >>> import torch
    >>> utility = EditSimilarity()
    >>> utility.pairwise(torch.tensor([[5, 6, 7]]), torch.tensor([3]), torch.tensor([[5, 9, 7]]), torch.tensor([3]))
    tensor([[0.6667]])
    """

    def pairwise(self, hypotheses: Tensor, lengths: Tensor, references: Tensor, reference_lengths: Tensor) -> Tensor:
        """(N, M) float32; shapes as :class:`Utility` has them."""
        N, M, ends = len(lengths), len(reference_lengths), references.shape[1]
        step = torch.arange(ends + 1, device=lengths.device)
        distance = step.expand(N, M, -1)  # of the first i tokens to the first j
        for i in range(hypotheses.shape[1]):
            differs = (hypotheses[:, i, None, None] != references).long()  # (N, M, L')
            deleted = distance + 1
            changed = torch.cat((deleted[..., :1], torch.minimum(deleted[..., 1:], distance[..., :-1] + differs)), 2)
            # Insertions: the least of changed[k] + (j - k) over k <= j.
            after = (changed - step).cummin(2).values + step
            distance = torch.where((i < lengths)[:, None, None], after, distance)
        at_end = distance.gather(2, reference_lengths[None, :, None].expand(N, M, 1))[..., 0]
        longest = torch.maximum(lengths[:, None], reference_lengths)
        return 1 - at_end / longest.clamp(min=1)
