"""rules="exact": what API.md section 4 says, judged by brute force, by a naive list-based search, and by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from models import ScriptedModel, TableModel, random_table
from oracles import (
    Hypothesis,
    Outcome,
    Prune,
    brute_force,
    every_sequence,
    gnmt,
    naive_beam_search,
    naive_greedy,
    ranking,
)

import s2sfast
from s2sfast import LengthPenalty, Pruning, beam_search, exhaustive_search, greedy_search, rules

NOISE = 2e-5  # decisions closer than this are float32 rounding's to make
few = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
many = settings(few, max_examples=800)


def check(result: Any, b: int, expected: list[Hypothesis], *, n_best: int) -> None:
    """Sentence `b` of the result is exactly this list, and its empty places look empty."""
    assert result.tokens.shape[:2] == result.token_log_probs.shape[:2] == (result.lengths.shape[0], n_best)
    for i in range(n_best):
        tokens, parts = result.tokens[b, i].tolist(), result.token_log_probs[b, i].tolist()
        length = int(result.lengths[b, i])
        h = expected[i] if i < len(expected) else Hypothesis((), (), False, -math.inf, 0)
        found = (tuple(tokens[:length]), bool(result.finished[b, i]))
        assert found == (h.tokens, h.finished), f"sentence {b} place {i}: {found}, expected {h}"
        assert tokens[length:] == [-1] * (len(tokens) - length)
        assert parts[length:] == [0.0] * (len(parts) - length)
        assert parts[:length] == pytest.approx(h.parts, rel=1e-5, abs=1e-5)
        assert float(result.scores[b, i]) == pytest.approx(h.score, rel=1e-5, abs=1e-5)
        if i < len(expected):
            assert float(result.log_probs[b, i]) == pytest.approx(h.log_prob, rel=1e-5, abs=1e-5)


@st.composite
def cases(draw: Any, pruned: bool = False) -> dict[str, Any]:
    vocab = draw(st.sampled_from([4, 3, 2, 1]))
    batch = draw(st.integers(1, 3))
    lengths = st.sampled_from([6, 5, 4, 3, 2, 1])
    prefix = draw(st.lists(st.integers(0, vocab - 1), min_size=1, max_size=3))
    prune = None
    if pruned:
        prune = Prune(
            relative=draw(st.sampled_from([None, 0.001, 0.1, 0.5, 1.0])),
            absolute=draw(st.sampled_from([None, 0.0, 0.7, 2.5])),
            relative_local=draw(st.sampled_from([None, 0.02, 0.3, 1.0])),
            max_per_beam=draw(st.sampled_from([None, 1, 2, 3])),
        )
    return {
        "model": TableModel(vocab, draw(st.integers(0, 7)), draw(st.sampled_from([0.4, 1.5, 4.0]))),
        "sentences": draw(st.lists(st.integers(0, 4000), min_size=batch, max_size=batch, unique=True)),
        "start": prefix,
        "max_length": draw(st.lists(lengths, min_size=batch, max_size=batch)),
        "eos": draw(st.sets(st.integers(0, vocab - 1), min_size=1, max_size=min(vocab, 2))),
        "beam": draw(st.integers(1, 6)),
        "n_best": draw(st.integers(1, 5)),
        "min_length": draw(st.integers(0, 3)),
        "alpha": draw(st.sampled_from([0.0, 0.5, 1.0, 1.7, -0.5, -1.0])),
        "temperature": draw(st.sampled_from([0.5, 1.0, 2.0])),
        "pruning": prune,
    }


def ours(case: dict[str, Any], **extra: Any) -> Any:
    prune: Prune | None = case["pruning"]
    batch = len(case["sentences"])
    arguments = {
        "start": torch.tensor([case["start"]]).expand(batch, -1),
        "eos": sorted(case["eos"]),
        "beam": case["beam"],
        "n_best": case["n_best"],
        "max_length": torch.tensor(case["max_length"]),
        "min_length": case["min_length"],
        "length_penalty": case["alpha"],
        "temperature": case["temperature"],
        "pruning": prune and Pruning(**vars(prune)),
        "rules": "exact",
    }
    return beam_search(case["model"], TableModel.initial(case["sentences"]), **(arguments | extra))


def oracle(case: dict[str, Any], b: int) -> Outcome:
    names = ("eos", "beam", "n_best", "min_length", "alpha", "temperature", "pruning")
    model = case["model"].oracle(case["sentences"][b])
    options = {name: case[name] for name in names}
    return naive_beam_search(model, case["start"], max_length=case["max_length"][b], **options)


@given(case=cases())
@few
def test_the_oracles_agree_naive_search_with_a_wide_beam_is_brute_force(case: dict[str, Any]) -> None:
    model, length = case["model"].oracle(case["sentences"][0]), min(case["max_length"][0], 4)
    options = {name: case[name] for name in ("eos", "n_best", "min_length", "alpha", "temperature")}
    wide = naive_beam_search(model, case["start"], beam=case["model"].vocab ** length + 1, max_length=length, **options)
    brute = brute_force(model, case["start"], max_length=length, **options)
    assume(min(wide.gap, brute.gap) > 1e-9)
    assert [h.tokens for h in wide.hypotheses] == [h.tokens for h in brute.hypotheses]
    assert [h.score for h in wide.hypotheses] == pytest.approx([h.score for h in brute.hypotheses])


@given(case=cases())
@many
def test_equals_the_naive_search_at_any_width(case: dict[str, Any]) -> None:
    expected = [oracle(case, b) for b in range(len(case["sentences"]))]
    assume(min(e.gap for e in expected) > NOISE)
    result = ours(case)
    for b, e in enumerate(expected):
        check(result, b, e.hypotheses, n_best=case["n_best"])
        assert result.best(b) == (list(e.hypotheses[0].tokens) if e.hypotheses else [])


@given(case=cases(pruned=True))
@many
def test_equals_the_naive_search_with_every_pruning_rule(case: dict[str, Any]) -> None:
    expected = [oracle(case, b) for b in range(len(case["sentences"]))]
    assume(min(e.gap for e in expected) > NOISE)
    result = ours(case)
    for b, e in enumerate(expected):
        check(result, b, e.hypotheses, n_best=case["n_best"])


@pytest.mark.parametrize("backend", ["fast", "reference"])
def test_equals_the_naive_search_on_a_larger_vocabulary(backend: Any) -> None:
    model, batch, compared = TableModel(40, seed=6, bias={0: 1.0, 39: 0.5}), 12, 0
    options = {"beam": 8, "n_best": 8, "max_length": 10}
    result = beam_search(model, model.initial(batch), start=1, eos=[0, 39], rules="exact", backend=backend, **options)
    for b in range(batch):
        expected = naive_beam_search(model.oracle(b), [1], eos={0, 39}, **options)
        if expected.gap > NOISE:
            check(result, b, expected.hypotheses, n_best=8)
            compared += 1
    assert compared > batch // 2


@given(case=cases())
@few
def test_stops_as_soon_as_nothing_running_can_enter_the_n_best_and_not_before(case: dict[str, Any]) -> None:
    case["sentences"], case["max_length"] = case["sentences"][:1], case["max_length"][:1]
    case["start"] = case["start"][:1]
    expected = oracle(case, 0)
    assume(expected.gap > NOISE)
    ours(case)
    assert len(case["model"].rows) == expected.steps


@given(case=cases(), pruned=st.booleans())
@few
def test_the_reference_backend_and_the_rules_object_give_the_same(case: dict[str, Any], pruned: bool) -> None:
    case["pruning"] = Prune(absolute=2.0, max_per_beam=2) if pruned else None
    expected = [oracle(case, b) for b in range(len(case["sentences"]))]
    assume(min(e.gap for e in expected) > NOISE)
    for result in (ours(case, backend="reference"), ours(case, rules=rules.Exact())):
        for b, e in enumerate(expected):
            check(result, b, e.hypotheses, n_best=case["n_best"])


@pytest.mark.parametrize(("vocab", "length"), [(1, 5), (2, 6), (3, 4), (4, 3)])
@pytest.mark.parametrize("alpha", [0.0, 1.0, 2.0, -1.0])
def test_a_beam_of_v_to_the_length_is_exact(vocab: int, length: int, alpha: float) -> None:
    for seed in range(4):
        model = TableModel(vocab, seed)
        n_best, batch, eos = 3, 4, [vocab - 1]
        options = {"start": 0, "eos": eos, "n_best": n_best, "max_length": length, "length_penalty": alpha}
        wide = beam_search(model, model.initial(batch), beam=vocab**length, rules="exact", **options)
        exhaustive = exhaustive_search(model, model.initial(batch), **options)
        for b in range(batch):
            brute = brute_force(model.oracle(b), [0], eos=set(eos), n_best=n_best, max_length=length, alpha=alpha)
            if brute.gap > NOISE:
                check(wide, b, brute.hypotheses, n_best=n_best)
                check(exhaustive, b, brute.hypotheses, n_best=n_best)


@given(case=cases())
@settings(few, max_examples=250)
def test_exhaustive_search_is_brute_force_under_every_option(case: dict[str, Any]) -> None:
    length = min(case["max_length"][0], 4)
    shared = {name: case[name] for name in ("n_best", "min_length", "temperature")}
    result = exhaustive_search(
        case["model"],
        TableModel.initial(case["sentences"]),
        start=torch.tensor([case["start"]]).expand(len(case["sentences"]), -1),
        eos=sorted(case["eos"]),
        max_length=length,
        length_penalty=case["alpha"],
        **shared,
    )
    for b, sentence in enumerate(case["sentences"]):
        model, alpha = case["model"].oracle(sentence), case["alpha"]
        brute = brute_force(model, case["start"], eos=case["eos"], max_length=length, alpha=alpha, **shared)
        if brute.gap > NOISE:
            check(result, b, brute.hypotheses, n_best=case["n_best"])


def test_exhaustive_search_sees_every_sequence_once_and_their_probabilities_sum_to_one() -> None:
    model = TableModel(3, seed=2)
    everything = list(every_sequence(model.oracle(0), [1], eos={0}, max_length=4))
    n = len(everything)
    result = exhaustive_search(model, model.initial(1), start=1, eos=0, n_best=n, max_length=4, length_penalty=0.0)
    found = {tuple(result.tokens[0, i, : result.lengths[0, i]].tolist()) for i in range(n)}
    assert found == {tokens for tokens, _, _ in everything}
    assert float(result.log_probs[0].double().exp().sum()) == pytest.approx(1.0, abs=1e-5)
    assert result.finished[0].sum() == sum(finished for _, _, finished in everything)


# Ties. A processor's numbers are not renormalised, so log-probabilities can be small integers: every sum and every
# quotient is then the same in any precision, and ties are everywhere.


def integer_processor(model: TableModel) -> Any:
    """Puts the model's logits, rounded to -1..-3, in the place of the log-probabilities."""

    def processor(tokens_so_far: torch.Tensor, log_probs: torch.Tensor) -> torch.Tensor:
        history = [model.after(0, row) for row in tokens_so_far.tolist()]
        return integers(model)[history]

    return processor


