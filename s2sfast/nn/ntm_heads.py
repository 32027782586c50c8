"""The heads of a Neural Turing Machine: a controller's output becomes what they ask of the memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from s2sfast.types import NTMHead

Heads = NTMHead | Tensor


class NTMHeads(nn.Module):
    r"""One linear layer from a controller's output to the numbers of all heads (Graves et al. 2014, section 3.3).

    The numbers may be any; :func:`s2sfast.ntm_step` makes parameters of them by its ``activation``. They leave as it
    reads them where they stand: nothing is copied.

    Args:
        controller_dim: C, the width of the controller's output.
        width:          M, of the memory's slots.
        read_heads:     R; with ``shared`` there are none.
        write_heads:    W.
        shifts:         S, how many taps a shift has; 0: the focus does not move.
        content_only:   True leaves out gate, shift and sharpening: a head looks for content alone.
        shared:         True: what is written with is read with, as in the lecture; no read heads.
        clip:           numbers are kept within [-clip, clip], 20 in Collier & Beel 2018; None: they are not.

    Called with ``(B, C)``, returns ``(read_head, write_head)`` for :func:`s2sfast.ntm_step`: ``(B, R, M + 3 + S)`` and
    ``(B, W, 3 M + 3 + S)``, or with ``content_only`` :class:`s2sfast.NTMHead` of views. The read head is None where it
    is shared. Rows of the layer's weight: read heads, then write heads, with their fields in the order of ``NTMHead``.

    Raises:
        ValueError: fewer than one head, a negative ``shifts``, a ``clip`` that is not positive.

    >>> import torch, s2sfast
    >>> heads = s2sfast.nn.NTMHeads(controller_dim=100, width=20, read_heads=2)
    >>> read, write = heads(torch.randn(5, 100))
    >>> read.shape, write.shape
    (torch.Size([5, 2, 26]), torch.Size([5, 1, 66]))
    >>> s2sfast.NTMHead.split(write, 20, write=True).add.shape
    torch.Size([5, 1, 20])
    """

    def __init__(
        self,
        controller_dim: int,
        width: int,
        *,
        read_heads: int = 1,
        write_heads: int = 1,
        shifts: int = 3,
        content_only: bool = False,
        shared: bool = False,
        clip: float | None = None,
    ) -> None:
        super().__init__()
        for name, got, least in (("read_heads", read_heads, 1), ("write_heads", write_heads, 1), ("shifts", shifts, 0)):
            if got < least:
                raise ValueError(f"NTMHeads: expected {name} of at least {least}; got {got}")
        if clip is not None and not clip > 0:
            raise ValueError(f"NTMHeads: expected clip > 0 or None; got {clip!r}")
        self.width, self.shifts, self.content_only, self.shared, self.clip = width, shifts, content_only, shared, clip
        self.read_heads, self.write_heads = 0 if shared else read_heads, write_heads
        self._read_size = width + 1 + (0 if content_only else 2 + shifts)
        self._write_size = self._read_size + 2 * width
        self._sizes = [self.read_heads * self._read_size, write_heads * self._write_size]
        self.linear = nn.Linear(controller_dim, sum(self._sizes))

    def forward(self, controller_output: Tensor) -> tuple[Heads | None, Heads]:
        flat = torch.addmm(self.linear.bias, controller_output, self.linear.weight.t())  # without a module's call
        if self.clip is not None:
            flat = flat.clamp(-self.clip, self.clip)
        if self.shared:
            return None, self._head(flat, self.write_heads, write=True)
        read, write = flat.split(self._sizes, -1)
        return self._head(read, self.read_heads), self._head(write, self.write_heads, write=True)

    def join(self, read: Sequence[Tensor | None], write: Sequence[Tensor | None]) -> Tensor:
        """The fields of the heads, ``(B, H, ...)`` in their order, as rows of the layer's output: the way back."""
        parts = [self._joined(head).flatten(1) for head in (read, write) if head[0] is not None]
        return torch.cat(parts, 1) if len(parts) > 1 else parts[0]

    def _joined(self, fields: Sequence[Tensor | None]) -> Tensor:
        if not self.content_only:
            return cast(Tensor, fields[0])
        return torch.cat([x if x.dim() == 3 else x.unsqueeze(2) for x in fields if x is not None], 2)

    def _head(self, flat: Tensor, heads: int, write: bool = False) -> Heads:
        fields = flat.view(-1, heads, self._write_size if write else self._read_size)
        if not self.content_only:
            return fields
        key, strength, *written = fields.split([self.width, 1, *([self.width] * 2 if write else [])], -1)
        return NTMHead(key, strength.squeeze(-1), None, None, None, *written)

    def extra_repr(self) -> str:
        return (
            f"read_heads={self.read_heads}, write_heads={self.write_heads}, shifts={self.shifts}, "
            f"content_only={self.content_only}, shared={self.shared}, clip={self.clip}"
        )
