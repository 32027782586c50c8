"""The table of cases of :func:`s2sfast.beam_topk`."""

from __future__ import annotations

import math
from typing import Any

import numpy
import torch
from torch import Tensor

from s2sfast import ops, reference
from s2sfast.cases.table import Case, Failure, Op, spoil
from s2sfast.types import BeamCandidates, Pruning


def sample(
    dtype: torch.dtype,
    device: str,
    generator: torch.Generator,
    *,
    B: int,
    K: int,
    V: int,
    k: int,
    dead_beams: int = 0,
    forbidden: float = 0.0,
    ties: bool = False,
    equal_rows: bool = False,
    rising: bool = False,
    bias: str = "",
    token_ids: bool = False,
    layout: str = "dense",
    **kwargs: Any,
) -> tuple[tuple, dict]:
    """Unit-variance logits and the scores of beams in descending order, as a search has them."""

    def normal(*size: int) -> Tensor:
        return torch.randn(size, generator=generator, dtype=torch.float32, device="cpu")

    if layout == "transposed":  # columns far apart
        logits = normal(V, K, B).permute(2, 1, 0)
    elif layout == "last-position":  # what a decoder's (R, L, V) output gives
        logits = normal(B, K, 3, V)[:, :, -1]
    else:
        logits = normal(B, K, V)
    if rising:  # by more than float32's exp can span
        logits = logits + torch.linspace(-300, 300, V, device="cpu")
    if equal_rows and K:
        logits = logits[:, :1].expand(B, K, V)
    if ties:
        logits = logits.round()
    scores = (normal(B, K) * 3).sort(dim=1, descending=True).values
    if ties or equal_rows:
        scores = scores.round() if ties else scores[:, :1].expand(B, K).contiguous()
    if dead_beams:
        scores[:, -dead_beams:] = -math.inf
    if forbidden:
        logits = logits.masked_fill(torch.rand(logits.shape, generator=generator, device="cpu") < forbidden, -math.inf)
    if bias:
        shape = {"token": (V,), "beam": (K, 1), "sentence": (B, 1, V), "full": (B, K, V), "scalar": ()}[bias]
        kwargs["bias"] = (normal(*shape) * 2).to(device, torch.promote_types(dtype, torch.float32))
    if token_ids:
        kwargs["token_ids"] = torch.randint(0, 10**9, (V,), generator=generator, device="cpu").to(device)
    return (logits.to(device, dtype), scores.to(device), k), kwargs


def bytes_moved(*, B: int, K: int, V: int, k: int) -> int:
    return 4 * B * K * V + 4 * B * K + 20 * B * k


# --- rivals, for calls without options ----------------------------------------------------------------


def eager(logits: Tensor, scores: Tensor, k: int) -> BeamCandidates:
    """The best spelling: per-row topk minus log-sum-exp, then topk of K*k."""
    row = logits.topk(min(k, logits.shape[2]), dim=-1)
    total = row.values + (scores - logits.logsumexp(-1))[..., None]
    best = total.flatten(1).topk(k)
    parents = best.indices // row.values.shape[2]
    return BeamCandidates(best.values, parents, row.indices.flatten(1).gather(1, best.indices))


