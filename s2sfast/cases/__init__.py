"""The tables of cases, one per op; `OPS` is all of them."""

from s2sfast.cases import backtrace, beam_topk, pointer_mixture, pointer_nll
from s2sfast.cases.table import Case, Failure, Op

OPS: tuple[Op, ...] = (beam_topk.OP, backtrace.OP, pointer_mixture.OP, pointer_nll.OP)

__all__ = ["OPS", "Case", "Failure", "Op"]
