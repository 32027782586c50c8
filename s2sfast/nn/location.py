"""Attention that knows where it was."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from s2sfast.nn.additive import AdditiveAttention
from s2sfast.nn.memory import AttentionMemory
from s2sfast.types import AttentionOutput


class LocationAwareAttention(AdditiveAttention):
    r"""Additive attention that also sees, around each position, the weights of the step before.

    .. math:: f = F * a_{prev}, \quad e_t = v^\top \tanh(W q + U k_t + F_w^\top f_t + b)

    Chorowski et al. 2015, arXiv:1506.07503, eq. 8 and 9. With ``cumulative`` the convolution has a second channel, the
    sum of all weights so far, as in NVIDIA's Tacotron 2 (Shen et al. 2018, arXiv:1712.05884).

    Args:
        query_dim, key_dim, attn_dim, bias, normalize: of :class:`AdditiveAttention`.
        channels:   C, filters of the convolution ``location``; ``feature_weight``, (C, D), is F_w.
        kernel:     how many positions a filter sees, an odd number. ESPnet's default is 201 (and 10 channels), Tacotron
                    2's 31 (and 32).
        cumulative: whether the sum of all weights so far is given too.

    Called as :class:`DotAttention` is, with ``previous``, the weights of the step before, and with cumulative also
    ``accumulated``, the sum of all steps' so far; both ``(B, Q, T)``, or ``(B, T)`` with a 2-D query. None: zeros, as
    Tacotron 2 begins; ESPnet begins with ``1 / lengths`` everywhere. The module keeps none: hand back what it returned.

    >>> import torch, s2sfast
    >>> attention = s2sfast.nn.LocationAwareAttention(8, 16, 10, channels=4, kernel=5)
    >>> memory, weights = attention.precompute(torch.randn(2, 7, 16)), None
    >>> for step in range(3):
    ...     context, weights = attention(torch.randn(2, 8), memory, previous=weights)
    >>> weights.shape
    torch.Size([2, 7])
    """

    def __init__(
        self,
        query_dim: int | None,
        key_dim: int | None,
        attn_dim: int,
        *,
        channels: int = 10,
        kernel: int = 31,
        cumulative: bool = False,
        bias: bool = True,
        normalize: bool = False,
    ) -> None:
        if kernel < 1 or kernel % 2 == 0:
            raise ValueError(f"LocationAwareAttention: expected an odd kernel; got {kernel}")
        super().__init__(query_dim, key_dim, attn_dim, bias=bias, features=channels, normalize=normalize)
        self.location = nn.Conv1d(2 if cumulative else 1, channels, kernel, padding=kernel // 2, bias=False)

    @property
    def cumulative(self) -> bool:
        """Whether the sum of all weights so far is an input too."""
        return self.location.in_channels == 2

    def forward(  # type: ignore[override]  # previous weights are its features
        self,
        query: Tensor,
        keys: Tensor | AttentionMemory,
        values: Tensor | None = None,
        *,
        previous: Tensor | None = None,
        accumulated: Tensor | None = None,
        mask: Tensor | None = None,
        lengths: Tensor | None = None,
        need_weights: bool = True,
    ) -> AttentionOutput:
        memory = self.memory_of(keys, values, mask, lengths)
        if accumulated is not None and not self.cumulative:
            raise ValueError(
                "LocationAwareAttention: expected no accumulated weights without cumulative=True; got some"
            )
        if self.cumulative and (previous is None) != (accumulated is None):
            raise ValueError("LocationAwareAttention: expected previous and accumulated together; got one of them")
        history = [weights for weights in (previous, accumulated) if weights is not None]
        features = self._locate(history, memory.positions()) if history else None
        return self.attend(query, memory, features, need_weights)

    def _locate(self, history: list[Tensor], attended: Tensor | None) -> Tensor:
        """(..., T, C) of weights (..., T)."""
        channels = torch.stack(history, -2)  # (..., 1 or 2, T)
        if attended is not None:  # a filter reaches from the last position into the padding
            attended = attended[:, None] if channels.dim() == 3 else attended[:, None, None]
            channels = channels.masked_fill(~attended, 0)
        filtered = self.location(channels.flatten(0, -3))  # (rows, C, T)
        return filtered.mT.unflatten(0, channels.shape[:-2])
