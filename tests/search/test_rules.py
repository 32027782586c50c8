"""rules="fairseq" | "opennmt" | "ctranslate2" | "allennlp" against what those systems do: tests/search/elsewhere.py."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import elsewhere
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from models import MemoryModel, TableModel
from oracles import Outcome, gnmt, power
from test_exact import NOISE, check, few

from s2sfast import CoveragePenalty, LengthPenalty, beam_search, rules

SYSTEMS: dict[str, Callable[..., Outcome]] = {
    "fairseq": elsewhere.fairseq,
    "opennmt": elsewhere.opennmt,
    "ctranslate2": elsewhere.ctranslate2,
    "allennlp": elsewhere.allennlp,
}
thorough = settings(few, max_examples=200)
ALPHAS = (1.0, 0.0, 0.6, 2.0, -0.5)
BIASES = (0.5, -1.0, 1.5, 3.0)  # of eos


@st.composite
def cases(draw: Any) -> dict[str, Any]:
    """beam <= V - 1: below that the systems themselves go on with candidates of probability zero."""
    vocab = draw(st.sampled_from([3, 4, 5, 7, 12]))
    beam = draw(st.integers(1, min(6, vocab - 1)))
    batch = draw(st.integers(1, 4))
    young = draw(st.sampled_from([0, 0, 1, 3]))
    lengths = st.integers(young + 1, 10)
    return {
        "model": TableModel(
            vocab,
            draw(st.integers(0, 15)),
            draw(st.sampled_from([0.4, 1.5, 3.0])),
            {0: draw(st.sampled_from(BIASES))},
        ),
        "sentences": draw(st.lists(st.integers(0, 4000), min_size=batch, max_size=batch, unique=True)),
        "max_length": draw(st.lists(lengths, min_size=batch, max_size=batch)),
        "shared": {"beam": beam, "n_best": draw(st.integers(1, beam)), "min_length": young},
        "alpha": draw(st.sampled_from(ALPHAS)),
    }


def compare(case: dict[str, Any], rule: Any, search: Callable[..., Outcome], **own: Any) -> None:
    eos, penalty = own.pop("eos", {0}), own.pop("length_penalty", case["alpha"])
    expected = [
        search(case["model"].oracle(sentence), [1], eos=eos, max_length=length, **case["shared"], **own)
        for sentence, length in zip(case["sentences"], case["max_length"], strict=True)
    ]
    assume(min(e.gap for e in expected) > NOISE)
    result = beam_search(
        case["model"],
        TableModel.initial(case["sentences"]),
        start=1,
        eos=sorted(eos),
        max_length=torch.tensor(case["max_length"]),
        length_penalty=penalty,
        rules=rule,
        **case["shared"],
    )
    for b, e in enumerate(expected):
        check(result, b, e.hypotheses, n_best=case["shared"]["n_best"])


@given(case=cases())
@thorough
def test_fairseq(case: dict[str, Any]) -> None:
    compare(case, "fairseq", elsewhere.fairseq, norm=power(case["alpha"]))


@given(case=cases(), wu=st.booleans())
@thorough
def test_opennmt(case: dict[str, Any], wu: bool) -> None:
    norm = gnmt(case["alpha"]) if wu else power(case["alpha"])
    penalty = LengthPenalty("gnmt" if wu else "average", case["alpha"])
    compare(case, "opennmt", elsewhere.opennmt, norm=norm, length_penalty=penalty)


@given(case=cases(), patience=st.sampled_from([1.0, 0.5, 1.5, 2.0, 3.1]))
@thorough
def test_ctranslate2(case: dict[str, Any], patience: float) -> None:
    wanted = math.floor(case["shared"]["beam"] * patience + 0.5)
    assume(case["shared"]["n_best"] <= wanted)
    norm = power(case["alpha"]) if case["alpha"] else None
    compare(case, rules.CTranslate2(patience), elsewhere.ctranslate2, norm=norm, patience=patience)


@given(case=cases(), eos=st.sets(st.integers(0, 2), min_size=2, max_size=2))
@thorough
def test_ctranslate2_with_two_eos(case: dict[str, Any], eos: set[int]) -> None:
    norm = power(case["alpha"]) if case["alpha"] else None
    compare(case, "ctranslate2", elsewhere.ctranslate2, norm=norm, eos=eos)


@given(case=cases(), width=st.sampled_from([None, 1, 2, 3]))
@thorough
def test_allennlp(case: dict[str, Any], width: int | None) -> None:
    assume(width is None or width <= case["shared"]["beam"])
    compare(case, rules.AllenNLP(width), elsewhere.allennlp, norm=power(case["alpha"]), per_node=width)


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("backend", ["fast", "reference"])
def test_on_a_larger_vocabulary(system: str, backend: Any) -> None:
    model, compared = TableModel(60, seed=4, bias={0: 2.0}), 0
    options = {"beam": 6, "n_best": 4, "max_length": 10}
    result = beam_search(model, model.initial(8), start=1, eos=0, rules=system, backend=backend, **options)
    for b in range(8):
        expected = SYSTEMS[system](model.oracle(b), [1], eos={0}, norm=power(1.0), **options)
        if expected.gap > NOISE:
            check(result, b, expected.hypotheses, n_best=4)
            compared += 1
    assert compared >= 5


@pytest.mark.parametrize("system", ["opennmt", "ctranslate2"])
@pytest.mark.parametrize("kind", ["gnmt", "summary"])
def test_coverage_decides_between_finished_hypotheses_only(system: str, kind: Any) -> None:
    """With and without a length penalty: CTranslate2 stops by another rule when it has neither."""
    places, beta, compared, changed = 4, 2.0, 0, 0
    options = {"beam": 3, "n_best": 3, "max_length": 6}
    memory = torch.zeros(4, places, 7)
    memory[:, :, 0] = 1.0  # eos a little likelier
    for seed, alpha in itertools.product(range(6), (0.0, 0.6)):
        model = MemoryModel(7, places, seed=seed)
        common = {"start": 1, "eos": 0, "memory": memory, "rules": system, "length_penalty": alpha, **options}
        plain = beam_search(model, model.initial(4), **common)
        result = beam_search(model, model.initial(4), coverage_penalty=CoveragePenalty(kind, beta), **common)
        for b in range(4):
            extra = elsewhere.coverage(partial(attention_after, model, b), kind, beta)
            norm = None if system == "ctranslate2" and alpha == 0 else power(alpha)
            oracle = model.oracle_with(b, memory)
            expected = SYSTEMS[system](oracle, [1], eos={0}, norm=norm, extra=extra, **options)
            if expected.gap > NOISE:
                check(result, b, expected.hypotheses, n_best=3)
                compared += 1
                changed += everything(result, b) != everything(plain, b)
    assert compared > 40 and changed > 5


def everything(result: Any, b: int) -> list[list[int]]:
    return [result.tokens[b, i, :length].tolist() for i, length in enumerate(result.lengths[b].tolist())]


def attention_after(model: MemoryModel, sentence: int, tokens: Sequence[int]) -> list[float]:
    return model.attention[model.after(sentence, [1, *tokens])].tolist()


A, B, END = 0, 1, 2
NEXT = torch.tensor([[0.6, 0.1, 0.3], [0.7, 0.2, 0.1], [0.1, 0.5, 0.4]]).log()  # after a, after b, at the beginning
BY_HAND = {
    "fairseq": [([B, A, END], 0.105, 3), ([END], 0.4, 1)],
    "opennmt": [([B, A, A], 0.21, 4), ([END], 0.4, 2)],
    "ctranslate2": [([B, A, A], 0.21, 3), ([B, A, END], 0.105, 3)],
    "allennlp": [([B, A, A], 0.21, 3), ([END], 0.4, 1)],
    "hf": [([B, A, A], 0.21, 3), ([B, A, END], 0.105, 3)],
    "exact": [([B, A, A], 0.21, 3), ([B, A, END], 0.105, 3)],
}  # (tokens, probability, the length that divides its logarithm)


@pytest.mark.parametrize("system", BY_HAND)
def test_one_model_by_hand(system: str) -> None:
    """Two beams, three tokens at most, ln p / length. Probabilities of what is written as a word:

        step 1   b .5    e .4    a .1                                     (e: the end)
        step 2   ba .35  bb .10  be .05  |  aa .06   ae .03   ab .01
        step 3   baa .21 bae .105 bab .035 | bba .07  bbb .02  bbe .01

    fairseq, CTranslate2, transformers and "exact" rank four candidates in step 1: b, e, a. e is one of the two best, so
    it is a hypothesis, and b and a run on. Step 2: ba, bb, aa, be; no end among the two best; ba and bb run on. Step 3
    is the last:
      fairseq lets only the end follow: bae, bbe. One place is left of two; bae takes it.
        ln .105 / 3 = -.751, ln .4 / 1 = -.916.
      CTranslate2 and transformers make hypotheses of the two best, ended or not: baa and bae. transformers keeps two of
      the three it has.  ln .21 / 3 = -.520, ln .105 / 3 = -.751, then e.
      "exact" takes bae because it ends among the two best, and what would run on, baa and bba (ln .07 / 3 = -.886).

    OpenNMT-py ranks two: b and e. e is a hypothesis and nothing takes its place: b runs alone. Step 2: ba, bb. Step 3:
    baa and bae are hypotheses. It counts the start symbol: ln .21 / 4 = -.390, ln .4 / 2 = -.458, ln .105 / 4 = -.563.

    AllenNLP keeps b .5 and e .4. Step 2: e .4, ba .35; bb .10 is out. Step 3: e .4, baa .21; bae .105 is out.
    ln .21 / 3 = -.520, ln .4 / 1 = -.916.
    """

    def step(tokens: torch.Tensor, state: Any, memory: Any) -> tuple[torch.Tensor, Any]:
        return NEXT[tokens], state

    options = {"start": END, "eos": END, "beam": 2, "n_best": 2, "max_length": 3, "batch_size": 1}
    result = beam_search(step, None, rules=system, length_penalty=1.0, **options)
    for i, (tokens, probability, length) in enumerate(BY_HAND[system]):
        assert result.tokens[0, i, : result.lengths[0, i]].tolist() == tokens
        assert bool(result.finished[0, i]) == (tokens[-1] == END)
        assert float(result.scores[0, i]) == pytest.approx(math.log(probability) / length, rel=1e-5)


@pytest.mark.parametrize(("system", "second"), [("opennmt", ([A, END], 0.09)), ("ctranslate2", ([B, END], 0.12))])
def test_the_top_beam_finishes_once_and_for_all(system: str, second: tuple[list[int], float]) -> None:
    """Two beams, the two best, no length penalty: OpenNMT-py and CTranslate2 leave early.

        step 1   e .5    a .3    b .2
        step 2   aa .18  ae .09  ab .03  |  be .12  ba .04  bb .04

    e is the top of step 1, but one hypothesis is not two: both go on. OpenNMT-py with a alone: of aa and ae the second
    ends, e and ae are two, and the top has once been an end: it leaves, although aa is the top now. CTranslate2 had put
    b in the place of e: of aa and be the second ends, and it leaves with e and be. Nine tokens would be allowed.
    """
    after = torch.tensor([[0.6, 0.1, 0.3], [0.2, 0.2, 0.6], [0.3, 0.2, 0.5]]).log()

    def step(tokens: torch.Tensor, state: Any, memory: Any) -> tuple[torch.Tensor, Any]:
        return after[tokens], state

    options = {"start": END, "eos": END, "beam": 2, "n_best": 2, "max_length": 9, "batch_size": 1}
    result = beam_search(step, None, rules=system, length_penalty=0.0, **options)
    assert result.stats.steps == 2
    for i, (tokens, probability) in enumerate([([END], 0.5), second]):
        assert result.tokens[0, i, : result.lengths[0, i]].tolist() == tokens
        assert float(result.scores[0, i]) == pytest.approx(math.log(probability), rel=1e-5)
