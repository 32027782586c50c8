"""eos=NO_EOS is as good as an eos that the model never offers: one more token whose logit is -inf."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from models import TableModel
from torch import Tensor
from torch.nn.functional import pad

import s2sfast
from s2sfast import NO_EOS, processors, rules

V, SENTENCES = 6, 3
NEVER = V  # the id of the eos that does not come


class NeverEnds(TableModel):
    def __call__(self, tokens: Tensor, state: Tensor, memory: Any) -> tuple[Tensor, Tensor]:
        logits, state = super().__call__(tokens, state, memory)
        return pad(logits, (0, 1), value=-torch.inf), state


LENGTHS = torch.tensor([4, 6, 3])
SEARCHES: dict[str, tuple[str, dict[str, Any]]] = {
    "greedy": ("greedy_search", {}),
    "hf": ("beam_search", {"rules": "hf"}),
    "hf, to the first that end": ("beam_search", {"rules": rules.HF(early_stopping=True)}),
    "opennmt": ("beam_search", {"rules": "opennmt"}),
    "ctranslate2": ("beam_search", {"rules": "ctranslate2"}),
    "allennlp": ("beam_search", {"rules": "allennlp"}),
    "exact": ("beam_search", {"rules": "exact", "n_best": 4}),
    "a length each": ("beam_search", {"max_length": LENGTHS}),
    "prefixes": (
        "beam_search",
        {"start": torch.tensor([[1, 2], [3, 4], [5, 0]]), "prefix_lengths": torch.tensor([2, 1, 2])},
    ),
    "pruned": ("beam_search", {"pruning": s2sfast.Pruning(max_per_beam=1, relative=0.3)}),
    "constrained": ("beam_search", {"constraints": s2sfast.Constraints([[2, 5], [4]]), "beam": 6}),
    "no repeats": ("beam_search", {"processors": [processors.NoRepeatNGram(1)]}),
    "uid": ("beam_search", {"regularizer": s2sfast.UID("variance", 0.5)}),
    "min_length": ("beam_search", {"min_length": 3}),
    "ends": ("beam_search", {"ends": lambda tokens: tokens[:, -1] == 2}),
    "diverse": ("diverse_beam_search", {"groups": 3, "strength": 0.4}),
    "best first": ("best_first_search", {"n_best": 2}),
}
WRITTEN_DOWN = ("tokens", "lengths", "scores", "log_probs", "token_log_probs", "finished")


@pytest.mark.parametrize("name", SEARCHES)
@pytest.mark.parametrize("backend", ["fast", "reference"])
def test_it_is_an_eos_that_never_comes(name: str, backend: str) -> None:
    search, options = SEARCHES[name]
    shared = {"start": 1, "max_length": 5, "backend": backend} | ({} if search == "greedy_search" else {"beam": 3})
    shared |= options
    expected = getattr(s2sfast, search)(NeverEnds(V), TableModel.initial(SENTENCES), eos=NEVER, **shared)
    found = getattr(s2sfast, search)(TableModel(V), TableModel.initial(SENTENCES), eos=NO_EOS, **shared)
    for field in WRITTEN_DOWN:
        torch.testing.assert_close(getattr(found, field), getattr(expected, field), atol=1e-6, rtol=1e-6)
    assert int(found.lengths.max()) >= 3


@pytest.mark.parametrize("name", ["sample", "stochastic_beam_search"])
def test_what_is_drawn_runs_to_max_length(name: str) -> None:
    found = getattr(s2sfast, name)(
        TableModel(V), TableModel.initial(SENTENCES), start=1, eos=NO_EOS, max_length=LENGTHS, seed=3
    )
    assert found.lengths[:, 0].tolist() == LENGTHS.tolist()
    assert not found.finished.any()


def test_all_sequences_are_of_max_length() -> None:
    found = s2sfast.exhaustive_search(
        TableModel(3), TableModel.initial(1), start=1, eos=NO_EOS, max_length=3, n_best=30
    )
    there = found.lengths[0] > 0
    assert int(there.sum()) == 27 and found.lengths[0][there].tolist() == [3] * 27
    assert found.log_probs[0][there].exp().sum().item() == pytest.approx(1.0, abs=1e-5)


def test_processors_that_know_eos_know_none() -> None:
    even = processors.Automaton(torch.tensor([[0, -1] * 3]), accepting=[0])
    given = [even, processors.MinLength(2), processors.ForcedPrefix([[2]] * SENTENCES)]
    found = s2sfast.beam_search(
        TableModel(V), TableModel.initial(SENTENCES), start=0, eos=NO_EOS, max_length=4, processors=given
    )
    assert found.tokens[:, 0, 0].tolist() == [2] * SENTENCES
    assert (found.tokens % 2 == 0).all() and found.lengths.flatten().tolist() == [4] * SENTENCES


def test_rules_that_close_with_eos_need_one() -> None:
    with pytest.raises(ValueError, match=r"^beam_search: expected an eos, .* rules\.Fairseq closes .*; got NO_EOS$"):
        s2sfast.beam_search(TableModel(V), TableModel.initial(1), start=1, eos=NO_EOS, rules="fairseq")


@pytest.mark.parametrize("eos", [None, [], (), torch.tensor([], dtype=torch.int64)])
def test_none_by_accident_is_an_error(eos: Any) -> None:
    with pytest.raises(ValueError, match="beam_search: expected eos to be"):
        s2sfast.beam_search(TableModel(V), TableModel.initial(1), start=1, eos=eos)
