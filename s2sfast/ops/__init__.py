"""The fast ops: one file per op, each with the contract as its docstring. Their meaning: :mod:`s2sfast.reference`."""

from s2sfast.ops.backtrace import backtrace
from s2sfast.ops.beam_topk import beam_topk

__all__ = ["backtrace", "beam_topk"]
