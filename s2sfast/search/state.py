"""Walks the pytrees that users hand to a search: decoder state and encoder memory."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor


class RowsError(ValueError):
    """A tensor that has not the rows it should have."""


def _children(tree: Any) -> list[tuple[Any, Any]] | None:
    """(key, child) pairs of a container, or None for a leaf. What can reorder itself is a leaf."""
    if isinstance(tree, Tensor) or hasattr(tree, "reorder"):
        return None
    if isinstance(tree, dict):
        return list(tree.items())
    if isinstance(tree, (tuple, list)):
        return list(enumerate(tree))
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        return [(field.name, getattr(tree, field.name)) for field in dataclasses.fields(tree)]
    return None


def _rebuild(tree: Any, children: dict[Any, Any]) -> Any:
    rebuilt: Any
    if isinstance(tree, dict):
        rebuilt = copy.copy(tree)  # keeps a defaultdict's factory
        rebuilt.update(children)
        return rebuilt
    if dataclasses.is_dataclass(tree):
        rebuilt = copy.copy(tree)  # not replace(): that would run __post_init__ at every step
        for name, child in children.items():
            object.__setattr__(rebuilt, name, child)
        return rebuilt
    values = list(children.values())
    return type(tree)(*values) if hasattr(tree, "_fields") else type(tree)(values)


def _dims_of(dims: Any, key: Any) -> Any:
    """The part of a prefix of ints that belongs to a child."""
    if isinstance(dims, int):
        return dims
    try:
        return getattr(dims, key) if dataclasses.is_dataclass(dims) else dims[key]
    except (KeyError, IndexError, TypeError, AttributeError):
        raise RowsError(
            f"expected state_dims to have the state's structure, or an int; got {dims!r} at {key!r}"
        ) from None


def leaves(tree: Any, dims: Any, path: str) -> Iterator[tuple[str, Any, int]]:
    """(path, leaf, dimension of the rows) of every leaf."""
    children = _children(tree)
    if children is None:
        yield path, tree, dims
        return
    if isinstance(dims, (dict, tuple, list)):
        keys = list(dims) if isinstance(dims, dict) else list(range(len(dims)))
        if set(keys) != {key for key, _ in children}:
            raise RowsError(f"expected state_dims to have the keys of {path}, or an int; got {dims!r}")
    for key, child in children:
        yield from leaves(child, _dims_of(dims, key), f"{path}[{key!r}]")


def _check_dim(leaf: Tensor, dim: Any, path: str) -> None:
    if not isinstance(dim, int):
        raise RowsError(f"expected state_dims to be an int for {path}; got {dim!r}")
    if not -leaf.dim() <= dim < leaf.dim():
        raise RowsError(f"expected {path} to have dimension {dim}, where its rows are; got {tuple(leaf.shape)}")


def _check(leaf: Tensor, dim: Any, rows: int, path: str) -> None:
    _check_dim(leaf, dim, path)
    if leaf.shape[dim] != rows:
        raise RowsError(f"expected {path} with {rows} rows in dimension {dim}; got {tuple(leaf.shape)}")


def select_rows(tree: Any, dims: Any, index: Tensor, rows: int, path: str) -> Any:
    """Picks rows of every tensor, each of which must have `rows` of them.

    0-d tensors and other values pass; objects with ``reorder(index)`` do it themselves.
    """
    if isinstance(tree, Tensor):
        if not tree.dim():
            return tree
        _check(tree, dims, rows, path)
        return tree.index_select(dims, index)
    if tree is None:
        return None
    children = _children(tree)
    if children is not None:
        return _rebuild(
            tree, {k: select_rows(child, _dims_of(dims, k), index, rows, f"{path}[{k!r}]") for k, child in children}
        )
    reorder: Callable[[Tensor], Any] | None = getattr(tree, "reorder", None)
    if reorder is None:
        return tree
    result = reorder(index)
    return tree if result is None else result


def gather_rows(parts: Sequence[tuple[Any, Tensor]], dims: Any) -> Any:
    """One new tree with the rows `index` of each (tree, index), one after another.

    The trees have one structure. 0-d tensors are copied and other values pass, both of the first tree.
    """
    first = parts[0][0]
    if isinstance(first, Tensor):
        if not first.dim():
            return first.clone()
        picked = [tree.index_select(dims, index) for tree, index in parts]
        return picked[0] if len(picked) == 1 else torch.cat(picked, dims)
    children = _children(first)
    if children is None:
        return first
    others = [(dict(_children(tree) or ()), index) for tree, index in parts]
    return _rebuild(
        first, {k: gather_rows([(tree[k], index) for tree, index in others], _dims_of(dims, k)) for k, _ in children}
    )


def check_rows(tree: Any, dims: Any, rows: int, path: str) -> None:
    """Raises RowsError unless every tensor has `rows` rows."""
    for at, leaf, dim in leaves(tree, dims, path):
        if isinstance(leaf, Tensor) and leaf.dim():
            _check(leaf, dim, rows, at)


def count_rows(tree: Any, dims: Any, name: str) -> int | None:
    """The number of rows that the first tensor has, or None where there is no tensor."""
    for path, leaf, dim in leaves(tree, dims, name):
        if isinstance(leaf, Tensor) and leaf.dim():
            _check_dim(leaf, dim, path)
            return leaf.shape[dim]
    return None


def device_of(*trees: Any) -> torch.device:
    """The device of the first tensor found; the CPU where there is none."""
    for tree in trees:
        for _, leaf, _ in leaves(tree, 0, ""):
            if isinstance(leaf, Tensor):
                return leaf.device
    return torch.device("cpu")
