"""Attention that knows what it has attended to."""

from __future__ import annotations

import torch
from torch import Tensor

from s2sfast.nn.additive import AdditiveAttention
from s2sfast.nn.memory import AttentionMemory
from s2sfast.types import AttentionOutput


class CoverageAttention(AdditiveAttention):
    r"""Additive attention that also sees how much each position got so far (See et al. 2017, arXiv:1704.04368, eq. 11).

    .. math:: e_t = v^\top \tanh(W q + U k_t + w_c c_t + b), \quad c_t = \text{the sum of the weights so far}

    Args:
        query_dim, key_dim, attn_dim, bias, normalize: of :class:`AdditiveAttention`; ``feature_weight`` is w_c, (1, D).

    Called as :class:`DotAttention` is, with one more argument: ``coverage``, ``(B, Q, T)``, or ``(B, T)`` with a 2-D
    query; None: nothing so far. The module keeps none: the caller adds up.

    >>> import torch, s2sfast
    >>> attention = s2sfast.nn.CoverageAttention(8, 16, 10)
    >>> memory, coverage = attention.precompute(torch.randn(2, 7, 16)), None
    >>> for step in range(3):
    ...     context, weights = attention(torch.randn(2, 8), memory, coverage=coverage)
    ...     coverage = weights if coverage is None else coverage + weights
    >>> [round(total, 4) for total in coverage.sum(-1).tolist()]  # a weight of 1 a step
    [3.0, 3.0]
    """

    def __init__(
        self,
        query_dim: int | None,
        key_dim: int | None,
        attn_dim: int,
        *,
        bias: bool = True,
        normalize: bool = False,
    ) -> None:
        super().__init__(query_dim, key_dim, attn_dim, bias=bias, features=1, normalize=normalize)

    def forward(  # type: ignore[override]  # coverage is its feature
        self,
        query: Tensor,
        keys: Tensor | AttentionMemory,
        values: Tensor | None = None,
        *,
        coverage: Tensor | None = None,
        mask: Tensor | None = None,
        lengths: Tensor | None = None,
        need_weights: bool = True,
    ) -> AttentionOutput:
        features = None if coverage is None else coverage[..., None]
        return self.attend(query, self.memory_of(keys, values, mask, lengths), features, need_weights)


def coverage_loss(weights: Tensor, coverage: Tensor | None = None) -> Tensor:
    r"""What attending again to the same positions costs (See et al. 2017, arXiv:1704.04368, eq. 12).

    .. math:: loss_l = \sum_t \min(a_{lt}, c_{lt})

    Args:
        weights:  of a whole output, ``(B, L, T)``, or of one step, ``(B, T)`` or ``(B, K, T)``, with its coverage.
        coverage: what each position had got before, in the shape of the weights; None: the sum of the earlier rows of
                  ``weights``.

    Returns:
        ``(B, L)``, or the weights' shape without T: one loss a step, each in [0, 1]. See et al. add it to the step's
        negative log-likelihood, with a factor of 1, before padded steps are masked and the mean is taken.

    >>> import torch, s2sfast
    >>> weights = torch.tensor([[[1.0, 0.0], [0.25, 0.75], [0.5, 0.5]]])
    >>> s2sfast.nn.coverage_loss(weights)
    tensor([[0.0000, 0.2500, 1.0000]])
    """
    if coverage is None:
        if weights.dim() != 3:
            raise ValueError(f"coverage_loss: expected weights (B, L, T) without coverage; got {tuple(weights.shape)}")
        coverage = weights.cumsum(1) - weights
    elif coverage.shape != weights.shape:
        raise ValueError(
            f"coverage_loss: expected coverage {tuple(weights.shape)}, as the weights; got {tuple(coverage.shape)}"
        )
    return torch.minimum(weights, coverage).sum(-1)
