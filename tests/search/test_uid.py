"""UID regularisers against their definitions, candidate by candidate."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from models import CountdownModel, ScriptedModel, TableModel
from naive_variants import Path, Search, Siblings, agree
from oracles import log_softmax

import s2sfast
from s2sfast import UID, beam_search

VOCAB, EOS = 7, 0
KINDS = ("greedy", "variance", "local", "max", "square")
WEIGHTS = {"greedy": 0.6, "variance": 3.0, "local": 1.0, "max": 1.5, "square": 3.0}


def penalty(kind: str, path: Path) -> float:
    """R of the paper, from the surprisals."""
    u = [-part for part in path.parts]
    T = len(u)
    if kind == "greedy":
        return sum((x + least) ** 2 for x, least in zip(u, path.best, strict=True))
    if kind == "variance":
        return sum((x - sum(u) / T) ** 2 for x in u) / T
    if kind == "local":
        return sum((x - before) ** 2 for x, before in zip(u, [0.0, *u[:-1]], strict=True)) / T
    return max(u) if kind == "max" else sum(x * x for x in u)


def regularised(kind: str, weight: float) -> Any:
    def ranking(siblings: Siblings) -> list[tuple[float, Path]]:
        return [(p.log_prob - weight * penalty(kind, p), p) for own in siblings for p in own]

    return ranking


@pytest.mark.parametrize("backend", ["fast", "reference"])
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_ranks_by_its_definition(kind: str, backend: Any) -> None:
    model = TableModel(VOCAB, seed=11, bias={EOS: 0.8})
    options = {"beam": 4, "max_length": 6, "min_length": 1}
    found = [
        Search(model.oracle(b), [1], regularised(kind, WEIGHTS[kind]), eos=EOS, alpha=0.6, **options).results(3)
        for b in range(6)
    ]
    result = beam_search(
        model, model.initial(6), start=1, eos=EOS, n_best=3, length_penalty=0.6, rules="exact", backend=backend,
        regularizer=UID(kind, WEIGHTS[kind]), **options,
    )  # fmt: skip
    assert sum(f.gap > 1e-4 for f in found) >= 4
    for b, f in enumerate(found):
        if f.gap > 1e-4:
            agree(result, b, f)
    plain = beam_search(
        model, model.initial(6), start=1, eos=EOS, n_best=3, length_penalty=0.6, rules="exact", **options
    )
    assert not torch.equal(plain.tokens, result.tokens), "the regulariser changed nothing: no test"


@pytest.mark.parametrize(("kind", "weight", "first"), [("variance", 10.0, 0.05), ("local", 3.0, 0.43)])
def test_a_rise_that_the_score_of_a_running_one_does_not_promise_is_waited_for(
    kind: str, weight: float, first: float
) -> None:
    """[0] ends at once, at -3.0 both. What runs on meets one token of 1/3 and is worse for some steps (variance: -1.1 -
    10 x 0.27 at the second), then its tokens are all of 0.95 and it rises above."""
    script = {(): [first, 1 - first, 0.0, 0.0], (1,): [0.0, 1 / 3, 1 / 3, 1 / 3], (1, 1, 1, 1, 1, 1, 1): [1.0, 0, 0, 0]}
    usual = [0.0, 0.95, 0.025, 0.025]

    def oracle(history: Any) -> list[float]:
        return [math.log(p) if p else -math.inf for p in script.get(tuple(history[1:]), usual)]

    naive = Search(oracle, [9], regularised(kind, weight), eos=0, beam=2, max_length=8, alpha=0.0).results(1)
    assert naive.paths[0][1].tokens == (1, 1, 1, 1, 1, 1, 1, 0)
    model = ScriptedModel(script, usual)
    found = beam_search(
        model, model.initial(1), start=9, eos=0, beam=2, max_length=8, rules="exact", length_penalty=0.0,
        regularizer=UID(kind, weight),
    )  # fmt: skip
    assert found.best(0) == [1, 1, 1, 1, 1, 1, 1, 0]
    assert float(found.scores) == pytest.approx(naive.paths[0][0], rel=1e-5)


@pytest.mark.parametrize("rules", ["hf", "fairseq", "opennmt", "ctranslate2", "allennlp"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_a_result_says_of_itself_is_so_under_all_rules(kind: str, rules: str) -> None:
    """Each hypothesis' score is (log_prob - weight R) / length, of the parts that the model gives its tokens."""
    model = TableModel(VOCAB, seed=5, bias={EOS: 1.0})
    lengths = torch.tensor([5, 7, 6])
    result = beam_search(
        model, model.initial(3), start=1, eos=EOS, beam=3, n_best=2, max_length=lengths, rules=rules,
        regularizer=UID(kind, WEIGHTS[kind]),
    )  # fmt: skip
    for b in range(3):
        scores = _scores_of(model.oracle(b), result, b, kind, 1 if rules == "opennmt" else 0)
        assert torch.allclose(result.scores[b], torch.tensor(scores), rtol=2e-5, atol=2e-5)


