"""Makes the result of a search from its hypotheses and its history."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from s2sfast.search.arguments import Arguments
from s2sfast.search.history import History
from s2sfast.search.hypotheses import Hypotheses
from s2sfast.search.result import BeamResult, SearchStats


def outcome(a: Arguments, hypotheses: Hypotheses, history: History, stats: SearchStats) -> BeamResult:
    """The n best hypotheses with all that goes with each token; the tree is the caller's.

    A hypothesis is the candidate `column` of step `last`, both in its code. Backpointers lead from candidate to
    candidate: the parent's beam slot, and the candidate that stood there.
    """
    scores, codes = hypotheses.best(a.n_best)
    if not len(history):
        return _nothing(scores, stats)
    sums, parents, tokens = history.candidates(a.batch)  # (L, B, C)
    stats.candidates = int((sums > -math.inf).sum())
    last = codes.div(sums.shape[2], rounding_mode="floor")
    column = codes - last * sums.shape[2]
    empty = scores == -math.inf
    steps = (last + 1).masked_fill(empty, 0)
    L = int(steps.max()) if steps.numel() else 0
    sums, parents, tokens = sums[:L], parents[:L], tokens[:L]

    slots = history.slots(a.batch, a.beam, a.device)  # (L, B, K)
    back = parents if slots is None else torch.cat((parents[:1], slots[: max(L - 1, 0)].gather(2, parents[1:])))
    sequences = a.backtrace(back, tokens, column, steps=steps)  # (B, n, L)
    before = a.backtrace(back, back, column, steps=steps)  # the candidate one step earlier
    after = pad(before[:, :, 1:], (0, 1), value=-1)
    columns = torch.where(after < 0, column[:, :, None], after)  # of each step; beyond the end, any
    running = _along(sums, columns)
    gains = running - pad(running[:, :, :-1], (1, 0))
    at_end = (steps - 1).clamp(min=0)[:, :, None]
    ended = empty
    if L and a.ends is None:
        ended = a.is_eos(sequences.gather(2, at_end)[:, :, 0])
    elif L:
        ended = _along(history.ends(a.batch)[:L], columns).gather(2, at_end)[:, :, 0]
    attention = None
    if a.return_attention:
        attention = _along(history.attention(a.batch)[:L], _along(parents, columns))

    cut = _Cut(a.late, steps, L)
    return BeamResult(
        tokens=sequences if a.late is None else cut(sequences, -1),
        lengths=cut.lengths,
        scores=scores,
        log_probs=(running.gather(2, at_end)[:, :, 0] if L else scores).masked_fill(empty, -math.inf),
        token_log_probs=cut(gains, 0.0),
        finished=ended & ~empty,
        attention=None if attention is None else cut(attention, 0.0),
        stats=stats,
    )


def _along(values: Tensor, columns: Tensor) -> Tensor:
    """``values[l, b, columns[b, i, l]]`` of (L, B, C, ...): (B, n, L, ...)."""
    L, B = values.shape[:2]
    step = torch.arange(L, device=values.device)
    sentence = torch.arange(B, device=values.device)[:, None, None]
    return values[step, sentence, columns]


def _nothing(scores: Tensor, stats: SearchStats) -> BeamResult:
    """Of an empty batch."""
    none = scores.new_zeros((*scores.shape, 0))
    lengths = torch.zeros_like(scores, dtype=torch.int64)
    return BeamResult(none.long(), lengths, scores, scores.clone(), none, lengths > 0, stats=stats)


class _Cut:
    """Drops the forced tokens in front of late sentences, and clears what is beyond each hypothesis' end."""

    def __init__(self, late: Tensor | None, steps: Tensor, L: int):
        self.lengths = steps
        self._late = None if late is None else late[:, None]
        if self._late is not None:
            self.lengths = (steps - self._late).clamp(min=0)
            L = int(self.lengths.max()) if steps.numel() else 0
        self._at = torch.arange(L, device=steps.device)
        self._inside = self._at < self.lengths[:, :, None]

    def __call__(self, x: Tensor, fill: float) -> Tensor:
        """(B, n, steps, ...) -> (B, n, L, ...)."""
        inside = self._inside.reshape(*self._inside.shape, *(1,) * (x.dim() - 3))
        if self._late is None:
            return x.where(inside, fill)
        at = (self._at + self._late[:, :, None]).clamp(max=max(x.shape[2] - 1, 0)).expand(*self._inside.shape)
        return x.gather(2, at.reshape(inside.shape).expand(*at.shape, *x.shape[3:])).where(inside, fill)
