"""The table of cases of :func:`s2sfast.pointer_nll`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, pad

from s2sfast import ops, reference
from s2sfast.cases import pointer
from s2sfast.cases.pointer_mixture import ARGUMENT_FAILURES
from s2sfast.cases.table import Case, Failure, Op, spoil


def sample(
    dtype: torch.dtype,
    device: str,
    generator: torch.Generator,
    *,
    V: int,
    new: int = 0,
    ignoring: bool = True,
    **options: Any,
) -> tuple[tuple, dict]:
    """Half of the targets are copied from the source, if it has any; one of eight is ignored."""
    logits, weights, ids, gate = pointer.inputs(dtype, device, generator, V=V, new=new, **options)
    R, T = weights.shape

    def integers(high: int) -> Tensor:
        return torch.randint(0, max(high, 1), (R, 1), generator=generator, device="cpu")

    targets, toss = integers(V + new), integers(8)
    if T and R:
        copied = pointer.rows_of_ids(ids.cpu(), R).gather(1, integers(T))
        targets = torch.where((toss % 2 == 0) & (copied >= 0), copied, targets)
    if ignoring:
        targets = targets.masked_fill(toss == 7, -100)
    return (logits, weights, ids, gate, targets[:, 0].to(device)), {}


def bytes_moved(*, R: int, V: int, T: int, S: int) -> int:
    return 4 * R * V + 4 * R * T + 8 * S * T + 20 * R


# --- rivals ----------------------------------------------------------------------------------------------


def eager(
    vocab_logits: Tensor, copy_weights: Tensor, source_ids: Tensor, p_gen_logit: Tensor, targets: Tensor
) -> Tensor:
    """The best spelling: log_softmax, gather, and a masked sum instead of a scatter; no target is ignored."""
    R, V = vocab_logits.shape
    words = vocab_logits.log_softmax(-1).gather(1, targets.clamp(max=V - 1)[:, None]).squeeze(1)
    words = words.masked_fill(targets >= V, -torch.inf)
    copied = pointer.rows_of_ids(source_ids, R) == targets[:, None]
    mass = copy_weights.masked_fill(~copied, 0).sum(-1)
    # A mass of 0 would have a gradient of NaN.
    return -torch.logaddexp(logsigmoid(p_gen_logit) + words, logsigmoid(-p_gen_logit) + mass.clamp(min=1e-30).log())


def eager_usual(
    vocab_logits: Tensor, copy_weights: Tensor, source_ids: Tensor, p_gen_logit: Tensor, targets: Tensor
) -> Tensor:
    """What most pointer-generators write: the whole distribution by scatter_add, gather, log of it plus 1e-12."""
    R, V = vocab_logits.shape
    p = p_gen_logit.sigmoid()[:, None]
    size = max(V, int(max(source_ids.max(), targets.max())) + 1)
    whole = pad(p * vocab_logits.softmax(-1), (0, size - V))
    whole = whole.scatter_add(1, pointer.rows_of_ids(source_ids, R), (1 - p) * copy_weights)
    return -(whole.gather(1, targets[:, None]).squeeze(1) + 1e-12).log()


# --- the table -----------------------------------------------------------------------------------------


def _bench(use: str, R: int, S: int, T: int) -> Case:
    """The rivals ignore no target, and know none of probability 0."""
    sizes = {"R": R, "V": 50_000, "T": T, "S": S}
    return Case(f"R{R}-V50k-T{T}", sizes, {"ignoring": False}, use=(use,))


CASES = (*pointer.CASES, _bench("bench", 16, 16, 400), *(_bench("train", 800, 16, T) for T in (100, 400)))


def _spoil(at: int, change: Any) -> Any:
    return spoil(at, lambda args, kwargs: change(args[at]))


FAILURES = (
    *ARGUMENT_FAILURES,
    Failure("targets-shape", _spoil(4, lambda x: x[:-1]), "expected targets (R,)=(10,); got (9,)"),
    Failure("int32-targets", _spoil(4, lambda x: x.int()), "expected int64 targets; got another dtype"),
    Failure(
        "negative-target",
        _spoil(4, lambda x: torch.where(torch.arange(10) == 7, -5, x)),
        "expected targets >= 0 or ignore_index=-100; got -5 for row 7",
    ),
)

OP = Op(
    name="pointer_nll",
    fast=ops.pointer_nll,
    reference=reference.pointer_nll,
    raw=(torch.ops.s2sfast.pointer_nll.default, lambda args, kwargs: (*args, kwargs.get("ignore_index", -100))),
    sample=sample,
    cases=CASES,
    failures=FAILURES,
    dtypes=pointer.DTYPES,
    bytes_moved=bytes_moved,
    tolerance=pointer.TOLERANCE,
    differentiable=pointer.DIFFERENTIABLE,
    rivals={"eager": eager, "eager_usual": eager_usual},
)
