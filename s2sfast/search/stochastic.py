"""Stochastic beam search: samples without replacement (Kool, van Hoof & Welling 2019)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from s2sfast.search import arguments as check
from s2sfast.search.arguments import Arguments
from s2sfast.search.candidates import Candidates
from s2sfast.search.loop import Loop
from s2sfast.search.noise import Draws, gumbel, seeds_of
from s2sfast.search.penalties import LengthPenalty
from s2sfast.search.processors.base import Processor
from s2sfast.search.ranking import ByLogProb, Offer, Ranking, log_softmax
from s2sfast.search.result import BeamResult
from s2sfast.search.rules import Progress, Rule


@torch.no_grad()
def stochastic_beam_search(
    step: Any,
    state: Any,
    *,
    start: int | Sequence | Tensor,
    eos: int | Sequence[int] | Tensor,
    seed: int | Sequence[int] | Tensor = 0,
    beam: int = 5,
    n_best: int | None = None,
    max_length: int | Tensor = 200,
    min_length: int = 0,
    memory: Any = None,
    batch_size: int | None = None,
    prefix_lengths: Tensor | None = None,
    state_dims: Any = 0,
    processors: Sequence[Callable[[Tensor, Tensor], Tensor] | Processor] = (),
    temperature: float = 1.0,
    return_attention: bool = False,
    backend: Literal["fast", "reference"] = "fast",
) -> BeamResult:
    r"""Draws K different sequences of each of B sentences: a sample without replacement.

    Every sequence y has a perturbed log-probability :math:`G_y = \log p(y) + g_y` with independent Gumbel noise
    :math:`g_y`; the K largest are a sample without replacement in the order of drawing (Gumbel-top-k). They are found
    by a beam search, since the largest G below a prefix is Gumbel too: from the parent's :math:`\tilde G` and, for its
    continuations, :math:`G_i = \log p_i + g_i` and :math:`Z = \max_i G_i`,

    .. math:: \tilde G_i = -\log\bigl(e^{-\tilde G} - e^{-Z} + e^{-G_i}\bigr)

    (Kool, van Hoof & Welling 2019, arXiv:1903.06059, section 4.1 and appendix B.3, whose stable form is used). The
    root's is drawn as well, not set to 0, so that the estimator below holds.

    Arguments that are not named here are :func:`s2sfast.beam_search`'s. Sequences that reach max_length without eos are
    outcomes as others are.

    Args:
        seed: an int, or one per sentence ``(B,)``. One int is every sentence's seed, so equal sentences give equal
            samples; for a batch of copies give each its own.
        beam: K, how many sequences.
        n_best: how many of them to return, None: all.

    Returns:
        :class:`s2sfast.BeamResult`. ``scores`` are the perturbed log-probabilities :math:`\tilde G`, best first: the
        order of drawing. ``log_probs`` are those of the distribution that is drawn from: of what temperature and
        processors leave, renormalised.

    Raises:
        ValueError: as there; n_best above beam.

    With kappa the last of K scores, ``sum(p(y) / q(y) * f(y))`` over the first K - 1 is an unbiased estimate of the
    mean of f, where ``q(y) = 1 - exp(-exp(log p(y) - kappa))`` (section 4.2).

    A sentence's samples are the same bits in any batch, in any order and for any number of threads, as in
    :func:`s2sfast.sample`.

    >>> import torch, s2sfast
    >>> P = torch.tensor([0.5, 0.3, 0.2]).log()  # 2 is eos
    >>> step = lambda tokens, state, memory: (P.expand(len(tokens), 3), state)
    >>> found = s2sfast.stochastic_beam_search(step, None, start=0, eos=2, seed=1, beam=7, max_length=2, batch_size=1)
    >>> sorted([t for t in row if t >= 0] for row in found.tokens[0].tolist())  # all there are, in a random order
    [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2], [2]]
    """
    name = "stochastic_beam_search"
    beam = check.integer(name, "beam", beam)
    n_best = beam if n_best is None else check.integer(name, "n_best", n_best)
    if n_best > beam:
        raise ValueError(f"{name}: expected n_best <= beam = {beam}; got {n_best}")
    arguments = check.prepare(
        name, step, state, start=start, memory=memory, batch_size=batch_size, prefix_lengths=prefix_lengths,
        state_dims=state_dims, backend=backend, max_length=max_length, eos=eos, min_length=min_length,
        processors=processors, temperature=temperature, return_attention=return_attention, return_tree=False,
        beam=beam, n_best=n_best, penalty=LengthPenalty(alpha=0.0), rule=Staying(), pruning=None, ranking=ByLogProb(),
    )  # fmt: skip
    seeds = seeds_of(name, seed, arguments.batch, arguments.device)
    return Loop(replace(arguments, ranking=Perturbed(seeds))).run()


@dataclass(frozen=True)
class Staying(Rule):
    """Finished sequences stay in the beam with their scores, until better ones push them out."""

    stays = True

    def candidates(self, beam: int, eos_ids: int) -> int:
        return beam

    def places(self, beam: int, n_best: int) -> int:
        return beam

    def stops(self, progress: Progress) -> Tensor:
        return progress.running == -torch.inf


class Perturbed(Ranking):
    """Ranks by perturbed log-probabilities, each beam's best of which is its own."""

    _topk: Callable

    def __init__(self, seeds: Tensor):
        self._draws = Draws(seeds)

    def begin(self, arguments: Arguments) -> Perturbed:
        self._topk = arguments.topk
        return self

    def rank(self, offer: Offer) -> Candidates:
        W, V = offer.logits.shape[1:]
        gains = log_softmax(offer.checked_gains)
        beams, tokens = torch.arange(W, device=gains.device), torch.arange(V, device=gains.device)
        noise = gumbel(self._draws.keys(offer.generated, W, beams, tokens))
        free = offer.log_probs[:, :, None] + gains.double() + noise
        bound = self._bound(offer)
        perturbed = truncated(free, bound[:, :, None]).masked_fill(gains == -math.inf, -math.inf)
        alive = torch.zeros_like(offer.scores).masked_fill(offer.scores == -math.inf, -math.inf)
        found = self._topk(perturbed, alive, offer.count, normalized=True)
        return Candidates.of(found)._replace(log_probs=offer.summed(gains, found.parents, found.tokens))

    def _bound(self, offer: Offer) -> Tensor:
        """(S, W) what the best continuation of each beam shall have; the root's is Gumbel."""
        root = gumbel(self._draws.keys(-1, offer.scores.shape[1]))[:, None]
        begun = offer.begun
        if isinstance(begun, bool):
            return offer.scores.double() if begun else root.expand_as(offer.scores)
        return torch.where(begun, offer.scores.double(), root)

    def follow(self, rows: Tensor, tokens: Tensor) -> None:
        self._draws.follow(rows)


def truncated(free: Tensor, bound: Tensor) -> Tensor:
    """Gumbel variables (..., V), moved so that the largest of each row is `bound` (..., 1).

    -log(exp(-bound) - exp(-max) + exp(-free)) in the form of Kool et al. 2019, appendix B.3, that cannot cancel.
    """
    v = bound - free + _log1mexp(free - free.amax(-1, keepdim=True))
    return bound - v.clamp(min=0) - torch.log1p(torch.exp(-v.abs()))


def _log1mexp(x: Tensor) -> Tensor:
    """log(1 - exp(x)) for x <= 0 (Maechler 2012)."""
    return torch.where(x > -math.log(2), torch.log(-torch.expm1(x)), torch.log1p(-torch.exp(x)))
