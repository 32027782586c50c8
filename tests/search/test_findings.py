"""What a reviewer once found wrong stays right."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

import s2sfast
from s2sfast import LengthPenalty, Pruning, beam_search, beam_topk, exhaustive_search, rules
from tests.over import normals
from tests.search.models import TableModel

TABLE = normals(3)(50, 7) * 2


def step(tokens: Tensor, state: Any, memory: Any) -> tuple[Tensor, Any]:
    return TABLE[tokens], state


def dead_after_4(tokens: Tensor, state: Any, memory: Any) -> tuple[Tensor, Any]:
    logits = TABLE[tokens].clone()
    logits[:, 0] = -torch.inf
    logits[tokens == 4] = -torch.inf
    return logits, state


def test_exhaustive_search_never_returns_the_impossible() -> None:
    result = exhaustive_search(dead_after_4, None, start=1, eos=0, batch_size=1, max_length=3, n_best=9)
    alive = result.lengths[0] > 0
    assert result.scores[0][alive].isfinite().all()
    for tokens, length in zip(result.tokens[0][alive].tolist(), result.lengths[0][alive].tolist(), strict=True):
        assert 4 not in tokens[: length - 1]
    wide = beam_search(
        dead_after_4, None, start=1, eos=0, batch_size=1, max_length=3, n_best=9, beam=343, rules="exact"
    )
    assert torch.equal(wide.tokens, result.tokens)


@pytest.mark.parametrize(
    "wrong", [{"temperature": 0.0}, {"n_best": 0}, {"max_length": 0}, {"eos": 99}, {"max_length": torch.tensor([3])}]
)
def test_exhaustive_search_checks_its_arguments(wrong: dict[str, Any]) -> None:
    good = {"start": 1, "eos": 0, "batch_size": 1, "max_length": 3}
    with pytest.raises(ValueError, match="exhaustive_search"):
        exhaustive_search(step, None, **{**good, **wrong})


def test_exhaustive_search_of_nothing() -> None:
    assert exhaustive_search(step, None, start=1, eos=0, batch_size=0, max_length=3, n_best=2).scores.shape == (0, 2)


@pytest.mark.parametrize("rule", ["exact", "hf"])
@pytest.mark.parametrize(
    "penalty", [1.0, -0.5, 0.7, 0.0, LengthPenalty("gnmt", 0.6), LengthPenalty("marian", 0.8, 0.1)]
)
def test_lengths_that_differ_change_no_bit(penalty: Any, rule: str) -> None:
    options = {"eos": 0, "beam": 3, "n_best": 3, "max_length": 7, "rules": rule, "length_penalty": penalty}
    start, lengths = torch.tensor([[1, 2, 5], [3, -1, -1], [6, 4, -1]]), torch.tensor([3, 1, 2])
    together = beam_search(step, None, start=start, prefix_lengths=lengths, **options)
    for b in range(3):
        alone = beam_search(step, None, start=start[b : b + 1, : lengths[b]], **options)
        assert torch.equal(alone.scores[0], together.scores[b])


def test_a_dead_row_before_a_processor_is_no_error() -> None:
    def dead(tokens: Tensor, state: Any, memory: Any) -> tuple[Tensor, Any]:
        return torch.full((len(tokens), 7), -torch.inf), state

    result = beam_search(dead, None, start=1, eos=0, batch_size=1, processors=[lambda tokens, log_probs: log_probs])
    assert result.lengths.tolist() == [[0]]
    with pytest.raises(ValueError, match="log_probs from the processors"):
        beam_search(step, None, start=1, eos=0, batch_size=1, processors=[lambda tokens, x: x * torch.nan])


def test_a_sentence_without_beams_calls_the_model_no_more() -> None:
    def ends_dead(tokens: Tensor, state: Tensor, memory: Any) -> tuple[Tensor, Tensor]:
        return torch.where(state[:, None] > 0, -torch.inf, TABLE[tokens]), state + 1

    assert beam_search(ends_dead, torch.zeros(1), start=1, eos=6, max_length=50).stats.steps <= 2


def test_results_are_float32_whatever_the_default() -> None:
    torch.set_default_dtype(torch.float64)
    try:
        result = beam_search(step, None, start=1, eos=0, batch_size=1, max_length=5)
        oracle = exhaustive_search(step, None, start=1, eos=0, batch_size=1, max_length=3)
    finally:
        torch.set_default_dtype(torch.float32)
    for found in (result, oracle):
        assert {found.scores.dtype, found.log_probs.dtype, found.token_log_probs.dtype} == {torch.float32}


def test_a_step_may_not_change_its_dtype() -> None:
    def fickle(tokens: Tensor, state: Tensor, memory: Any) -> tuple[Tensor, Tensor]:
        return TABLE[tokens].to(torch.float64 if state[0] > 1 else torch.float32), state + 1

    with pytest.raises(ValueError, match=r"step 2: expected torch.float32 logits.*got torch.float64"):
        beam_search(fickle, torch.zeros(1), start=1, eos=0, max_length=9, length_penalty=0.0)


class Cache(dict):
    """A container that reorders itself."""

    moved = 0

    def reorder(self, index: Tensor) -> None:
        Cache.moved += 1


@dataclass
class Counted:
    code: Tensor
    seen: list = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        Counted.made += 1

    made = 0


def test_states_keep_their_kind() -> None:
    Cache.moved = 0
    beam_search(step, Cache(), start=1, eos=0, batch_size=1, max_length=4)
    assert Cache.moved > 0
    state = defaultdict(list, {"a": torch.zeros(1)})
    kinds = []

    def look(tokens: Tensor, state: Any, memory: Any) -> tuple[Tensor, Any]:
        kinds.append(type(state))
        return TABLE[tokens], state

    beam_search(look, state, start=1, eos=0, max_length=4)
    assert set(kinds) == {defaultdict}
    before = Counted.made
    beam_search(step, Counted(torch.zeros(1)), start=1, eos=0, max_length=4)
    assert Counted.made == before + 1


@pytest.mark.parametrize(
    ("option", "wrong"),
    [
        ("batch_size", -1), ("batch_size", 2.0), ("start", None), ("start", [[1], [2, 3]]), ("temperature", "1"),
        ("processors", None), ("rules", rules.HF), ("rules", None), ("length_penalty", LengthPenalty("gnmt", "x")),
        ("length_penalty", lambda log_prob, length: 3), ("max_length", torch.tensor([True])),
    ],
)  # fmt: skip
def test_a_wrong_option_is_named(option: str, wrong: Any) -> None:
    good = {"start": 1, "eos": 0, "batch_size": 1, "max_length": 3}
    with pytest.raises(ValueError, match=option if option != "length_penalty" else "ength"):
        beam_search(step, None, **{**good, option: wrong})


def test_the_op_says_what_type_is_wrong() -> None:
    logits, scores = torch.zeros(1, 2, 3), torch.zeros(1, 2)
    for arguments, options, message in (
        ((logits, scores, 3.0), {}, "expected an integer k; got 3.0"),
        ((logits.cpu().numpy(), scores, 3), {}, "expected logits to be a tensor; got ndarray"),
        ((logits, scores, 3), {"bias": 0.5}, "expected bias to be a tensor; got float"),
        ((logits, scores, 3), {"pruning": (0.6, 2.5)}, "expected pruning to be a Pruning"),
        ((logits.to(torch.complex64), scores, 3), {}, "expected floating logits"),
    ):
        with pytest.raises(ValueError, match=message):
            beam_topk(*arguments, **options)
    with pytest.raises(ValueError, match="max_per_beam"):
        Pruning(max_per_beam=10**30)


def test_the_tree_leaves_the_prefix_out() -> None:
    start, lengths = torch.tensor([[1, 2, 5], [3, -1, -1]]), torch.tensor([3, 1])
    options = {"eos": 0, "beam": 3, "max_length": 5, "return_tree": True, "pruning": Pruning(absolute=3.0)}
    together = beam_search(step, None, start=start, prefix_lengths=lengths, **options)
    for b in range(2):
        alone = beam_search(step, None, start=start[b : b + 1, : lengths[b]], **options)
        assert together.tree.nodes(b) == alone.tree.nodes(0)
        path = [node for node in together.tree.nodes(b) if node.fate == "finished"]
        assert all(node.token == 0 or node.step == 4 for node in path)


@pytest.mark.parametrize("rule", ["hf", "exact", "fairseq", "opennmt", "ctranslate2", "allennlp"])
def test_strided_logits_and_min_length(rule: str) -> None:
    """A column of a wider tensor, as a model's last position is."""
    model = TableModel(9, seed=3, bias={0: 1.0})

    def strided(tokens: Tensor, state: Tensor, memory: Any) -> tuple[Tensor, Tensor]:
        logits, state = model(tokens, state, memory)
        return logits.T.contiguous().T, state

    options = {"start": 1, "eos": 0, "beam": 3, "max_length": 6, "min_length": 2, "rules": rule}
    expected = s2sfast.beam_search(model, model.initial(2), **options)
    found = s2sfast.beam_search(strided, model.initial(2), **options)
    assert torch.equal(found.tokens, expected.tokens) and torch.equal(found.scores, expected.scores)


def test_a_tracker_of_ones_own_in_a_diverse_search() -> None:
    class Never:
        def begin(self, beginning: Any) -> Any:
            return self

        def __call__(self, log_probs: Tensor) -> Tensor:
            return log_probs.index_fill(1, torch.tensor([4]), -float("inf"))

        def follow(self, rows: Tensor, tokens: Tensor) -> None:
            pass

    model = TableModel(9, seed=3)
    options = {"start": 1, "eos": 0, "beam": 4, "groups": 2, "strength": 0.5, "max_length": 6}
    found = s2sfast.diverse_beam_search(model, model.initial(2), **options, processors=[Never()])
    assert 4 not in found.tokens and 4 in s2sfast.diverse_beam_search(model, model.initial(2), **options).tokens
