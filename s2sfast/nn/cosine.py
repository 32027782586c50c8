"""Attention by the cosine."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import s2sfast
from s2sfast.nn.memory import AttentionMemory, WithMemory
from s2sfast.types import AttentionOutput


class CosineAttention(WithMemory):
    r"""Attention by the cosine between query and key (Graves et al. 2014, arXiv:1410.5401, eq. 5 and 6).

    .. math:: a = \mathrm{softmax}(\beta \cos(q, k_t)), \quad c = \sum_t a_t v_t

    Args:
        strength: the sharpness beta where a call gives none. Cosines lie in [-1, 1]: with 1.0 no weight exceeds another
                  more than e^2 times.
        learn:    makes the strength a parameter that begins at this number.
        eps:      keeps the norms from 0.
        eps_mode: how it does, see :func:`s2sfast.cosine_attention`; "sqrt" has bounded gradients.

    Called as :class:`DotAttention` is, with one more argument: ``strength``, ``(B, Q)``, or ``(B,)`` with a 2-D query.

    >>> import torch, s2sfast
    >>> attention = s2sfast.nn.CosineAttention(strength=50.0)
    >>> keys = torch.tensor([[[3.0, 0.0], [0.0, 0.1]]])
    >>> attention(torch.tensor([[0.0, 2.0]]), keys).weights
    tensor([[1.9287e-22, 1.0000e+00]])
    """

    def __init__(
        self, strength: float = 1.0, *, learn: bool = False, eps: float = 1e-8, eps_mode: str = "clamp"
    ) -> None:
        super().__init__()
        self.strength = nn.Parameter(torch.tensor(float(strength))) if learn else strength
        self.eps, self.eps_mode = eps, eps_mode

    def forward(
        self,
        query: Tensor,
        keys: Tensor | AttentionMemory,
        values: Tensor | None = None,
        *,
        strength: Tensor | None = None,
        mask: Tensor | None = None,
        lengths: Tensor | None = None,
        need_weights: bool = True,
    ) -> AttentionOutput:
        memory = self.memory_of(keys, values, mask, lengths)
        return s2sfast.cosine_attention(
            query,
            memory.keys,
            memory.values,
            strength=self.strength if strength is None else strength,
            eps=self.eps,
            eps_mode=self.eps_mode,
            mask=memory.mask,
            lengths=memory.lengths,
            need_weights=need_weights,
        )

    def extra_repr(self) -> str:
        strength = "learnt" if isinstance(self.strength, Tensor) else self.strength
        return f"strength={strength}, eps={self.eps}, eps_mode={self.eps_mode!r}"
