"""The meaning of :func:`s2sfast.beam_topk`."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from s2sfast.types import BeamCandidates, Pruning

_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


@torch.no_grad()
def beam_topk(
    logits: Tensor,
    scores: Tensor,
    k: int,
    *,
    pruning: Pruning | None = None,
    bias: Tensor | None = None,
    normalized: bool = False,
    token_ids: Tensor | None = None,
    check_nan: bool = True,
    out: BeamCandidates | None = None,
) -> BeamCandidates:
    """The k best continuations of each sentence's beams; the contract is :func:`s2sfast.beam_topk`'s.

    Computed in float64 and rounded once, to the float32 score on which ties are judged.
    """
    _check_shapes(logits, scores, k, bias, token_ids)
    B, K, V = logits.shape
    if check_nan:
        _check_numbers(logits, scores, bias)

    token = logits.double() if normalized else torch.log_softmax(logits.double(), dim=-1)
    if bias is not None:
        token = token + bias.double()
    total = (scores.double()[..., None] + token).float()  # (B, K, V)
    absent = total.isnan() | (scores.double()[..., None] == -math.inf)  # NaN: such as all of a row of -inf
    total = total.masked_fill(absent, -math.inf)
    token = token.float().masked_fill(total == -math.inf, -math.inf)
    if pruning is not None and total.numel():
        total = total.masked_fill(_dropped(total, token, pruning), -math.inf)

    ranked = total.reshape(B, K * V).sort(dim=-1, descending=True, stable=True)  # ties: lower parent, lower column
    best, index = ranked.values[:, :k], ranked.indices[:, :k]
    parents, columns = index // max(V, 1), index % max(V, 1)
    tokens = columns if token_ids is None else token_ids.expand(B, K, V).reshape(B, K * V).gather(1, index)
    empty = best == -math.inf
    pad = (0, k - best.shape[1])
    found = BeamCandidates(
        torch.nn.functional.pad(best, pad, value=-math.inf),
        torch.nn.functional.pad(parents.masked_fill(empty, 0), pad),
        torch.nn.functional.pad(tokens.masked_fill(empty, 0), pad),
    )
    if out is None:
        return found
    for mine, theirs in zip(found, out, strict=True):
        theirs.copy_(mine)
    return out


def _dropped(total: Tensor, token: Tensor, pruning: Pruning) -> Tensor:
    """(B, K, V) bool: what each rule drops, judged on all candidates (Freitag & Al-Onaizan 2017, section 3)."""
    log_relative, absolute, log_relative_local, max_per_beam = pruning.limits
    score, last = total.double(), token.double()
    best, best_last = score.amax((1, 2), keepdim=True), last.amax((1, 2), keepdim=True)
    place = total.sort(dim=-1, descending=True, stable=True).indices.argsort(dim=-1)  # in its own beam, 0 = best
    return (
        (score < best + log_relative)
        | (score < best - absolute)
        | (last < best_last + log_relative_local)
        | (place >= max_per_beam)
    )


def _check_shapes(logits: Tensor, scores: Tensor, k: int, bias: Tensor | None, token_ids: Tensor | None) -> None:
    def shape(t: Tensor | None) -> tuple[int, ...]:
        return () if t is None else tuple(t.shape)

    if logits.dim() != 3:
        raise ValueError(f"beam_topk: expected logits (B, K, V); got {shape(logits)}")
    for name, value in (("logits", logits), ("scores", scores), ("bias", bias)):
        if value is not None and value.dtype not in _DTYPES:
            raise ValueError(
                f"beam_topk: expected floating {name} (float32, float64, bfloat16, float16); got another dtype"
            )
        if value is not None and value.device != logits.device:
            raise ValueError(f"beam_topk: expected {name} on the device of logits")
    B, K, V = logits.shape
    if shape(scores) != (B, K):
        raise ValueError(f"beam_topk: expected scores (B, K)=({B}, {K}); got {shape(scores)}")
    if k < 1:
        raise ValueError(f"beam_topk: expected k >= 1; got {k}")
    fits = bias is None or (
        bias.dim() <= 3 and all(a in (1, b) for a, b in zip(shape(bias)[::-1], (V, K, B), strict=False))
    )
    named = token_ids is None or shape(token_ids) in ((V,), (B, K, V))
    for name, value, ok in (("bias", bias, fits), ("token_ids", token_ids, named)):
        if not ok:
            raise ValueError(
                f"beam_topk: expected {name} to broadcast to (B, K, V)=({B}, {K}, {V}); got {shape(value)}"
            )
    if token_ids is not None and token_ids.dtype != torch.int64:
        raise ValueError("beam_topk: expected int64 token_ids; got another dtype")


def _check_numbers(logits: Tensor, scores: Tensor, bias: Tensor | None) -> None:
    """Raises for the first (sentence, beam) that is live and holds a NaN or +inf."""

    def bad(t: Tensor) -> Tensor:
        return t.isnan() | (t == math.inf)

    B, K, V = logits.shape
    live = scores != -math.inf
    rows = {"logits": bad(logits).any(-1) & live, "scores": bad(scores)}
    if bias is not None:
        rows["bias"] = bad(bias.expand(B, K, V)).any(-1) & live
    found = torch.stack(list(rows.values())).any(0).flatten().nonzero().flatten()
    if found.numel():
        sentence, beam = divmod(int(found[0]), K)
        name = next(n for n in ("scores", "logits", "bias") if n in rows and rows[n][sentence, beam])
        raise ValueError(
            f"beam_topk: expected finite numbers or -inf; got a NaN or +inf in {name} of sentence {sentence}, "
            f"beam {beam}"
        )
