"""Tokens, and sequences of tokens, that must not come."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from s2sfast.search.checks import token_ids
from s2sfast.search.processors.base import Beginning, Tracker
from s2sfast.search.processors.rows import Position, check_vocabulary, fill, forbid, ids_on


@dataclass(frozen=True)
class SuppressTokens:
    """These tokens never come. As transformers' ``suppress_tokens``.

    Raises:
        ValueError: no ids, something else than ids; in the search: an id beyond V.

    >>> SuppressTokens([3, 5])
    SuppressTokens(ids=(3, 5))
    """

    ids: Sequence[int]

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", token_ids("SuppressTokens", "ids", self.ids))

    def begin(self, beginning: Beginning) -> Tracker:
        return _Suppress("SuppressTokens", tuple(self.ids), beginning)


class _Suppress(Tracker):
    """Always."""

    edits = alike = True

    def __init__(self, name: str, ids: tuple[int, ...], beginning: Beginning):
        self._name, self._most, self._ids = name, max(ids), ids_on(beginning, ids)

    def __call__(self, log_probs: Tensor) -> Tensor:
        check_vocabulary(self._name, "ids", self._most, log_probs)
        return log_probs.index_fill_(1, self._ids, -math.inf)

    def follow(self, rows: Tensor, tokens: Tensor) -> None:
        pass


@dataclass(frozen=True)
class SuppressTokensAtBegin:
    """These tokens are not the first that a hypothesis generates. As transformers' ``begin_suppress_tokens``.

    Raises:
        ValueError: no ids, something else than ids; in the search: an id beyond V.

    >>> SuppressTokensAtBegin(7)
    SuppressTokensAtBegin(ids=(7,))
    """

    ids: Sequence[int]

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", token_ids("SuppressTokensAtBegin", "ids", self.ids))

    def begin(self, beginning: Beginning) -> Tracker:
        return _SuppressAtBegin(tuple(self.ids), beginning)


class _SuppressAtBegin(Tracker):
    edits = True

    def __init__(self, ids: tuple[int, ...], beginning: Beginning):
        self._most, self._ids, self._position = max(ids), ids_on(beginning, ids), Position(beginning)

    @property
    def idle(self) -> bool:
        return not self._position.anywhere(0)

    def __call__(self, log_probs: Tensor) -> Tensor:
        check_vocabulary("SuppressTokensAtBegin", "ids", self._most, log_probs)
        return fill(log_probs, self._ids, -math.inf, self._position.generated == 0)

    def follow(self, rows: Tensor, tokens: Tensor) -> None:
        self._position.follow(rows)


@dataclass(frozen=True)
class BadWords:
    """These sequences of tokens do not occur: their last token is forbidden where the others stand before it.

    As transformers' ``bad_words_ids``. A row keeps as many of its last tokens, the prefix included, as the longest
    sequence asks for.

    Raises:
        ValueError: no sequences, an empty one, something else than ids; in the search: an id beyond V, or eos alone
            (then nothing could end: :class:`SuppressTokens` says so if it is meant).

    >>> import torch, s2sfast
    >>> P = torch.tensor([[0.6, 0.3, 0.1]] * 3).log()  # whatever came before; 2 is eos
    >>> step = lambda tokens, state, memory: (P[tokens], state)
    >>> s2sfast.greedy_search(step, None, start=[2], eos=2, max_length=5,
    ...                       processors=[s2sfast.processors.BadWords([[0, 0], [0, 1, 0]])]).best(0)
    [0, 1, 1, 0, 1]
    """

    sequences: Sequence[Sequence[int]]

    def __post_init__(self) -> None:
        words = tuple(token_ids("BadWords", "every sequence", word) for word in self.sequences)
        if not words:
            raise ValueError("BadWords: expected sequences of token ids, at least one; got none")
        object.__setattr__(self, "sequences", words)

    def begin(self, beginning: Beginning) -> Tracker:
        words = [tuple(word) for word in self.sequences]
        ends = [word[0] for word in words if len(word) == 1 and word[0] in beginning.eos]
        if ends:
            raise ValueError(f"BadWords: expected no sequence that is eos alone; got [{ends[0]}]")
        return _BadWords(words, beginning)


class _BadWords(Tracker):
    edits = True

    def __init__(self, words: list[tuple[int, ...]], beginning: Beginning):
        self._most = max(max(word) for word in words)
        self._single = ids_on(beginning, tuple(word[0] for word in words if len(word) == 1))
        longer = [word for word in words if len(word) > 1]
        w = self._window = max((len(word) - 1 for word in longer), default=0)
        padded = [[-2] * (w - len(word) + 1) + list(word) for word in longer]  # -2: whatever stands there
        table = torch.tensor(padded, dtype=torch.int64, device=beginning.prefix.device).view(len(longer), w + 1)
        self._before, self._last = table[:, :-1], table[:, -1]  # (N, w), (N,)
        self._any = self._before == -2
        self._recent = _last_tokens(beginning, w)  # (R, w), -1 where there was none

    def __call__(self, log_probs: Tensor) -> Tensor:
        check_vocabulary("BadWords", "ids", self._most, log_probs)
        log_probs.index_fill_(1, self._single, -math.inf)
        if not self._window:
            return log_probs
        begun = ((self._recent[:, None] == self._before) | self._any).all(2)  # (R, N)
        return forbid(log_probs, self._last.expand_as(begun), begun)

    def follow(self, rows: Tensor, tokens: Tensor) -> None:
        if self._window:
            self._recent = torch.cat((self._recent[:, 1:].index_select(0, rows), tokens[:, None]), 1)


def _last_tokens(beginning: Beginning, count: int) -> Tensor:
    """(B, count) of the prefixes, -1 in front of short ones."""
    padded = torch.nn.functional.pad(beginning.prefix, (count, 0), value=-1)
    lengths = beginning.lengths
    if lengths is None:
        return padded[:, padded.shape[1] - count :]
    return padded.gather(1, lengths[:, None] + torch.arange(count, device=padded.device))
