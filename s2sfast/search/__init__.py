"""Search over any step function, and what it is made of."""

from s2sfast.search import processors, rules
from s2sfast.search.arguments import NO_EOS
from s2sfast.search.beam import beam_search, greedy_search
from s2sfast.search.best_first import best_first_search
from s2sfast.search.combine import Ensemble, ShallowFusion
from s2sfast.search.constraints import AnyOf, Constraints
from s2sfast.search.coverage import CoveragePenalty
from s2sfast.search.diverse import diverse_beam_search
from s2sfast.search.exhaustive import exhaustive_search
from s2sfast.search.mbr import mbr
from s2sfast.search.penalties import LengthPenalty
from s2sfast.search.result import BeamResult, SearchStats
from s2sfast.search.sample import sample
from s2sfast.search.stochastic import stochastic_beam_search
from s2sfast.search.stream import Chunk, stream
from s2sfast.search.tree import BeamTree, Node
from s2sfast.search.uid import UID
from s2sfast.search.utilities import EditSimilarity, NgramF
from s2sfast.search.view import LiveBeams

__all__ = [
    "NO_EOS",
    "UID",
    "AnyOf",
    "BeamResult",
    "BeamTree",
    "Chunk",
    "Constraints",
    "CoveragePenalty",
    "EditSimilarity",
    "Ensemble",
    "LengthPenalty",
    "LiveBeams",
    "NgramF",
    "Node",
    "SearchStats",
    "ShallowFusion",
    "beam_search",
    "best_first_search",
    "diverse_beam_search",
    "exhaustive_search",
    "greedy_search",
    "mbr",
    "processors",
    "rules",
    "sample",
    "stochastic_beam_search",
    "stream",
]
