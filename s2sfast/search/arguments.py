"""Turns what a user passes to a search into what the loop works with, or says what is wrong with it."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from s2sfast import ops, reference
from s2sfast.search import state as trees
from s2sfast.search.checks import integer
from s2sfast.search.coverage import CoveragePenalty
from s2sfast.search.penalties import Penalty
from s2sfast.search.processors.base import Processor, reads_prefixes
from s2sfast.search.rules import Rule
from s2sfast.types import Pruning

if TYPE_CHECKING:
    from s2sfast.search.ranking import Ranking
    from s2sfast.search.view import LiveBeams


class _NoEos(tuple[int, ...]):
    def __repr__(self) -> str:
        return "s2sfast.NO_EOS"


NO_EOS = _NoEos()
"""In the place of eos: no token ends a hypothesis, only `ends`, `on_step` and max_length do.

A name of its own, because an eos of None or [] is mostly a tokenizer's that was never looked at.
"""


@dataclass
class Arguments:
    """A search, checked. B sentences, P the longest prefix."""

    name: str
    step: Callable
    prefill: Callable | None
    normalized: bool  # the step's log-probabilities are used as they are
    state: Any
    state_dims: Any
    memory: Any
    prefix: Tensor  # (B, P) int64
    prefix_lengths: Tensor | None  # (B,) int64 where they differ
    eos: tuple[int, ...]
    beam: int
    n_best: int
    max_length: int | Tensor  # (B,) int64
    min_length: int
    penalty: Penalty
    rule: Rule
    pruning: Pruning | None
    processors: tuple[Callable | Processor, ...]
    temperature: float
    topk: Callable
    backtrace: Callable
    ranking: Ranking
    coverage: CoveragePenalty | None = None
    ends: Callable[[Tensor], Tensor] | None = None
    on_step: Callable[[LiveBeams], None] | None = None
    watched: bool = False  # somebody reads the loop's prefixes between its steps
    groups: int = 1  # so many neighbours in the batch are one sentence's: they leave together
    return_attention: bool = False
    return_tree: bool = False

    @cached_property
    def reads_prefixes(self) -> bool:
        """Somebody wants to see the tokens of every row."""
        asks = self.watched or self.on_step is not None or self.ends is not None
        return asks or any(reads_prefixes(processor) for processor in self.processors)

    @cached_property
    def shared_prefix(self) -> Tensor:
        """(B, p) the tokens that all sentences are fed before the first choice; all of them with a prefill."""
        if self.prefix_lengths is None or self.prefill is not None:
            return self.prefix
        return self.prefix[:, : int(self.prefix_lengths.min())]

    def pruning_at(self, step: int) -> Pruning | None:
        """With what the rule allows one beam, from the second step on."""
        most = self.rule.per_beam(self.beam) if step else None
        if most is None:
            return self.pruning
        pruning = self.pruning or Pruning()
        return replace(pruning, max_per_beam=min(most, pruning.max_per_beam or most))

    def narrows(self, vocabulary: int, candidates: int) -> bool:
        """Whether beams may be empty in all sentences."""
        full = self.rule.candidates(self.beam, len(self.eos)) > self.beam and not self.rule.stays
        return not full or self.pruning is not None or self.late is not None or vocabulary < candidates

    @property
    def late(self) -> Tensor | None:
        """(B,) how many tokens of its prefix each sentence is still to be fed when the first ones begin to generate."""
        if self.prefix_lengths is None or self.prefill is not None:
            return None
        return self.prefix_lengths - self.prefix_lengths.min()

    def is_eos(self, tokens: Tensor) -> Tensor:
        """bool, as tokens."""
        if len(self.eos) == 1:  # isin takes several times as long
            return tokens == self.eos[0]
        return torch.isin(tokens, self.eos_tensor)

    @cached_property
    def eos_tensor(self) -> Tensor:
        """int64"""
        return torch.tensor(self.eos, dtype=torch.int64, device=self.device)

    @property
    def batch(self) -> int:
        return self.prefix.shape[0]

    @property
    def device(self) -> torch.device:
        return self.prefix.device


def eos_ids(name: str, eos: int | Sequence[int] | Tensor) -> tuple[int, ...]:
    given = eos.tolist() if hasattr(eos, "tolist") else eos
    ids = tuple(given) if isinstance(given, Iterable) else (given,)
    if not ids and not isinstance(eos, _NoEos):
        raise ValueError(f"{name}: expected eos to be a token id, several, or s2sfast.NO_EOS; got none")
    return tuple(dict.fromkeys(integer(name, "eos", i, 0) for i in ids))


def max_lengths(name: str, max_length: int | Tensor, batch: int, device: torch.device) -> int | Tensor:
    if not isinstance(max_length, Tensor) or max_length.dim() == 0:
        return integer(name, "max_length", max_length)
    if max_length.shape != (batch,) or max_length.is_floating_point() or max_length.dtype == torch.bool:
        raise ValueError(
            f"{name}: expected max_length to be an int or integers (B,)=({batch},); got {tuple(max_length.shape)}"
        )
    if batch and int(max_length.min()) < 1:
        raise ValueError(f"{name}: expected max_length >= 1 for every sentence; got {max_length.tolist()}")
    return max_length.to(device=device, dtype=torch.int64)


def batch_of(
    name: str, start: Any, state: Any, state_dims: Any, memory: Any, max_length: Any, batch_size: int | None
) -> int:
    """B, from whatever tells it; all that tell must agree."""
    sources = {
        "batch_size": None if batch_size is None else integer(name, "batch_size", batch_size, 0),
        "start": start.shape[0] if isinstance(start, Tensor) and start.dim() else None,
        "state": trees.count_rows(state, state_dims, "state"),
        "memory": trees.count_rows(memory, 0, "memory"),
        "max_length": max_length.shape[0] if isinstance(max_length, Tensor) and max_length.dim() == 1 else None,
    }
    told = {source: rows for source, rows in sources.items() if rows is not None}
    if not told:
        raise ValueError(f"{name}: expected batch_size, since nothing else tells how many sentences there are")
    if len(set(told.values())) > 1:
        raise ValueError(
            f"{name}: expected one number of sentences; got " + ", ".join(f"{n} from {s}" for s, n in told.items())
        )
    return next(iter(told.values()))


def prefixes(
    name: str, start: int | Sequence | Tensor, prefix_lengths: Tensor | None, batch: int, device: torch.device
) -> tuple[Tensor, Tensor | None]:
    """((B, P) tokens, (B,) lengths where they differ)."""
    if start is None:
        raise ValueError(f"{name}: expected start to be a token id, ids (B,) or a prefix (B, P); got None")
    tokens = torch.as_tensor(start, device=device)
    if tokens.is_floating_point() or tokens.dtype == torch.bool or tokens.dim() > 2:
        raise ValueError(
            f"{name}: expected start to be a token id, ids (B,) or a prefix (B, P); "
            f"got {tuple(tokens.shape)} {tokens.dtype}"
        )
    tokens = tokens.to(torch.int64)
    tokens = tokens.expand(batch)[:, None] if tokens.dim() == 0 else tokens[:, None] if tokens.dim() == 1 else tokens
    if tokens.shape[0] != batch or tokens.shape[1] < 1:
        raise ValueError(f"{name}: expected start with B={batch} rows of at least one token; got {tuple(tokens.shape)}")
    if prefix_lengths is None:
        return tokens, None
    lengths = torch.as_tensor(prefix_lengths, device=device)
    P = tokens.shape[1]
    if lengths.is_floating_point() or lengths.dtype == torch.bool:
        raise ValueError(f"{name}: expected integer prefix_lengths; got {lengths.dtype}")
    lengths = lengths.to(torch.int64)
    if lengths.shape != (batch,) or (batch and not (int(lengths.min()) >= 1 and int(lengths.max()) <= P)):
        raise ValueError(f"{name}: expected prefix_lengths (B,)=({batch},) in [1, P]=[1, {P}]; got {lengths.tolist()}")
    if batch == 0 or bool((lengths == lengths[0]).all()):
        return tokens[:, : int(lengths[0]) if batch else P], None
    return tokens, lengths


def as_tensor(name: str, what: str, value: Any) -> Any:
    """Lists and arrays of integers as tensors; a single number stays."""
    if value is None or isinstance(value, (Tensor, int)):
        return value
    try:
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{name}: expected {what} to be integers, in a regular array; got {value!r} ({error})"
        ) from None


def processor_list(name: str, processors: Any) -> tuple[Callable | Processor, ...]:
    several = isinstance(processors, (list, tuple)) or (isinstance(processors, Iterable) and not callable(processors))
    if not several or not all(callable(p) or hasattr(p, "begin") for p in processors):
        raise ValueError(f"{name}: expected processors to be a sequence of callables; got {processors!r}")
    return tuple(processors)


def function_of(name: str, what: str, function: Any) -> Callable | None:
    if function is not None and not callable(function):
        raise ValueError(f"{name}: expected {what} to be callable or None; got {function!r}")
    return function


def temperature_of(name: str, temperature: Any) -> float:
    if not isinstance(temperature, numbers.Real) or not 0 < float(temperature) < float("inf"):
        raise ValueError(f"{name}: expected a finite temperature > 0; got {temperature!r}")
    return float(temperature)


def pruning_of(name: str, pruning: Any) -> Pruning | None:
    if pruning is not None and not isinstance(pruning, Pruning):
        raise ValueError(f"{name}: expected pruning to be a Pruning or None; got {pruning!r}")
    return pruning


def step_functions(name: str, step: Any) -> tuple[Callable, Callable | None]:
    """(step, prefill or None) of a callable or of an object that has them."""
    if callable(getattr(step, "step", None)):
        return step.step, getattr(step, "prefill", None)
    if callable(step):
        return step, None
    raise ValueError(f"{name}: expected step to be callable or to have a method step; got {type(step).__name__}")


def prepare(
    name: str,
    step: Any,
    state: Any,
    *,
    start: Any,
    eos: Any,
    max_length: Any,
    min_length: Any,
    memory: Any,
    batch_size: int | None,
    prefix_lengths: Any,
    state_dims: Any,
    processors: Any,
    temperature: Any,
    beam: Any,
    n_best: Any,
    pruning: Any,
    backend: str,
    **others: Any,
) -> Arguments:
    """Checks what all searches share; `others` are fields of Arguments as they are."""
    if backend not in ("fast", "reference"):
        raise ValueError(f'{name}: expected backend "fast" or "reference"; got {backend!r}')
    library = ops if backend == "fast" else reference
    function, prefill = step_functions(name, step)
    start, max_length = as_tensor(name, "start", start), as_tensor(name, "max_length", max_length)
    try:
        batch = batch_of(name, start, state, state_dims, memory, max_length, batch_size)
        trees.check_rows(state, state_dims, batch, "state")
        trees.check_rows(memory, 0, batch, "memory")
    except trees.RowsError as error:
        raise ValueError(f"{name}: {error}") from error
    device = trees.device_of(state, memory, start)
    prefix, lengths = prefixes(name, start, prefix_lengths, batch, device)
    arguments = Arguments(
        name=name, step=function, prefill=prefill,
        normalized=bool(getattr(step, "normalized", False)), state=state, state_dims=state_dims, memory=memory,
        prefix=prefix, prefix_lengths=lengths, eos=eos_ids(name, eos), beam=integer(name, "beam", beam),
        n_best=integer(name, "n_best", n_best), max_length=max_lengths(name, max_length, batch, device),
        min_length=integer(name, "min_length", min_length, 0), pruning=pruning_of(name, pruning),
        processors=processor_list(name, processors), temperature=temperature_of(name, temperature),
        topk=library.beam_topk, backtrace=library.backtrace, **others,
    )  # fmt: skip
    if arguments.rule.closes_with_eos and not arguments.eos:
        rule = type(arguments.rule).__name__
        raise ValueError(f"{name}: expected an eos, with which rules.{rule} closes every hypothesis; got NO_EOS")
    if lengths is not None and prefill is not None and arguments.reads_prefixes:
        raise ValueError(
            f"{name}: processors, ends and on_step cannot see ragged prefixes that a prefill consumed; "
            "expected prefix_lengths to agree"
        )
    return arguments
