"""The fast ops: one file per op, each with the contract as its docstring. Their meaning: :mod:`s2sfast.reference`."""

from s2sfast.ops.additive_attention import additive_attention
from s2sfast.ops.additive_scores import additive_scores
from s2sfast.ops.backtrace import backtrace
from s2sfast.ops.beam_topk import beam_topk
from s2sfast.ops.bilinear_attention import bilinear_attention
from s2sfast.ops.content_address import content_address
from s2sfast.ops.cosine_attention import cosine_attention
from s2sfast.ops.dot_attention import dot_attention
from s2sfast.ops.location_address import location_address
from s2sfast.ops.memory_read import memory_read
from s2sfast.ops.memory_write import memory_write
from s2sfast.ops.ntm_step import ntm_step
from s2sfast.ops.pointer_mixture import pointer_mixture
from s2sfast.ops.pointer_nll import pointer_nll

__all__ = [
    "additive_attention",
    "additive_scores",
    "backtrace",
    "beam_topk",
    "bilinear_attention",
    "content_address",
    "cosine_attention",
    "dot_attention",
    "location_address",
    "memory_read",
    "memory_write",
    "ntm_step",
    "pointer_mixture",
    "pointer_nll",
]
