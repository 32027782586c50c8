"""What a search shows while it runs: on_step, stream, and candidates that end by a callable."""

from __future__ import annotations

import collections
import itertools
from typing import Any

import pytest
import torch

import s2sfast
from s2sfast import Pruning, beam_search
from tests.search.models import PrefillModel, TableModel

RULES = ["hf", "exact", "fairseq", "opennmt", "ctranslate2", "allennlp"]
OPTIONS: dict[str, Any] = {"start": 1, "eos": 0, "beam": 4, "max_length": 9}


def drained(generator: Any) -> tuple[list[s2sfast.search.Chunk], Any]:
    chunks = []
    while True:
        try:
            chunks.append(next(generator))
        except StopIteration as stop:
            return chunks, stop.value


def same(a: Any, b: Any) -> None:
    for name in ("tokens", "lengths", "scores", "log_probs", "finished"):
        assert torch.equal(getattr(a, name), getattr(b, name)), name


# --- stream --------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("seed", range(6))
def test_joined_chunks_are_the_best_hypothesis_and_nothing_is_taken_back(rule: str, seed: int) -> None:
    model = TableModel(7, seed=seed, scale=2.0)
    options = {**OPTIONS, "rules": rule, "n_best": 2, "length_penalty": seed / 3}
    chunks, result = drained(s2sfast.stream(model, model.initial(5), **options))
    same(result, beam_search(model, model.initial(5), **options))
    for b in range(5):
        mine = [chunk for chunk in chunks if chunk.sentence == b]
        assert [token for chunk in mine for token in chunk.tokens] == result.best(b)
        assert [chunk.final for chunk in mine] == [False] * (len(mine) - 1) + [True]


def test_a_stable_prefix_is_told_in_the_very_step_that_makes_it_so() -> None:
    """Two beams. Step 1: A and B run. Step 2: A's children beat B's, so both beams begin with A, and A is told."""
    after = {  # eos, A, B, C
        (): [0.0, 0.6, 0.4, 0.0],
        (1,): [0.0, 0.0, 0.5, 0.5],
        (2,): [0.4, 0.2, 0.2, 0.2],
        (1, 2): [1.0, 0.0, 0.0, 0.0],
        (1, 3): [0.5, 0.5, 0.0, 0.0],
    }

    def step(tokens: torch.Tensor, state: torch.Tensor, memory: Any) -> Any:
        state = torch.cat((state, tokens[:, None]), 1)
        return torch.tensor([after[tuple(row[1:])] for row in state.tolist()]).log(), state

    told = s2sfast.stream(step, torch.zeros(1, 0).long(), start=9, eos=0, beam=2, max_length=3, length_penalty=0.0)
    chunks, result = drained(told)
    assert chunks == [(0, [1], False), (0, [2, 0], True)] and result.best(0) == [1, 2, 0]


def test_streams_with_ragged_prefixes_and_with_prefill() -> None:
    model = TableModel(6, seed=4)
    prefix, lengths = torch.tensor([[1, 2, 3], [4, 0, 0]]), torch.tensor([3, 1])
    options = {**OPTIONS, "start": prefix, "prefix_lengths": lengths}
    chunks, result = drained(s2sfast.stream(model, model.initial(2), **options))
    for b in range(2):
        assert [t for c in chunks if c.sentence == b for t in c.tokens] == result.best(b)
    options = {**OPTIONS, "start": prefix}
    chunks, result = drained(s2sfast.stream(PrefillModel(model), model.initial(2), **options))
    for b in range(2):
        assert [t for c in chunks if c.sentence == b for t in c.tokens] == result.best(b)


def test_a_stream_that_is_left_early_leaves_nothing_behind() -> None:
    model = TableModel(7, seed=4, bias={0: -9.0})
    told = s2sfast.stream(model, model.initial(1), **OPTIONS)
    next(told)
    assert torch.is_grad_enabled()
    told.close()
    assert torch.is_grad_enabled() and len(model.rows) < 9


@pytest.mark.parametrize("wrong", [{}, {"start": 1}, {**OPTIONS, "beems": 3}])
def test_a_stream_refuses_options_that_a_search_does_not_have(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="stream: expected"):
        next(s2sfast.stream(TableModel(5), TableModel.initial(1), **wrong))


# --- on_step -------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
def test_the_view_shows_what_runs_on(rule: str) -> None:
    model = TableModel(11, seed=2)
    steps, fed = [], []

    def watch(beams: s2sfast.LiveBeams) -> None:
        steps.append(beams.step)
        live = beams.scores > -torch.inf
        assert torch.equal(beams.tokens[..., -1], beams.last_tokens)
        assert bool((beams.tokens[..., 0] == 1).all()) and beams.tokens.shape[2] == beams.step + 2
        assert bool((beams.scores[:, :1] >= beams.scores).all())
        fed.append([beams.last_tokens[s][live[s]].tolist() for s in range(len(beams.sentences))])

    result = beam_search(model, model.initial(3), **OPTIONS, rules=rule, on_step=watch)
    assert steps == list(range(result.stats.steps))
    for shown, tokens in zip(fed[:-1], model.fed[1:], strict=True):  # what was shown is fed next, in this order
        flat = [t for sentence in shown for t in sentence]
        if rule in ("opennmt", "allennlp"):  # where places stay empty, rows without a hypothesis run along
            assert not collections.Counter(flat) - collections.Counter(tokens)
        else:
            assert flat == tokens
    same(result, beam_search(model, model.initial(3), **OPTIONS, rules=rule))


