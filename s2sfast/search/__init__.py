"""Search over any step function, and what it is made of."""

from s2sfast.search import rules
from s2sfast.search.beam import beam_search, greedy_search
from s2sfast.search.exhaustive import exhaustive_search
from s2sfast.search.penalties import LengthPenalty
from s2sfast.search.result import BeamResult, SearchStats
from s2sfast.search.tree import BeamTree, Node

__all__ = [
    "BeamResult",
    "BeamTree",
    "LengthPenalty",
    "Node",
    "SearchStats",
    "beam_search",
    "exhaustive_search",
    "greedy_search",
    "rules",
]
