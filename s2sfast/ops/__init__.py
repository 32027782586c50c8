"""The fast ops: one file per op, each with the contract as its docstring. Their meaning: :mod:`s2sfast.reference`."""

from s2sfast.ops.additive_attention import additive_attention
from s2sfast.ops.additive_scores import additive_scores
from s2sfast.ops.backtrace import backtrace
from s2sfast.ops.beam_topk import beam_topk
from s2sfast.ops.bilinear_attention import bilinear_attention
from s2sfast.ops.cosine_attention import cosine_attention
from s2sfast.ops.dot_attention import dot_attention
from s2sfast.ops.pointer_mixture import pointer_mixture
from s2sfast.ops.pointer_nll import pointer_nll

__all__ = [
    "additive_attention",
    "additive_scores",
    "backtrace",
    "beam_topk",
    "bilinear_attention",
    "cosine_attention",
    "dot_attention",
    "pointer_mixture",
    "pointer_nll",
]
