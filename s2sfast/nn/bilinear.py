"""Attention by a bilinear form."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import s2sfast
from s2sfast.nn.memory import AttentionMemory, WithMemory
from s2sfast.types import AttentionOutput


class BilinearAttention(WithMemory):
    r"""Attention by a bilinear form of query and key (Luong et al. 2015, arXiv:1508.04025, section 3.1, "general").

    .. math:: a = \mathrm{softmax}(q^\top W k_t), \quad c = \sum_t a_t v_t

    Args:
        query_dim: C, the width of the queries.
        key_dim:   D, the width of the keys.

    The parameter ``weight`` is ``(C, D)``. A linear layer of the keys, ``nn.Linear(key_dim, query_dim)``, has it as its
    weight; one of the queries, ``nn.Linear(query_dim, key_dim)``, has its transpose: see
    :func:`s2sfast.nn.convert.from_linear`.

    Called as :class:`DotAttention` is, with queries ``(B, Q, C)`` and keys ``(B, T, D)``.

    >>> import torch, s2sfast
    >>> attention = s2sfast.nn.BilinearAttention(3, 2)
    >>> context, weights = attention(torch.randn(4, 5, 3), torch.randn(4, 6, 2), lengths=torch.tensor([6, 1, 2, 0]))
    >>> context.shape, weights.shape
    (torch.Size([4, 5, 2]), torch.Size([4, 5, 6]))
    """

    def __init__(self, query_dim: int, key_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(query_dim, key_dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """As ``nn.Linear(query_dim, key_dim)`` would begin."""
        bound = max(self.weight.shape[0], 1) ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(
        self,
        query: Tensor,
        keys: Tensor | AttentionMemory,
        values: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        lengths: Tensor | None = None,
        need_weights: bool = True,
    ) -> AttentionOutput:
        memory = self.memory_of(keys, values, mask, lengths)
        return s2sfast.bilinear_attention(
            query,
            memory.keys,
            memory.values,
            weight=self.weight,
            mask=memory.mask,
            lengths=memory.lengths,
            need_weights=need_weights,
        )

    def extra_repr(self) -> str:
        return f"query_dim={self.weight.shape[0]}, key_dim={self.weight.shape[1]}"
