"""What every op means, in plain PyTorch: same names, same signatures, no branch for speed."""

from s2sfast.reference.additive_attention import additive_attention
from s2sfast.reference.additive_scores import additive_scores
from s2sfast.reference.backtrace import backtrace
from s2sfast.reference.beam_topk import beam_topk
from s2sfast.reference.bilinear_attention import bilinear_attention
from s2sfast.reference.content_address import content_address
from s2sfast.reference.cosine_attention import cosine_attention
from s2sfast.reference.dot_attention import dot_attention
from s2sfast.reference.location_address import location_address
from s2sfast.reference.memory_read import memory_read
from s2sfast.reference.memory_write import memory_write
from s2sfast.reference.ntm_step import ntm_step
from s2sfast.reference.pointer_mixture import pointer_mixture
from s2sfast.reference.pointer_nll import pointer_nll

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
