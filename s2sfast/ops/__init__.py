"""The fast ops: one file per op, each with the contract as its docstring. Their meaning: :mod:`s2sfast.reference`."""

from s2sfast.ops.backtrace import backtrace
from s2sfast.ops.beam_topk import beam_topk
from s2sfast.ops.pointer_mixture import pointer_mixture
from s2sfast.ops.pointer_nll import pointer_nll

__all__ = ["backtrace", "beam_topk", "pointer_mixture", "pointer_nll"]
