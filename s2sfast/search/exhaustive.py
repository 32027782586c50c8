"""Every sequence there is: the oracle for small V and L."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from s2sfast.search import arguments as check
from s2sfast.search import state as trees
from s2sfast.search.penalties import LengthPenalty, Penalty, as_penalty
from s2sfast.search.ranking import ByLogProb
from s2sfast.search.result import BeamResult, SearchStats
from s2sfast.search.rules import Exact
from s2sfast.search.stepper import Stepper

_MOST_SEQUENCES = 2_000_000


@torch.no_grad()
def exhaustive_search(
    step: Any,
    state: Any,
    *,
    start: Any,
    eos: Any,
    max_length: int,
    n_best: int = 1,
    min_length: int = 0,
    memory: Any = None,
    batch_size: int | None = None,
    state_dims: Any = 0,
    length_penalty: float | LengthPenalty | Penalty = 1.0,
    temperature: float = 1.0,
) -> BeamResult:
    """Scores all sequences of up to max_length tokens and returns the n best of each sentence.

    Those without eos are ranked too, at max_length, flagged unfinished. The step runs on (V - eos ids)^t rows per
    sentence: an oracle for tests, not a search for use. Arguments and result as in :func:`s2sfast.beam_search`; ties
    go to the shorter sequence, then to the lexicographically smaller one.

    Raises:
        ValueError: as there, or there would be more than two million sequences.
    """
    a = check.prepare(
        "exhaustive_search", step, state, start=start, eos=eos, max_length=max_length, min_length=min_length,
        memory=memory, batch_size=batch_size, prefix_lengths=None, state_dims=state_dims, processors=(),
        temperature=temperature, beam=1, n_best=n_best, pruning=None, backend="reference",
        penalty=as_penalty(length_penalty), rule=Exact(), ranking=ByLogProb(),
    )  # fmt: skip
    if isinstance(a.max_length, Tensor):
        raise ValueError("exhaustive_search: expected one max_length for all sentences; got a tensor")
    stats = SearchStats()
    if not a.batch:
        return _ranked([_Sequences.empty(0, a.device)], a, stats)
    return _ranked(_enumerate(a, stats), a, stats)


class _Sequences(NamedTuple):
    """M sequences of t tokens per sentence."""

    tokens: Tensor  # (B, M, t)
    log_probs: Tensor  # (B, M)
    gains: Tensor  # (B, M, t)
    finished: bool

    @staticmethod
    def empty(batch: int, device: torch.device) -> _Sequences:
        none = torch.zeros((batch, 1, 0), dtype=torch.float32, device=device)
        return _Sequences(none.long(), torch.zeros((batch, 1), dtype=torch.float32, device=device), none, False)

    def grown(self, gains: Tensor, columns: Tensor, finished: bool) -> _Sequences:
        """Every sequence continued by every column; gains (B, M, V) float64."""
        some = gains[:, :, columns]
        B, M, V = some.shape
        total = (self.log_probs[:, :, None].double() + some).float()
        tokens = torch.cat((self.tokens[:, :, None].expand(-1, -1, V, -1), columns.expand(B, M, V)[..., None]), -1)
        detail = torch.cat((self.gains[:, :, None].expand(-1, -1, V, -1), some[..., None].float()), -1)
        return _Sequences(tokens.flatten(1, 2), total.flatten(1, 2), detail.flatten(1, 2), finished)


def _enumerate(a: check.Arguments, stats: SearchStats) -> list[_Sequences]:
    """All sequences that ended, by length, then those that did not, at max_length."""
    model, state, going = Stepper(a, stats), a.state, _Sequences.empty(a.batch, a.device)
    for i in range(a.prefix.shape[1] - 1):
        state = model.step(a.prefix[:, i], state, a.memory).state
    tokens, found = a.prefix[:, -1], []
    for t in range(1, int(a.max_length) + 1):
        logits, state, _ = model.step(tokens, state, a.memory)
        V = logits.shape[1]
        if going.log_probs.numel() * V > _MOST_SEQUENCES:
            got = f"V={V}, max_length={a.max_length}, B={a.batch}"
            raise ValueError(f"{a.name}: expected at most {_MOST_SEQUENCES} sequences; got {got}")
        gains = _log_probs(logits, a.temperature, model.where()).reshape(a.batch, -1, V)
        ends = a.is_eos(torch.arange(V, device=a.device))
        if t > a.min_length:
            found.append(going.grown(gains, ends.nonzero().flatten(), True))
        others = (~ends).nonzero().flatten()
        going = going.grown(gains, others, False)
        rows = torch.arange(logits.shape[0], device=a.device).repeat_interleave(len(others))
        state = trees.select_rows(state, a.state_dims, rows, logits.shape[0], "state")
        tokens = going.tokens[:, :, -1].reshape(-1)
    return [*found, going]


def _log_probs(logits: Tensor, temperature: float, where: str) -> Tensor:
    """float64; a row of -inf offers nothing."""
    if (logits.isnan() | (logits == torch.inf)).any():
        raise ValueError(f"{where}: expected finite logits or -inf; got a NaN or +inf")
    nothing = (logits == -torch.inf).all(-1, keepdim=True)
    return torch.log_softmax(logits.double() / temperature, -1).masked_fill(nothing, -torch.inf)


def _ranked(found: list[_Sequences], a: check.Arguments, stats: SearchStats) -> BeamResult:
    L = max(s.tokens.shape[2] for s in found)
    n = a.n_best
    tokens = torch.cat([pad(s.tokens, (0, L - s.tokens.shape[2]), value=-1) for s in found], 1)
    detail = torch.cat([pad(s.gains, (0, L - s.tokens.shape[2])) for s in found], 1)
    log_probs = torch.cat([s.log_probs for s in found], 1)
    lengths = torch.cat([torch.full_like(s.log_probs, s.tokens.shape[2], dtype=torch.int64) for s in found], 1)
    finished = torch.cat([torch.full_like(s.log_probs, s.finished, dtype=torch.bool) for s in found], 1)
    impossible = log_probs == -torch.inf
    scores = a.penalty(log_probs, lengths.clamp(min=1)).masked_fill(impossible, -torch.inf)
    if a.batch == 0 or L == 0:
        scores = torch.full_like(scores, -torch.inf)
    spare = (0, max(0, n - scores.shape[1]))  # places that no sequence fills
    scores, log_probs = pad(scores, spare, value=-torch.inf), pad(log_probs, spare, value=-torch.inf)
    lengths, finished = pad(lengths, spare), pad(finished, spare)
    tokens, detail = pad(tokens, (0, 0, *spare)), pad(detail, (0, 0, *spare))
    order = scores.sort(dim=1, descending=True, stable=True).indices[:, :n]
    best = scores.gather(1, order)
    none = best == -torch.inf
    at = order[..., None].expand(-1, -1, L)
    lengths = lengths.gather(1, order).masked_fill(none, 0)
    L = int(lengths.max()) if lengths.numel() else 0
    return BeamResult(
        tokens=tokens.gather(1, at).masked_fill(none[..., None], -1)[:, :, :L],
        lengths=lengths,
        scores=best,
        log_probs=log_probs.gather(1, order).masked_fill(none, -torch.inf),
        token_log_probs=detail.gather(1, at).masked_fill(none[..., None], 0.0)[:, :, :L],
        finished=finished.gather(1, order) & ~none,
        stats=stats,
    )
