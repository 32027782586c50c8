"""Minimum-Bayes-risk reranking."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from s2sfast.search.result import BeamResult
from s2sfast.search.utilities import NgramF, Utility


@torch.no_grad()
def mbr(
    result: BeamResult,
    utility: Utility | Callable[[list[int], list[int]], float] | None = None,
    *,
    references: BeamResult | None = None,
    weights: Literal["uniform", "softmax"] = "uniform",
    temperature: float = 1.0,
) -> BeamResult:
    r"""Ranks the hypotheses of each sentence by their expected utility, minimum-Bayes-risk decoding:

    .. math:: u(h) = \sum_j w_j \, U(h, r_j), \qquad \sum_j w_j = 1

    over the references r, which stand for what the model finds likely: the hypotheses themselves, or others. With
    samples weigh them alike, a Monte-Carlo estimate in which what is sampled twice counts twice (Eikema & Aziz 2020,
    arXiv:2005.10283). With an n-best list weigh them by their probability (Kumar & Byrne 2004, N04-1022).

    Args:
        result: the hypotheses, of any search or of sampling.
        utility: ``(hypothesis, reference) -> float``, the higher the more alike, of two lists of tokens, called for
            every pair; or an object that judges all pairs at once, such as :class:`s2sfast.NgramF` (None: that, of
            order 4) or :class:`s2sfast.EditSimilarity`. The eos of finished hypotheses is left out.
        references: others than the hypotheses, for the same B sentences.
        weights: "uniform", or "softmax": in proportion to exp(scores / temperature) of the references.
        temperature: of the softmax, finite and above 0; small trusts the scores, large is uniform.

    Returns:
        a new :class:`s2sfast.BeamResult` of the same hypotheses, best first, whose ``scores`` are the expected
        utilities, float32; all else goes with its hypothesis. Ties: the earlier. Unfilled places stay last, with score
        -inf, and are no references.

    Raises:
        ValueError: an argument out of range, another number of sentences, a sentence with hypotheses and no references,
            or a utility that is not finite, naming the sentence.

    >>> import torch, s2sfast
    >>> first = torch.tensor([0.0, 0.4, 0.3, 0.3]).log()  # eos is 0; then 1 is followed by 1, 2 and 3 by 2
    >>> then = torch.tensor([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0.0]]).log()
    >>> step = lambda tokens, state, memory: (torch.stack([first if t == 0 else then[t] for t in tokens]), state)
    >>> found = s2sfast.beam_search(step, None, start=[0], eos=0, beam=3, n_best=3, max_length=2)
    >>> found.tokens[0].tolist()
    [[1, 1], [2, 2], [3, 2]]
    >>> ranked = s2sfast.mbr(found, s2sfast.EditSimilarity())
    >>> ranked.tokens[0].tolist(), ranked.scores[0]
    ([[2, 2], [3, 2], [1, 1]], tensor([0.5000, 0.5000, 0.3333]))
    """
    _check_options(weights, temperature)
    utility = NgramF() if utility is None else utility
    if not isinstance(utility, Utility) and not callable(utility):
        raise ValueError(f"mbr: expected utility to be callable or to have a method pairwise; got {utility!r}")
    others = result if references is None else references
    if others.scores.shape[0] != result.scores.shape[0]:
        got = others.scores.shape[0]
        raise ValueError(f"mbr: expected references for B={result.scores.shape[0]} sentences; got {got}")
    if weights == "softmax":
        weighed = torch.softmax(others.scores.double() / temperature, 1)
    else:
        weighed = torch.ones_like(others.scores, dtype=torch.float64)
    scores = torch.full_like(result.scores, -math.inf)
    for b in range(len(scores)):
        places, theirs = (torch.nonzero(r.scores[b] > -math.inf)[:, 0] for r in (result, others))
        if len(places) and not len(theirs):
            raise ValueError(f"mbr: expected references for every sentence with hypotheses; got none for sentence {b}")
        if len(places):
            weight = weighed[b, theirs]
            expected = _judged(utility, result, places, others, theirs, b).double() @ (weight / weight.sum())
            scores[b, places] = expected.to(scores.dtype)
    return _reordered(result, scores)


def _check_options(weights: str, temperature: Any) -> None:
    if weights not in ("uniform", "softmax"):
        raise ValueError(f'mbr: expected weights "uniform" or "softmax"; got {weights!r}')
    if not isinstance(temperature, numbers.Real) or not 0 < float(temperature) < math.inf:
        raise ValueError(f"mbr: expected a finite temperature > 0; got {temperature!r}")
    if weights == "uniform" and temperature != 1.0:
        raise ValueError(f'mbr: expected temperature only with weights="softmax"; got {temperature!r}')


def _judged(
    utility: Utility | Callable, result: BeamResult, places: Tensor, others: BeamResult, theirs: Tensor, b: int
) -> Tensor:
    """(N, M): of every hypothesis of sentence b with every reference."""
    ours, them = _without_eos(result, places, b), _without_eos(others, theirs, b)
    if isinstance(utility, Utility):
        judged = utility.pairwise(*ours, *them)
        shape = (len(places), len(theirs))
        if not isinstance(judged, Tensor) or judged.shape != shape:
            got = tuple(judged.shape) if isinstance(judged, Tensor) else type(judged).__name__
            raise ValueError(f"mbr: expected utilities (N, M)={shape} of sentence {b}; got {got}")
    else:
        references = _lists(*them)
        rows = [[_number(utility(h, r)) for r in references] for h in _lists(*ours)]
        judged = torch.tensor(rows, dtype=torch.float64, device=places.device)
    if not judged.isfinite().all():
        raise ValueError(f"mbr: expected finite utilities; got a NaN or an infinity in sentence {b}")
    return judged


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"mbr: expected utility to return a number; got {value!r}") from None


def _without_eos(result: BeamResult, places: Tensor, b: int) -> tuple[Tensor, Tensor]:
    """(N, L) tokens, (N,) lengths."""
    return result.tokens[b, places], result.lengths[b, places] - result.finished[b, places].long()


def _lists(tokens: Tensor, lengths: Tensor) -> list[list[int]]:
    return [row[:length] for row, length in zip(tokens.tolist(), lengths.tolist(), strict=True)]


def _reordered(result: BeamResult, scores: Tensor) -> BeamResult:
    order = scores.sort(dim=1, descending=True, stable=True).indices
    sentence = torch.arange(len(scores), device=scores.device)[:, None]
    fields = ("tokens", "lengths", "log_probs", "token_log_probs", "finished", "attention")
    moved = {name: value[sentence, order] for name in fields if (value := getattr(result, name)) is not None}
    return replace(result, scores=scores.gather(1, order), **moved)
