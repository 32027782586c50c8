"""The tables of cases, one per op; `OPS` is all of them."""

from s2sfast.cases import (
    additive_attention,
    additive_scores,
    backtrace,
    beam_topk,
    bilinear_attention,
    cosine_attention,
    dot_attention,
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
)

__all__ = ["OPS", "Case", "Failure", "Op"]
