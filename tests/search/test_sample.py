"""Samples: their frequencies against exact probabilities, the filters against transformers', the noise, invariance."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import torch
from models import MemoryModel, PrefillModel, ScriptedModel, TableModel
from oracles import log_softmax
from torch import Tensor

from s2sfast import sample, stochastic_beam_search
from s2sfast.search.noise import gumbel, hashed, mixed, uniform
from s2sfast.search.sample import Filters

VOCAB, EOS = 5, 0


def chi_square(counts: Counter, probabilities: dict[Any, float]) -> tuple[float, float]:
    """(the statistic, a bound that it exceeds once in a million or so: mean + 5 standard deviations + 10)."""
    total = sum(counts.values())
    assert counts.keys() <= probabilities.keys(), counts.keys() - probabilities.keys()
    assert math.isclose(sum(probabilities.values()), 1.0, abs_tol=1e-6)
    statistic = sum((counts[x] - total * p) ** 2 / (total * p) for x, p in probabilities.items())
    df = len(probabilities) - 1
    return statistic, df + 5 * math.sqrt(2 * df) + 10


def rows_of(result: Any) -> list[list[tuple[int, ...]]]:
    return [
        [tuple(t for t in row if t >= 0) for row in sentence] for sentence in result.tokens.tolist()
    ]  # fmt: skip


# --- the noise -----------------------------------------------------------------------------------


def test_splitmix64_gives_its_published_numbers() -> None:
    """The first five numbers of the generator seeded with 1234567, as the reference implementation prints them."""
    published = [
        6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821,
    ]  # fmt: skip
    golden = 0x9E3779B97F4A7C15
    states = torch.tensor([(1234567 + n * golden + 2**63) % 2**64 - 2**63 for n in range(5)])
    assert [x % 2**64 for x in mixed(states).tolist()] == published


def test_the_noise_is_uniform_along_each_counter_and_between_neighbours() -> None:
    seeds, steps, places = torch.arange(40)[:, None, None], torch.arange(40)[None, :, None], torch.arange(64)
    u = uniform(hashed(seeds, steps, places))
    assert u.shape == (40, 40, 64) and float(u.min()) >= 0 and float(u.max()) < 1
    n = u.numel()
    bins = torch.bincount((u.flatten() * 64).long(), minlength=64).double()
    assert float(((bins - n / 64) ** 2 / (n / 64)).sum()) < 63 + 5 * math.sqrt(126)
    centred = (u - 0.5) * math.sqrt(12)
    for dim in range(3):  # of n products of mean 0 and variance 1
        neighbours = centred.narrow(dim, 0, u.shape[dim] - 1) * centred.narrow(dim, 1, u.shape[dim] - 1)
        assert abs(float(neighbours.sum())) < 5 * math.sqrt(neighbours.numel())
    assert not torch.equal(hashed(torch.tensor([1]), 2), hashed(torch.tensor([2]), 1)), "their order counts"


def test_gumbel_noise_has_gumbels_moments_and_is_always_finite() -> None:
    g = gumbel(hashed(torch.arange(1 << 16), 3))
    n, variance = g.numel(), math.pi**2 / 6
    assert abs(float(g.mean()) - 0.5772156649) < 5 * math.sqrt(variance / n)
    assert abs(float(g.var()) - variance) < 5 * math.sqrt(4.4 * variance**2 / n)  # its kurtosis is 5.4
    ends = gumbel(torch.tensor([0, -1]))
    assert bool(ends.isfinite().all()) and float(ends[0]) < -3.5 and float(ends[1]) > 36


# --- the filters ---------------------------------------------------------------------------------

FILTERS = [
    (1.0, None, None, None), (0.7, 3, None, None), (1.3, None, 0.8, None), (1.0, None, None, 0.2),
    (0.8, 6, 0.7, 0.1), (1.0, 1, None, None), (1.0, None, 1e-6, None), (1.0, 999, 1.0, 0.0), (2.0, None, 0.95, 0.05),
    (1.0, None, None, 1.0),
]  # fmt: skip


@pytest.mark.parametrize(("temperature", "top_k", "top_p", "min_p"), FILTERS)
def test_the_filters_leave_what_transformers_warpers_leave(
    temperature: float, top_k: int | None, top_p: float | None, min_p: float | None
) -> None:
    from transformers.generation import logits_process as hf

    logits = torch.randn(40, 11, generator=torch.Generator().manual_seed(7)) * 2
    logits[3, 2:5] = logits[3].max() + 0.5  # ties at the top
    logits[4, 6:] = -math.inf
    warped = logits / temperature if temperature == 1.0 else hf.TemperatureLogitsWarper(temperature)(None, logits)
    for value, warper in ((top_k, hf.TopKLogitsWarper), (top_p, hf.TopPLogitsWarper), (min_p, hf.MinPLogitsWarper)):
        if value is not None:
            warped = warper(value)(None, warped)
    left = Filters(top_k, top_p, min_p)(torch.log_softmax(logits / temperature, -1))
    assert torch.equal(left == -math.inf, warped == -math.inf)
    assert torch.allclose(left.softmax(-1), warped.softmax(-1), atol=1e-6)
    tokens = sample(
        lambda tokens, state, memory: (logits, state), None, start=0, eos=10, seed=torch.arange(40), n_best=8,
        batch_size=40, max_length=1, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p,
    )  # fmt: skip
    drawn = warped.log_softmax(-1).gather(1, tokens.tokens[:, :, 0])
    assert torch.allclose(tokens.log_probs, drawn, atol=1e-5), "log_probs are those of what was drawn from"


# --- the frequencies -----------------------------------------------------------------------------


def filtered(row: Sequence[float], top_k: int | None = None, top_p: float | None = None) -> list[float]:
    """Probabilities in plain Python: the k best, then the fewest that reach top_p."""
    p = [math.exp(x) for x in log_softmax(row)]
    order = sorted(range(len(p)), key=lambda i: -p[i])[: top_k or len(p)]
    mass, kept = 0.0, []
    for i in order:
        if top_p is None or mass < top_p * sum(p[j] for j in order):
            kept.append(i)
        mass += p[i]
    total = sum(p[i] for i in kept)
    return [p[i] / total if i in kept else 0.0 for i in range(len(p))]


def outcomes(
    model: Callable[[Sequence[int]], Sequence[float]], max_length: int, **filters: Any
) -> Iterator[tuple[tuple[int, ...], float]]:
    def grow(tokens: tuple[int, ...], p: float) -> Iterator[tuple[tuple[int, ...], float]]:
        for token, q in enumerate(filtered(model([1, *tokens]), **filters)):
            longer = (*tokens, token)
            if q and (token == EOS or len(longer) == max_length):
                yield longer, p * q
            elif q:
                yield from grow(longer, p * q)

    yield from grow((), 1.0)


@pytest.mark.parametrize("filters", [{}, {"top_k": 3}, {"top_p": 0.75}, {"top_k": 4, "top_p": 0.9}])
def test_sequences_are_as_frequent_as_probable(filters: dict[str, Any]) -> None:
    model = TableModel(VOCAB, seed=17, scale=1.0, bias={EOS: 0.3})
    copies = 1500
    result = sample(
        model,
        model.initial([2] * copies),
        start=1,
        eos=EOS,
        seed=torch.arange(copies),
        n_best=4,
        max_length=3,
        **filters,
    )
    probabilities = dict(outcomes(model.oracle(2), 3, **filters))
    drawn = rows_of(result)
    statistic, bound = chi_square(Counter(row for sentence in drawn for row in sentence), probabilities)
    assert statistic < bound
    for b in range(0, copies, 100):
        for i, row in enumerate(drawn[b]):
            assert float(result.log_probs[b, i]) == pytest.approx(math.log(probabilities[row]), abs=1e-5)
            assert bool(result.finished[b, i]) == (row[-1] == EOS)
    assert torch.equal(result.scores, result.log_probs)
    assert bool((result.scores.diff(dim=1) <= 0).all())


def test_the_samples_of_a_sentence_are_independent() -> None:
    """The first token of one of two samples tells nothing of the other's: all pairs are as frequent as p q."""
    model = TableModel(VOCAB, seed=18, scale=1.0)
    copies = 4000
    result = sample(
        model, model.initial([0] * copies), start=1, eos=EOS, seed=torch.arange(copies), n_best=2, max_length=2
    )
    probabilities = dict(outcomes(model.oracle(0), 2))
    pairs: dict[Any, float] = {}
    for x, p in probabilities.items():
        for y, q in probabilities.items():
            pairs[tuple(sorted((x, y)))] = pairs.get(tuple(sorted((x, y))), 0.0) + p * q
    counts = Counter(tuple(sorted(sentence)) for sentence in rows_of(result))
    statistic, bound = chi_square(counts, pairs)
    assert statistic < bound


