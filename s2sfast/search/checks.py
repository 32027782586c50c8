"""Checks of single arguments, for all that a search is made of."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any


def integer(name: str, what: str, value: Any, least: int = 1) -> int:
    """The integer, of whatever integer type (numpy's, a 0-d tensor)."""
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < least:
        raise ValueError(f"{name}: expected {what} to be an integer >= {least}; got {value!r}")
    return number


def token_ids(name: str, what: str, value: Any) -> tuple[int, ...]:
    """At least one token id; of a list, a tuple, an array, a tensor, or an id alone."""
    given = value.tolist() if hasattr(value, "tolist") else value
    ids = tuple(given) if isinstance(given, Iterable) and not isinstance(given, str) else (given,)
    if not ids:
        raise ValueError(f"{name}: expected {what} to be token ids, at least one; got {value!r}")
    return tuple(integer(name, what, i, 0) for i in ids)