@pytest.mark.parametrize("rule", RULES)
def test_a_stopped_sentence_returns_what_ran_unfinished_and_the_others_do_not_notice(rule: str) -> None:
    model = TableModel(7, seed=2, bias={0: -3.0})

    def stop(beams: s2sfast.LiveBeams) -> None:
        if beams.step == 3 and 1 in beams.sentences.tolist():
            beams.stop(1)

    options = {**OPTIONS, "rules": rule, "n_best": 4}
    stopped = beam_search(model, model.initial(3), **options, on_step=stop)
    whole = beam_search(model, model.initial(3), **options)
    short = beam_search(model, model.initial(3), **{**options, "max_length": 4, "rules": "exact"})
    for b in (0, 2):
        assert stopped.tokens[b][stopped.tokens[b] >= 0].tolist() == whole.tokens[b][whole.tokens[b] >= 0].tolist()
        assert torch.equal(stopped.scores[b], whole.scores[b])
    assert stopped.best(1) == short.best(1) and not stopped.finished[1, 0]
    if rule != "opennmt":  # it counts the start symbol
        assert torch.equal(stopped.scores[1, 0], short.scores[1, 0])


def test_stopping_everything_ends_the_search_and_a_sentence_that_does_not_run_is_an_error() -> None:
    model = TableModel(7, seed=2, bias={0: -9.0})
    result = beam_search(model, model.initial(2), **OPTIONS, on_step=lambda beams: beams.stop())
    assert result.stats.steps == 1 and result.lengths.tolist() == [[1], [1]] and not result.finished.any()
    with pytest.raises(ValueError, match=r"LiveBeams.stop: expected sentences among \[0, 1\]; got 7"):
        beam_search(model, model.initial(2), **OPTIONS, on_step=lambda beams: beams.stop(7))


# --- ends ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
def test_a_callable_that_asks_for_eos_is_eos(rule: str) -> None:
    model = TableModel(7, seed=5)
    options = {**OPTIONS, "rules": rule, "n_best": 3}
    if rule == "fairseq":  # there the last token must be an eos, and a callable names none
        options["max_length"] = 60
    both = beam_search(model, model.initial(3), **{**options, "eos": [0, 4]})
    asked = beam_search(model, model.initial(3), **{**options, "eos": [0, 0]}, ends=lambda t: t[:, -1] == 4)
    if rule in ("hf", "exact", "allennlp", "opennmt"):
        assert both.best(0) == asked.best(0)
    for b in range(3):
        last = asked.tokens[b, 0, asked.lengths[b, 0] - 1]
        assert bool(asked.finished[b, 0]) == (int(last) in (0, 4))


def test_ends_sees_prefix_and_candidate_and_can_look_back() -> None:
    """A hypothesis ends as soon as the same token stands twice in a row, generated or in the prefix."""
    model = TableModel(5, seed=3, bias={0: -9.0})
    seen: list[tuple[int, ...]] = []

    def twice(tokens: torch.Tensor) -> torch.Tensor:
        seen.append(tuple(tokens.shape))
        return tokens[:, -1] == tokens[:, -2]

    result = beam_search(model, model.initial(2), **{**OPTIONS, "start": torch.tensor([[3, 1], [2, 2]])}, ends=twice)
    assert seen[0] == (2 * 8, 3)
    for b, last in enumerate((1, 2)):
        tokens = [last, *result.best(b)]
        pairs = [x == y for x, y in itertools.pairwise(tokens)]
        assert pairs == [False] * (len(pairs) - 1) + [bool(result.finished[b, 0])]


@pytest.mark.parametrize("wrong", [lambda t: t[:, -1], lambda t: torch.zeros(3, dtype=torch.bool), lambda t: True])
def test_ends_that_answers_wrongly_is_an_error(wrong: Any) -> None:
    with pytest.raises(ValueError, match="ends to return bool"):
        beam_search(TableModel(9), TableModel.initial(1), **OPTIONS, ends=wrong)


# --- the tree ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "pruning"),
    [
        ("relative", Pruning(relative=0.5)),
        ("absolute", Pruning(absolute=0.7)),
        ("relative_local", Pruning(relative_local=0.4)),
        ("max_per_beam", Pruning(max_per_beam=1)),
    ],
)
def test_a_pruned_node_names_the_rule_that_cut_it(rule: str, pruning: Pruning) -> None:
    model = TableModel(7, seed=6)
    result = beam_search(model, model.initial(2), **OPTIONS, pruning=pruning, return_tree=True)
    nodes = [node for b in range(2) for node in result.tree.nodes(b)]
    assert {node.rule for node in nodes if node.fate == "pruned"} == {rule}
    assert {node.rule for node in nodes if node.fate != "pruned"} == {None}