def test_min_length_and_processors_shape_the_distribution() -> None:
    model = TableModel(VOCAB, seed=19, scale=1.0, bias={EOS: 2.0})
    copies = 1000
    result = sample(
        model, model.initial([1] * copies), start=1, eos=EOS, seed=torch.arange(copies), n_best=2, max_length=3,
        min_length=2, processors=[no_repeat],
    )  # fmt: skip
    assert int(result.lengths.min()) == 3
    for sentence in rows_of(result):
        for row in sentence:
            assert len({1, *row}) == 4, "no token twice, start among them"
    counts = Counter(row for sentence in rows_of(result) for row in sentence)
    statistic, bound = chi_square(counts, dict(constrained(model.oracle(1))))
    assert statistic < bound


def no_repeat(tokens: Tensor, log_probs: Tensor) -> Tensor:
    return log_probs.scatter(1, tokens, -math.inf)


def constrained(model: Callable[[Sequence[int]], Sequence[float]]) -> Iterator[tuple[tuple[int, ...], float]]:
    """Three tokens, none twice, eos only as the third."""

    def row(tokens: tuple[int, ...]) -> list[float]:
        seen = {1, *tokens} | ({EOS} if len(tokens) < 2 else set())
        p = [0.0 if t in seen else math.exp(x) for t, x in enumerate(model([1, *tokens]))]
        return [x / sum(p) for x in p]

    for a, p in enumerate(row(())):
        for b, q in enumerate(row((a,)) if p else ()):
            for c, r in enumerate(row((a, b)) if q else ()):
                if r:
                    yield (a, b, c), p * q * r