def integers(model: TableModel) -> torch.Tensor:
    return -(model.table.abs() * 1.5).floor().clamp(max=2) - 1


@given(
    seed=st.integers(0, 30),
    beam=st.integers(1, 6),
    vocab=st.integers(1, 4),
    length=st.integers(1, 6),
    alpha=st.sampled_from([0.0, 1.0, -1.0]),
    n_best=st.integers(1, 5),
    prune=st.sampled_from([None, Prune(absolute=1.0), Prune(absolute=2.0, max_per_beam=2), Prune(max_per_beam=1)]),
    backend=st.sampled_from(["fast", "reference"]),
)
@many
def test_ties_go_to_the_lower_parent_then_the_lower_token_and_the_earlier_finished(
    seed: int, beam: int, vocab: int, length: int, alpha: float, n_best: int, prune: Prune | None, backend: Any
) -> None:
    model = TableModel(vocab, seed)
    table = integers(model)

    def numbers(history: Any) -> list[float]:
        return table[model.after(0, history)].tolist()

    options: dict[str, Any] = {"eos": {vocab - 1}, "beam": beam, "max_length": length, "n_best": n_best}
    readings = [
        naive_beam_search(
            numbers, [0], alpha=alpha, pruning=prune, normalized=True, unfinished_last=last, **options
        ).hypotheses
        for last in (True, False)
    ]
    assume(readings[0] == readings[1])  # finished against unfinished of one score and step: the contract is silent
    result = beam_search(
        model,
        model.initial(1),
        start=0,
        length_penalty=alpha,
        rules="exact",
        pruning=prune and Pruning(**vars(prune)),
        processors=[integer_processor(model)],
        backend=backend,
        **(options | {"eos": [vocab - 1]}),
    )
    check(result, 0, readings[0], n_best=n_best)


