"""What an attention keeps of a source, and the steps that all attention modules share."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn


class AttentionMemory(NamedTuple):
    """A source, made ready for the queries of all steps: what ``precompute`` of an attention module returns.

    Sentences are in dimension 0, so it is a ``memory`` for :func:`s2sfast.beam_search`, which lets finished sentences
    leave it. It is never tiled: K beams are the K queries of a sentence, (S, K, D) against (S, T, D).
    """

    keys: Tensor
    """``(B, T, D)``, projected."""
    values: Tensor | None = None
    """``(B, T, E)``; None: the keys are the values."""
    mask: Tensor | None = None
    """``(B, T)`` or ``(B, Q, T)`` bool, True = may be attended."""
    lengths: Tensor | None = None
    """``(B,)`` int, how many positions each sentence has."""

    def restricted(self, mask: Tensor | None, lengths: Tensor | None) -> AttentionMemory:
        """The same source with only those positions that its own mask and lengths and the given ones all allow."""
        if mask is None and lengths is None:
            return self
        return self._replace(mask=_both(self.mask, mask), lengths=_shorter(self.lengths, lengths))

    def positions(self) -> Tensor | None:
        """``(B, T)`` bool, the positions that some query may attend; None: all of them."""
        mask = self.mask
        if mask is not None and mask.dim() == 3:
            mask = mask.any(1)
        if self.lengths is None:
            return mask
        within = torch.arange(self.keys.shape[1], device=self.keys.device) < self.lengths[:, None]
        return within if mask is None else within & mask


def _both(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    if a is None or b is None:
        return b if a is None else a
    if a.dim() == b.dim():
        return a & b
    return (a[:, None] & b) if a.dim() == 2 else (a & b[:, None])


def _shorter(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    if a is None or b is None:
        return b if a is None else a
    return torch.minimum(a, b)


class WithMemory(nn.Module):
    """A module that is called with keys, or with the memory that it has made of them once."""

    def precompute(
        self, keys: Tensor, values: Tensor | None = None, *, mask: Tensor | None = None, lengths: Tensor | None = None
    ) -> AttentionMemory:
        """Does once per source what does not depend on the query.

        Args:
            keys:    ``(B, T, key_dim)``, most often the encoder's output.
            values:  ``(B, T, E)``; None: the keys, as they were before any projection.
            mask:    ``(B, T)`` or ``(B, Q, T)`` bool, True = may be attended.
            lengths: ``(B,)`` int; with a mask too, both must allow a position.

        Returns:
            An :class:`AttentionMemory`, to be given to ``forward`` in place of the keys.
        """
        return AttentionMemory(keys, values, mask, lengths)

    def memory_of(
        self, keys: Tensor | AttentionMemory, values: Tensor | None, mask: Tensor | None, lengths: Tensor | None
    ) -> AttentionMemory:
        """The memory that the arguments of ``forward`` stand for."""
        if not isinstance(keys, AttentionMemory):
            return self.precompute(keys, values, mask=mask, lengths=lengths)
        if values is not None:
            raise ValueError(f"{type(self).__name__}: expected no values beside a memory, which has its own; got both")
        return keys.restricted(mask, lengths)
