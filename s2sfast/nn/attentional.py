"""What follows an attention in Luong et al.'s decoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AttentionalState(nn.Module):
    r"""Joins a query and its context (Luong et al. 2015, arXiv:1508.04025, eq. 5).

    .. math:: \tilde h = \tanh(W [c; q])

    Args:
        query_dim, context_dim: widths of the inputs.
        out_dim: width of the output.
        bias:    whether W has one; the paper's has none.
        tanh:    False leaves it out, as OpenNMT-py does behind its "mlp" attention.

    Called with query ``(..., query_dim)`` and context ``(..., context_dim)``, returns ``(..., out_dim)``. The first
    columns of the weight are the context's.

    >>> import torch, s2sfast
    >>> join = s2sfast.nn.AttentionalState(query_dim=8, context_dim=16, out_dim=8)
    >>> join(torch.randn(2, 8), torch.randn(2, 16)).shape
    torch.Size([2, 8])
    """

    def __init__(
        self, query_dim: int, context_dim: int, out_dim: int, *, bias: bool = False, tanh: bool = True
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(context_dim + query_dim, out_dim, bias=bias)
        self.tanh = tanh

    def forward(self, query: Tensor, context: Tensor) -> Tensor:
        joined = self.linear(torch.cat((context, query), -1))
        return torch.tanh(joined) if self.tanh else joined

    def extra_repr(self) -> str:
        return f"tanh={self.tanh}"
