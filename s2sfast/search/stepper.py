"""Calls the user's model and checks what it returns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from s2sfast.search.arguments import Arguments
from s2sfast.search.result import SearchStats


class Output(NamedTuple):
    logits: Tensor
    """(R, V)"""
    state: Any
    attention: Tensor | None
    """(R, T)"""


class Stepper:
    """The model of one search. Steps are counted from 0; a prefill is one."""

    def __init__(self, arguments: Arguments, stats: SearchStats):
        self._a = arguments
        self._stats = stats
        self.vocabulary = 0  # V, once the first logits are there
        self._dtype: torch.dtype | None = None  # likewise
        self._positions = 0  # T, likewise

    def prefill(self, lengths: Tensor) -> Output:
        assert self._a.prefill is not None
        return self._call("prefill", self._a.prefill, self._a.prefix, lengths, self._a.state, self._a.memory)

    def step(self, tokens: Tensor, state: Any, memory: Any) -> Output:
        return self._call("step", self._a.step, tokens, state, memory)

    def where(self) -> str:
        """Names the last call, for errors."""
        return f"{self._a.name}: step {self._stats.steps - 1}"

    def _call(self, kind: str, function: Callable, first: Tensor, *others: Any) -> Output:
        output = function(first, *others)  # what it raises passes unchanged
        where, rows = f"{self._a.name}: {kind} {self._stats.steps}", first.shape[0]
        if not isinstance(output, tuple) or len(output) not in (2, 3):
            got = f"a tuple of {len(output)}" if isinstance(output, tuple) else type(output).__name__
            raise ValueError(f"{where}: expected (logits, state) or (logits, state, attention); got {got}")
        self._check_logits(output[0], where, rows)
        attention = output[2] if len(output) == 3 else None
        if self._a.return_attention or self._a.coverage is not None:
            self._check_attention(attention, where, rows)
        self._stats.steps += 1
        self._stats.model_rows += rows
        return Output(output[0], output[1], attention)

    def _check_logits(self, logits: Any, where: str, rows: int) -> None:
        if not isinstance(logits, Tensor) or not logits.is_floating_point():
            got = getattr(logits, "dtype", type(logits).__name__)
            raise ValueError(f"{where}: expected floating logits (R, V); got {got}")
        if logits.dim() != 2 or logits.shape[0] != rows or logits.shape[1] != (self.vocabulary or logits.shape[1]):
            expected = f"({rows}, {self.vocabulary or 'V'})"
            raise ValueError(f"{where}: expected logits (R, V)={expected}; got {tuple(logits.shape)}")
        if logits.dtype != (self._dtype or logits.dtype):
            raise ValueError(f"{where}: expected {self._dtype} logits, as before; got {logits.dtype}")
        if not self.vocabulary:
            self.vocabulary, self._dtype = logits.shape[1], logits.dtype
            if (got := max(self._a.eos, default=-1)) >= self.vocabulary:
                raise ValueError(f"{where}: expected eos below V={self.vocabulary}, the width of the logits; got {got}")

    def _check_attention(self, attention: Any, where: str, rows: int) -> None:
        shape = tuple(attention.shape) if isinstance(attention, Tensor) else ()
        if len(shape) != 2 or shape[0] != rows or shape[1] != (self._positions or shape[1]):
            got = shape or type(attention).__name__
            expected = f"({rows}, {self._positions or 'T'})"
            wanted = "return_attention=True" if self._a.return_attention else "coverage_penalty"
            raise ValueError(f"{where}: {wanted}: expected attention (R, T)={expected}; got {got}")
        self._positions = shape[1]