def test_ranking_of_the_oracle_prefers_the_earlier_finished_then_the_lower_rank() -> None:
    late = Hypothesis((1, 0), (-1.0, -1.0), True, -1.0, 0)
    early, early_second = (Hypothesis((t,), (-1.0,), True, -1.0, rank) for t, rank in ((0, 0), (2, 1)))
    assert ranking([late, early_second, early]) == [early, early_second, late]


# By hand.


def lecture() -> ScriptedModel:
    """Three tokens: 0 = eos, 1, 2. Greedy takes 0.6 x 0.6 x 0.6; the better path is 0.4 x 0.9 x 0.9."""
    return ScriptedModel(
        {
            (): [0.0, 0.6, 0.4],
            (1,): [0.0, 0.6, 0.4],
            (1, 1): [0.6, 0.4, 0.0],
            (1, 2): [0.6, 0.2, 0.2],
            (2,): [0.0, 0.1, 0.9],
            (2, 2): [0.9, 0.1, 0.0],
        },
        default=[1.0, 0.0, 0.0],
    )


@pytest.mark.parametrize("rule", ["exact", "hf"])
@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_the_lecture_example_greedy_misses_the_path_that_beam_two_finds(rule: str, alpha: float) -> None:
    state, options = ScriptedModel.initial(), {"start": 1, "eos": 0, "max_length": 6}
    greedy = greedy_search(lecture(), state, **options)
    assert greedy.best(0) == [1, 1, 0]
    assert float(greedy.log_probs[0, 0].exp()) == pytest.approx(0.216, rel=1e-5)
    best = beam_search(lecture(), state, beam=2, rules=rule, length_penalty=alpha, **options)
    assert best.best(0) == [2, 2, 0]
    assert float(best.log_probs[0, 0].exp()) == pytest.approx(0.324, rel=1e-5)
    assert best.token_log_probs[0, 0].exp().tolist()[:3] == pytest.approx([0.4, 0.9, 0.9], rel=1e-5)
    assert float(best.scores[0, 0]) == pytest.approx(math.log(0.324) / 3**alpha, rel=1e-5)


