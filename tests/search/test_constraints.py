"""constraints=: against every sequence there is, against a search over lists, and by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from models import CountdownModel, PrefillModel, ScriptedModel, TableModel
from oracles import Hypothesis, Model, every_sequence, log_softmax, power
from test_contract import rows_of
from test_exact import NOISE, check, few

from s2sfast import UID, AnyOf, Constraints, Pruning, beam_search, processors, rules, stream

EOS = 0
Alternatives = list[list[list[int]]]  # the phrases of each constraint


def contains(tokens: Sequence[int], phrase: Sequence[int]) -> bool:
    n = len(phrase)
    return any(list(tokens[i : i + n]) == list(phrase) for i in range(len(tokens) - n + 1))


def met(tokens: Sequence[int], asked: Alternatives) -> int:
    return sum(any(contains(tokens, phrase) for phrase in phrases) for phrases in asked)


def spelled(asked: Alternatives) -> Constraints:
    return Constraints([phrases[0] if len(phrases) == 1 else AnyOf(phrases) for phrases in asked])


def best(pool: list[tuple[int, Hypothesis]], n: int) -> tuple[list[tuple[int, Hypothesis]], float]:
    """Most constraints first, then the score; and the narrowest margin."""
    ranked = sorted(pool, key=lambda x: (-x[0], -x[1].score, len(x[1].tokens), x[1].rank))
    pairs = pairwise(ranked[: n + 1])
    return ranked[:n], min((a[1].score - b[1].score for a, b in pairs if a[0] == b[0]), default=math.inf)


def brute_force(model: Model, start: list[int], asked: Alternatives, *, n: int, most: int, alpha: float) -> Any:
    """Everything that ends with all met, or does not end."""
    pool = []
    for tokens, parts, finished in every_sequence(model, start, eos={EOS}, max_length=most):
        count = met(tokens, asked)
        if count == len(asked) or not finished:
            score = power(alpha)(math.fsum(parts), len(tokens))
            pool.append((count, Hypothesis(tokens, parts, finished, score, 0)))
    return best(pool, n)


def missing(tokens: Sequence[int], phrases: list[list[int]]) -> int:
    """How many tokens, to meet the constraint by its nearest phrase."""
    if any(contains(tokens, phrase) for phrase in phrases):
        return 0
    text = list(tokens)
    reached = [max(n for n in range(len(p) + 1) if n == 0 or text[len(text) - n :] == p[:n]) for p in phrases]
    return min(len(p) - r for p, r in zip(phrases, reached, strict=True))


def awaited(tokens: Sequence[int], asked: Alternatives) -> set[int]:
    text = list(tokens)
    waiting = [phrase for phrases in asked if missing(text, phrases) for phrase in phrases]
    return {p[n] for p in waiting for n in range(len(p)) if n == 0 or text[len(text) - n :] == p[:n]}


def naive_allocation(
    model: Model, start: list[int], asked: Alternatives, *, beam: int, n: int, most: int, alpha: float
) -> Any:
    """rules="exact" without early stopping, its candidates taken from the banks in turn."""
    pool: list[tuple[int, Hypothesis]] = []
    running: list[tuple[tuple[int, ...], tuple[float, ...]]] = [((), ())]
    gap, norm, width = math.inf, power(alpha), 2 * beam
    for length in range(1, most + 1):
        banks: dict[int, list] = {}
        for parent, (tokens, parts) in enumerate(running):
            row = log_softmax(model([*start, *tokens]))
            if met(tokens, asked) < len(asked):
                row[EOS] = -math.inf
            order = sorted(range(len(row)), key=lambda t: -row[t])
            if width < len(row):
                gap = min(gap, row[order[width - 1]] - row[order[width]])
            for token in {*order[:width], *awaited(tokens, asked)}:
                longer, sums = (*tokens, token), (*parts, row[token])
                if row[token] > -math.inf:
                    bank = met(longer, asked) if length == most else -sum(missing(longer, c) for c in asked)
                    banks.setdefault(bank, []).append((-math.fsum(sums), parent, longer, sums))
        for bank in banks.values():
            bank.sort()
            gap = min([gap, *(b[0] - a[0] for a, b in pairwise(bank))])
        fullest = sorted(banks, reverse=True)
        if length == most:
            taken = [c for b in fullest for c in banks[b]]
        else:
            rounds = range(max(map(len, banks.values()), default=0))
            taken = [banks[b][i] for i in rounds for b in fullest if i < len(banks[b])]
        running = []
        for rank, (minus, _, tokens, parts) in enumerate(taken[:width]):
            score = norm(-minus, length)
            if tokens[-1] == EOS:
                if rank < beam:
                    pool.append((len(asked), Hypothesis(tokens, parts, True, score, rank)))
            elif len(running) < beam:
                running.append((tokens, parts))
                if length == most:
                    pool.append((met(tokens, asked), Hypothesis(tokens, parts, False, score, rank)))
    ranked, last = best(pool, n)
    return ranked, min(gap, last)


@st.composite
def cases(draw: Any, vocabularies: Sequence[int] = (4, 3)) -> dict[str, Any]:
    vocab, batch = draw(st.sampled_from(vocabularies)), draw(st.integers(1, 3))
    start = st.lists(st.integers(0, vocab - 1), min_size=1, max_size=3)
    phrase = st.lists(st.integers(1, vocab - 1), min_size=1, max_size=3)
    constraint = st.one_of(phrase.map(lambda p: [p]), st.lists(phrase, min_size=1, max_size=3))
    asked = draw(st.lists(st.lists(constraint, max_size=3), min_size=batch, max_size=batch))
    return {
        "model": TableModel(vocab, draw(st.integers(0, 7)), draw(st.sampled_from([0.4, 1.5, 4.0])), {0: 1.0}),
        "sentences": draw(st.lists(st.integers(0, 4000), min_size=batch, max_size=batch, unique=True)),
        "asked": asked,
        "starts": draw(st.lists(start, min_size=batch, max_size=batch)),
        "most": draw(st.lists(st.integers(1, 5), min_size=batch, max_size=batch)),
        "alpha": draw(st.sampled_from([0.0, 1.0, 0.5])),
        "n": draw(st.integers(1, 4)),
    }


def ours(case: dict[str, Any], beam: int, **options: Any) -> Any:
    starts, model = case["starts"], case["model"]
    widest = max(map(len, starts))
    return beam_search(
        model,
        TableModel.initial(case["sentences"]),
        start=torch.tensor([[*s, *[1] * (widest - len(s))] for s in starts]),
        prefix_lengths=torch.tensor([len(s) for s in starts]),
        eos=EOS,
        beam=beam,
        n_best=case["n"],
        max_length=torch.tensor(case["most"]),
        length_penalty=case["alpha"],
        constraints=[spelled(asked) for asked in case["asked"]],
        **({"rules": "exact"} | options),
    )


def judge(result: Any, case: dict[str, Any], expected: list[Any]) -> None:
    for b, (ranked, _) in enumerate(expected):
        check(result, b, [h for _, h in ranked], n_best=case["n"])
        counts = [count for count, _ in ranked] + [0] * (case["n"] - len(ranked))
        full = [count == len(case["asked"][b]) for count, _ in ranked] + [False] * (case["n"] - len(ranked))
        assert result.constraints_met[b].tolist() == counts and result.satisfied[b].tolist() == full


@given(case=cases())
@few
def test_a_wide_beam_finds_the_best_of_all_sequences(case: dict[str, Any]) -> None:
    expected = []
    for b, sentence in enumerate(case["sentences"]):
        options = {"n": case["n"], "most": case["most"][b], "alpha": case["alpha"]}
        expected.append(brute_force(case["model"].oracle(sentence), case["starts"][b], case["asked"][b], **options))
    assume(min(gap for _, gap in expected) > NOISE)
    judge(ours(case, beam=3**5 * 2), case, expected)


@given(case=cases([4, 7, 10]), beam=st.integers(1, 5))
@few
def test_a_narrow_beam_takes_from_the_banks_in_turn(case: dict[str, Any], beam: int) -> None:
    expected = []
    for b, sentence in enumerate(case["sentences"]):
        options = {"n": case["n"], "most": case["most"][b], "alpha": case["alpha"], "beam": beam}
        model = case["model"].oracle(sentence)
        expected.append(naive_allocation(model, case["starts"][b], case["asked"][b], **options))
    assume(min(gap for _, gap in expected) > NOISE)
    judge(ours(case, beam), case, expected)


# By hand

P = {(): [0.1, 0.5, 0.3, 0.1], (1,): [0.7, 0.1, 0.1, 0.1], (2,): [0.2, 0.6, 0.1, 0.1], (1, 2): [0.8, 0.1, 0.05, 0.05]}
EVEN = [0.4, 0.2, 0.2, 0.2]


def hand(asked: Any, **options: Any) -> Any:
    defaults = {"start": 3, "eos": EOS, "beam": 4, "max_length": 4, "length_penalty": 0.0, "rules": "exact"}
    return beam_search(ScriptedModel(P, EVEN), ScriptedModel.initial(), constraints=asked, **(defaults | options))


@pytest.mark.parametrize(
    ("asked", "tokens", "probability"),
    [
        ([], [1, 0], 0.5 * 0.7),
        ([[1]], [1, 0], 0.5 * 0.7),
        ([[2]], [2, 1, 0], 0.3 * 0.6 * 0.4),  # [1, 2, 0] has 0.04, [2, 0] 0.06
        ([[2], [1]], [2, 1, 0], 0.3 * 0.6 * 0.4),
        ([[1, 2]], [1, 2, 0], 0.5 * 0.1 * 0.8),
        ([[3, 3]], [3, 3, 0], 0.1 * 0.2 * 0.4),
        ([AnyOf([[3, 3], [1, 2]])], [1, 2, 0], 0.5 * 0.1 * 0.8),
        ([[2, 1], [1, 2]], [2, 1, 2, 0], 0.3 * 0.6 * 0.2 * 0.4),  # they share the 1
        ([[2, 1], [2, 1]], [2, 1, 0], 0.3 * 0.6 * 0.4),  # one occurrence meets both
    ],
)
def test_a_model_of_four_tokens(asked: list, tokens: list[int], probability: float) -> None:
    result = hand(Constraints(asked))
    assert result.best(0) == tokens and float(result.log_probs.exp()) == pytest.approx(probability, rel=1e-5)
    assert result.satisfied.tolist() == [[True]] and result.constraints_met.tolist() == [[len(asked)]]


def test_one_beam_says_the_phrases_at_once() -> None:
    assert hand(Constraints([[3, 2], [1]]), beam=1).best(0)[:3] in ([1, 3, 2], [3, 2, 1])


@pytest.mark.parametrize("rule", ["hf", "exact", "fairseq", "opennmt", "ctranslate2"])
def test_every_rule_finds_hypotheses_that_contain_them(rule: str) -> None:
    model, asked = TableModel(12, 3, bias={0: 4.0}), [[[5, 7]], [[9], [2, 3]], [[4]]]
    options = {"start": 1, "eos": EOS, "beam": 8, "n_best": 4, "max_length": 14, "constraints": spelled(asked)}
    result = beam_search(model, model.initial(6), rules=rule, **options)
    assert bool(result.satisfied.all()) and result.constraints_met.tolist() == [[3] * 4] * 6
    assert int(result.finished.sum()) >= 12
    for b in range(6):
        for i in range(4):
            assert met(result.tokens[b, i].tolist(), asked) == 3
    free = beam_search(model, model.initial(6), rules=rule, **(options | {"constraints": None}))
    assert free.constraints_met is None and free.satisfied is None
    assert bool((free.scores[:, 0] > result.scores[:, 0]).any()), "they should cost something"


@pytest.mark.parametrize("rule", ["hf", "exact", "fairseq", "opennmt", "ctranslate2"])
@pytest.mark.parametrize("none", [Constraints([]), [Constraints([])] * 4])
def test_no_constraints_change_nothing(rule: str, none: Any) -> None:
    for seed in range(4):
        model = TableModel(9, seed, bias={0: 0.7})
        options = {"start": 1, "eos": EOS, "beam": 3, "n_best": 3, "max_length": 8, "rules": rule}
        free = beam_search(model, model.initial(4), **options)
        result = beam_search(model, model.initial(4), constraints=none, **options)
        assert torch.equal(free.tokens, result.tokens) and free.stats.steps == result.stats.steps
        torch.testing.assert_close(free.scores, result.scores, rtol=1e-6, atol=1e-6)
        assert torch.equal(result.satisfied, free.lengths > 0) and not result.constraints_met.any()


# In a batch, behind prefixes, with everything else

ASKED: list[Alternatives] = [[[[5, 7]], [[4]]], [], [[[3]]], [[[1, 1, 1], [6]], [[2]], [[8, 8]]], [[[7]]]]
PREFIXES = torch.tensor([[2, 3, 5], [5, 7, 4], [3, 3, 3], [8, 1, 1], [6, 5, 4]])  # what they contain does not count
LENGTHS = torch.tensor([3, 1, 2, 3, 1])
OPTIONS: dict[str, Any] = {"eos": EOS, "beam": 5, "n_best": 3, "max_length": 9}


def batch(model: Any, **options: Any) -> Any:
    defaults = {"start": PREFIXES, "prefix_lengths": LENGTHS, "constraints": [spelled(a) for a in ASKED]}
    return beam_search(model, TableModel.initial(5), **(OPTIONS | defaults | options))


@pytest.mark.parametrize("rule", ["hf", "exact", "fairseq"])
def test_a_sentence_among_others_is_the_sentence_alone(rule: str) -> None:
    model = TableModel(9, 5, bias={0: 0.7})
    together, prefilled = batch(model, rules=rule), batch(PrefillModel(model), rules=rule)
    assert rows_of(together, list(range(5))) == rows_of(prefilled, list(range(5)))
    for b in range(5):
        start, must = PREFIXES[b : b + 1, : LENGTHS[b]], spelled(ASKED[b])
        alone = beam_search(model, model.initial([b]), start=start, constraints=must, rules=rule, **OPTIONS)
        assert rows_of(together, [b]) == rows_of(alone, [0])
        assert torch.equal(together.constraints_met[b], alone.constraints_met[0])
        counted = [met(together.tokens[b, i].tolist(), ASKED[b]) for i in range(3)]
        assert together.constraints_met[b].tolist() == counted


def test_both_backends_agree_and_the_tree_and_the_stream_follow() -> None:
    model = TableModel(9, 6, bias={0: 0.7})
    result = batch(model, return_tree=True)
    assert rows_of(result, list(range(5))) == rows_of(batch(model, backend="reference"), list(range(5)))
    for b in range(5):
        nodes, paths = result.tree.nodes(b), [[]]  # the last is what the first nodes, of parent -1, go on from
        for node in nodes:
            paths.insert(node.index, [*paths[node.parent], node.token])
        found = [path for node, path in zip(nodes, paths, strict=False) if node.fate == "finished"]
        assert all(result.tokens[b, i, : result.lengths[b, i]].tolist() in found for i in range(3))
    options = {"start": PREFIXES, "prefix_lengths": LENGTHS, "constraints": [spelled(a) for a in ASKED]}
    said: dict[int, list[int]] = {b: [] for b in range(5)}
    for chunk in stream(model, model.initial(5), **OPTIONS, **options):
        said[chunk.sentence] += chunk.tokens
    assert said == {b: result.best(b) for b in range(5)}


def test_what_on_step_stops_is_ranked_by_what_it_has_met() -> None:
    def stop(beams: Any) -> None:
        if beams.step == 2:
            beams.stop()

    result = batch(TableModel(9, 5, bias={0: -9.0}), prefix_lengths=None, on_step=stop)
    for b, asked in enumerate(ASKED):
        counts = [met(result.tokens[b, i].tolist(), asked) for i in range(3)]
        assert result.constraints_met[b].tolist() == counts == sorted(counts, reverse=True)
    assert not result.finished.any() and len(result.constraints_met.unique()) > 2


# What cannot be met


def test_what_does_not_fit_into_max_length_is_flagged() -> None:
    result = hand(Constraints([[1, 2], [3]]), max_length=2, beam=64)
    assert result.best(0) == [1, 2] and not result.satisfied.any() and result.constraints_met.tolist() == [[1]]
    assert not result.finished.any() and float(result.log_probs.exp()) == pytest.approx(0.05)
    result = hand(Constraints([[1, 2, 1, 2, 1]]))
    assert result.lengths.tolist() == [[4]] and not result.satisfied.any() and not result.constraints_met.any()


@pytest.mark.parametrize("rule", ["hf", "exact", "fairseq", "opennmt", "ctranslate2"])
def test_constraints_that_contradict_a_processor_are_flagged(rule: str) -> None:
    model, never = TableModel(9, 2, bias={0: 2.0}), [processors.SuppressTokens([6])]
    options = {"start": 1, "beam": 5, "eos": EOS, "n_best": 2, "max_length": 7, "rules": rule, "processors": never}
    result = beam_search(model, model.initial(3), constraints=Constraints([[4, 6], [3]]), **options)
    assert result.constraints_met.tolist() == [[1, 1]] * 3 and not result.satisfied.any()
    assert bool((result.lengths == 7).all()) and bool(result.scores.isfinite().all())
    assert bool(result.finished.all()) == (rule == "fairseq"), "there the last token must be eos"


def test_where_only_eos_can_follow_it_does_and_is_flagged() -> None:
    model = CountdownModel(vocab=6)
    must = Constraints([[5], [4, 3]])
    result = beam_search(model, model.initial([4, 2]), start=1, eos=EOS, beam=6, n_best=2, constraints=must)
    assert result.lengths.tolist() == [[4, 4], [2, 2]] and bool(result.finished.all())
    assert result.constraints_met.tolist() == [[2, 2], [1, 0]]
    assert result.satisfied.tolist() == [[True, True], [False, False]]


def test_where_nothing_can_follow_the_places_are_empty() -> None:
    model = TableModel(5, 1)
    options = {"start": 1, "eos": EOS, "n_best": 2, "constraints": Constraints([[2]])}
    result = beam_search(model, model.initial(2), processors=[processors.SuppressTokens(range(5))], **options)
    assert not result.lengths.any() and not result.satisfied.any() and not result.constraints_met.any()
    assert bool((result.scores == -math.inf).all()) and result.stats.steps == 1


def test_an_empty_batch() -> None:
    model = TableModel(5, 1)
    start = torch.zeros(0, 1, dtype=torch.int64)
    result = beam_search(model, model.initial(0), start=start, eos=EOS, constraints=Constraints([[2]]))
    assert result.tokens.shape == (0, 1, 0) and result.satisfied.shape == result.constraints_met.shape == (0, 1)


# Errors


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Constraints([5]), "Constraints: expected phrases, sequences of token ids; got 5"),
        (lambda: Constraints(["ab"]), "Constraints: expected phrases"),
        (lambda: Constraints([[]]), "Constraints: expected a phrase to be token ids, at least one"),
        (lambda: Constraints([[1, -1]]), "Constraints: expected a phrase .*got -1"),
        (lambda: Constraints(AnyOf([[1]])), "Constraints: expected a sequence of phrases and AnyOf"),
        (lambda: Constraints(5), "Constraints: expected a sequence of phrases and AnyOf; got 5"),
        (lambda: AnyOf([]), "AnyOf: expected at least one phrase"),
        (lambda: AnyOf([7, 8]), "AnyOf: expected phrases"),
        (lambda: AnyOf(7), "AnyOf: expected a sequence of phrases; got 7"),
    ],
)
def test_bad_constraints_say_what_is_wrong(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


MUST = Constraints([[1]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"constraints": [[1, 2]]}, r"expected constraints to be Constraints, or a list .*got \[\[1, 2\]\]"),
        ({"constraints": [MUST]}, "expected constraints for B=2 sentences; got 1"),
        ({"constraints": Constraints([[1, EOS]])}, r"expected no eos \(0,\) .*got \[1, 0\]"),
        ({"constraints": Constraints([[9, 4]])}, "expected token ids below V=9; got 9"),
        ({"constraints": MUST, "pruning": Pruning(relative=0.5)}, "expected constraints without pruning"),
        ({"constraints": MUST, "ends": lambda tokens: tokens[:, -1] == 3}, "expected constraints without ends"),
        ({"constraints": MUST, "rules": rules.AllenNLP()}, "expected constraints without rules.AllenNLP"),
        ({"constraints": MUST, "regularizer": UID("square")}, "expected one of regularizer, .* constraints; got both"),
        ({"constraints": MUST, "sibling_penalty": 0.5}, "expected one of .*sibling_penalty and constraints; got both"),
    ],
)
def test_what_does_not_go_together_says_so(options: dict[str, Any], message: str) -> None:
    model = TableModel(9, 0)
    with pytest.raises(ValueError, match=message):
        beam_search(model, model.initial(2), start=1, eos=EOS, **options)
