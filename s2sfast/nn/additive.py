"""Attention by a small network with one hidden layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import s2sfast
from s2sfast.nn.memory import AttentionMemory, WithMemory
from s2sfast.types import AttentionOutput


class AdditiveScore(WithMemory):
    """The parameters of v . tanh(W q + U k + b + f F), and the keys' part of it, done once per source."""

    def __init__(
        self,
        query_dim: int | None,
        key_dim: int | None,
        attn_dim: int,
        *,
        bias: bool = True,
        features: int = 0,
        normalize: bool = False,
    ) -> None:
        super().__init__()
        self.attn_dim = attn_dim
        self.query_projection = nn.Identity() if query_dim is None else nn.Linear(query_dim, attn_dim, bias=False)
        self.key_projection = nn.Identity() if key_dim is None else nn.Linear(key_dim, attn_dim, bias=bias)
        self.v = nn.Parameter(torch.empty(attn_dim))
        self.g = nn.Parameter(torch.empty(())) if normalize else None
        self.feature_weight = nn.Parameter(torch.empty(features, attn_dim)) if features else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """As linear layers begin; ``g`` at 1/sqrt(D)."""
        for projection in (self.query_projection, self.key_projection):
            if isinstance(projection, nn.Linear):
                projection.reset_parameters()
        bound = max(self.attn_dim, 1) ** -0.5
        nn.init.uniform_(self.v, -bound, bound)
        if self.g is not None:
            nn.init.constant_(self.g, bound)
        if self.feature_weight is not None:
            bound = self.feature_weight.shape[0] ** -0.5
            nn.init.uniform_(self.feature_weight, -bound, bound)

    def precompute(
        self, keys: Tensor, values: Tensor | None = None, *, mask: Tensor | None = None, lengths: Tensor | None = None
    ) -> AttentionMemory:
        memory = super().precompute(keys, values, mask=mask, lengths=lengths)
        if isinstance(self.key_projection, nn.Identity):
            return memory
        attended = memory.positions()
        if attended is not None:
            # The weight's gradient sums over all positions: a NaN in the padding would reach it, as 0 * NaN.
            keys = keys.masked_fill(~attended[..., None], 0)
        return memory._replace(keys=self.key_projection(keys))

    def direction(self) -> Tensor:
        """(D,): v, or g v / |v|."""
        return self.v if self.g is None else self.v * (self.g / torch.linalg.vector_norm(self.v))

    def extra_repr(self) -> str:
        features = 0 if self.feature_weight is None else self.feature_weight.shape[0]
        return f"attn_dim={self.attn_dim}, features={features}, normalize={self.g is not None}"


class AdditiveAttention(AdditiveScore):
    r"""Attention by a small network (Bahdanau et al. 2015, arXiv:1409.0473, appendix A.1.2; Luong's "concat").

    .. math::
        e_t = v^\top \tanh(W q + U k_t + b + F^\top f_t), \quad a = \mathrm{softmax}(e), \quad c = \sum_t a_t v_t

    Args:
        query_dim: the width of the queries; None: they come projected, W is left out.
        key_dim:   the width of the keys; None: they come projected, U and b are left out.
        attn_dim:  D, the width of the hidden layer.
        bias:      b. One is enough: biases of W and of U would add up. One beside v would not change the softmax.
        features:  C, how many features of its own each pair of query and position has: coverage, a location, a gap.
        normalize: g v / |v| in place of v, with a learnt g (Salimans & Kingma 2016, arXiv:1602.07868), as in TensorFlow
                   Addons' ``BahdanauAttention(normalize=True)``.

    Called as :class:`DotAttention` is, with queries ``(B, Q, query_dim)``, keys ``(B, T, key_dim)`` or what
    :meth:`precompute` made of them, and one more argument: ``features``, ``(B, Q, T, C)``, or ``(B, T, C)`` with a 2-D
    query; None: zeros. Values are by default the keys before their projection.

    One linear layer over the concatenation [q; k] is the same with its weight cut in two, and then U k is computed once
    per source and not once per step: :func:`s2sfast.nn.convert.from_concat`.

    >>> import torch, s2sfast
    >>> attention = s2sfast.nn.AdditiveAttention(query_dim=8, key_dim=16, attn_dim=10)
    >>> encoded = torch.randn(2, 7, 16)
    >>> memory = attention.precompute(encoded, lengths=torch.tensor([7, 4]))  # once per source
    >>> context, weights = attention(torch.randn(2, 8), memory)  # at every step
    >>> context.shape, weights.shape, weights[1, 4:]
    (torch.Size([2, 16]), torch.Size([2, 7]), tensor([0., 0., 0.], grad_fn=<SliceBackward0>))
    """

    def precompute(
        self, keys: Tensor, values: Tensor | None = None, *, mask: Tensor | None = None, lengths: Tensor | None = None
    ) -> AttentionMemory:
        return super().precompute(keys, keys if values is None else values, mask=mask, lengths=lengths)

    def forward(
        self,
        query: Tensor,
        keys: Tensor | AttentionMemory,
        values: Tensor | None = None,
        *,
        features: Tensor | None = None,
        mask: Tensor | None = None,
        lengths: Tensor | None = None,
        need_weights: bool = True,
    ) -> AttentionOutput:
        return self.attend(query, self.memory_of(keys, values, mask, lengths), features, need_weights)

    def attend(
        self, query: Tensor, memory: AttentionMemory, features: Tensor | None, need_weights: bool
    ) -> AttentionOutput:
        """The same over a memory."""
        if features is not None and self.feature_weight is None:
            raise ValueError(f"{type(self).__name__}: expected no features, made without them; got features")
        return s2sfast.additive_attention(
            self.query_projection(query),
            memory.keys,
            memory.values,
            v=self.direction(),
            features=features,
            feature_weight=None if features is None else self.feature_weight,
            mask=memory.mask,
            lengths=memory.lengths,
            need_weights=need_weights,
        )
