"""Tiny step functions for the tests. Every logit is looked up or added elementwise, never multiplied out, so a row's
bits depend on its own history only, whatever else is in the batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor

from tests.over import normals

STATES = 4093  # a prime: the hash of a prefix picks one of so many rows


@cache
def random_table(vocab: int, seed: int, scale: float) -> Tensor:
    return normals(seed)(STATES, vocab) * scale


class TableModel:
    """Logits are a row of a fixed random table, picked by a hash of the sentence and everything fed so far."""

    def __init__(self, vocab: int, seed: int = 0, scale: float = 1.5, bias: dict[int, float] | None = None) -> None:
        self.vocab = vocab
        self.table = random_table(vocab, seed, scale)
        if bias:
            self.table = self.table.clone()
            for token, extra in bias.items():
                self.table[:, token] += extra
        self.rows: list[int] = []  # rows of each call
        self.fed: list[list[int]] = []  # tokens of each call

    @staticmethod
    def advance(state: Any, token: Any) -> Any:
        return (state * 31 + token * 17 + 7) % STATES

    @staticmethod
    def initial(sentences: int | Sequence[int]) -> Tensor:
        ids = range(sentences) if isinstance(sentences, int) else sentences
        return torch.tensor([(101 * b + 1) % STATES for b in ids], dtype=torch.int64)

    def __call__(self, tokens: Tensor, state: Tensor, memory: Any) -> tuple[Tensor, Tensor]:
        assert tokens.dtype == torch.int64 and tokens.shape == state.shape, (tokens, state)
        assert bool(((tokens >= 0) & (tokens < self.vocab)).all()), f"tokens outside the vocabulary: {tokens}"
        self.rows.append(tokens.shape[0])
        self.fed.append(tokens.tolist())
        state = self.advance(state, tokens)
        return self.table[state], state

    def after(self, sentence: int, history: Sequence[int]) -> int:
        state = int(self.initial([sentence])[0])
        for token in history:
            state = self.advance(state, token)
        return state

    def oracle(self, sentence: int) -> Callable[[Sequence[int]], list[float]]:
        return lambda history: self.table[self.after(sentence, history)].tolist()


class PrefillModel:
    """The same model as an object with .step and .prefill."""

    def __init__(self, inner: TableModel) -> None:
        self.step = inner
        self.prefilled: list[tuple[list[list[int]], list[int]]] = []

    def prefill(self, prefix: Tensor, lengths: Tensor, state: Tensor, memory: Any) -> tuple[Tensor, Tensor]:
        self.prefilled.append((prefix.tolist(), lengths.tolist()))
        for t in range(prefix.shape[1]):
            state = torch.where(t < lengths, self.step.advance(state, prefix[:, t].clamp(min=0)), state)
        return self.step.table[state], state


class MemoryModel(TableModel):
    """Adds a position of the sentence's memory (S, T, V) to the logits and attends to it with weights from a table."""

    def __init__(self, vocab: int, positions: int, seed: int = 0) -> None:
        super().__init__(vocab, seed)
        self.attention = torch.softmax(random_table(positions, seed + 1000, 1.0), dim=-1)
        self.positions = positions
        self.sentences: list[int] = []  # dimension 0 of the memory at each call

    def make_memory(self, batch: int, seed: int = 5) -> Tensor:
        return normals(seed)(batch, self.positions, self.vocab)

    def __call__(self, tokens: Tensor, state: Tensor, memory: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits, state = super().__call__(tokens, state, memory)
        sentences = memory.shape[0]
        self.sentences.append(sentences)
        assert tokens.shape[0] % sentences == 0, (tokens.shape, memory.shape)
        sentence = torch.arange(tokens.shape[0]) // (tokens.shape[0] // sentences)
        return logits + memory[sentence, state % self.positions], state, self.attention[state]

    def oracle_with(self, sentence: int, memory: Tensor) -> Callable[[Sequence[int]], list[float]]:
        def model(history: Sequence[int]) -> list[float]:
            state = self.after(sentence, history)
            return (self.table[state] + memory[sentence, state % self.positions]).tolist()

        return model


class ScriptedModel:
    """Next-token probabilities by hand: a dict from the generated tokens (without start) to V probabilities."""

    def __init__(self, script: dict[tuple[int, ...], Sequence[float]], default: Sequence[float]) -> None:
        self.script, self.default = script, default

    @staticmethod
    def initial(batch: int = 1) -> Tensor:
        return torch.empty(batch, 0, dtype=torch.int64)  # the history, one column longer after each step

    def __call__(self, tokens: Tensor, state: Tensor, memory: Any) -> tuple[Tensor, Tensor]:
        state = torch.cat([state, tokens[:, None]], dim=1)
        probs = [self.script.get(tuple(row[1:]), self.default) for row in state.tolist()]
        return torch.tensor(probs, dtype=torch.float32).log(), state


class CountdownModel:
    """Sentence b emits eos for certain as its `ends[b]`-th token; before that any other token. Keeps a log of calls."""

    def __init__(self, vocab: int = 6, eos: int = 0, seed: int = 3) -> None:
        self.words, self.eos = TableModel(vocab, seed), eos
        self.calls: list[tuple[int, int | None]] = []  # (rows, sentences in memory)

    def initial(self, ends: Sequence[int]) -> dict[str, Tensor]:
        return {"hash": self.words.initial(len(ends)), "left": torch.tensor(ends)}

    def __call__(self, tokens: Tensor, state: dict[str, Tensor], memory: Any) -> tuple[Tensor, dict[str, Tensor]]:
        self.calls.append((tokens.shape[0], None if memory is None else memory.shape[0]))
        logits, hashed = self.words(tokens, state["hash"], memory)
        left = state["left"] - 1
        is_eos = torch.arange(logits.shape[1]) == self.eos
        forbidden = torch.where((left == 0)[:, None], ~is_eos, is_eos)
        return logits.masked_fill(forbidden, -torch.inf), {"hash": hashed, "left": left}


@dataclass
class Cell:
    """An unregistered dataclass as state."""

    code: Tensor
    layers: Tensor
    note: str = "passes through"
    inner: list[Tensor] = field(default_factory=list)


class Reordered:
    """A state that gathers itself: .reorder returns a new object, or None after working in place."""

    def __init__(self, code: Tensor, *, in_place: bool) -> None:
        self.code, self.in_place = code, in_place
        self.indices: list[list[int]] = []

    def reorder(self, index: Tensor) -> Reordered | None:
        self.indices.append(index.tolist())
        if self.in_place:
            self.code = self.code[index]
            return None
        fresh = Reordered(self.code[index], in_place=False)
        fresh.indices = self.indices
        return fresh


def _layers(code: Tensor, rows_at: int) -> Tensor:
    """Three copies of the hash as float64, with the rows in dimension `rows_at`."""
    return torch.stack([code.double(), code.double() + 1, code.double() + 2], dim=1 - rows_at)


STATE_KINDS = ("tensor", "dict", "tuple", "dataclass", "dims_one", "reorder_new", "reorder_in_place")


def pack(kind: str, code: Tensor) -> tuple[Any, Any]:
    """(state, state_dims) that carry the hash `code` (R,) in one of several shapes."""
    if kind == "tensor":
        return code, 0
    if kind == "dict":
        state = {"code": code, "layers": _layers(code, 1), "calls": torch.tensor(0), "name": "x", "none": None}
        return state, {"code": 0, "layers": 1, "calls": 0, "name": 0, "none": 0}
    if kind == "tuple":
        return (code, [_layers(code, 0), {"deep": code.clone()}]), 0
    if kind == "dataclass":
        return Cell(code, _layers(code, 0), inner=[code.clone()]), 0
    if kind == "dims_one":
        return (_layers(code, 1), _layers(code, 1)[None].float()), (1, 2)
    return Reordered(code, in_place=kind == "reorder_in_place"), 0


def unpack(kind: str, state: Any) -> Tensor:
    """The hash back, after checking that every part of the state was gathered the same way."""
    if kind == "tensor":
        return state
    if kind == "dict":
        assert state["name"] == "x" and state["none"] is None and state["calls"].dim() == 0
        assert torch.equal(state["layers"], _layers(state["code"], 1))
        return state["code"]
    if kind == "tuple":
        code, (layers, deeper) = state
        assert torch.equal(layers, _layers(code, 0)) and torch.equal(deeper["deep"], code)
        return code
    if kind == "dataclass":
        assert isinstance(state, Cell) and state.note == "passes through"
        assert torch.equal(state.layers, _layers(state.code, 0)) and torch.equal(state.inner[0], state.code)
        return state.code
    if kind == "dims_one":
        assert torch.equal(state[0], state[1][0].double())
        return state[0][0].long()
    return state.code


def stateful_step(model: TableModel, kind: str) -> Callable[[Tensor, Any, Any], tuple[Tensor, Any]]:
    """`model` with its state packed as `kind`."""

    def step(tokens: Tensor, state: Any, memory: Any) -> tuple[Tensor, Any]:
        logits, code = model(tokens, unpack(kind, state), memory)
        if kind.startswith("reorder"):
            state.code = code
            return logits, state
        fresh, _ = pack(kind, code)
        if kind == "dict":
            fresh["calls"] = state["calls"] + 1
        return logits, fresh

    return step
