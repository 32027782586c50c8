"""Every sequence there is: the oracle for small V and L."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from s2sfast.search import arguments as check
from s2sfast.search import state as trees
from s2sfast.search.penalties import LengthPenalty, Penalty, as_penalty
from s2sfast.search.result import BeamResult, SearchStats

_MOST_ROWS = 2_000_000


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
        ValueError: as there, or more than two million rows would be needed.
    """
    name = "exhaustive_search"
    penalty, ends = as_penalty(length_penalty), check.eos_ids(name, eos)
    function, _ = check.step_functions(name, step)
    start = check.as_tensor_start(start)
    batch = check.batch_of(name, start, state, state_dims, memory, max_length, batch_size)
    prefix, _ = check.prefixes(name, start, None, batch, trees.device_of(state, memory, start))
    for i in range(prefix.shape[1] - 1):
        _, state = function(prefix[:, i], state, memory)[:2]
    tokens = prefix[:, -1]
    sequences = torch.empty((batch, 1, 0), dtype=torch.int64)  # (B, M, t): all that have not ended
    log_probs, per_token = torch.zeros((batch, 1)), torch.empty((batch, 1, 0))
    found: list[tuple[Tensor, Tensor, Tensor, bool]] = []  # (sequences, their log_probs, per token, finished)
    stats = SearchStats()
    for t in range(1, max_length + 1):
        logits, state = function(tokens, state, memory)[:2]
        stats.steps, stats.model_rows = stats.steps + 1, stats.model_rows + logits.shape[0]
        V = logits.shape[1]
        gain = torch.log_softmax(logits.double() / temperature, -1).reshape(batch, -1, V)
        total = (log_probs[:, :, None].double() + gain).float()
        grown = torch.cat(
            (sequences[:, :, None].expand(-1, -1, V, -1), torch.arange(V).expand(*total.shape)[..., None]), -1
        )
        detail = torch.cat((per_token[:, :, None].expand(-1, -1, V, -1), gain[..., None].float()), -1)
        is_end = torch.zeros(V, dtype=torch.bool).index_fill_(0, torch.tensor(ends), True)
        if t > min_length:
            found.append(_flat(grown[:, :, is_end], total[:, :, is_end], detail[:, :, is_end], True))
        going = _flat(grown[:, :, ~is_end], total[:, :, ~is_end], detail[:, :, ~is_end], False)
        if t == max_length:
            found.append(going)
            break
        sequences, log_probs, per_token, _ = going
        if log_probs.numel() * V > _MOST_ROWS:
            raise ValueError(
                f"{name}: expected at most {_MOST_ROWS} sequences; got V={V}, max_length={max_length}, B={batch}"
            )
        grow = torch.arange(logits.shape[0]).repeat_interleave(int((~is_end).sum()))
        state = trees.select_rows(state, state_dims, grow, logits.shape[0], "state")
        tokens = sequences[:, :, -1].reshape(-1)
    return _ranked(found, penalty, n_best, stats)


def _flat(sequences: Tensor, log_probs: Tensor, detail: Tensor, finished: bool) -> tuple[Tensor, Tensor, Tensor, bool]:
    return sequences.flatten(1, 2), log_probs.flatten(1, 2), detail.flatten(1, 2), finished


def _ranked(
    found: list[tuple[Tensor, Tensor, Tensor, bool]], penalty: Penalty, n: int, stats: SearchStats
) -> BeamResult:
    L = max(sequences.shape[2] for sequences, *_ in found)
    pad = torch.nn.functional.pad
    tokens = torch.cat([pad(s, (0, L - s.shape[2]), value=-1) for s, *_ in found], 1)
    detail = torch.cat([pad(d, (0, L - d.shape[2])) for _, _, d, _ in found], 1)
    log_probs = torch.cat([p for _, p, _, _ in found], 1)
    lengths = torch.cat([torch.full_like(p, s.shape[2]) for s, p, _, _ in found], 1)
    finished = torch.cat([torch.full_like(p, f, dtype=torch.bool) for _, p, _, f in found], 1)
    scores = penalty(log_probs, lengths).masked_fill(log_probs == -torch.inf, -torch.inf)
    spare = (0, max(0, n - scores.shape[1]))  # places that no sequence fills
    scores, log_probs = pad(scores, spare, value=-torch.inf), pad(log_probs, spare, value=-torch.inf)
    lengths, finished = pad(lengths, spare), pad(finished, spare)
    tokens, detail = pad(tokens, (0, 0, *spare)), pad(detail, (0, 0, *spare))
    order = scores.sort(dim=1, descending=True, stable=True).indices[:, :n]
    best = scores.gather(1, order)
    none = best == -torch.inf
    at = order[..., None].expand(-1, -1, L)
    return BeamResult(
        tokens=tokens.gather(1, at).masked_fill(none[..., None], -1),
        lengths=lengths.gather(1, order).long().masked_fill(none, 0),
        scores=best,
        log_probs=log_probs.gather(1, order).masked_fill(none, -torch.inf),
        token_log_probs=detail.gather(1, at).masked_fill(none[..., None], 0.0),
        finished=finished.gather(1, order) & ~none,
        stats=stats,
    )
