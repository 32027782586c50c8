"""Random numbers that are functions of counters, so that a draw depends on its place and on nothing else.

No generator has a state here: what a sentence draws is the same alone, in any batch, in any order, on any number of
threads.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from s2sfast.search.penalties import Length

_BITS = 52  # of a uniform number: k / 2**52 and (k + 1/2) / 2**52 are both exact in float64, and below 1


def mixed(x: Tensor) -> Tensor:
    """SplitMix64 (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators"), of int64 as 64 bits.

    The number that the generator with state x gives next. One to one: different x, different numbers.

    >>> mixed(torch.tensor([0])).item() % 2**64 == 0xE220A8397B1DCDAF
    True
    """
    x = x + _signed(0x9E3779B97F4A7C15)
    x = (x ^ _shifted(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shifted(x, 27)) * _signed(0x94D049BB133111EB)
    return x ^ _shifted(x, 31)


def _signed(bits: int) -> int:
    return bits - (1 << 64)


def _shifted(x: Tensor, by: int) -> Tensor:
    """To the right, with zeros from the left: torch's own shift keeps the sign."""
    return (x >> by) & ((1 << (64 - by)) - 1)


def hashed(first: Tensor, *counters: Length) -> Tensor:
    """int64, of counters that broadcast; their order counts."""
    key = mixed(first)
    for counter in counters:
        key = mixed(key ^ counter)
    return key


def uniform(key: Tensor) -> Tensor:
    """float64 in [0, 1), of numbers of :func:`hashed`."""
    return _shifted(key, 64 - _BITS).double() * 2.0**-_BITS


def gumbel(key: Tensor) -> Tensor:
    """float64 numbers of the standard Gumbel distribution: -log(-log(u)), u in (0, 1)."""
    return -(-(uniform(key) + 2.0 ** -(_BITS + 1)).log()).log()


def seeds_of(name: str, seed: Any, batch: int, device: torch.device) -> Tensor:
    """(B,) int64, of what a user passes as seed.

    Raises:
        ValueError: neither an int in [-2**63, 2**63) nor B integers.
    """
    try:
        seeds = None if isinstance(seed, bool) else torch.as_tensor(seed, device=device)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        seeds = None
    if seeds is None or seeds.is_floating_point() or seeds.is_complex() or seeds.dtype == torch.bool:
        raise ValueError(f"{name}: expected seed to be an int of 64 bits, or integers (B,)=({batch},); got {seed!r}")
    if seeds.dim() and seeds.shape != (batch,):
        raise ValueError(f"{name}: expected seed to be an int, or integers (B,)=({batch},); got {tuple(seeds.shape)}")
    return seeds.to(torch.int64).expand(batch)


class Draws:
    """The random numbers of one search: functions of a sentence's seed, its step, and further counters."""

    def __init__(self, seeds: Tensor):
        self._rows = seeds  # (R,) the seed of each row's sentence

    def keys(self, generated: Length, beams: int, *counters: Tensor) -> Tensor:
        """int64 (S, ...), for the step that follows so many tokens; (S,) of them where sentences differ."""
        seeds = self._rows.view(-1, beams)[:, 0]
        key = hashed(seeds, generated)
        for counter in counters:
            key = mixed(key[..., None] ^ counter)
        return key

    def follow(self, rows: Tensor) -> None:
        self._rows = self._rows.index_select(0, rows)
