"""Ensemble and ShallowFusion: the numbers in plain Python, and whole searches by oracles that combine in lists."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from models import MemoryModel, PrefillModel, ScriptedModel, TableModel
from oracles import Outcome, log_softmax, naive_beam_search
from torch import Tensor

from s2sfast import Ensemble, ShallowFusion, beam_search, best_first_search, greedy_search

NOISE = 2e-5
DTYPES = ((torch.bfloat16, torch.float32), (torch.float32, torch.float32), (torch.float64, torch.float64))
NEVER = -math.inf
usual = settings(max_examples=100, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
History = Sequence[int]
Model = Callable[[History], list[float]]


def linear(models: Sequence[Model], weights: Sequence[float]) -> Model:
    def mixed(history: History) -> list[float]:
        rows = [[math.exp(x) for x in log_softmax(model(history))] for model in models]
        sums = [sum(w * p for w, p in zip(weights, ps, strict=True)) / sum(weights) for ps in zip(*rows, strict=True)]
        return [math.log(p) if p > 0 else NEVER for p in sums]

    return mixed


def log_linear(models: Sequence[Model], weights: Sequence[float]) -> Model:
    def mixed(history: History) -> list[float]:
        rows = [log_softmax(model(history)) for model in models]
        return log_softmax([sum(w * x for w, x in zip(weights, xs, strict=True)) for xs in zip(*rows, strict=True)])

    return mixed


def fused(model: Model, lm: Model, weight: float) -> Model:
    def added(history: History) -> list[float]:
        pairs = zip(log_softmax(model(history)), log_softmax(lm(history)), strict=True)
        return [x + weight * y for x, y in pairs]

    return added


def rows(*logits: list[float], attention: list[float] | None = None) -> Callable:
    """A step that returns these rows of logits, and adds 1 to its state."""

    def step(tokens: Tensor, state: Any, memory: Any) -> tuple:
        out = torch.tensor(logits)
        state = None if state is None else state + 1
        return (out, state) if attention is None else (out, state, torch.tensor([attention] * len(out)))

    return step


ONE = [math.log(0.6), math.log(0.3), math.log(0.1)]
TWO = [math.log(0.1), math.log(0.5), math.log(0.4)]


@pytest.mark.parametrize(
    ("mode", "weights", "expected"),
    [
        ("linear", None, [0.35, 0.4, 0.25]),
        ("linear", [3.0, 1.0], [0.475, 0.35, 0.175]),  # (3 * 0.6 + 0.1) / 4, ...
        ("log_linear", [1.0, 1.0], [0.06 / 0.25, 0.15 / 0.25, 0.04 / 0.25]),
        ("log_linear", None, [math.sqrt(x) / sum(map(math.sqrt, (0.06, 0.15, 0.04))) for x in (0.06, 0.15, 0.04)]),
        ("log_linear", [2.0, 1.0], [0.036 / 0.085, 0.045 / 0.085, 0.004 / 0.085]),
    ],
)
def test_the_mean_by_hand(mode: Any, weights: list[float] | None, expected: list[float]) -> None:
    shifted = [x + 5.0 for x in TWO]  # logits, not log-probabilities
    log_probs, state = Ensemble([rows(ONE), rows(shifted)], weights, mode).step(torch.tensor([0]), (None, None), None)
    assert log_probs[0].exp().tolist() == pytest.approx(expected, rel=1e-6)
    assert state == (None, None)


def test_a_forbidden_token_is_improbable_to_the_mean_and_impossible_to_the_product() -> None:
    forbids = rows([0.0, 0.0, NEVER], [NEVER, NEVER, NEVER])
    free = rows([0.0, 0.0, 0.0], [0.0, 0.0, 0.0])
    tokens, state = torch.tensor([0, 0]), (None, None)
    mean, _ = Ensemble([forbids, free]).step(tokens, state, None)
    assert mean[0].exp().tolist() == pytest.approx([5 / 12, 5 / 12, 1 / 6])
    product, _ = Ensemble([forbids, free], mode="log_linear").step(tokens, state, None)
    assert product[0].exp().tolist() == pytest.approx([0.5, 0.5, 0.0])
    assert mean[1].exp().tolist() == pytest.approx([1 / 6] * 3)  # one member has nothing to say
    assert product[1].tolist() == [NEVER] * 3
    nothing, _ = Ensemble([forbids, forbids]).step(tokens, state, None)
    assert nothing[1].tolist() == [NEVER] * 3


def test_attention_is_the_weighted_mean_where_all_return_it() -> None:
    tokens, state = torch.tensor([0]), (torch.zeros(1), torch.ones(1))
    one, two = rows(ONE, attention=[1.0, 0.0]), rows(TWO, attention=[0.5, 0.5])
    _, after, attention = Ensemble([one, two], [1.0, 3.0]).step(tokens, state, None)
    assert attention[0].tolist() == pytest.approx([0.625, 0.375])
    assert [float(s) for s in after] == [1.0, 2.0]
    assert len(Ensemble([one, rows(TWO)]).step(tokens, state, None)) == 2
    assert ShallowFusion(one, rows(TWO), 1.0).step(tokens, state, None)[2].tolist() == [[1.0, 0.0]]
    assert len(ShallowFusion(rows(ONE), two, 1.0).step(tokens, state, None)) == 2


def test_low_precision_is_combined_in_float32_and_float64_stays() -> None:
    for dtype, wide in DTYPES:

        def step(tokens: Tensor, state: Any, memory: Any, dtype: torch.dtype = dtype) -> tuple[Tensor, Any]:
            return torch.tensor([ONE], dtype=dtype), state

        pair = [step, step]
        for combined in (Ensemble(pair), Ensemble(pair, mode="log_linear"), ShallowFusion(*pair, 1.0)):
            assert combined.step(torch.tensor([0]), (None, None), None)[0].dtype == wide


SENTENCES = [5, 17, 290]


def tables(vocab: int) -> tuple[TableModel, TableModel]:
    return TableModel(vocab, 1), TableModel(vocab, 2, 0.7)


def initial() -> tuple[Tensor, Tensor]:
    return TableModel.initial(SENTENCES), TableModel.initial(SENTENCES)


def check(found: Any, b: int, expected: Outcome, n_best: int) -> None:
    for i, h in enumerate(expected.hypotheses[:n_best]):
        length = int(found.lengths[b, i])
        assert tuple(found.tokens[b, i, :length].tolist()) == h.tokens
        assert float(found.scores[b, i]) == pytest.approx(h.score, rel=1e-5, abs=1e-5)


@given(
    vocab=st.integers(2, 5),
    mode=st.sampled_from(["linear", "log_linear"]),
    weights=st.sampled_from([(0.5, 0.5), (0.25, 0.75), (1.5, 1.0)]),
    beam=st.integers(1, 5),
    temperature=st.sampled_from([0.5, 1.0]),
)
@usual
def test_a_search_over_an_ensemble(vocab: int, mode: Any, weights: Any, beam: int, temperature: float) -> None:
    members = tables(vocab)
    found = beam_search(
        Ensemble(members, weights, mode), initial(), start=1, eos=0, beam=beam, n_best=2, max_length=5, rules="exact",
        temperature=temperature,
    )  # fmt: skip
    combine = linear if mode == "linear" else log_linear
    for b, sentence in enumerate(SENTENCES):
        oracle = combine([m.oracle(sentence) for m in members], weights)
        expected = naive_beam_search(oracle, [1], eos={0}, beam=beam, n_best=2, max_length=5, temperature=temperature)
        assume(expected.gap > NOISE)
        check(found, b, expected, 2)


@given(
    vocab=st.integers(2, 5),
    weight=st.sampled_from([0.0, 0.3, 1.0, 2.5]),
    beam=st.integers(1, 5),
    alpha=st.sampled_from([0.0, 1.0]),
)
@usual
def test_a_search_with_a_language_model(vocab: int, weight: float, beam: int, alpha: float) -> None:
    model, lm = tables(vocab)
    found = beam_search(
        ShallowFusion(model, lm, weight), initial(), start=1, eos=0, beam=beam, n_best=2, max_length=5, rules="exact",
        length_penalty=alpha,
    )  # fmt: skip
    for b, sentence in enumerate(SENTENCES):
        oracle = fused(model.oracle(sentence), lm.oracle(sentence), weight)
        expected = naive_beam_search(
            oracle, [1], eos={0}, beam=beam, n_best=2, max_length=5, alpha=alpha, normalized=True
        )
        assume(expected.gap > NOISE)
        check(found, b, expected, 2)


# After 1 the language model is sure of 1; after 2 it has never seen such a thing. Both continue in one way only.
TM = {(): [0.0, 0.4, 0.6], (1,): [1.0, 0.0, 0.0], (2,): [1.0, 0.0, 0.0]}
LM = {(): [0.0, 0.5, 0.5], (1,): [0.9, 0.05, 0.05], (2,): [0.1, 0.45, 0.45]}


@pytest.mark.parametrize("search", [beam_search, best_first_search], ids=["beam", "best_first"])
def test_the_sum_is_not_normalised_again(search: Callable) -> None:
    """Fused, 1 eos has 0.4 * 0.5 * 0.9 = 0.18 and 2 eos has 0.6 * 0.5 * 0.1 = 0.03. Were the rows normalised, eos would
    be certain after either, and 2 eos would win by 0.6 to 0.4."""
    step = ShallowFusion(ScriptedModel(TM, [1.0, 0.0, 0.0]), ScriptedModel(LM, [1.0, 0.0, 0.0]), 1.0)
    state = (ScriptedModel.initial(), ScriptedModel.initial())
    found = search(step, state, start=0, eos=0, beam=3, n_best=2, max_length=4, length_penalty=0.0)
    assert found.tokens[0].tolist() == [[1, 0], [2, 0]]
    assert found.scores[0].exp().tolist() == pytest.approx([0.18, 0.03])
    assert found.token_log_probs[0].exp().tolist() == [pytest.approx([0.2, 0.9]), pytest.approx([0.3, 0.1])]


def test_weight_zero_leaves_the_model_alone_even_where_the_language_model_forbids() -> None:
    scores, _ = ShallowFusion(rows(ONE), rows([0.0, NEVER, NEVER]), 0.0).step(torch.tensor([0]), (None, None), None)
    assert scores[0].exp().tolist() == pytest.approx([0.6, 0.3, 0.1])
    scores, _ = ShallowFusion(rows(ONE), rows([0.0, NEVER, NEVER]), 0.5).step(torch.tensor([0]), (None, None), None)
    assert scores[0].exp().tolist() == pytest.approx([0.6, 0.0, 0.0])


def test_each_member_has_its_own_state_dims_and_memory() -> None:
    """One member keeps (layers, rows), one attends to its memory; sentences finish and leave both."""
    attends, plain = MemoryModel(5, 3, 4), TableModel(5, 6)
    memory = attends.make_memory(3)

    def layered(tokens: Tensor, state: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        assert torch.equal(state[0], state[1]) and state.shape[1] == len(tokens) and len(tokens) % len(memory) == 0
        logits, code = plain(tokens, state[0], memory)
        return logits, torch.stack([code, code])

    code = TableModel.initial(3)
    found = beam_search(
        Ensemble([attends, layered]), (code, torch.stack([code, code])), memory=(memory, torch.zeros(3, 1)),
        state_dims=(0, 1), start=1, eos=0, beam=3, n_best=2, max_length=torch.tensor([3, 6, 5]), rules="exact",
    )  # fmt: skip
    assert len(set(attends.sentences)) > 1
    for b in range(3):
        oracle = linear([attends.oracle_with(b, memory), plain.oracle(b)], [0.5, 0.5])
        expected = naive_beam_search(oracle, [1], eos={0}, beam=3, n_best=2, max_length=[3, 6, 5][b])
        assert expected.gap > NOISE
        check(found, b, expected, 2)


def test_the_memory_of_a_fusion_is_the_models() -> None:
    seen = []

    def lm(tokens: Tensor, state: Any, memory: Any) -> tuple[Tensor, Any]:
        seen.append(memory)
        return torch.zeros(len(tokens), 5), state

    attends = MemoryModel(5, 3, 4)
    memory = attends.make_memory(3)
    fusion = ShallowFusion(attends, lm, 0.5)
    with_lm = best_first_search(fusion, (TableModel.initial(3), None), memory=memory, start=1, eos=0, max_length=4)
    assert seen and all(memory is None for memory in seen)
    # A uniform language model costs log 5 / 2 a token.
    for b in range(3):
        tokens = with_lm.best(b)
        rows = [log_softmax(attends.oracle_with(b, memory)([1, *tokens[:t]]))[token] for t, token in enumerate(tokens)]
        assert float(with_lm.scores[b, 0]) == pytest.approx(sum(rows) - len(tokens) * math.log(5) / 2, rel=1e-5)


def test_prefill_where_all_have_one() -> None:
    members = [PrefillModel(m) for m in tables(5)]
    start = torch.tensor([[1, 2, 3], [2, 2, 1], [4, 1, 1]])
    options: dict[str, Any] = {"start": start, "eos": 0, "max_length": 5}
    for make in (Ensemble, lambda steps: ShallowFusion(*steps, 0.5)):
        prefilled = best_first_search(make(members), initial(), **options)
        fed = best_first_search(make(tables(5)), initial(), **options)
        assert torch.equal(prefilled.tokens, fed.tokens)
        torch.testing.assert_close(prefilled.scores, fed.scores)
        assert prefilled.stats.steps == fed.stats.steps - 2
        assert make([members[0], tables(5)[1]]).prefill is None
    assert [len(m.prefilled) for m in members] == [2, 2]


def test_an_ensemble_of_one_is_that_one() -> None:
    model = TableModel(6, 3)
    alone = greedy_search(model, TableModel.initial(4), start=1, eos=0, max_length=8)
    found = greedy_search(Ensemble([model]), (TableModel.initial(4),), start=1, eos=0, max_length=8)
    assert torch.equal(found.tokens, alone.tokens)
    torch.testing.assert_close(found.scores, alone.scores)


def ensemble(*steps: Any, state: Any = (None, None), memory: Any = None) -> Any:
    return Ensemble(steps).step(torch.tensor([0]), state, memory)


def fusion(step: Any, lm_step: Any, state: Any = (None, None)) -> Any:
    return ShallowFusion(step, lm_step, 1.0).step(torch.tensor([0]), state, None)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Ensemble([]), r"Ensemble: expected at least one step; got none"),
        (lambda: Ensemble([rows(ONE), 3]), r"Ensemble: expected step to be callable or to have a method step; got int"),
        (lambda: Ensemble([rows(ONE)], mode="mean"), r'expected mode "linear" or "log_linear"; got \'mean\''),
        (lambda: Ensemble([rows(ONE)], [1.0, 2.0]), r"expected 1 positive weights, one per step; got \[1.0, 2.0\]"),
        (lambda: Ensemble([rows(ONE)], [0.0]), r"expected 1 positive weights"),
        (lambda: Ensemble([rows(ONE)], [math.nan]), r"expected 1 positive weights"),
        (
            lambda: Ensemble([rows(ONE), ShallowFusion(rows(ONE), rows(TWO), 1.0)]),
            r"Ensemble: expected step 1 to return logits or log-probabilities; got ShallowFusion",
        ),
        (lambda: ensemble(rows(ONE), rows(TWO), state=None), r"expected state to be a tuple of 2; got NoneType"),
        (lambda: ensemble(rows(ONE), state=(1, 2)), r"expected state to be a tuple of 1; got a tuple of 2"),
        (
            lambda: ensemble(rows(ONE), rows(TWO), memory=torch.ones(2)),
            r"expected memory to be a tuple of 2; got Tensor",
        ),
        (
            lambda: ensemble(rows(ONE), rows(ONE[:2])),
            r"expected logits \(1, 3\) from step 1, as from step 0; got \(1, 2\)",
        ),
        (
            lambda: ensemble(rows(ONE, attention=[1.0]), rows(TWO, attention=[0.5, 0.5])),
            r"expected attention \(1, 1\) from step 1, as from step 0; got \(1, 2\)",
        ),
        (lambda: ensemble(rows(ONE), lambda *args: 3), r"expected \(logits, state\) or .* from step 1; got int"),
        (lambda: ensemble(rows(ONE), lambda *args: (1, 2)), r"expected floating logits \(R, V\) from step 1; got int"),
        (
            lambda: ensemble(rows(ONE), lambda *args: (torch.zeros(1, 3), None, torch.zeros(3))),
            r"expected floating attention \(R, T\) from step 1; got torch.float32 \(3,\)",
        ),
        (lambda: ShallowFusion(rows(ONE), rows(TWO), -0.1), r"ShallowFusion: expected a finite weight >= 0; got -0.1"),
        (lambda: ShallowFusion(rows(ONE), rows(TWO), math.inf), r"expected a finite weight"),
        (lambda: ShallowFusion(rows(ONE), rows(TWO), "1"), r"expected a finite weight"),
        (
            lambda: ShallowFusion(rows(ONE), ShallowFusion(rows(ONE), rows(TWO), 1.0), 1.0),
            r"ShallowFusion: expected lm_step to return logits or log-probabilities; got ShallowFusion",
        ),
        (lambda: fusion(rows(ONE), rows(TWO), state=None), r"expected state to be a pair.*got NoneType"),
        (lambda: fusion(rows(ONE), rows(TWO), state=(1, 2, 3)), r"expected state to be a pair.*got a tuple of 3"),
        (
            lambda: fusion(rows(ONE), rows(ONE[:2])),
            r"expected logits \(1, 3\) from lm_step, as from step; got \(1, 2\)",
        ),
        (lambda: fusion(rows(ONE), lambda *args: None), r"expected \(logits, state\) .* from lm_step; got NoneType"),
    ],
)
def test_errors_say_who_and_what(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