# --- invariance ----------------------------------------------------------------------------------

SAMPLERS = {
    "sample": lambda *args, **options: sample(*args, n_best=4, top_p=0.9, temperature=1.2, **options),
    "stochastic_beam_search": lambda *args, **options: stochastic_beam_search(*args, beam=4, **options),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sentence_draws_the_same_bits_in_any_batch_and_order_and_on_any_threads(name: str) -> None:
    draw = SAMPLERS[name]
    model = MemoryModel(VOCAB + 2, 3, seed=23)
    memory = model.make_memory(6)
    most, seeds = torch.tensor([5, 9, 7, 3, 8, 6]), torch.tensor([3, -1, 7, 2**62, 0, 7])
    options = {"start": 1, "eos": EOS}
    together = draw(model, model.initial(6), memory=memory, max_length=most, seed=seeds, **options)
    torch.set_num_threads(3)
    order = torch.tensor([4, 0, 5, 2, 3, 1])
    turned = draw(
        model, model.initial(6)[order], memory=memory[order], max_length=most[order], seed=seeds[order], **options
    )
    torch.set_num_threads(1)
    for i, b in enumerate(order.tolist()):
        alone = draw(
            model, model.initial([b]), memory=memory[b : b + 1], max_length=int(most[b]), seed=int(seeds[b]), **options
        )
        L = alone.tokens.shape[2]
        for field in ("scores", "log_probs", "lengths", "finished"):
            assert torch.equal(getattr(alone, field)[0], getattr(together, field)[b]), field
            assert torch.equal(getattr(turned, field)[i], getattr(together, field)[b]), field
        assert torch.equal(alone.tokens[0], together.tokens[b, :, :L])
        assert torch.equal(turned.tokens[i], together.tokens[b])


@pytest.mark.parametrize("name", SAMPLERS)
def test_ragged_prefixes_and_prefill_change_no_draw(name: str) -> None:
    draw = SAMPLERS[name]
    model = TableModel(VOCAB, seed=9, bias={EOS: 0.4})
    prefixes, lengths = torch.tensor([[1, 3, 4], [1, 2, 0], [1, 0, 0]]), torch.tensor([3, 2, 1])
    options = {"eos": EOS, "max_length": 5}
    ragged = draw(model, model.initial(3), start=prefixes, prefix_lengths=lengths, seed=5, **options)
    filled = draw(
        PrefillModel(model), model.initial(3), start=prefixes, prefix_lengths=lengths, seed=5, **options
    )  # fmt: skip
    for b, n in enumerate(lengths.tolist()):
        alone = draw(model, model.initial([b]), start=prefixes[b : b + 1, :n], seed=5, **options)
        for other in (ragged, filled):
            assert torch.equal(alone.scores[0], other.scores[b]) and rows_of(alone)[0] == rows_of(other)[b]


def test_one_seed_is_every_sentences_and_other_seeds_differ() -> None:
    model = TableModel(VOCAB, seed=2)
    options = {"start": 1, "eos": EOS, "n_best": 3, "max_length": 8}
    same = sample(model, model.initial([4, 4]), seed=11, **options)
    assert torch.equal(same.tokens[0], same.tokens[1])
    told = sample(model, model.initial([4, 4]), seed=[11, 12], **options)
    assert rows_of(told)[0] == rows_of(same)[0] != rows_of(told)[1]


def test_the_first_samples_do_not_depend_on_how_many_there_are() -> None:
    model = TableModel(VOCAB, seed=2, bias={EOS: 0.7})
    options = {"start": 1, "eos": EOS, "seed": 3, "max_length": 12}
    few = Counter(rows_of(sample(model, model.initial(1), n_best=4, **options))[0])
    many = Counter(rows_of(sample(model, model.initial(1), n_best=9, **options))[0])
    assert few <= many


def test_ended_samples_leave() -> None:
    """The model runs one row a sentence at first, then as many as the fullest sentence has samples alive."""
    model = TableModel(VOCAB, seed=6, bias={EOS: 0.7})
    result = sample(model, model.initial(3), start=1, eos=EOS, seed=[1, 2, 3], n_best=6, max_length=20)
    expected = [3]
    for t in range(1, int(result.lengths.max())):
        alive = (result.lengths > t).sum(1)
        expected.append(int((alive > 0).sum() * alive.max()))
    assert model.rows == expected and expected[-1] < 18


def test_a_sample_that_has_nowhere_to_go_vanishes_and_the_others_do_not() -> None:
    """After token 1 nothing is possible, after 0 only 0: what began with 1 is an unfilled place, wherever it stood."""
    options = {"start": 9, "eos": 2, "seed": torch.arange(40), "n_best": 5}
    firsts = sample(ScriptedModel({}, [0.5, 0.5, 0.0]), ScriptedModel.initial(40), max_length=1, **options)
    model = ScriptedModel({(): [0.5, 0.5, 0.0], (1,): [0.0, 0.0, 0.0]}, [1.0, 0.0, 0.0])
    result = sample(model, model.initial(40), max_length=4, **options)
    for b, rows in enumerate(rows_of(result)):
        left = rows_of(firsts)[b].count((0,))
        assert rows == [(0, 0, 0, 0)] * left + [()] * (5 - left)


def test_length_penalty_orders_the_same_samples() -> None:
    model = TableModel(VOCAB, seed=2)
    options = {"start": 1, "eos": EOS, "n_best": 6, "max_length": 8, "seed": 1}
    plain = sample(model, model.initial(2), **options)
    ranked = sample(model, model.initial(2), length_penalty=1.0, **options)
    assert [Counter(rows) for rows in rows_of(plain)] == [Counter(rows) for rows in rows_of(ranked)]
    assert torch.allclose(ranked.scores, ranked.log_probs / ranked.lengths)


WRONG: dict[str, dict[str, Any]] = {
    "n_best": {"n_best": 0},
    "top_k": {"top_k": 0},
    "top_p": {"top_p": 0.0},
    "min_p": {"min_p": 1.5},
    "seed": {"seed": 0.5},
    "seed to be an int of": {"seed": 2**64},
    r"integers \(B,\)=\(2,\)": {"seed": [1, 2, 3]},
    "temperature": {"temperature": -1.0},
    "max_length": {"max_length": 0},
}


@pytest.mark.parametrize("word", WRONG)
def test_a_wrong_option_is_refused_by_name(word: str) -> None:
    model = TableModel(VOCAB)
    with pytest.raises(ValueError, match=rf"expected.*{word}.*got"):
        sample(model, model.initial(2), **({"start": 1, "eos": 0, "seed": 0} | WRONG[word]))


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_logits_that_are_no_distribution_are_found(name: str, value: float) -> None:
    def step(tokens: Tensor, state: Any, memory: Any) -> Any:
        logits = torch.zeros(len(tokens), 4)
        logits[1, 2] = value
        return logits, state

    with pytest.raises(ValueError, match=r"step 0.*NaN.*sentence 1, beam 0"):
        SAMPLERS[name](step, None, start=1, eos=0, batch_size=2, seed=0, max_length=5)