def eager_usual(logits: Tensor, scores: Tensor, k: int) -> BeamCandidates:
    """What most beam searches write: log_softmax, add, topk over K*V."""
    best = (logits.log_softmax(-1) + scores[..., None]).flatten(1).topk(k)
    V = logits.shape[2]
    return BeamCandidates(best.values, best.indices // V, best.indices % V)


def numpy_partition(logits: Tensor, scores: Tensor, k: int) -> BeamCandidates:
    """argpartition over K*V, on ready log-probabilities."""
    B, K, V = logits.shape
    x = logits.numpy()
    shifted = x - x.max(-1, keepdims=True)
    total = shifted - numpy.log(numpy.exp(shifted).sum(-1, keepdims=True)) + scores.numpy()[..., None]
    total = total.reshape(B, K * V)
    some = numpy.argpartition(-total, k - 1, axis=1)[:, :k]
    order = numpy.argsort(-numpy.take_along_axis(total, some, 1), axis=1, kind="stable")
    index = numpy.take_along_axis(some, order, 1)
    best = numpy.take_along_axis(total, index, 1)
    return BeamCandidates(*(torch.from_numpy(a) for a in (best, index // V, index % V)))


# --- the table -----------------------------------------------------------------------------------------

_PAPER = Pruning(0.6, 2.5, 0.02, 3)


def _test(why: str, B: int, K: int, V: int, k: int, **options: Any) -> Case:
    return Case(why, {"B": B, "K": K, "V": V, "k": k}, options)


def _bench(B: int, K: int, V: int) -> Case:
    return Case(f"B{B}-K{K}-V{V // 1000}k", {"B": B, "K": K, "V": V, "k": 2 * K}, use=("bench",))


CASES = (
    _test("one-of-everything", 1, 1, 1, 1),
    _test("empty-batch", 0, 3, 7, 2),
    _test("no-beams", 2, 0, 5, 3),
    _test("fewer-candidates-than-k", 2, 2, 3, 10),
    _test("one-token", 3, 4, 1, 4),
    _test("tail-of-a-vector", 2, 3, 17, 6),
    _test("phonemes", 4, 5, 74, 10),
    _test("whole-block", 2, 2, 512, 8),
    _test("block-and-one", 2, 2, 513, 8),
    _test("odd-vocabulary", 3, 5, 1001, 10),
    _test("two-pieces", 1, 3, 16385, 6),
    _test("many-pieces-one-sentence", 1, 2, 70_001, 4),
    _test("insertion-limit", 1, 3, 500, 32),
    _test("beyond-insertion-limit", 1, 3, 500, 33),
    _test("wide-beam", 1, 200, 333, 400),
    _test("all-candidates", 2, 3, 40, 120),
    _test("large-vocabulary", 1, 1, 256_000, 5),
    _test("more-sentences-than-threads", 9, 2, 13_000, 4),
    _test("dead-beams", 3, 4, 50, 8, dead_beams=2),
    _test("all-beams-dead", 2, 3, 20, 4, dead_beams=3),
    _test("forbidden-tokens", 3, 4, 300, 8, forbidden=0.9),
    _test("all-forbidden", 2, 3, 30, 4, forbidden=1.1),
    _test("ties-everywhere", 3, 4, 200, 20, ties=True),
    _test("ties-large-k", 2, 4, 700, 150, ties=True),
    _test("equal-beams", 2, 5, 3000, 10, equal_rows=True),
    _test("rising-beyond-exp", 2, 3, 20_000, 6, rising=True),
    _test("columns-far-apart", 2, 3, 129, 6, layout="transposed"),
    _test("last-position-of-a-decoder", 2, 3, 129, 6, layout="last-position"),
    _test("normalized", 2, 4, 900, 8, normalized=True),
    _test("bias-per-token", 2, 4, 900, 8, bias="token"),
    _test("bias-per-beam", 2, 4, 900, 8, bias="beam"),
    _test("bias-per-sentence", 2, 4, 900, 8, bias="sentence"),
    _test("bias-full", 2, 4, 900, 8, bias="full"),
    _test("bias-scalar", 2, 4, 90, 8, bias="scalar"),
    _test("bias-and-normalized", 2, 4, 900, 8, bias="token", normalized=True),
    _test("shortlist-names", 2, 4, 300, 8, token_ids=True),
    _test("prune-relative", 3, 5, 400, 10, pruning=Pruning(relative=0.5)),
    _test("prune-relative-to-the-best-alone", 3, 5, 400, 10, pruning=Pruning(relative=1.0)),
    _test("prune-absolute", 3, 5, 400, 10, pruning=Pruning(absolute=2.5)),
    _test("prune-relative-local", 3, 5, 400, 10, pruning=Pruning(relative_local=0.4)),
    _test("prune-one-per-beam", 3, 5, 400, 10, pruning=Pruning(max_per_beam=1)),
    _test("prune-three-per-beam", 3, 40, 400, 80, pruning=Pruning(max_per_beam=3)),
    _test("prune-many-per-beam-large-k", 2, 4, 900, 300, pruning=Pruning(max_per_beam=70)),
    _test("prune-as-in-the-paper", 3, 5, 400, 10, pruning=_PAPER),
    _test("prune-with-bias", 3, 5, 400, 10, pruning=Pruning(0.2, 3.0, 0.05, 2), bias="full"),
    _test("prune-with-ties-overfull", 3, 10, 60, 8, pruning=Pruning(max_per_beam=2), ties=True),
    _test("prune-with-ties", 3, 5, 400, 10, pruning=Pruning(0.1, 2.0, 0.1, 2), ties=True),
    *(_bench(B, K, V) for B in (1, 8, 32) for K in (1, 5, 10, 50) for V in (1_000, 32_000, 128_000, 256_000)),
)


def _spoil(at: int | str, change: Any) -> Any:
    return spoil(at, lambda args, kwargs: change(*args))


def _with(value: float) -> Any:
    """A copy with one entry replaced, in the last row of the last sentence."""

    def change(tensor: Tensor) -> Tensor:
        tensor = tensor.clone()
        tensor[-1].view(-1)[-1] = value
        return tensor

    return change


FAILURES = (
    Failure("logits-2d", _spoil(0, lambda x, s, k: x[0]), "expected logits (B, K, V); got (5, 74)"),
    Failure("scores-shape", _spoil(1, lambda x, s, k: s[:, :-1]), "expected scores (B, K)=(4, 5); got (4, 4)"),
    Failure("integer-logits", _spoil(0, lambda x, s, k: x.long()), "expected floating logits"),
    Failure("integer-scores", _spoil(1, lambda x, s, k: s.long()), "expected floating scores"),
    Failure("k-zero", _spoil(2, lambda x, s, k: 0), "expected k >= 1; got 0"),
    Failure(
        "bias-shape",
        _spoil("bias", lambda x, s, k: torch.zeros(3, 74)),
        "expected bias to broadcast to (B, K, V)=(4, 5, 74); got (3, 74)",
    ),
    Failure(
        "bias-integers", _spoil("bias", lambda x, s, k: torch.zeros(74, dtype=torch.int64)), "expected floating bias"
    ),
    Failure("token-ids-shape", _spoil("token_ids", lambda x, s, k: torch.arange(73)), "expected token_ids"),
    Failure("token-ids-floats", _spoil("token_ids", lambda x, s, k: torch.zeros(74)), "expected int64 token_ids"),
    Failure("nan-logit", _spoil(0, lambda x, s, k: _with(math.nan)(x)), "in logits of sentence 3, beam 4"),
    Failure("inf-logit", _spoil(0, lambda x, s, k: _with(math.inf)(x)), "in logits of sentence 3, beam 4"),
    Failure("nan-score", _spoil(1, lambda x, s, k: _with(math.nan)(s)), "in scores of sentence 3, beam 4"),
    Failure("inf-score", _spoil(1, lambda x, s, k: _with(math.inf)(s)), "in scores of sentence 3, beam 4"),
    Failure(
        "nan-bias",
        _spoil("bias", lambda x, s, k: _with(math.nan)(torch.zeros(4, 5, 74))),
        "in bias of sentence 3, beam 4",
    ),
)


def _raw_arguments(args: tuple, kwargs: dict) -> tuple:
    limits = (kwargs.get("pruning") or Pruning()).limits
    bias = kwargs.get("bias")
    if bias is not None and (bias.dim() == 0 or bias.shape[-1] == 1):
        bias = bias.expand(*bias.shape[:-1], args[0].shape[-1])
    return (*args, bias, kwargs.get("token_ids"), kwargs.get("normalized", False), *limits, True)


OP = Op(
    name="beam_topk",
    fast=ops.beam_topk,
    reference=reference.beam_topk,
    raw=(torch.ops.s2sfast.beam_topk.default, _raw_arguments),
    sample=sample,
    cases=CASES,
    failures=FAILURES,
    dtypes=(torch.float32, torch.float64, torch.bfloat16, torch.float16),
    bytes_moved=bytes_moved,
    rivals={"eager": eager, "eager_usual": eager_usual, "numpy_partition": numpy_partition},
)
