"""s2sfast: a fast decoding engine for sequence-to-sequence models in PyTorch.

The ops (the attentions, copying, a Neural Turing Machine's memory, ``beam_topk``, ``backtrace``) mean exactly what
:mod:`s2sfast.reference` says in plain PyTorch; the searches (``beam_search``, ``greedy_search``, ``exhaustive_search``)
run over any step function.
"""

import importlib
from typing import Any

from s2sfast import _native as _native
from s2sfast import reference
from s2sfast.faults import synchronize
from s2sfast.info import info
from s2sfast.ops import (
    additive_attention,
    additive_scores,
    backtrace,
    beam_topk,
    bilinear_attention,
    content_address,
    cosine_attention,
    dot_attention,
    location_address,
    memory_read,
    memory_write,
    ntm_step,
    pointer_mixture,
    pointer_nll,
)
from s2sfast.search import (
    NO_EOS,
    UID,
    AnyOf,
    BeamResult,
    Constraints,
    CoveragePenalty,
    EditSimilarity,
    Ensemble,
    LengthPenalty,
    LiveBeams,
    NgramF,
    ShallowFusion,
    beam_search,
    best_first_search,
    diverse_beam_search,
    exhaustive_search,
    greedy_search,
    mbr,
    processors,
    rules,
    sample,
    stochastic_beam_search,
    stream,
)
from s2sfast.types import AttentionOutput, BeamCandidates, NTMActivation, NTMHead, NTMStep, Pruning

_LAZY = ("hf", "models", "nn", "plot")  # not needed to search; hf wants transformers, plot matplotlib


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return importlib.import_module(f"s2sfast.{name}")
    raise AttributeError(f"module 's2sfast' has no attribute {name!r}")


__all__ = [
    "NO_EOS",
    "UID",
    "AnyOf",
    "AttentionOutput",
    "BeamCandidates",
    "BeamResult",
    "Constraints",
    "CoveragePenalty",
    "EditSimilarity",
    "Ensemble",
    "LengthPenalty",
    "LiveBeams",
    "NTMActivation",
    "NTMHead",
    "NTMStep",
    "NgramF",
    "Pruning",
    "ShallowFusion",
    "additive_attention",
    "additive_scores",
    "backtrace",
    "beam_search",
    "beam_topk",
    "best_first_search",
    "bilinear_attention",
    "content_address",
    "cosine_attention",
    "diverse_beam_search",
    "dot_attention",
    "exhaustive_search",
    "greedy_search",
    "info",
    "location_address",
    "mbr",
    "memory_read",
    "memory_write",
    "ntm_step",
    "pointer_mixture",
    "pointer_nll",
    "processors",
    "reference",
    "rules",
    "sample",
    "stochastic_beam_search",
    "stream",
    "synchronize",
]
