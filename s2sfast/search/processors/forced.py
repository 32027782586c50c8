"""Tokens that must come: at the beginning, at the end, and not before."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from s2sfast.search.checks import integer, token_ids
from s2sfast.search.processors.base import Beginning, Tracker
from s2sfast.search.processors.rows import (
    Position,
    Sentences,
    check_batch,
    check_vocabulary,
    fill,
    forbid_all,
    ids_on,
    integers_of,
)


@dataclass(frozen=True)
class ForcedTokens:
    """The first generated token is `first`; the one at max_length is `last`, usually eos. Both for free.

    Forced tokens get the log-probability 0, as with transformers' ``forced_bos_token_id`` and ``forced_eos_token_id``;
    :class:`ForcedPrefix` lets the model score them. Several ids leave the choice. A token that is both first and at
    max_length is `last`.

    Raises:
        ValueError: neither is given, or something else than ids; in the search: an id beyond V.

    >>> import torch, s2sfast
    >>> P = torch.tensor([[0.6, 0.3, 0.1]] * 3).log()  # whatever came before; 2 is eos
    >>> step = lambda tokens, state, memory: (P[tokens], state)
    >>> found = s2sfast.greedy_search(step, None, start=[2], eos=2, max_length=3,
    ...                               processors=[s2sfast.processors.ForcedTokens(first=1, last=2)])
    >>> found.best(0), round(found.log_probs.exp().item(), 3)
    ([1, 0, 2], 0.6)
    """

    first: int | Sequence[int] | None = None
    last: int | Sequence[int] | None = None

    def __post_init__(self) -> None:
        if self.first is None and self.last is None:
            raise ValueError("ForcedTokens: expected first, last or both; got neither")
        for what in ("first", "last"):
            given = getattr(self, what)
            object.__setattr__(self, what, None if given is None else token_ids("ForcedTokens", what, given))

    def begin(self, beginning: Beginning) -> Tracker:
        return _Forced(self.first, self.last, beginning)  # type: ignore[arg-type]  # ids, see __post_init__


class _Forced(Tracker):
    def __init__(self, first: tuple[int, ...] | None, last: tuple[int, ...] | None, beginning: Beginning):
        self._most = max(*(first or ()), *(last or ()), -1)
        self._first = None if first is None else ids_on(beginning, first)
        self._last = None if last is None else ids_on(beginning, last)
        self._position = Position(beginning)
        self._longest = beginning.max_length  # (R,) where sentences differ
        # A log-softmax of one logit is 0; of several equal ones it is not, nor what would be added, to the last bit.
        self.edits = all(ids is None or len(ids) == 1 for ids in (first, last))

    @property
    def idle(self) -> bool:
        return not any(where if isinstance(where, bool) else where.any() for _, where in self._now())

    def __call__(self, log_probs: Tensor) -> Tensor:
        for ids, where in self._now():
            check_vocabulary("ForcedTokens", "ids", self._most, log_probs)
            log_probs = fill(forbid_all(log_probs, where), ids, 0.0, where)
        return log_probs

    def edit(self, logits: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Forced rows get logits of which the forced token has all."""
        for ids, where in self._now():
            check_vocabulary("ForcedTokens", "ids", self._most, logits)
            rows = torch.as_tensor(where, device=logits.device).expand(len(logits))[:, None]
            alone = logits.new_full(logits.shape[1:], -math.inf).index_fill_(0, ids, 0.0)
            logits, bias = torch.where(rows, alone, logits), bias.masked_fill(rows, 0.0)
        return logits, bias

    def _now(self) -> list[tuple[Tensor, bool | Tensor]]:
        """(ids, the rows that they are forced on)."""
        generated = self._position.generated
        both = ((self._first, generated == 0), (self._last, generated == self._longest - 1))
        return [(ids, where) for ids, where in both if ids is not None]

    def follow(self, rows: Tensor, tokens: Tensor) -> None:
        self._position.follow(rows)
        if isinstance(self._longest, Tensor):
            self._longest = self._longest.index_select(0, rows)


