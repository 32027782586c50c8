"""One step of beam search, fused: log-softmax, add, prune, and the k best of K*V."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from s2sfast import _native  # noqa: F401  registers torch.ops.s2sfast
from s2sfast.types import BeamCandidates, Pruning

_raw = torch.ops.s2sfast.beam_topk.default
_raw_out = torch.ops.s2sfast.beam_topk_out.default
_library = torch.library.Library("s2sfast", "FRAGMENT")
for _name in ("beam_topk", "beam_topk_out"):
    _library.impl(_name, torch.library.fallthrough_kernel, "Autograd")  # not differentiable: no graph

_NO_LIMITS = Pruning().limits


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
    r"""Finds the k best continuations of each sentence's beams, best first.

    .. math:: s_{p,t} = \mathrm{float32}\bigl(scores_p + \log\mathrm{softmax}(logits_p)_t + bias_{p,t}\bigr)

    Ties are judged on that float32 score: lower parent p first, then lower column t. A beam whose score is -inf offers
    nothing and is not looked at, nor does one whose logits are all -inf. Not differentiable.

    Args:
        logits: ``(B, K, V)`` float32, float64, bfloat16 or float16; -inf forbids a token. Rows may be strided.
        scores: ``(B, K)`` floating, the log-probability of each beam so far, in nats.
        k: how many candidates per sentence, at least 1; more than K*V leaves slots empty.
        pruning: which candidates to drop before the ranking, see :class:`s2sfast.Pruning`.
        bias: floating, broadcast to ``(B, K, V)``: added after the log-softmax and not renormalised; -inf forbids.
        normalized: the logits are log-probabilities already and are used as they are.
        token_ids: ``(V,)`` or ``(B, K, V)`` int64, the names of the columns where they are not 0..V-1 (a shortlist).
        check_nan: look for NaN and +inf in what live beams offer. Without it a NaN is no candidate, and a beam with a
            NaN among its logits offers nothing. Never done in a graph of torch.compile.
        out: write into these tensors (float32, int64, int64; contiguous ``(B, k)``) and allocate nothing.

    Returns:
        :class:`~s2sfast.BeamCandidates` of ``scores (B, k)`` float32, ``parents (B, k)`` and ``tokens (B, k)`` int64.
        Slots without a candidate: score -inf, parent 0, token 0.

    Raises:
        ValueError: shapes, dtypes or devices disagree, k < 1; or a NaN or +inf, naming sentence and beam. On CUDA
            a NaN is found late (:func:`s2sfast.synchronize`), and k > 1024, V > 2**26 or K*V >= 2**32 are errors.

    Same bits for any number of threads and any batch around a sentence, on one instruction set. The meaning:
    :func:`s2sfast.reference.beam_topk`. Pruning: Freitag & Al-Onaizan 2017, arXiv:1702.01806, section 3.

    >>> import torch, s2sfast
    >>> logits = torch.tensor([[[0.6, 0.4], [0.1, 0.9]]]).log()  # B=1, K=2, V=2
    >>> scores = torch.tensor([[0.6, 0.4]]).log()
    >>> best = s2sfast.beam_topk(logits, scores, k=2)
    >>> best.scores.exp()
    tensor([[0.3600, 0.3600]])
    >>> best.parents.tolist(), best.tokens.tolist()
    ([[0, 1]], [[0, 1]])
    """
    check = check_nan and not torch.compiler.is_compiling()
    try:
        limits = _NO_LIMITS if pruning is None else pruning.limits
        if bias is not None and (bias.dim() == 0 or bias.shape[-1] == 1):
            bias = bias.expand(*bias.shape[:-1], logits.shape[-1])
        if out is None:
            return BeamCandidates(*_raw(logits, scores, k, bias, token_ids, normalized, *limits, check))
        _raw_out(logits, scores, k, bias, token_ids, normalized, *limits, check, *out)
        return out
    except (RuntimeError, AttributeError, TypeError) as error:  # looked into only when a call has failed
        raise _diagnosis(logits, scores, k, pruning, bias, token_ids) or error from None


def _diagnosis(logits: Any, scores: Any, k: Any, pruning: Any, bias: Any, token_ids: Any) -> ValueError | None:
    """What is wrong with the types of the arguments, if it is that."""
    optional = {name: value for name, value in (("bias", bias), ("token_ids", token_ids)) if value is not None}
    for name, value in {"logits": logits, "scores": scores, **optional}.items():
        if not isinstance(value, Tensor):
            return ValueError(f"beam_topk: expected {name} to be a tensor; got {type(value).__name__}")
    if not isinstance(k, int) or isinstance(k, bool):
        return ValueError(f"beam_topk: expected an integer k; got {k!r}")
    if pruning is not None and not isinstance(pruning, Pruning):
        return ValueError(f"beam_topk: expected pruning to be a Pruning; got {pruning!r}")
    return None


@torch.library.register_fake("s2sfast::beam_topk")
def _(logits, scores, k, bias, token_ids, normalized, log_relative, absolute, log_relative_local, max_per_beam, check):
    size = (logits.shape[0], k)
    indices = logits.new_empty(size, dtype=torch.int64)
    return logits.new_empty(size, dtype=torch.float32), indices, torch.empty_like(indices)


@torch.library.register_fake("s2sfast::beam_topk_out")
def _(*args):
    return None
