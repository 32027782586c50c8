"""Wrong steps, states and options: an error that names the step or the option and what was expected."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from models import TableModel
from torch import Tensor

import s2sfast
from s2sfast import Pruning, beam_search, greedy_search, rules

ERRORS = (ValueError, TypeError, RuntimeError, NotImplementedError)
VOCAB, BATCH, BEAM = 7, 2, 3


def break_third_call(fault: Callable[[Tensor, Tensor], Any]) -> Callable[..., Any]:
    """A step that does as it should twice and then returns fault(logits, state)."""
    model = TableModel(VOCAB, seed=1, bias={0: -9.0})

    def step(tokens: Tensor, state: Tensor, memory: Any) -> Any:
        logits, state = model(tokens, state, memory)
        return fault(logits, state) if len(model.rows) == 3 else (logits, state)

    return step


def with_nan(logits: Tensor) -> Tensor:
    logits = logits.clone()
    logits[BEAM, 2] = torch.nan  # the best beam of sentence 1
    return logits


THIRD = r"(?is)\bstep\s*#?[23]\b"  # the third call, counted from 0 or from 1
FAULTS = {
    "one row too few": (lambda x, s: (x[:-1], s), [r"\b6\b", r"\b5\b", "logits"]),
    "another vocabulary": (lambda x, s: (x[:, :-1], s), [r"\b7\b", r"\b6\b", "logits"]),
    "one dimension": (lambda x, s: (x[0], s), [r"\b6\b", "logits"]),
    "three dimensions": (lambda x, s: (x[:, None], s), [r"\b6\b", "logits"]),
    "integer logits": (lambda x, s: (x.long(), s), ["int64", "float", "logits"]),
    "boolean logits": (lambda x, s: (x > 0, s), ["bool", "float", "logits"]),
    "a list of logits": (lambda x, s: (x.tolist(), s), ["list", "logits"]),
    "nothing": (lambda x, s: None, ["None", "logits"]),
    "logits alone": (lambda x, s: x, ["Tensor", "state"]),
    "four things": (lambda x, s: (x, s, None, None), [r"\b4\b", "state"]),
    "state of other rows": (lambda x, s: (x, s[:-1]), ["state", r"\b6\b", r"\b5\b"]),
}


@pytest.mark.parametrize("backend", ["fast", "reference"])
@pytest.mark.parametrize("name", FAULTS)
def test_a_wrong_return_names_the_step_and_what_was_expected_and_got(name: str, backend: Any) -> None:
    fault, words = FAULTS[name]
    step = break_third_call(fault)
    with pytest.raises(ERRORS, match=THIRD) as error:
        beam_search(step, TableModel.initial(BATCH), start=1, eos=0, beam=BEAM, max_length=9, backend=backend)
    for word in ["expected", *words]:
        assert re.search(f"(?i){word}", str(error.value)), (word, str(error.value))


@pytest.mark.parametrize("backend", ["fast", "reference"])
@pytest.mark.parametrize("rule", ["exact", "hf"])
def test_nan_names_the_step_the_sentence_and_the_beam(rule: str, backend: Any) -> None:
    step = break_third_call(lambda x, s: (with_nan(x), s))
    with pytest.raises(ValueError, match=THIRD) as error:
        beam_search(
            step, TableModel.initial(BATCH), start=1, eos=0, beam=BEAM, max_length=9, rules=rule, backend=backend
        )
    assert "nan" in str(error.value).lower()
    assert "sentence 1" in str(error.value) and "beam 0" in str(error.value)


def test_nan_names_the_callers_sentence_after_others_have_left() -> None:
    model = TableModel(VOCAB, seed=1, bias={0: -torch.inf})
    model.table = torch.cat([model.table, model.table]).clone()

    def step(tokens: Tensor, state: Tensor, memory: Any) -> tuple[Tensor, Tensor]:
        logits, state = model(tokens, state, memory)
        return (with_nan(logits[:BEAM].repeat(2, 1))[BEAM:], state) if len(model.rows) == 4 else (logits, state)

    limits = torch.tensor([2, 2, 8])  # sentences 0 and 1 leave after two steps
    with pytest.raises(ValueError, match=r"(?i)sentence 2\b"):
        beam_search(step, model.initial(3), start=1, eos=0, beam=BEAM, max_length=limits)


def test_a_wrong_first_step_is_noticed_as_the_first() -> None:
    model = TableModel(VOCAB)
    with pytest.raises(ERRORS, match=r"(?is)\bstep\s*#?[01]\b.*") as error:
        beam_search(lambda t, s, m: (model.table[:5], s), model.initial(BATCH), start=1, eos=0)
    assert "expected" in str(error.value)


@pytest.mark.parametrize("backend", ["fast", "reference"])
def test_an_exception_inside_step_passes_through_unchanged(backend: Any) -> None:
    class Mine(Exception):
        pass

    mine = Mine("as it was")

    def fault(logits: Tensor, state: Tensor) -> Any:
        raise mine

    for search in (beam_search, greedy_search):
        with pytest.raises(Mine) as error:
            search(break_third_call(fault), TableModel.initial(2), start=1, eos=0, max_length=9, backend=backend)
        assert error.value is mine and error.value.args == ("as it was",) and error.value.__cause__ is None
        assert not getattr(error.value, "__notes__", [])
    assert torch.is_grad_enabled()


def test_an_attribute_error_inside_prefill_or_step_is_not_mistaken_for_a_missing_method() -> None:
    class Model:
        def step(self, tokens: Tensor, state: Any, memory: Any) -> Any:
            raise AttributeError("deep inside")

    with pytest.raises(AttributeError, match="deep inside"):
        beam_search(Model(), TableModel.initial(2), start=1, eos=0)


# Arguments

A, B2 = torch.zeros(3, dtype=torch.int64), torch.zeros(2, dtype=torch.int64)
DISAGREE: dict[str, dict[str, Any]] = {
    "rows of two state tensors": {"state": {"a": A, "b": B2}},
    "rows in another dimension": {"state": {"a": A, "b": torch.zeros(3, 2)}, "state_dims": {"a": 0, "b": 1}},
    "state and memory": {"state": A, "memory": torch.zeros(2, 4)},
    "two memories": {"state": A, "memory": (torch.zeros(3, 4), torch.zeros(2, 4))},
    "state and start": {"state": A, "start": torch.tensor([1, 1])},
    "state and prefix": {"state": A, "start": torch.ones(2, 4, dtype=torch.int64)},
    "state and max_length": {"state": A, "max_length": torch.tensor([4, 4])},
    "state and batch_size": {"state": A, "batch_size": 2},
    "start and batch_size": {"state": None, "start": torch.tensor([1, 1]), "batch_size": 3},
    "start and prefix_lengths": {
        "state": A,
        "start": torch.ones(3, 4, dtype=torch.int64),
        "prefix_lengths": torch.tensor([1, 2]),
    },
}


@pytest.mark.parametrize("name", DISAGREE)
def test_sizes_that_disagree_are_an_error_before_the_first_step(name: str) -> None:
    def step(tokens: Tensor, state: Any, memory: Any) -> Any:
        raise AssertionError("the step must not run")

    options = {"start": 1, "eos": 0} | DISAGREE[name]
    with pytest.raises(ValueError) as error:
        beam_search(step, options.pop("state"), **options)
    message = str(error.value)
    assert "3" in message and "2" in message, message
    assert any(word in message for word in ("state", "memory", "start", "prefix_lengths", "max_length", "batch_size"))


WRONG: dict[str, dict[str, Any]] = {
    "beam": {"beam": 0},
    "n_best": {"n_best": 0},
    "max_length": {"max_length": -1},
    "min_length": {"min_length": -1},
    "temperature": {"temperature": 0.0},
    "length_penalty": {"length_penalty": float("nan")},
    "prefix_lengths": {"start": torch.ones(2, 3, dtype=torch.int64), "prefix_lengths": torch.tensor([1, 4])},
    "start": {"start": torch.ones(2, 3, 1, dtype=torch.int64)},
    "eos": {"eos": 0.5},
    "backend": {"backend": "quick"},
    "rules": {"rules": "no_such_rules"},
    "early_stopping": {"rules": lambda: rules.HF(early_stopping="sometimes")},
    "relative": {"pruning": lambda: Pruning(relative=1.5)},
    "absolute": {"pruning": lambda: Pruning(absolute=-1.0)},
    "relative_local": {"pruning": lambda: Pruning(relative_local=0.0)},
    "max_per_beam": {"pruning": lambda: Pruning(max_per_beam=0)},
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_option_is_an_error_that_names_it(name: str) -> None:
    model = TableModel(VOCAB)
    with pytest.raises(ERRORS, match=name):
        options = {k: v() if callable(v) else v for k, v in WRONG[name].items()}
        beam_search(model, model.initial(2), **({"start": 1, "eos": 0} | options))


def test_one_dimension_tells_the_batch_and_batch_size_speaks_where_nothing_else_does() -> None:
    def best(**options: Any) -> list[list[int]]:
        result = beam_search(step, None, **({"start": 1, "eos": 0, "max_length": 8} | options))
        return [result.best(b) for b in range(len(result.lengths))]

    table = TableModel(VOCAB, seed=1).table

    def step(tokens: Tensor, state: Any, memory: Any) -> tuple[Tensor, Any]:
        return table[tokens], state

    by_size = best(batch_size=3)
    assert len(by_size) == 3
    assert best(start=torch.tensor([1, 1, 1])) == best(start=torch.tensor([[1], [1], [1]])) == by_size
    assert best(memory=torch.zeros(3, 1)) == best(memory={"deep": (torch.zeros(3, 4, 2),)}) == by_size


def test_a_max_length_per_sentence_tells_the_batch_too() -> None:
    table = TableModel(VOCAB, seed=1).table
    result = beam_search(lambda t, s, m: (table[t], s), None, start=1, eos=0, max_length=torch.tensor([3, 4, 5]))
    assert len(result.lengths) == 3


@pytest.mark.parametrize("dims", [{"b": 0}, [0], {"a": 0, "b": 0}, 3, "0"])
def test_state_dims_that_do_not_fit_the_state_are_an_error_that_names_them(dims: Any) -> None:
    model = TableModel(VOCAB)
    with pytest.raises((ValueError, TypeError), match="state"):
        beam_search(model, {"a": model.initial(2)}, start=1, eos=0, state_dims=dims)


def test_attention_that_changes_its_width_is_an_error_that_names_the_step() -> None:
    model = TableModel(VOCAB, seed=1, bias={0: -9.0})

    def step(tokens: Tensor, state: Tensor, memory: Any) -> Any:
        logits, state = model(tokens, state, memory)
        return logits, state, torch.zeros(len(tokens), 5 if len(model.rows) == 3 else 4)

    with pytest.raises(ERRORS, match=THIRD) as error:
        beam_search(step, model.initial(2), start=1, eos=0, return_attention=True)
    assert "attention" in str(error.value) and "expect" in str(error.value)


def test_attention_asked_of_a_step_that_returns_none_is_an_error() -> None:
    model = TableModel(VOCAB)
    with pytest.raises(ERRORS, match="attention"):
        beam_search(model, model.initial(2), start=1, eos=0, return_attention=True)


WRONG_OPTIONS: dict[str, dict[str, Any]] = {
    "coverage_penalty": {"coverage_penalty": 0.2},
    "CoveragePenalty": {"coverage_penalty": s2sfast.CoveragePenalty("wu", 0.2)},
    "beta": {"coverage_penalty": s2sfast.CoveragePenalty("gnmt", -1.0)},
    "attention": {"coverage_penalty": s2sfast.CoveragePenalty("gnmt", 0.2)},
    "regularizer": {"regularizer": object()},
    "on_step": {"on_step": 3},
    "ends": {"ends": "eos"},
    "rules": {"rules": "moses"},
}


@pytest.mark.parametrize("name", WRONG_OPTIONS)
def test_an_option_of_the_wrong_kind_is_refused_by_name(name: str) -> None:
    model = TableModel(VOCAB)
    with pytest.raises(ERRORS, match=name):
        beam_search(model, model.initial(2), start=1, eos=0, **WRONG_OPTIONS[name])


SEARCHES: dict[str, dict[str, Any]] = {
    "sample": {"seed": 0, "n_best": 3},
    "stochastic_beam_search": {"seed": 0, "beam": 3},
    "diverse_beam_search": {"groups": 3, "strength": 0.1, "beam": 3},
}


@pytest.mark.parametrize("fault", ["another vocabulary", "logits alone", "state of other rows"])
@pytest.mark.parametrize("name", SEARCHES)
def test_every_search_names_itself_and_the_step_that_returned_the_wrong_thing(name: str, fault: str) -> None:
    step = break_third_call(FAULTS[fault][0])
    with pytest.raises(ValueError, match=rf"{name}: step 2: expected"):
        getattr(s2sfast, name)(step, TableModel.initial(BATCH), start=1, eos=0, max_length=9, **SEARCHES[name])


@pytest.mark.parametrize("name", SEARCHES)
def test_every_search_refuses_what_beam_search_refuses(name: str) -> None:
    model = TableModel(VOCAB)
    for word, options in {"eos": {"eos": 9}, "backend": {"backend": "quick"}, "memory": {"memory": [A]}}.items():
        with pytest.raises(ValueError, match=word):
            getattr(s2sfast, name)(model, model.initial(2), **({"start": 1, "eos": 0} | SEARCHES[name] | options))
