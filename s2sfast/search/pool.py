"""Keeps the states of many model calls and gathers one batch from rows of several."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from s2sfast.search import state as trees


class Snapshot:
    """A state as one call of the model left it, copied: a step may use its buffers again. R rows."""

    def __init__(self, state: Any, dims: Any, rows: int, device: torch.device):
        for path, leaf, _ in trees.leaves(state, dims, "state"):
            if hasattr(leaf, "reorder"):
                raise trees.RowsError(
                    f"expected {path} to be made of tensors, whose rows can be joined with those of an earlier step; "
                    f"got {type(leaf).__name__} with a reorder of its own"
                )
        trees.check_rows(state, dims, rows, "state")
        self.dims = dims
        self.state = trees.gather_rows([(state, torch.arange(rows, device=device))], dims)
        self.kind = tuple(_traits(leaf, dim, path) for path, leaf, dim in trees.leaves(self.state, dims, "state"))
        """Equal kinds may stand in one batch: the same shapes beside the rows, the same values that rows share."""


def _traits(leaf: Any, dim: Any, path: str) -> Hashable:
    if isinstance(leaf, Tensor):
        if not leaf.dim():
            return path, leaf.dtype, leaf.item()
        shape = list(leaf.shape)
        del shape[dim]
        return path, leaf.dtype, tuple(shape)
    if leaf is None or isinstance(leaf, (bool, int, float, str)):
        return path, type(leaf), leaf
    return path, id(leaf)  # who knows what equality means to it


def joined(wanted: Sequence[tuple[Snapshot, int]], device: torch.device) -> Any:
    """A fresh state of these rows, in this order; all of one kind."""
    rows_of: dict[Snapshot, list[int]] = {}
    for place, (snapshot, _) in enumerate(wanted):
        rows_of.setdefault(snapshot, []).append(place)
    parts = [
        (snapshot.state, torch.tensor([wanted[place][1] for place in places], device=device))
        for snapshot, places in rows_of.items()
    ]
    dims = wanted[0][0].dims
    state = trees.gather_rows(parts, dims)
    stands = [place for places in rows_of.values() for place in places]
    if stands == sorted(stands):
        return state
    order = torch.tensor(stands, device=device).argsort()
    return trees.select_rows(state, dims, order, len(wanted), "state")
