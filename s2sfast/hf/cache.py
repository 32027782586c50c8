"""A key-value cache in which the beams of a sentence share what they have in common, and which is never reordered.

The keys and values of a layer are one pool per sentence, ``(S, H, N, d)``: first the prompt's, once for all beams; each
step then adds one entry per beam. Which entries are a beam's own past is a mask ``(R, N)``, the same for all layers,
and that mask is all that follows the beams from step to step. Now and then what is in no beam's past any more is
dropped: soon most of it, for the beams of a sentence have few ancestors. Cross-attention's keys and values have one row
a sentence anyway.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer, EncoderDecoderCache

_ROOM = 64  # entries a pool has room for beyond the prompt, before it doubles
_TIDY = 16  # steps between two looks for entries that no beam needs


class Pool:
    """What the layers of one search have in common: S sentences alive, W beams each, N entries a sentence."""

    def __init__(self, visible: Tensor, source: Tensor | None, dtype: torch.dtype, longest: int):
        """``visible (B, P)`` and ``source (B, T)``, bool: tokens of prompt and source that are no padding."""
        self.longest = longest
        """No sequence has more tokens, its prompt included."""
        self.sentences, self.width = visible.shape[0], 1
        self.entries = visible.shape[1]
        self.mask = _bias(visible, dtype)
        """(R, N) added to the scores: 0 for a beam's own past, -inf for the others'."""
        self.source_mask = None if source is None or bool(source.all()) else _bias(source, dtype)
        """(S, T) likewise, for cross-attention; None: all are seen."""
        self._placed = torch.arange(self.entries, device=visible.device).expand(visible.shape)
        self._newest: list[int] = []  # positions of the entries after those, alike in all sentences
        self.touched: SelfLayer | CrossLayer | None = None
        """The layer that handed out its keys last: the next attention is over them."""
        self.layers: list[SelfLayer | CrossLayer] = []
        self._steps = 0
        self._own = self.mask[:0]  # of the width and sentences in the key
        self._own_key = (0, 0)

    def advance(self, position: int) -> None:
        """Makes room for one more token of each beam."""
        self._steps += 1
        if self._steps % _TIDY == 0:
            self._tidy(position)
        self.mask = torch.cat((self.mask, self._own_entries()), 1)
        self._newest += [position] * self.width
        self.entries += self.width

    @property
    def positions(self) -> Tensor:
        """(S, N) where each entry stands in its sequence. Most models never ask."""
        if self._newest:
            new = torch.tensor(self._newest, device=self._placed.device).expand(self.sentences, -1)
            self._placed, self._newest = torch.cat((self._placed, new), 1), []
        return self._placed

    def follow(self, rows: Tensor) -> None:
        """The beams go on from these rows (R',) of the present ones."""
        self.mask = self.mask.index_select(0, rows)
        self.width = rows.shape[0] // self.sentences

    def keep_sentences(self, keep: Tensor) -> None:
        """Only these sentences (S',) of the present ones go on; their beams follow next."""
        self.sentences, self._placed = keep.shape[0], self._placed.index_select(0, keep)
        if self.source_mask is not None:
            self.source_mask = self.source_mask.index_select(0, keep)
        for layer in self.layers:
            layer.keep_sentences(keep)

    def _tidy(self, length: int) -> None:
        """Drops what no beam of its sentence sees, as far as the sentence that needs most allows.

        At least `length` entries stay: models size what they compute per key position by the number of keys.
        """
        seen = (self.mask == 0).view(self.sentences, self.width, -1).any(1)  # (S, N)
        kept = max(int(seen.sum(1).max()), length)
        if kept >= self.entries:
            return
        order = seen.to(torch.uint8).sort(dim=1, descending=True, stable=True).indices[:, :kept]  # (S, N')
        self._placed = self.positions.gather(1, order)
        self.mask = self.mask.gather(1, order.repeat_interleave(self.width, 0))
        self.entries = kept
        for layer in self.layers:
            layer.keep_entries(order)

    def _own_entries(self) -> Tensor:
        """(R, W) the mask of this step's entries: each beam sees its own."""
        if self._own_key != (self.sentences, self.width):
            eye = torch.eye(self.width, dtype=torch.bool, device=self.mask.device)
            self._own = _bias(eye, self.mask.dtype).repeat(self.sentences, 1)
            self._own_key = (self.sentences, self.width)
        return self._own


class SelfLayer(DynamicLayer):
    """Self-attention's keys and values of one layer."""

    def __init__(self, pool: Pool):
        super().__init__()
        self.is_initialized = False
        self._pool, self._length = pool, 0
        pool.layers.append(self)

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Adds the prompt, (S, H, P, d), or one token of each row, (R, H, 1, d); returns all, (S, H, N, d)."""
        pool, end = self._pool, self._pool.entries
        if not self.is_initialized:
            self.keys, self.values = (_with_room(x, end, end + _ROOM) for x in (key_states, value_states))
            self.is_initialized, self._length = True, end
            return key_states, value_states
        if end > self.keys.shape[2]:
            self.keys, self.values = (_with_room(x, end - pool.width, 2 * end) for x in (self.keys, self.values))
        keys, values = self.keys[:, :, :end], self.values[:, :, :end]
        for entries, new in ((keys, key_states), (values, value_states)):
            by_sentence = new.reshape(pool.sentences, pool.width, new.shape[1], new.shape[3])
            entries[:, :, end - pool.width :] = by_sentence.transpose(1, 2)
        self._length += 1
        pool.touched = self
        return keys, values

    def get_seq_length(self) -> int:
        return self._length

    def bias(self) -> Tensor:
        """(S, 1, W, N), added to the scores."""
        return self._pool.mask.view(self._pool.sentences, 1, self._pool.width, -1)

    def by_entry(self, by_position: Tensor) -> Tensor:
        """What a model computes per key position, (1, H, 1, positions), for each entry: (S, H, 1, N)."""
        return by_position[0, :, 0, self._pool.positions].transpose(0, 1).unsqueeze(2)

    def keep_entries(self, order: Tensor) -> None:
        """The entries (S, N') of the present ones, first."""
        S, H, room, _ = self.keys.shape
        heads = torch.arange(0, S * H * room, room, device=order.device).view(S, H, 1)
        rows = (heads + order[:, None, :]).view(-1)  # a gather along the entries takes several times as long
        for buffer in (self.keys, self.values):
            kept = buffer.view(S * H * room, -1).index_select(0, rows)
            buffer[:, :, : order.shape[1]] = kept.view(S, H, order.shape[1], -1)

    def keep_sentences(self, keep: Tensor) -> None:
        self.keys, self.values = self.keys.index_select(0, keep), self.values.index_select(0, keep)


class CrossLayer(DynamicLayer):
    """Cross-attention's keys and values of one layer: one row a sentence, written once."""

    def __init__(self, pool: Pool):
        self._pool, self._stored = pool, (torch.empty(0), torch.empty(0))
        self.is_initialized = False
        pool.layers.append(self)

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        self._stored, self.is_initialized = (key_states, value_states), True
        return self._stored

    @property
    def keys(self) -> Tensor:  # models read them straight from the layer once they are there
        self._pool.touched = self
        return self._stored[0]

    @property
    def values(self) -> Tensor:
        return self._stored[1]

    def get_seq_length(self) -> int:
        return self._stored[0].shape[-2] if self.is_initialized else 0

    def bias(self) -> Tensor | None:
        """(S, 1, 1, T), added to the scores."""
        mask = self._pool.source_mask
        return None if mask is None else mask[:, None, None, :]

    def by_entry(self, by_position: Tensor) -> Tensor:
        return by_position

    def keep_entries(self, order: Tensor) -> None:
        pass  # they are the source's

    def keep_sentences(self, keep: Tensor) -> None:
        self._stored = self._stored[0].index_select(0, keep), self._stored[1].index_select(0, keep)


def make_cache(pool: Pool, cross: bool) -> Cache:
    """What a model takes for its cache, with cross-attention or without. Layers are made when they are first used."""
    own = Cache(layer_class_to_replicate=partial(SelfLayer, pool))
    if not cross:
        return own
    return EncoderDecoderCache(own, Cache(layer_class_to_replicate=partial(CrossLayer, pool)))


def _bias(visible: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.zeros(visible.shape, dtype=dtype, device=visible.device).masked_fill_(~visible, -math.inf)


def _with_room(x: Tensor, used: int, room: int) -> Tensor:
    """A copy of the first `used` entries of (S, H, n, d), with room for more."""
    larger = x.new_empty((*x.shape[:2], room, x.shape[3]))
    larger[:, :, :used] = x[:, :, :used]
    return larger