def _scores_of(model: Any, result: Any, b: int, kind: str, counted: int = 0, prefix: tuple[int, ...] = (1,)) -> Any:
    scores = []
    for i, length in enumerate(result.lengths[b].tolist()):
        tokens = result.tokens[b, i, :length].tolist()
        rows = [log_softmax(model([*prefix, *tokens[:t]])) for t in range(length)]
        path = Path(tuple(tokens), tuple(row[t] for row, t in zip(rows, tokens, strict=True)), tuple(map(max, rows)))
        scores.append((path.log_prob - WEIGHTS[kind] * penalty(kind, path)) / (length + counted))
    return scores


@pytest.mark.parametrize("kind", KINDS)
def test_ragged_prefixes_do_not_count(kind: str) -> None:
    model = TableModel(VOCAB, seed=8, bias={EOS: 0.5})
    prefixes, lengths = torch.tensor([[1, 3, 4], [1, 2, 0], [1, 0, 0]]), torch.tensor([3, 2, 1])
    options = {"eos": EOS, "beam": 3, "n_best": 2, "max_length": 6, "regularizer": UID(kind, WEIGHTS[kind])}
    together = beam_search(model, model.initial(3), start=prefixes, prefix_lengths=lengths, **options)
    for b, n in enumerate(lengths.tolist()):
        alone = beam_search(model, model.initial([b]), start=prefixes[b : b + 1, :n], **options)
        assert torch.equal(alone.scores[0], together.scores[b]) and alone.best(0) == together.best(b)
        assert torch.allclose(
            torch.tensor(_scores_of(model.oracle(b), alone, 0, kind, prefix=tuple(prefixes[b, :n].tolist()))),
            alone.scores[0],
            rtol=2e-5,
        )


def test_a_weight_of_zero_is_plain_beam_search_to_the_bit() -> None:
    model = TableModel(VOCAB, seed=2)
    options = {"start": 1, "eos": EOS, "beam": 3, "n_best": 3, "max_length": 8}
    plain = beam_search(model, model.initial(4), **options)
    for kind in KINDS:
        zero = beam_search(model, model.initial(4), regularizer=UID(kind, 0.0), **options)
        assert torch.equal(plain.scores, zero.scores) and torch.equal(plain.tokens, zero.tokens)


def test_a_large_weight_of_greedy_is_greedy_search() -> None:
    """Meister et al.: with weight to infinity nothing but the best token of each step survives."""
    model = TableModel(VOCAB, seed=4, bias={EOS: 0.5})
    options = {"start": 1, "eos": EOS, "max_length": 9}
    greedy = s2sfast.greedy_search(model, model.initial(8), **options)
    regular = beam_search(model, model.initial(8), beam=4, regularizer=UID("greedy", 1e4), **options)
    assert [greedy.best(b) for b in range(8)] == [regular.best(b) for b in range(8)]


def test_forbidden_tokens_and_pruning_and_the_tree_work_beside_it() -> None:
    """Sentences of a model whose rows are full of -inf; the tree asks the ranking again without pruning."""
    model = CountdownModel()
    ends = [2, 4, 3]
    options = {"start": 1, "eos": 0, "beam": 3, "max_length": 6, "regularizer": UID("variance", 1.0)}
    result = beam_search(model, model.initial(ends), **options)
    assert result.lengths[:, 0].tolist() == ends and bool(result.finished.all())
    pruned = beam_search(model, model.initial(ends), pruning=s2sfast.Pruning(absolute=0.5), return_tree=True, **options)
    nodes = pruned.tree.nodes(0)
    assert {n.fate for n in nodes} >= {"kept", "pruned"}
    best = max(n.score for n in nodes if n.step == 0)
    assert all((n.score < best - 0.5) == (n.fate == "pruned") for n in nodes if n.step == 0)


@pytest.mark.parametrize(
    ("regularizer", "words"),
    [
        ("greedy", "regularizer"),
        (UID("smooth", 1.0), "kind"),
        (UID("max", -1.0), "weight"),
        (UID("max", math.nan), "weight"),
        (UID("max", True), "weight"),
    ],
)
def test_a_wrong_regulariser_is_refused(regularizer: Any, words: str) -> None:
    model = TableModel(VOCAB)
    with pytest.raises(ValueError, match=rf"expected.*{words}.*got"):
        beam_search(model, model.initial(1), start=1, eos=0, regularizer=regularizer)


def test_a_nan_is_found() -> None:
    def step(tokens: Any, state: Any, memory: Any) -> Any:
        return torch.full((len(tokens), 4), math.nan), state

    with pytest.raises(ValueError, match=r"step 0.*NaN.*sentence 0, beam 0"):
        beam_search(step, None, start=1, eos=0, batch_size=2, regularizer=UID("local", 1.0))
