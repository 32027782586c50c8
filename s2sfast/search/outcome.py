"""Makes the result of a search from its hypotheses and its history."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from s2sfast.search.arguments import Arguments
from s2sfast.search.history import History, Paths
from s2sfast.search.hypotheses import Hypotheses
from s2sfast.search.result import BeamResult


def outcome(a: Arguments, hypotheses: Hypotheses, history: History) -> BeamResult:
    """The n best hypotheses with their tokens and all that goes with each token; stats and tree are the caller's."""
    best = {name: getattr(hypotheses, name)[:, : a.n_best] for name in Hypotheses.FIELDS}
    empty = best["scores"] == -math.inf
    lengths = best["lengths"].masked_fill(empty, 0)
    steps = (best["found_at"] + 1).masked_fill(empty, 0)
    parents, tokens = history.laid_out("parents", a.batch, 0), history.laid_out("tokens", a.batch, -1)
    paths = Paths(a.backtrace, parents, tokens, best["parents"], steps)
    cut = _Cut(steps, lengths)
    attention = None
    if a.return_attention and len(parents):
        attention = cut(paths.along(history.laid_out("attention", a.batch, 0.0)), 0.0)
    return BeamResult(
        tokens=cut(paths.sequences(best["tokens"]), -1),
        lengths=lengths,
        scores=best["scores"],
        log_probs=best["log_probs"].masked_fill(empty, -math.inf),
        token_log_probs=cut(_gains(a, history, paths, best["log_probs"]), 0.0),
        finished=best["ended"] & ~empty,
        attention=attention,
    )


def _gains(a: Arguments, history: History, paths: Paths, log_probs: Tensor) -> Tensor:
    """(B, n, steps): what each token added to the running sum."""
    sums = history.laid_out("scores", a.batch, 0.0)  # (L, B, K) after each step
    if not len(sums):
        return log_probs.new_zeros((*log_probs.shape, 0))
    before = torch.nn.functional.pad(sums, (0, 0, 0, 0, 1, 0))  # nothing before the first
    return paths.differences(paths.along(before), log_probs)


class _Cut:
    """Drops the forced tokens in front of late sentences and what is beyond each hypothesis' end."""

    def __init__(self, steps: Tensor, lengths: Tensor):
        L = int(lengths.max()) if lengths.numel() else 0
        at = torch.arange(L, device=steps.device) + (steps - lengths)[..., None]
        self._inside = torch.arange(L, device=steps.device) < lengths[..., None]
        self._at = at.where(self._inside, 0)

    def __call__(self, x: Tensor, fill: float) -> Tensor:
        """(B, n, steps, ...) -> (B, n, L, ...)."""
        if not self._at.numel():
            return x.new_empty((*self._at.shape, *x.shape[3:]))
        extra = (1,) * (x.dim() - 3)
        at = self._at.reshape(*self._at.shape, *extra).expand(*self._at.shape, *x.shape[3:])
        return x.gather(2, at).where(self._inside.reshape(*self._inside.shape, *extra), fill)