@dataclass(frozen=True, eq=False)
class ForcedPrefix:
    """The first generated tokens are these, scored by the model and part of the result.

    Unlike ``start``, which is fed, and neither scored nor returned. After them the hypotheses are free.

    Args:
        tokens: ``(B, P)`` integers, a row shorter than P filled up with -1; or ``(P,)`` for all sentences.

    Raises:
        ValueError: no such integers, -1 before a token; in the search: other than B rows, more tokens than max_length,
            an eos before the last token, an id beyond V.

    >>> import torch, s2sfast
    >>> P = torch.tensor([[0.6, 0.3, 0.1]] * 3).log()  # whatever came before; 2 is eos
    >>> step = lambda tokens, state, memory: (P[tokens], state)
    >>> found = s2sfast.greedy_search(step, None, start=[2, 2], eos=2, max_length=3,
    ...                               processors=[s2sfast.processors.ForcedPrefix([[1, 1], [2, -1]])])
    >>> found.best(0), found.best(1), round(found.log_probs[0].exp().item(), 3)  # 0.3 * 0.3 * 0.6
    ([1, 1, 0], [2], 0.054)
    """

    tokens: Tensor | Sequence

    def __post_init__(self) -> None:
        tokens = integers_of("ForcedPrefix", "tokens", self.tokens)
        if tokens.dim() not in (1, 2) or not tokens.numel():
            raise ValueError(f"ForcedPrefix: expected tokens (B, P) or (P,), P >= 1; got {tuple(tokens.shape)}")
        if bool((tokens < -1).any()) or bool(((tokens[..., :-1] < 0) & (tokens[..., 1:] >= 0)).any()):
            raise ValueError(f"ForcedPrefix: expected token ids, then -1 to fill a row up; got {tokens.tolist()}")
        object.__setattr__(self, "tokens", tokens)

    def begin(self, beginning: Beginning) -> Tracker:
        assert isinstance(self.tokens, Tensor)
        tokens = self.tokens.to(beginning.prefix.device)
        if tokens.dim() == 1:
            tokens = tokens.expand(len(beginning.prefix), -1)
        check_batch("ForcedPrefix", "tokens", tokens, beginning)
        lengths = (tokens >= 0).sum(1)
        most = torch.as_tensor(beginning.max_length, device=tokens.device)
        if bool((lengths > most).any()):
            b = int((lengths > most).nonzero()[0])
            got = f"{int(lengths[b])} tokens for sentence {b}, max_length {int(most.expand_as(lengths)[b])}"
            raise ValueError(f"ForcedPrefix: expected at most max_length tokens; got {got}")
        ends = torch.isin(tokens, ids_on(beginning, beginning.eos))
        early = (ends[:, :-1] & (tokens[:, 1:] >= 0)).any(1)
        if bool(early.any()):
            b = int(early.nonzero()[0])
            raise ValueError(
                f"ForcedPrefix: expected eos nowhere but as the last token; got {tokens[b].tolist()} for sentence {b}"
            )
        return _Prefix(tokens, beginning)


class _Prefix(Tracker):
    edits = True

    def __init__(self, tokens: Tensor, beginning: Beginning):
        self._tokens = tokens  # (B, P)
        self._most = int(tokens.max()) if tokens.numel() else -1
        self._sentences, self._position = Sentences(beginning), Position(beginning)
        self._last = tokens.shape[1] + (0 if beginning.late is None else int(beginning.late.max()))  # steps of interest
        self._steps = 0

    @property
    def idle(self) -> bool:
        return self._steps >= self._last

    def __call__(self, log_probs: Tensor) -> Tensor:
        check_vocabulary("ForcedPrefix", "tokens", self._most, log_probs)
        P, sentence = self._tokens.shape[1], self._sentences.index
        at = torch.as_tensor(self._position.generated, device=sentence.device).expand_as(sentence)
        token = self._tokens[sentence, at.clamp(0, P - 1)]
        forced = (at >= 0) & (at < P) & (token >= 0)
        token = token.clamp(min=0)[:, None]
        kept = log_probs.gather(1, token)
        return forbid_all(log_probs, forced).scatter_(1, token, kept)

    def follow(self, rows: Tensor, tokens: Tensor) -> None:
        self._steps += 1
        self._sentences.follow(rows)
        self._position.follow(rows)


@dataclass(frozen=True, eq=False)
class MinLength:
    """No eos before n generated tokens. As transformers' ``min_new_tokens``, and as the search's own ``min_length``.

    Args:
        n: an integer of at least 0, or one per sentence ``(B,)``.
        eos: the ids that n tokens must precede; None: the search's.

    Raises:
        ValueError: something else; in the search: other than B numbers, an id beyond V.

    >>> import torch, s2sfast
    >>> P = torch.tensor([[0.3, 0.7]] * 2).log()  # whatever came before; 1 is eos
    >>> step = lambda tokens, state, memory: (P[tokens], state)
    >>> found = s2sfast.greedy_search(step, None, start=[1, 1], eos=1,
    ...                               processors=[s2sfast.processors.MinLength(torch.tensor([1, 2]))])
    >>> found.best(0), found.best(1)
    ([0, 1], [0, 0, 1])
    """

    n: int | Sequence[int] | Tensor
    eos: int | Sequence[int] | None = None

    def __post_init__(self) -> None:
        n = integers_of("MinLength", "n", self.n)
        if n.dim() > 1 or bool((n < 0).any()):
            raise ValueError(f"MinLength: expected n to be an integer >= 0, or such (B,); got {self.n!r}")
        object.__setattr__(self, "n", n if n.dim() else integer("MinLength", "n", self.n, 0))
        if self.eos is not None:
            object.__setattr__(self, "eos", token_ids("MinLength", "eos", self.eos))

    def begin(self, beginning: Beginning) -> Tracker:
        n = self.n
        if isinstance(n, Tensor):
            check_batch("MinLength", "n", n, beginning)
            n = n.to(beginning.prefix.device)
        ids = beginning.eos if self.eos is None else self.eos
        return _MinLength(n, ids, beginning)  # type: ignore[arg-type]  # ids, see __post_init__


class _MinLength(Tracker):
    edits = True

    def __init__(self, n: int | Tensor, ids: tuple[int, ...], beginning: Beginning):
        self._n, self._most, self._ids = n, max(ids, default=-1), ids_on(beginning, ids)
        self._position = Position(beginning)

    @property
    def idle(self) -> bool:
        young = self._position.generated < self._n
        return not (young if isinstance(young, bool) else young.any())

    def __call__(self, log_probs: Tensor) -> Tensor:
        check_vocabulary("MinLength", "eos", self._most, log_probs)
        return fill(log_probs, self._ids, -math.inf, self._position.generated < self._n)

    def follow(self, rows: Tensor, tokens: Tensor) -> None:
        self._position.follow(rows)
        if isinstance(self._n, Tensor):
            self._n = self._n.index_select(0, rows)
