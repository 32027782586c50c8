"""The table of cases of :func:`s2sfast.pointer_mixture`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, pad

from s2sfast import ops, reference
from s2sfast.cases import pointer
from s2sfast.cases.table import Case, Failure, Op, spoil


def sample(
    dtype: torch.dtype, device: str, generator: torch.Generator, *, V: int, new: int = 0, **options: Any
) -> tuple[tuple, dict]:
    given = pointer.inputs(dtype, device, generator, V=V, new=new, **options)
    return given, {"extended_size": V + new} if new else {}


def bytes_moved(*, R: int, V: int, T: int, S: int) -> int:
    return 4 * 2 * R * V + 4 * R * T + 8 * S * T + 4 * R


# --- rivals ----------------------------------------------------------------------------------------------


def eager_log_space(
    vocab_logits: Tensor,
    copy_weights: Tensor,
    source_ids: Tensor,
    p_gen_logit: Tensor,
    *,
    extended_size: int | None = None,
) -> Tensor:
    """log_softmax in log space; only the copied entries are gathered, mixed and put back (ids must not be negative)."""
    R, V = vocab_logits.shape
    ids = pointer.rows_of_ids(source_ids, R)
    size = V if extended_size is None else extended_size
    out = pad(vocab_logits.log_softmax(-1).add_(logsigmoid(p_gen_logit)[:, None]), (0, size - V), value=-torch.inf)
    mass = (ids[:, :, None] == ids[:, None]).to(copy_weights.dtype).bmm(copy_weights[:, :, None]).squeeze(2)
    copied = logsigmoid(-p_gen_logit)[:, None] + mass.log()
    return out.scatter_(1, ids, torch.logaddexp(out.gather(1, ids), copied))


def eager(
    vocab_logits: Tensor,
    copy_weights: Tensor,
    source_ids: Tensor,
    p_gen_logit: Tensor,
    *,
    extended_size: int | None = None,
) -> Tensor:
    """What most write, in place: scale the softmax, scatter_add the attention, log (ids must not be negative)."""
    R, V = vocab_logits.shape
    p = p_gen_logit.sigmoid()[:, None]
    size = V if extended_size is None else extended_size
    probabilities = pad(vocab_logits.softmax(-1).mul_(p), (0, size - V))
    return probabilities.scatter_add_(1, pointer.rows_of_ids(source_ids, R), (1 - p) * copy_weights).log_()


# --- the table -----------------------------------------------------------------------------------------


def _bench(R: int, S: int, T: int) -> Case:
    return Case(f"R{R}-V50k-T{T}", {"R": R, "V": 50_000, "T": T, "S": S}, {"new": 50}, use=("bench",))


CASES = (*pointer.CASES, *(_bench(R, S, T) for R, S, T in ((5, 1, 400), (80, 16, 100))))


def _spoil(at: int | str, change: Any) -> Any:
    return spoil(at, lambda args, kwargs: change(kwargs[at] if isinstance(at, str) else args[at]))


ARGUMENT_FAILURES = (
    Failure("logits-1d", _spoil(0, lambda x: x[0]), "expected vocab_logits (R, V); got (74,)"),
    Failure("weights-rows", _spoil(1, lambda x: x[:-1]), "expected copy_weights (R, T)=(10, T); got (9, 9)"),
    Failure("ids-width", _spoil(2, lambda x: x[:, :-1]), "expected source_ids (S, T)=(S, 9); got (2, 8)"),
    Failure("ids-1d", _spoil(2, lambda x: x[0]), "expected source_ids (S, T)=(S, 9); got (9,)"),
    Failure("ids-do-not-divide", _spoil(2, lambda x: x.repeat(2, 1)[:3]), "expected S to divide R; got S=3, R=10"),
    Failure("no-source-for-rows", _spoil(2, lambda x: x[:0]), "expected S to divide R; got S=0, R=10"),
    Failure("gate-shape", _spoil(3, lambda x: x[:, None]), "expected p_gen_logit (R,)=(10,); got (10, 1)"),
    Failure("integer-logits", _spoil(0, lambda x: x.long()), "expected floating vocab_logits"),
    Failure("integer-weights", _spoil(1, lambda x: x.long()), "expected floating copy_weights"),
    Failure("other-dtype", _spoil(1, lambda x: x.double()), "expected copy_weights in the dtype of vocab_logits"),
    Failure("other-dtype-gate", _spoil(3, lambda x: x.half()), "expected p_gen_logit in the dtype of vocab_logits"),
    Failure("int32-ids", _spoil(2, lambda x: x.int()), "expected int64 source_ids; got another dtype"),
)

FAILURES = (
    *ARGUMENT_FAILURES,
    Failure("fewer-than-V", _spoil("extended_size", lambda x: 73), "expected extended_size >= V=74; got 73"),
    Failure(
        "id-outside",
        _spoil(2, lambda x: torch.where(torch.arange(18).view(2, 9) == 13, 80, x.clamp(max=79))),
        "expected source_ids < V'=80; got 80 for source 1, position 4",
    ),
)

OP = Op(
    name="pointer_mixture",
    fast=ops.pointer_mixture,
    reference=reference.pointer_mixture,
    raw=(
        torch.ops.s2sfast.pointer_mixture.default,
        lambda args, kwargs: (*args, kwargs.get("extended_size", args[0].shape[1])),
    ),
    sample=sample,
    cases=CASES,
    failures=FAILURES,
    dtypes=pointer.DTYPES,
    bytes_moved=bytes_moved,
    tolerance=pointer.TOLERANCE,
    differentiable=pointer.DIFFERENTIABLE,
    rivals={"eager": eager, "eager_log_space": eager_log_space},
)
