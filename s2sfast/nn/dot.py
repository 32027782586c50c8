"""Attention by the dot product."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import s2sfast
from s2sfast.nn.memory import AttentionMemory, WithMemory
from s2sfast.types import AttentionOutput


class DotAttention(WithMemory):
    r"""Attention by the dot product of query and key (Luong et al. 2015, arXiv:1508.04025, section 3.1, "dot").

    .. math:: a = \mathrm{softmax}(scale \cdot q \cdot k_t), \quad c = \sum_t a_t v_t

    Args:
        scale: a number, 1.0 as Luong et al.; None: 1/sqrt(D) (Vaswani et al. 2017).
        learn: makes the scale a parameter that begins at this number, as ``keras.layers.Attention(use_scale=True)``.

    Called with ``(query, keys, values=None, *, mask=None, lengths=None, need_weights=True)``:

    * query ``(B, Q, D)``, or ``(B, D)`` for one query, whose outputs then have no dimension Q;
    * keys ``(B, T, D)``, or what :meth:`precompute` made of them; values ``(B, T, E)``, None: the keys;
    * mask ``(B, T)`` or ``(B, Q, T)`` bool, True = may be attended; lengths ``(B,)``; both: both must allow.

    Returns :class:`s2sfast.types.AttentionOutput`: context ``(B, Q, E)`` and weights ``(B, Q, T)``, both zero where
    everything is masked.

    >>> import torch, s2sfast
    >>> attention = s2sfast.nn.DotAttention()
    >>> keys = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    >>> context, weights = attention(torch.tensor([[1000.0, 0.0]]), keys)
    >>> context, weights
    (tensor([[1., 0.]]), tensor([[1., 0.]]))
    """

    def __init__(self, scale: float | None = 1.0, *, learn: bool = False) -> None:
        super().__init__()
        if learn and scale is None:
            raise ValueError("DotAttention: expected a number scale with learn=True; got None")
        self.scale = nn.Parameter(torch.tensor(float(scale or 0.0))) if learn else scale

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
        scale = self.scale
        if isinstance(scale, Tensor):
            query, scale = query * scale, 1.0
        elif scale is None:
            scale = query.shape[-1] ** -0.5
        return s2sfast.dot_attention(
            query,
            memory.keys,
            memory.values,
            scale=scale,
            mask=memory.mask,
            lengths=memory.lengths,
            need_weights=need_weights,
        )

    def extra_repr(self) -> str:
        return f"scale={'learnt' if isinstance(self.scale, Tensor) else self.scale}"
