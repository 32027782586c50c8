"""Independent samples from a model, and what may be left out of its distribution first."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from s2sfast.search import arguments as check
from s2sfast.search.arguments import Arguments
from s2sfast.search.candidates import Candidates
from s2sfast.search.loop import Loop
from s2sfast.search.noise import Draws, seeds_of, uniform
from s2sfast.search.penalties import LengthPenalty, Penalty, as_penalty
from s2sfast.search.processors.base import Processor
from s2sfast.search.ranking import ByLogProb, Offer, Ranking, log_softmax
from s2sfast.search.result import BeamResult
from s2sfast.search.rules import Progress, Rule


@torch.no_grad()
def sample(
    step: Any,
    state: Any,
    *,
    start: int | Sequence | Tensor,
    eos: int | Sequence[int] | Tensor,
    seed: int | Sequence[int] | Tensor = 0,
    n_best: int = 1,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    max_length: int | Tensor = 200,
    min_length: int = 0,
    memory: Any = None,
    batch_size: int | None = None,
    prefix_lengths: Tensor | None = None,
    state_dims: Any = 0,
    length_penalty: float | LengthPenalty | Penalty = 0.0,
    processors: Sequence[Callable[[Tensor, Tensor], Tensor] | Processor] = (),
    temperature: float = 1.0,
    return_attention: bool = False,
    backend: Literal["fast", "reference"] = "fast",
) -> BeamResult:
    """Draws n_best independent samples of each of B sentences, token by token.

    Arguments that are not named here are :func:`s2sfast.beam_search`'s; the step sees rows as there (R / S is at most
    n_best): samples that have ended leave. What is drawn from is softmax(log_probs), after temperature and
    processors, of the tokens that pass, in this order (as in transformers):

    * `top_k`: the k most probable (all that tie with the k-th);
    * `top_p` in (0, 1]: the fewest most probable whose probabilities, of what `top_k` left, reach top_p (Holtzman et
      al. 2020, arXiv:1904.09751);
    * `min_p` in [0, 1]: those of at least min_p times the most probable one's probability (Nguyen et al. 2024,
      arXiv:2407.01082).

    Args:
        seed: an int, or one per sentence ``(B,)``. One int is every sentence's seed, so equal sentences give equal
            samples; for a batch of copies give each its own.
        n_best: N, how many samples. The first ones are the same whatever N is.
        length_penalty: only orders the result: the samples are ranked by what it makes of their log-probabilities.

    Returns:
        :class:`s2sfast.BeamResult` of all samples, the most probable first. ``log_probs`` are those of the distribution
        that was drawn from, ``scores`` the same, if no length_penalty is given. ``finished`` is False at max_length.

    Raises:
        ValueError: as there.

    A draw is a hash of seed, step and place (:mod:`s2sfast.search.noise`), so a sentence's samples are the same bits in
    any batch, in any order and for any number of threads, as far as the step's rows do not depend on their neighbours.

    >>> import torch, s2sfast
    >>> P = torch.tensor([[0.1, 0.8, 0.1], [0.2, 0.2, 0.6], [0.5, 0.5, 0.0]]).log()  # next of 0, 1, 2; 2 is eos
    >>> step = lambda tokens, state, memory: (P[tokens], state)
    >>> drawn = s2sfast.sample(step, None, start=2, eos=2, seed=torch.arange(1000), batch_size=1000)
    >>> ends_at_once = (drawn.lengths == 2).double().mean()  # 0.5 * 0.1 + 0.5 * 0.6
    >>> bool((ends_at_once - 0.35).abs() < 0.05)
    True
    """
    name = "sample"
    n_best = check.integer(name, "n_best", n_best)
    filters = Filters(top_k, top_p, min_p)
    filters.check(name)
    arguments = check.prepare(
        name, step, state, start=start, memory=memory, batch_size=batch_size, prefix_lengths=prefix_lengths,
        state_dims=state_dims, backend=backend, max_length=max_length, eos=eos, min_length=min_length,
        processors=processors, temperature=temperature, return_attention=return_attention, return_tree=False,
        beam=n_best, n_best=n_best, penalty=as_penalty(length_penalty), rule=Samples(), pruning=None,
        ranking=ByLogProb(),
    )  # fmt: skip
    seeds = seeds_of(name, seed, arguments.batch, arguments.device)
    return Loop(replace(arguments, ranking=Drawn(filters, seeds))).run()


@dataclass(frozen=True)
class Samples(Rule):
    """Every beam is a sample: one candidate each; it ends at eos or at max_length."""

    def candidates(self, beam: int, eos_ids: int) -> int:
        return beam

    def stops(self, progress: Progress) -> Tensor:
        return progress.running == -torch.inf


@dataclass(frozen=True)
class Filters:
    """What is left of a distribution."""

    top_k: int | None
    top_p: float | None
    min_p: float | None

    def check(self, name: str) -> None:
        if self.top_k is not None:
            check.integer(name, "top_k", self.top_k)
        for what, value in (("top_p", self.top_p), ("min_p", self.min_p)):
            if value is None:
                continue
            number = isinstance(value, numbers.Real) and not isinstance(value, bool)
            if not number or not (0 <= value <= 1) or (what == "top_p" and value == 0):
                raise ValueError(f"{name}: expected {what} in {'(0' if what == 'top_p' else '[0'}, 1]; got {value!r}")

    def __call__(self, log_probs: Tensor) -> Tensor:
        """(..., V), -inf for what is left out. The rest is not renormalised."""
        if self.top_k is not None and self.top_k < log_probs.shape[-1]:
            least = log_probs.topk(int(self.top_k), dim=-1).values[..., -1:]
            log_probs = log_probs.masked_fill(log_probs < least, -math.inf)
        if self.top_p is not None and self.top_p < 1:
            log_probs = log_probs.masked_fill(self._tail(log_probs, float(self.top_p)), -math.inf)
        if self.min_p:
            least = log_probs.amax(-1, keepdim=True) + math.log(self.min_p)
            log_probs = log_probs.masked_fill(log_probs < least, -math.inf)
        return log_probs

    @staticmethod
    def _tail(log_probs: Tensor, top_p: float) -> Tensor:
        """bool: the least probable tokens that together have no more than 1 - top_p, but never the best."""
        rising, order = log_probs.sort(dim=-1)
        tail = rising.double().softmax(-1).cumsum(-1) <= 1 - top_p
        tail[..., -1] = False
        return torch.zeros_like(tail).scatter(-1, order, tail)


class Drawn(Ranking):
    """One token for each beam; at a sentence's first step, all from its one beam."""

    def __init__(self, filters: Filters, seeds: Tensor):
        self._filters, self._draws = filters, Draws(seeds)

    def begin(self, arguments: Arguments) -> Drawn:
        return self

    def rank(self, offer: Offer) -> Candidates:
        S, W, V = offer.logits.shape
        gains = log_softmax(self._filters(offer.checked_gains))
        places = torch.arange(offer.count, device=gains.device)
        parents = places.clamp(max=W - 1).expand(S, -1) * offer.begun  # (S, C)
        absent = (places >= W) & offer.begun | (offer.scores.gather(1, parents) == -math.inf)

        mass = gains.double().exp().cumsum(-1)  # (S, W, V)
        drawn = uniform(self._draws.keys(offer.generated, W, places))  # (S, C)
        wanted = (mass[:, :, -1:] * drawn[:, None, :]).contiguous()  # (S, W, C)
        tokens = torch.searchsorted(mass, wanted, right=True).gather(1, parents[:, None]).squeeze(1)
        absent = absent | (tokens >= V)  # where a beam offers nothing
        absent, order = absent.sort(dim=1, stable=True)  # the loop expects what is alive in front
        parents, tokens = (x.gather(1, order).masked_fill(absent, 0) for x in (parents, tokens))
        scores = offer.summed(gains, parents, tokens).masked_fill(absent, -math.inf)
        return Candidates(scores, parents, tokens, scores)

    def follow(self, rows: Tensor, tokens: Tensor) -> None:
        self._draws.follow(rows)
