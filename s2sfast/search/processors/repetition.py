"""Against saying the same again."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass

import torch
from torch import Tensor

from s2sfast.search.checks import integer
from s2sfast.search.processors.base import Beginning, Tracker
from s2sfast.search.processors.rows import Past, forbid


@dataclass(frozen=True)
class NoRepeatNGram:
    """No n tokens in a row occur twice in a hypothesis, its prefix included (Paulus et al. 2017, arXiv:1705.04304).

    A token t is forbidden when the last n - 1 tokens and t stand somewhere before; n = 1 forbids all tokens so far, the
    start symbol among them. As transformers' ``no_repeat_ngram_size``.

    Raises:
        ValueError: n is no integer of at least 1.

    >>> import torch, s2sfast
    >>> P = torch.tensor([[0.6, 0.3, 0.1]] * 3).log()  # whatever came before; 2 is eos
    >>> step = lambda tokens, state, memory: (P[tokens], state)
    >>> s2sfast.greedy_search(step, None, start=[2], eos=2, max_length=6,
    ...                       processors=[s2sfast.processors.NoRepeatNGram(2)]).best(0)
    [0, 0, 1, 0, 2]
    """

    n: int

    def __post_init__(self) -> None:
        integer("NoRepeatNGram", "n", self.n)

    def begin(self, beginning: Beginning) -> Tracker:
        past = Past(beginning)
        return _NoRepeat(past) if self.n == 1 else _NGrams(int(self.n), past)


class _NoRepeat(Tracker):
    edits = True

    def __init__(self, past: Past):
        self._past = past

    def __call__(self, log_probs: Tensor) -> Tensor:
        return _forbid_past(log_probs, self._past.tokens, self._past.tokens >= 0)

    def follow(self, rows: Tensor, tokens: Tensor) -> None:
        self._past.follow(rows, tokens)


class _NGrams(Tracker):
    """Keeps, for every position but the last, how many tokens up to it are the row's last ones as well.

    Up to n - 1 are counted. So a step costs one comparison of the row with its new token, whatever n.
    """

    edits = True

    def __init__(self, n: int, past: Past):
        self._most, self._past = n - 1, past
        self._common = torch.zeros_like(past.tokens[:, :0], dtype=torch.int32)  # (R, t - 1)
        for t in range(2, past.tokens.shape[1] + 1):
            self._extend(past.tokens[:, :t])

    def __call__(self, log_probs: Tensor) -> Tensor:
        followed = self._past.tokens[:, 1:]
        return _forbid_past(log_probs, followed, self._common == self._most)

    def follow(self, rows: Tensor, tokens: Tensor) -> None:
        self._past.follow(rows, tokens)
        self._common = self._common.index_select(0, rows)
        self._extend(self._past.tokens)

    def _extend(self, tokens: Tensor) -> None:
        """By the last of `tokens` (R, t)."""
        longer = torch.nn.functional.pad((self._common + 1).clamp(max=self._most), (1, 0), value=1)
        self._common = longer * (tokens[:, :-1] == tokens[:, -1:])


def _forbid_past(log_probs: Tensor, tokens: Tensor, where: Tensor) -> Tensor:
    """A prefix may hold ids that the model cannot generate: they are left out."""
    V = log_probs.shape[1]
    return forbid(log_probs, tokens.clamp(0, V - 1), where & (tokens < V))


@dataclass(frozen=True)
class RepetitionPenalty:
    """Makes tokens that a hypothesis has, its prefix included, theta times as improbable, in the log.

    .. math:: x_t \\leftarrow \\theta x_t \\; (x_t < 0), \\quad x_t / \\theta \\; (x_t \\ge 0)

    for every token t so far: CTRL's penalty (Keskar et al. 2019, arXiv:1909.05858, section 4.1) on log-probabilities,
    as transformers' beam search has it in ``repetition_penalty``. Theta of 1 changes nothing, below 1 it rewards.

    Raises:
        ValueError: theta is no finite number above 0.

    >>> import torch, s2sfast
    >>> P = torch.tensor([[0.6, 0.3, 0.1]] * 3).log()  # whatever came before; 2 is eos
    >>> step = lambda tokens, state, memory: (P[tokens], state)
    >>> s2sfast.greedy_search(step, None, start=[1], eos=2, max_length=3,  # 0.6**5 = 0.08 is less than 0.1
    ...                       processors=[s2sfast.processors.RepetitionPenalty(5.0)]).best(0)
    [0, 2]
    """

    theta: float

    def __post_init__(self) -> None:
        theta = self.theta
        if not isinstance(theta, numbers.Real) or isinstance(theta, bool) or not 0 < theta < math.inf:
            raise ValueError(f"RepetitionPenalty: expected a finite theta > 0; got {theta!r}")

    def begin(self, beginning: Beginning) -> Tracker:
        return _Penalty(float(self.theta), Past(beginning))


class _Penalty(Tracker):
    def __init__(self, theta: float, past: Past):
        self._theta, self._past = theta, past

    def follow(self, rows: Tensor, tokens: Tensor) -> None:
        self._past.follow(rows, tokens)

    def __call__(self, log_probs: Tensor) -> Tensor:
        tokens = self._past.tokens
        counts = (tokens >= 0) & (tokens < log_probs.shape[1])
        some = tokens.gather(1, counts.to(torch.uint8).argmax(1, keepdim=True)).clamp(0, log_probs.shape[1] - 1)
        at = tokens.where(counts, some)  # others repeat a token that counts: writing it twice is no harm
        now = log_probs.gather(1, at)
        penalized = torch.where(now < 0, now * self._theta, now / self._theta)
        return log_probs.scatter_(1, at, penalized.where(counts.any(1, keepdim=True), now))
