"""An output layer that points at the input."""

from __future__ import annotations

import math

import torch
from torch import Tensor

import s2sfast
from s2sfast.nn.additive import AdditiveScore
from s2sfast.nn.memory import AttentionMemory


class PointerLayer(AdditiveScore):
    r"""A distribution over the positions of the input (Vinyals et al. 2015, arXiv:1506.03134, eq. 3).

    .. math:: u_t = v^\top \tanh(W q + U k_t + b), \quad \log p = \log\mathrm{softmax}(u)

    Args:
        query_dim: the width of the queries, the decoder's states; None: they come projected.
        key_dim:   the width of the keys, the encoder's outputs; None: they come projected.
        attn_dim:  D, the width of the hidden layer.
        bias:      b; the paper has none.
        clip:      C: logits are C tanh(u), which keeps the policy from growing certain too early (Bello et al. 2016,
                   arXiv:1611.09940, appendix, C = 10). With a clip a bias beside v would matter, and there is none.

    Called with ``(query, keys, *, mask=None, lengths=None)``: query ``(B, Q, query_dim)`` or ``(B, query_dim)``, keys
    ``(B, T, key_dim)`` or what :meth:`precompute` made of them. A mask ``(B, Q, T)`` takes out what has been visited.

    Returns log-probabilities ``(B, Q, T)``, -inf where masked, also where all is; :meth:`logits` gives u, or C tanh(u).
    Both are logits for :func:`s2sfast.beam_search`, whose tokens are then positions, and for a cross-entropy.

    >>> import torch, s2sfast
    >>> pointer = s2sfast.nn.PointerLayer(query_dim=8, key_dim=8, attn_dim=16, clip=10.0)
    >>> memory = pointer.precompute(torch.randn(2, 5, 8), lengths=torch.tensor([5, 3]))
    >>> visited = torch.tensor([[True, False, False, False, False], [False, True, False, False, False]])
    >>> log_probs = pointer(torch.randn(2, 8), memory, mask=~visited)
    >>> log_probs.isneginf()
    tensor([[ True, False, False, False, False],
            [False,  True, False,  True,  True]])
    """

    def __init__(
        self,
        query_dim: int | None,
        key_dim: int | None,
        attn_dim: int,
        *,
        bias: bool = False,
        clip: float | None = None,
    ) -> None:
        super().__init__(query_dim, key_dim, attn_dim, bias=bias)
        if clip is not None and not 0 < clip < math.inf:
            raise ValueError(f"PointerLayer: expected clip in (0, inf) or None; got {clip!r}")
        self.clip = clip

    def forward(
        self,
        query: Tensor,
        keys: Tensor | AttentionMemory,
        *,
        mask: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> Tensor:
        logits = self.logits(query, keys, mask=mask, lengths=lengths)
        nowhere = logits.isneginf().all(-1, keepdim=True)  # log-softmax would give NaN
        return logits.masked_fill(nowhere, 0).log_softmax(-1).masked_fill(nowhere, -math.inf)

    def logits(
        self,
        query: Tensor,
        keys: Tensor | AttentionMemory,
        *,
        mask: Tensor | None = None,
        lengths: Tensor | None = None,
    ) -> Tensor:
        """``(B, Q, T)``, -inf where masked."""
        memory = self.memory_of(keys, None, mask, lengths)
        scores = s2sfast.additive_scores(
            self.query_projection(query), memory.keys, v=self.direction(), mask=memory.mask, lengths=memory.lengths
        )
        if self.clip is None:
            return scores
        return torch.where(scores.isneginf(), scores, self.clip * scores.tanh())
