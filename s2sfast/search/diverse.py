"""Diverse beam search: groups of beams that avoid each other's tokens (Vijayakumar et al. 2016)."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from s2sfast.search import arguments as check
from s2sfast.search.arguments import Arguments
from s2sfast.search.candidates import Candidates
from s2sfast.search.coverage import CoveragePenalty, as_coverage
from s2sfast.search.groups import grouped, merged
from s2sfast.search.loop import Loop
from s2sfast.search.penalties import LengthPenalty, Penalty, as_penalty
from s2sfast.search.processors.base import Processor
from s2sfast.search.ranking import ByLogProb, Offer, Ranking
from s2sfast.search.result import BeamResult
from s2sfast.search.rules import Rule, as_rule
from s2sfast.types import Pruning


@torch.no_grad()
def diverse_beam_search(
    step: Any,
    state: Any,
    *,
    start: int | Sequence | Tensor,
    eos: int | Sequence[int] | Tensor,
    groups: int,
    strength: float,
    beam: int = 6,
    n_best: int | None = None,
    max_length: int | Tensor = 200,
    min_length: int = 0,
    memory: Any = None,
    batch_size: int | None = None,
    prefix_lengths: Tensor | None = None,
    state_dims: Any = 0,
    length_penalty: float | LengthPenalty | Penalty = 1.0,
    coverage_penalty: CoveragePenalty | None = None,
    pruning: Pruning | None = None,
    processors: Sequence[Callable[[Tensor, Tensor], Tensor] | Processor] = (),
    rules: str | Rule = "hf",
    temperature: float = 1.0,
    return_attention: bool = False,
    backend: Literal["fast", "reference"] = "fast",
) -> BeamResult:
    """Searches with G groups of K / G beams, each of which avoids the tokens that the groups before it have chosen.

    At every step the groups choose in order, each by a beam search of its own with its own hypotheses. Group g ranks

        score + log p(token) - strength * (how many beams of groups 0..g-1 of the sentence go on with this token now)

    (Vijayakumar et al. 2016, arXiv:1610.02424, with the Hamming distance). Scores keep the penalties of all steps, as
    in the group beam search that transformers had and in fairseq; ``log_probs`` do not have them. Beams that go on are
    counted, as in transformers, not candidates, as in fairseq: an ended hypothesis puts no token off limits.

    Arguments that are not named here are :func:`s2sfast.beam_search`'s. The step sees G * K / G beams a sentence (G at
    its first call, group by group, unless there is a prefill) and a memory of one row a sentence; a sentence leaves
    when all of its groups are done.

    Args:
        groups: G, which divides beam. 1 is beam search.
        strength: of the penalty, a finite number of at least 0. 0: all groups find the same.
        beam: K, of all groups together.
        n_best: how many hypotheses to return, the best of all groups by score; None: K. Each group finds up to
            min(n_best, K / G).
        rules: as there; not those under which finished hypotheses stay in the beam ("allennlp").

    Returns:
        :class:`s2sfast.BeamResult`; of equal scores, the lower group's stands first.

    Raises:
        ValueError: as there; groups that do not divide beam, n_best above beam.

    >>> import torch, s2sfast
    >>> P = torch.tensor([[0.1, 0.2, 0.7], [0.2, 0.1, 0.7], [0.5, 0.4, 0.1]]).log()  # next of 0, 1, 2; 2 is eos
    >>> step = lambda tokens, state, memory: (P[tokens], state)
    >>> options = dict(start=2, eos=2, beam=2, groups=2, batch_size=1, length_penalty=0.0)
    >>> s2sfast.diverse_beam_search(step, None, strength=0.0, **options).tokens[0].tolist()
    [[0, 2], [0, 2]]
    >>> s2sfast.diverse_beam_search(step, None, strength=0.5, **options).tokens[0].tolist()
    [[0, 2], [1, 2]]
    """
    name = "diverse_beam_search"
    beam, groups = check.integer(name, "beam", beam), check.integer(name, "groups", groups)
    n_best = beam if n_best is None else check.integer(name, "n_best", n_best)
    rule = as_rule(rules)
    _check(name, beam, groups, n_best, strength, rule)
    arguments = check.prepare(
        name, step, state, start=start, memory=memory, batch_size=batch_size, prefix_lengths=prefix_lengths,
        state_dims=state_dims, backend=backend, max_length=max_length, eos=eos, min_length=min_length,
        processors=processors, temperature=temperature, return_attention=return_attention, return_tree=False,
        beam=beam // groups, n_best=min(n_best, beam // groups), penalty=as_penalty(length_penalty), rule=rule,
        pruning=pruning, coverage=as_coverage(coverage_penalty),
        ranking=Diverse(groups, float(strength)) if groups > 1 and strength else ByLogProb(),
    )  # fmt: skip
    return merged(Loop(grouped(arguments, groups)).run(), groups, n_best)


def _check(name: str, beam: int, groups: int, n_best: int, strength: float, rule: Rule) -> None:
    if beam % groups:
        raise ValueError(f"{name}: expected groups to divide beam = {beam}; got {groups}")
    if n_best > beam:
        raise ValueError(f"{name}: expected n_best <= beam = {beam}; got {n_best}")
    if not isinstance(strength, numbers.Real) or isinstance(strength, bool) or not 0 <= strength < math.inf:
        raise ValueError(f"{name}: expected a finite strength >= 0; got {strength!r}")
    if rule.stays:
        raise ValueError(f"{name}: expected rules under which finished hypotheses leave the beam; got {rule!r}")


class Diverse(Ranking):
    """Ranks the groups of each sentence in turn. Group g of sentence b is row b * G + g of what the loop calls S."""

    _arguments: Arguments

    def __init__(self, groups: int, strength: float):
        self._groups, self._strength = groups, strength

    def begin(self, arguments: Arguments) -> Diverse:
        self._arguments = arguments
        return self

    def rank(self, offer: Offer) -> Candidates:
        S, W, V = offer.logits.shape
        G, B = self._groups, S // self._groups
        logits, scores = offer.logits.view(B, G, W, V), offer.scores.view(B, G, W)
        bias = None if offer.bias is None else offer.bias.expand(S, W, V).view(B, G, W, V)
        chosen = offer.scores.new_zeros((B, V))  # how often, by the groups so far
        found = []
        for g in range(G):
            off = -self._strength * chosen[:, None]
            found.append(
                self._arguments.topk(
                    logits[:, g], scores[:, g], offer.count, pruning=offer.pruning, normalized=offer.normalized,
                    bias=off if bias is None else bias[:, g] + off,
                )
            )  # fmt: skip
            chosen.scatter_add_(1, found[-1].tokens, self._goes_on(found[-1].scores, found[-1].tokens))
        best, parents, tokens = (torch.stack(one, 1).view(S, -1) for one in zip(*found, strict=True))
        return Candidates(best, parents, tokens, offer.summed(offer.gains, parents, tokens))

    def _goes_on(self, scores: Tensor, tokens: Tensor) -> Tensor:
        """(B, C) 1.0 for the candidates that are beams of the next step."""
        going = ~self._arguments.is_eos(tokens)
        return (going & (going.cumsum(1) <= self._arguments.beam) & (scores > -math.inf)).to(scores.dtype)
