"""Which tokens may come, as a function of the tokens so far or as a mask."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from s2sfast.search.processors.base import Beginning, Tracker
from s2sfast.search.processors.rows import Past, Position, Sentences, barrier, check_batch


@dataclass(frozen=True)
class AllowedTokens:
    """Only these tokens may come: transformers' ``prefix_allowed_tokens_fn`` (De Cao et al. 2020, arXiv:2010.00904).

    By its nature this one reads prefixes and asks about every hypothesis in a Python loop; :class:`Automaton` and
    :class:`AllowedMask` do neither.

    Args:
        function: ``(sentence, tokens (t,)) -> ids``: the sentence's place in the batch and its tokens so far, start and
            prefix first, int64; the ids that may come next. With none at all the hypothesis is given up (transformers
            raises). It is asked only about hypotheses that it has allowed so far.

    Raises:
        ValueError: not callable; in the search: ids that are none or beyond V.

    >>> import torch, s2sfast
    >>> P = torch.tensor([[0.6, 0.3, 0.1]] * 3).log()  # whatever came before; 2 is eos
    >>> step = lambda tokens, state, memory: (P[tokens], state)
    >>> known = {(2,): [1], (2, 1): [0, 2], (2, 1, 0): [2]}
    >>> allowed = s2sfast.processors.AllowedTokens(lambda sentence, tokens: known[tuple(tokens.tolist())])
    >>> s2sfast.beam_search(step, None, start=[2], eos=2, beam=2, n_best=2, processors=[allowed]).tokens.tolist()
    [[[1, 0, 2], [1, 2, -1]]]
    """

    function: Callable[[int, Tensor], Sequence[int]]

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise ValueError(f"AllowedTokens: expected function to be callable; got {self.function!r}")

    def begin(self, beginning: Beginning) -> Tracker:
        return _Asked(self.function, beginning)


class _Asked(Tracker):
    edits = True

    def __init__(self, function: Callable[[int, Tensor], Sequence[int]], beginning: Beginning):
        self._function = function
        self._past, self._sentences, self._position = Past(beginning), Sentences(beginning), Position(beginning)
        self._allowed = [True] * len(beginning.prefix)  # of each row, so far
        self._answers: list[frozenset[int] | None] = []  # of this step; None: everything

    def __call__(self, log_probs: Tensor) -> Tensor:
        inside = self._inside()
        rows = zip(self._sentences.index.tolist(), self._past.tokens, self._allowed, inside, strict=True)
        self._answers = [self._answer(*row, log_probs.shape[1]) for row in rows]
        allowed = torch.full_like(log_probs, -math.inf)
        for old, new, answer in zip(log_probs, allowed, self._answers, strict=True):
            ids = ... if answer is None else torch.tensor(list(answer), dtype=torch.int64, device=old.device)
            new[ids] = old[ids]
        return allowed

    def _inside(self) -> list[bool]:
        """Which rows are still inside their prefix."""
        generated = self._position.generated
        return (generated < 0).tolist() if isinstance(generated, Tensor) else [False] * len(self._allowed)

    def _answer(self, sentence: int, tokens: Tensor, allowed: bool, inside: bool, V: int) -> frozenset[int] | None:
        if inside:
            return None
        answer = self._function(sentence, tokens[tokens >= 0]) if allowed else ()
        ids = frozenset(answer.tolist() if isinstance(answer, Tensor) else answer)
        if not all(isinstance(i, int) and 0 <= i < V for i in ids):
            raise ValueError(f"AllowedTokens: expected ids in [0, V)=[0, {V}) for sentence {sentence}; got {answer!r}")
        return ids

    def follow(self, rows: Tensor, tokens: Tensor) -> None:
        # A row that nothing runs in holds a token that may never have been allowed: the function must not see it.
        came_from = [self._answers[row] for row in rows.tolist()]
        self._allowed = [a is None or t in a for a, t in zip(came_from, tokens.tolist(), strict=True)]
        self._past.follow(rows, tokens)
        self._sentences.follow(rows)
        self._position.follow(rows)


@dataclass(frozen=True, eq=False)
class AllowedMask:
    """Only these tokens may come, at any time.

    Args:
        mask: bool, ``(V,)`` for all sentences or ``(B, V)``; True: allowed. Include eos, or nothing can end.

    Raises:
        ValueError: no such mask; in the search: another B or V.

    >>> import torch, s2sfast
    >>> P = torch.tensor([[0.6, 0.3, 0.1]] * 3).log()  # whatever came before; 2 is eos
    >>> step = lambda tokens, state, memory: (P[tokens], state)
    >>> mask = torch.tensor([[True, True, True], [False, True, True]])
    >>> found = s2sfast.greedy_search(step, None, start=[2, 2], eos=2, max_length=2,
    ...                               processors=[s2sfast.processors.AllowedMask(mask)])
    >>> found.best(0), found.best(1)
    ([0, 0], [1, 1])
    """

    mask: Tensor

    def __post_init__(self) -> None:
        mask = self.mask
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.dim() not in (1, 2):
            got = f"{tuple(mask.shape)} {mask.dtype}" if isinstance(mask, Tensor) else type(mask).__name__
            raise ValueError(f"AllowedMask: expected mask (V,) or (B, V) bool; got {got}")

    def begin(self, beginning: Beginning) -> Tracker:
        forbidden = ~self.mask.to(beginning.prefix.device)
        if forbidden.dim() == 2:
            check_batch("AllowedMask", "mask", forbidden, beginning)
        return _Masked(barrier(forbidden), Sentences(beginning))


class _Masked(Tracker):
    edits = True

    def __init__(self, barrier: Tensor, sentences: Sentences):
        self._barrier, self._sentences = barrier, sentences  # (V,) or (B, V)
        self.alike = barrier.dim() == 1

    def __call__(self, log_probs: Tensor) -> Tensor:
        barrier = self._barrier
        if barrier.shape[-1] != log_probs.shape[1]:
            raise ValueError(
                f"AllowedMask: expected a mask for V={log_probs.shape[1]} tokens; got {tuple(barrier.shape)}"
            )
        return log_probs.add_(barrier if self.alike else barrier.index_select(0, self._sentences.index))

    def follow(self, rows: Tensor, tokens: Tensor) -> None:
        self._sentences.follow(rows)
