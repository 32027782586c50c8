"""The penalty on the rank among siblings, against a search that ranks all candidates of every beam."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from models import TableModel
from naive_variants import Path, Search, Siblings, agree

from s2sfast import UID, Pruning, beam_search

VOCAB, EOS = 8, 0


def penalised(gamma: float) -> Any:
    """Li, Monroe & Jurafsky 2016: the i-th best child of a beam loses gamma i, from the second step on."""

    def ranking(siblings: Siblings) -> list[tuple[float, Path]]:
        scored = []
        for own in siblings:
            for i, path in enumerate(sorted(own, key=lambda p: -p.parts[-1]), start=1):
                lost = path.lost + (gamma * i if len(path.tokens) > 1 else 0.0)
                scored.append((path.log_prob - lost, replace(path, lost=lost)))
        return scored

    return ranking


@pytest.mark.parametrize("gamma", [0.05, 0.6, 4.0])
@pytest.mark.parametrize("backend", ["fast", "reference"])
def test_equals_a_search_that_ranks_all_siblings(gamma: float, backend: Any) -> None:
    model = TableModel(VOCAB, seed=21, bias={EOS: 0.6})
    options = {"beam": 4, "max_length": 6, "min_length": 1}
    found = [Search(model.oracle(b), [1], penalised(gamma), eos=EOS, alpha=0.5, **options).results(4) for b in range(6)]
    result = beam_search(
        model, model.initial(6), start=1, eos=EOS, n_best=4, length_penalty=0.5, rules="exact", backend=backend,
        sibling_penalty=gamma, **options,
    )  # fmt: skip
    assert sum(f.gap > 1e-5 for f in found) >= 4
    for b, f in enumerate(found):
        if f.gap > 1e-5:
            agree(result, b, f)


def test_by_hand() -> None:
    """Beams a (0.6) and b (0.4). Without the penalty both live beams come from a: 0.36 and 0.24 against 0.2, 0.12 and
    0.08. With gamma = 0.3 a's second child scores log 0.24 - 0.6 and b's best log 0.2 - 0.3."""
    P = torch.tensor([[0.6, 0.4, 0, 0], [0.3, 0.5, 0.2, 0], [0, 0, 0, 1], [0.6, 0.4, 0, 0]]).log()

    def step(tokens: Any, state: Any, memory: Any) -> Any:
        return P[tokens], state

    options = {
        "start": 3, "eos": 3, "beam": 2, "n_best": 2, "max_length": 2, "batch_size": 1, "length_penalty": 0.0,
    }  # fmt: skip
    assert beam_search(step, None, **options).tokens[0].tolist() == [[0, 0], [0, 1]]
    found = beam_search(step, None, sibling_penalty=0.3, **options)
    assert found.tokens[0].tolist() == [[0, 0], [1, 1]]
    assert torch.allclose(found.log_probs.exp(), torch.tensor([[0.36, 0.2]]))
    assert torch.allclose(found.scores, torch.tensor([[math.log(0.36) - 0.3, math.log(0.2) - 0.3]]))


def test_zero_is_plain_beam_search_to_the_bit() -> None:
    model = TableModel(VOCAB, seed=2)
    options = {"start": 1, "eos": EOS, "beam": 3, "n_best": 3, "max_length": 8}
    plain = beam_search(model, model.initial(4), **options)
    zero = beam_search(model, model.initial(4), sibling_penalty=0.0, **options)
    assert torch.equal(plain.scores, zero.scores) and torch.equal(plain.tokens, zero.tokens)


def test_a_huge_penalty_keeps_each_beams_best_only() -> None:
    """Every beam goes on with its best token, so each is greedy from its first token on."""
    model = TableModel(VOCAB, seed=3, bias={EOS: -30.0})
    result = beam_search(
        model, model.initial(2), start=1, eos=EOS, beam=3, n_best=3, max_length=5, rules="exact", sibling_penalty=1e3
    )
    for b in range(2):
        for i in range(3):
            tokens = result.tokens[b, i].tolist()
            for t in range(1, 5):
                row = model.oracle(b)([1, *tokens[:t]])
                assert tokens[t] == row.index(max(row))
        assert len({result.tokens[b, i, 0].item() for i in range(3)}) == 3


def test_a_ragged_batch_gives_what_each_sentence_gives_alone() -> None:
    model = TableModel(VOCAB, seed=8, bias={EOS: 0.5})
    prefixes, lengths = torch.tensor([[1, 3, 4], [1, 2, 0], [1, 0, 0]]), torch.tensor([3, 2, 1])
    options = {"eos": EOS, "beam": 3, "n_best": 3, "max_length": 6, "sibling_penalty": 0.4}
    together = beam_search(model, model.initial(3), start=prefixes, prefix_lengths=lengths, **options)
    for b, n in enumerate(lengths.tolist()):
        alone = beam_search(model, model.initial([b]), start=prefixes[b : b + 1, :n], **options)
        assert torch.equal(alone.scores[0], together.scores[b]) and alone.best(0) == together.best(b)


def test_pruning_sees_the_penalised_scores() -> None:
    model = TableModel(VOCAB, seed=13, bias={EOS: -30.0})
    options = {"start": 1, "eos": EOS, "beam": 3, "max_length": 2, "rules": "exact", "return_tree": True}
    one = beam_search(model, model.initial(1), sibling_penalty=0.5, pruning=Pruning(absolute=1.0), **options)
    nodes = [n for n in one.tree.nodes(0) if n.step == 1]
    best = max(n.score for n in nodes)
    assert {n.fate for n in nodes} >= {"finished", "pruned"}
    assert all((n.score < best - 1.0) == (n.fate == "pruned") for n in nodes)
    most = beam_search(model, model.initial(1), sibling_penalty=0.1, pruning=Pruning(max_per_beam=1), **options)
    kept = [n.parent for n in most.tree.nodes(0) if n.step == 1 and n.fate != "pruned"]
    assert len(set(kept)) == len(kept)


@pytest.mark.parametrize("gamma", [-0.1, math.nan, math.inf, "0.1", True, None])
def test_a_wrong_penalty_is_refused(gamma: Any) -> None:
    model = TableModel(VOCAB)
    with pytest.raises(ValueError, match=r"expected.*sibling_penalty.*got"):
        beam_search(model, model.initial(1), start=1, eos=0, sibling_penalty=gamma)


def test_both_rankings_at_once_are_refused() -> None:
    model = TableModel(VOCAB)
    with pytest.raises(ValueError, match=r"regularizer.*sibling_penalty.*both"):
        beam_search(model, model.initial(1), start=1, eos=0, sibling_penalty=0.1, regularizer=UID("max", 1.0))
