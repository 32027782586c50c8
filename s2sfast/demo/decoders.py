"""The searches that the demo compares: the package's greedy, s2sfast, and the same search in plain PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

from s2sfast.demo.numpy_greedy import NumpyGreedy
from s2sfast.models.g2p import EOS, G2P, MAX_PHONEMES, START
from s2sfast.search import beam_search, greedy_search
from s2sfast.types import Pruning

BEAMS = (1, 2, 5, 10)

#: What the pruned searches use: drop what is e^5 = 148 times less probable than the sentence's best candidate.
PRUNING = Pruning(absolute=5.0)

# 0 ranks by log-probability alone, so that beam 1 is greedy and every beam size asks the same question of the model.
LENGTH_PENALTY = 0.0

Backend = Literal["fast", "reference"]


class Decoded(NamedTuple):
    """Answers to a batch of words, and the work they took: see ``s2sfast.search.SearchStats``."""

    answers: list[list[str]]
    model_rows: int
    candidates: int
    pruned: int


Decode = Callable[[Sequence[str]], Decoded]


class Decoder(NamedTuple):
    """One search with its settings. ``system`` is "package", "s2sfast" or "pytorch"; ``beam`` None means greedy."""

    system: str
    beam: int | None
    pruning: bool
    decode: Decode


def all_decoders(model: G2P, package: NumpyGreedy) -> list[Decoder]:
    """Every row of the demo's table, in its order."""
    backends: tuple[tuple[str, Backend], ...] = (("s2sfast", "fast"), ("pytorch", "reference"))
    decoders = [Decoder("package", None, False, package_greedy(package))]
    for system, backend in backends:
        decoders.append(Decoder(system, None, False, greedy(model, backend)))
        decoders += [Decoder(system, beam, False, beams(model, beam, backend)) for beam in BEAMS]
        decoders += [Decoder(system, beam, True, beams(model, beam, backend, PRUNING)) for beam in BEAMS[-1:]]
    return decoders


def package_greedy(package: NumpyGreedy) -> Decode:
    """The package's greedy; it has no batches, so a batch is a loop over its words."""

    def decode(words: Sequence[str]) -> Decoded:
        tokens = [package.decode(word) for word in words]
        steps = sum(min(len(word) + 1, MAX_PHONEMES) for word in tokens)  # </s> takes a step, unless there is no room
        return Decoded([G2P.spell(word) for word in tokens], steps, candidates=steps, pruned=0)

    return decode


def greedy(model: G2P, backend: Backend) -> Decode:
    """Greedy search over s2sfast's own step ("fast") or the plain PyTorch one ("reference")."""

    def decode(words: Sequence[str]) -> Decoded:
        state = model.encode(words)
        return _decoded(greedy_search(model, state, start=START, eos=EOS, max_length=MAX_PHONEMES, backend=backend))

    return decode


def beams(model: G2P, beam: int, backend: Backend, pruning: Pruning | None = None) -> Decode:
    """Beam search over s2sfast's own step ("fast") or the plain PyTorch one ("reference")."""

    def decode(words: Sequence[str]) -> Decoded:
        result = beam_search(
            model,
            model.encode(words),
            start=START,
            eos=EOS,
            beam=beam,
            max_length=MAX_PHONEMES,
            length_penalty=LENGTH_PENALTY,
            pruning=pruning,
            backend=backend,
        )
        return _decoded(result)

    return decode


def _decoded(result: Any) -> Decoded:
    answers = [G2P.spell(tokens) for tokens in result.tokens[:, 0].tolist()]
    return Decoded(answers, result.stats.model_rows, result.stats.candidates, result.stats.pruned)