def test_eos_finishes_only_when_it_ranks_among_the_k_best_of_all_candidates() -> None:
    script = {(): [0.2, 0.5, 0.3]}  # eos is third: out of reach of beam 2, within beam 3
    for beam, expected in ((2, [[1, 0], [2, 0]]), (3, [[1, 0], [2, 0], [0]])):
        model = ScriptedModel(script, default=[1.0, 0.0, 0.0])
        options = {"beam": beam, "n_best": 3, "rules": "exact", "length_penalty": 0.0, "max_length": 4}
        result = beam_search(model, model.initial(), start=1, eos=0, **options)
        found = [result.tokens[0, i, : result.lengths[0, i]].tolist() for i in range(len(expected))]
        assert found == expected
        assert bool(torch.isneginf(result.scores[0, len(expected) :]).all())


def test_a_longer_hypothesis_still_wins_after_n_best_have_finished_when_length_is_rewarded() -> None:
    model = ScriptedModel({(): [0.6, 0.4, 0.0]}, default=[0.05, 0.95, 0.0])
    options = {"start": 1, "eos": 0, "beam": 1, "max_length": 12, "rules": "exact"}
    assert beam_search(model, model.initial(), length_penalty=0.0, **options).best(0) == [0]
    long = beam_search(model, model.initial(), length_penalty=1.0, **options | {"beam": 2})
    assert long.best(0) == [1] * 12 and not bool(long.finished[0, 0])
    assert float(long.scores[0, 0]) == pytest.approx((math.log(0.4) + 11 * math.log(0.95)) / 12, rel=1e-5)


@pytest.mark.parametrize("alpha", [0.6, 1.0])
def test_gnmt_length_penalty(alpha: float) -> None:
    for seed in range(10):
        model = TableModel(4, seed)
        options = {"beam": 3, "n_best": 3, "max_length": 6}
        expected = naive_beam_search(model.oracle(0), [1], eos={0}, norm=gnmt(alpha), **options)
        if expected.gap > NOISE:
            penalty = LengthPenalty("gnmt", alpha)
            result = beam_search(
                model, model.initial(1), start=1, eos=0, rules="exact", length_penalty=penalty, **options
            )
            check(result, 0, expected.hypotheses, n_best=3)


def test_greedy_search_follows_the_best_token_and_equals_beam_one_without_length_penalty() -> None:
    for seed in range(20):
        model, options = TableModel(5, seed), {"start": 2, "eos": [0, 3], "max_length": 9}
        greedy = greedy_search(model, model.initial(4), **options)
        for rule in ("exact", "hf"):
            beam = beam_search(model, model.initial(4), beam=1, length_penalty=0.0, rules=rule, **options)
            for b in range(4):
                tokens, total = naive_greedy(model.oracle(b), [2], eos={0, 3}, max_length=9)
                assert greedy.best(b) == beam.best(b) == tokens
                assert bool(greedy.finished[b, 0]) == bool(beam.finished[b, 0]) == (tokens[-1] in (0, 3))
                assert float(greedy.log_probs[b, 0]) == pytest.approx(total, abs=1e-4)
                assert float(beam.scores[b, 0]) == pytest.approx(total, abs=1e-4)


def test_the_public_names_are_there() -> None:
    assert s2sfast.beam_search is beam_search and random_table(2, 0, 1.0).shape == (4093, 2)
