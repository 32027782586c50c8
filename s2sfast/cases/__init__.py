"""The tables of cases, one per op; `OPS` is all of them."""

from s2sfast.cases import (
    additive_attention,
    additive_scores,
    backtrace,
    beam_topk,
    bilinear_attention,
    content_address,
    cosine_attention,
    dot_attention,
    location_address,
    memory_read,
    memory_write,
    ntm_step,
    pointer_mixture,
    pointer_nll,
)
from s2sfast.cases.table import Case, Failure, Op

OPS: tuple[Op, ...] = (
    beam_topk.OP,
    backtrace.OP,
    dot_attention.OP,
    bilinear_attention.OP,
    cosine_attention.OP,
    additive_scores.OP,
    additive_attention.OP,
    pointer_mixture.OP,
    pointer_nll.OP,
    content_address.OP,
    location_address.OP,
    memory_read.OP,
    memory_write.OP,
    ntm_step.OP,
)

__all__ = ["OPS", "Case", "Failure", "Op"]
