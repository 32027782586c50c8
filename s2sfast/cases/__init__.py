"""The tables of cases, one per op; `OPS` is all of them."""

from s2sfast.cases import backtrace, beam_topk
from s2sfast.cases.table import Case, Failure, Op

OPS: tuple[Op, ...] = (beam_topk.OP, backtrace.OP)

__all__ = ["OPS", "Case", "Failure", "Op"]
