"""Stochastic beam search on a model whose outcomes can be listed: is it a sample without replacement?"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from itertools import permutations
from typing import Any

import pytest
import torch
from models import TableModel
from oracles import every_sequence
from test_sample import chi_square, rows_of

from s2sfast import stochastic_beam_search
from s2sfast.search.stochastic import truncated

VOCAB, EOS, LENGTH, SENTENCE = 3, 0, 3, 1
COPIES = 3000
Outcome = tuple[int, ...]


@pytest.fixture(scope="module")
def model() -> TableModel:
    return TableModel(VOCAB, seed=41, scale=0.9)


@pytest.fixture(scope="module")
def outcomes(model: TableModel) -> dict[Outcome, float]:
    """All 15 with their probabilities."""
    found = every_sequence(model.oracle(SENTENCE), [1], eos={EOS}, max_length=LENGTH)
    return {tokens: math.exp(math.fsum(parts)) for tokens, parts, _ in found}


def draw(model: TableModel, beam: int, first_seed: int = 0, copies: int = COPIES) -> Any:
    return stochastic_beam_search(
        model, model.initial([SENTENCE] * copies), start=1, eos=EOS, beam=beam, max_length=LENGTH,
        seed=torch.arange(first_seed, first_seed + copies),
    )  # fmt: skip


def without_replacement(outcomes: dict[Outcome, float], k: int) -> Iterator[tuple[tuple[Outcome, ...], float]]:
    """Ordered samples: each is drawn in proportion to its probability among those that are left."""
    for order in permutations(outcomes, k):
        p, left = 1.0, 1.0
        for outcome in order:
            p *= outcomes[outcome] / left
            left -= outcomes[outcome]
        yield order, p


def test_ordered_pairs_are_as_frequent_as_drawn_without_replacement(
    model: TableModel, outcomes: dict[Outcome, float]
) -> None:
    counts = Counter(tuple(rows) for rows in rows_of(draw(model, 2)))
    statistic, bound = chi_square(counts, dict(without_replacement(outcomes, 2)))
    assert statistic < bound


def test_inclusion_probabilities_of_four(model: TableModel, outcomes: dict[Outcome, float]) -> None:
    """Of every outcome, within 4.5 standard deviations of the exact one (15 outcomes: one false alarm in 10 000)."""
    exact = dict.fromkeys(outcomes, 0.0)
    for order, p in without_replacement(outcomes, 4):
        for outcome in order:
            exact[outcome] += p
    result = draw(model, 4, first_seed=10**6)
    counts = Counter(row for rows in rows_of(result) for row in rows)
    assert all(len(set(rows)) == 4 for rows in rows_of(result))
    for outcome, p in exact.items():
        assert abs(counts[outcome] / COPIES - p) < 4.5 * math.sqrt(p * (1 - p) / COPIES), outcome
    for b in range(0, COPIES, 300):
        for i, row in enumerate(rows_of(result)[b]):
            assert float(result.log_probs[b, i]) == pytest.approx(math.log(outcomes[row]), abs=1e-5)


def test_the_importance_weighted_estimate_is_unbiased(model: TableModel, outcomes: dict[Outcome, float]) -> None:
    """Kool et al., section 4.2: sum over the first K - 1 of p / q f with q = 1 - exp(-exp(log p - kappa))."""
    result = draw(model, 4, first_seed=2 * 10**6)
    kappa = result.scores[:, 3:].double()
    p = result.log_probs[:, :3].double()
    weights = p.exp() / -torch.expm1(-torch.exp(p - kappa))
    functions = {
        "one": (torch.ones_like(weights), 1.0),
        "length": (result.lengths[:, :3].double(), sum(q * len(row) for row, q in outcomes.items())),
        "entropy": (-p, sum(-q * math.log(q) for q in outcomes.values())),
    }
    for name, (values, mean) in functions.items():
        estimates = (weights * values).sum(1)
        assert abs(float(estimates.mean()) - mean) < 4.5 * float(estimates.std()) / math.sqrt(COPIES), name


def test_the_best_score_is_a_standard_gumbel_number(model: TableModel) -> None:
    best = draw(model, 2, first_seed=3 * 10**6).scores[:, 0].double()
    assert abs(float(best.mean()) - 0.5772156649) < 4.5 * math.sqrt(math.pi**2 / 6 / COPIES)
    below = float((best <= 0).double().mean())
    assert abs(below - math.exp(-1)) < 4.5 * math.sqrt(math.exp(-1) * (1 - math.exp(-1)) / COPIES)


def test_a_beam_of_all_finds_all(model: TableModel, outcomes: dict[Outcome, float]) -> None:
    result = draw(model, 20, copies=3)
    for rows in rows_of(result):
        assert {row for row in rows if row} == outcomes.keys() and rows.count(()) == 20 - len(outcomes)
    assert result.scores[:, len(outcomes) :].isinf().all()
    assert torch.allclose(result.log_probs.exp().sum(1), torch.ones(3))
    assert bool((result.scores.diff(dim=1)[:, : len(outcomes) - 1] <= 0).all())
    ended = [[row[-1] == EOS for row in rows if row] for rows in rows_of(result)]
    assert [x[: len(outcomes)] for x in result.finished.tolist()] == ended


def test_n_best_returns_the_first_drawn(model: TableModel) -> None:
    options = {"start": 1, "eos": EOS, "seed": 4, "beam": 5, "max_length": 6}
    all_of_them = stochastic_beam_search(model, model.initial(2), **options)
    two = stochastic_beam_search(model, model.initial(2), n_best=2, **options)
    assert torch.equal(two.scores, all_of_them.scores[:, :2])
    assert [rows[:2] for rows in rows_of(all_of_them)] == rows_of(two)


def test_what_is_forbidden_is_renormalised_away(model: TableModel) -> None:
    result = stochastic_beam_search(
        model,
        model.initial([SENTENCE] * 50),
        start=1,
        eos=EOS,
        seed=torch.arange(50),
        beam=30,
        max_length=3,
        min_length=2,
    )
    assert int(result.lengths[result.lengths > 0].min()) == 3
    assert torch.allclose(result.log_probs.exp().sum(1), torch.ones(50))


def test_truncated_gumbels_keep_their_order_and_end_at_the_bound() -> None:
    free = torch.tensor([[0.3, -1.0, 2.0], [5.0, 4.9999999999, -700.0], [-math.inf, -3.0, -50.0]], dtype=torch.float64)
    bound = torch.tensor([[-0.5], [-2.0], [40.0]], dtype=torch.float64)
    moved = truncated(free, bound)
    assert torch.equal(moved.amax(1, keepdim=True), bound)
    assert torch.equal(moved.argsort(1), free.argsort(1)) and not bool(moved.isnan().any())
    plain = -torch.log(torch.exp(-bound[:1]) - torch.exp(-free[:1].amax(1, keepdim=True)) + torch.exp(-free[:1]))
    assert torch.allclose(moved[:1], plain, rtol=1e-12)


WRONG: dict[str, dict[str, Any]] = {
    "beam": {"beam": 0},
    "n_best <= beam = 5": {"n_best": 6},
    "n_best": {"n_best": 0},
    "seed": {"seed": None},
    "temperature": {"temperature": 0.0},
    "eos": {"eos": 0.5},
}


@pytest.mark.parametrize("word", WRONG)
def test_a_wrong_option_is_refused_by_name(word: str, model: TableModel) -> None:
    with pytest.raises(ValueError, match=rf"expected.*{word}.*got"):
        stochastic_beam_search(model, model.initial(2), **({"start": 1, "eos": 0, "seed": 0} | WRONG[word]))
