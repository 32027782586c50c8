"""Diverse beam search against groups of plain Python searches that take turns."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from models import STATE_KINDS, MemoryModel, PrefillModel, TableModel, pack, stateful_step
from naive_variants import Found, Path, Ranking, Search, Siblings, agree

from s2sfast import beam_search, diverse_beam_search, processors

VOCAB, EOS = 7, 0


def avoiding(used: Counter, strength: float) -> Ranking:
    def ranking(siblings: Siblings) -> list[tuple[float, Path]]:
        paths = [replace(p, lost=p.lost + strength * used[p.tokens[-1]]) for own in siblings for p in own]
        return [(p.log_prob - p.lost, p) for p in paths]

    return ranking


def naive(
    model: Any, start: list[int], *, groups: int, strength: float, beam: int, n_best: int, **options: Any
) -> Found:
    used: Counter = Counter()
    own = min(n_best, beam // groups)
    searches = [
        Search(model, start, avoiding(used, strength), beam=beam // groups, stop_at=own, **options)
        for _ in range(groups)
    ]
    while not all(search.done for search in searches):
        used.clear()
        for search in searches:
            if not search.done:
                search.step()
                used.update(search.found.chosen[-1])
    found = [search.best(own) for search in searches]
    together = sorted((pair for f in found for pair in f.paths), key=lambda pair: -pair[0])
    merged = Found(together[:n_best], gap=min(f.gap for f in found))
    for (a, one), (b, other) in pairwise(together):
        if one.tokens != other.tokens:  # two groups may find the same
            merged.gap = min(merged.gap, abs(a - b))
    return merged


@pytest.mark.parametrize(("groups", "beam", "n_best"), [(2, 4, 4), (3, 3, 2), (3, 6, 6)])
@pytest.mark.parametrize("strength", [0.3, 2.0])
@pytest.mark.parametrize("backend", ["fast", "reference"])
def test_equals_groups_that_take_turns(groups: int, beam: int, n_best: int, strength: float, backend: Any) -> None:
    model = TableModel(VOCAB, seed=31, bias={EOS: 0.7})
    shared = {"groups": groups, "strength": strength, "beam": beam, "n_best": n_best, "max_length": 6, "eos": EOS}
    found = [naive(model.oracle(b), [1], alpha=0.7, min_length=1, **shared) for b in range(8)]
    result = diverse_beam_search(
        model, model.initial(8), start=1, min_length=1, length_penalty=0.7, rules="exact", backend=backend, **shared
    )
    assert result.tokens.shape[:2] == (8, n_best)
    assert sum(f.gap > 1e-5 for f in found) >= 6
    for b, f in enumerate(found):
        if f.gap > 1e-5:
            agree(result, b, f)


@pytest.mark.parametrize("rules", ["hf", "fairseq", "opennmt", "ctranslate2", "exact"])
def test_without_strength_every_group_is_a_beam_search_of_its_own(rules: str) -> None:
    model = TableModel(VOCAB, seed=3, bias={EOS: 0.5})
    options = {"start": 1, "eos": EOS, "max_length": 7, "rules": rules}
    plain = beam_search(model, model.initial(4), beam=2, n_best=2, **options)
    grouped = diverse_beam_search(model, model.initial(4), beam=6, groups=3, strength=0.0, **options)
    for i in range(6):
        for name in ("tokens", "scores", "log_probs", "token_log_probs", "lengths", "finished"):
            assert torch.equal(getattr(grouped, name)[:, i], getattr(plain, name)[:, i // 3]), name
    first = diverse_beam_search(model, model.initial(4), beam=4, groups=2, strength=0.9, n_best=4, **options)
    for b in range(4):  # the first group avoids nothing
        rows = {(*first.tokens[b, i, : first.lengths[b, i]].tolist(),): float(first.scores[b, i]) for i in range(4)}
        assert all(rows[(*plain.tokens[b, i, : plain.lengths[b, i]].tolist(),)] == plain.scores[b, i] for i in range(2))


@pytest.mark.parametrize("rules", ["hf", "exact"])
def test_one_group_is_beam_search_to_the_bit(rules: str) -> None:
    model = MemoryModel(VOCAB, 3, seed=3)
    memory = model.make_memory(3)
    options = {"start": 1, "eos": EOS, "beam": 4, "max_length": 7, "memory": memory, "rules": rules, "n_best": 3}
    plain = beam_search(model, model.initial(3), return_attention=True, **options)
    one = diverse_beam_search(model, model.initial(3), groups=1, strength=3.0, return_attention=True, **options)
    for name in ("tokens", "scores", "log_probs", "token_log_probs", "lengths", "finished", "attention"):
        assert torch.equal(getattr(one, name), getattr(plain, name)), name


def test_by_hand() -> None:
    """Beams of one: group 0 takes 0.6 twice. Group 1 pays log 2 for token 0: 0.3 against 0.4, then 0.35 against 0.3."""
    P = torch.tensor([[0.6, 0.4, 0.0], [0.7, 0.3, 0.0], [0.6, 0.4, 0.0]]).log()
    found = diverse_beam_search(
        lambda tokens, state, memory: (P[tokens], state), None, start=2, eos=2, beam=2, groups=2, batch_size=1,
        strength=math.log(2), max_length=2, length_penalty=0.0,
    )  # fmt: skip
    assert found.tokens[0].tolist() == [[0, 0], [1, 0]]
    assert torch.allclose(found.log_probs.exp(), torch.tensor([[0.36, 0.28]]))
    assert torch.allclose(found.scores.exp(), torch.tensor([[0.36, 0.14]]))
    assert torch.allclose(found.token_log_probs.exp(), torch.tensor([[[0.6, 0.6], [0.4, 0.7]]]))


def test_the_memory_is_never_expanded_and_lines_up_with_the_rows() -> None:
    model = MemoryModel(VOCAB, 3, seed=6)
    model.table = model.table + torch.where(torch.arange(VOCAB) == EOS, 1.0, 0.0)
    memory = model.make_memory(5)
    shared = {"groups": 2, "strength": 0.6, "beam": 4, "n_best": 4, "max_length": 6, "eos": EOS}
    result = diverse_beam_search(
        model, model.initial(5), start=1, memory=memory, length_penalty=0.5, rules="exact", return_attention=True,
        **shared,
    )  # fmt: skip
    assert max(model.sentences) == 5 and min(model.sentences) < 5, "sentences must leave, and never be more"
    assert all(rows % (2 * sentences) == 0 for rows, sentences in zip(model.rows, model.sentences, strict=True))
    checked = 0
    for b in range(5):
        found = naive(model.oracle_with(b, memory), [1], alpha=0.5, **shared)
        if found.gap > 1e-5:
            agree(result, b, found)
            checked += 1
        for i in range(4):
            tokens = result.tokens[b, i, : result.lengths[b, i]].tolist()
            for t in range(len(tokens)):
                assert torch.equal(result.attention[b, i, t], model.attention[model.after(b, [1, *tokens[:t]])])
    assert checked >= 3


@pytest.mark.parametrize("kind", STATE_KINDS)
def test_states_of_every_shape(kind: str) -> None:
    model = TableModel(VOCAB, seed=4)
    options = {"start": 1, "eos": EOS, "beam": 4, "groups": 2, "strength": 0.5, "max_length": 6, "batch_size": 3}
    plain = diverse_beam_search(model, model.initial(3), **options)
    state, dims = pack(kind, model.initial(3))
    packed = diverse_beam_search(stateful_step(model, kind), state, state_dims=dims, **options)
    assert torch.equal(plain.tokens, packed.tokens) and torch.equal(plain.scores, packed.scores)


def test_prefixes_and_prefill_and_lengths_of_each_sentence() -> None:
    model = TableModel(VOCAB, seed=9, bias={EOS: 0.4})
    prefixes, lengths = torch.tensor([[1, 3, 4], [1, 2, 0], [1, 0, 0]]), torch.tensor([3, 2, 1])
    most = torch.tensor([4, 6, 5])
    options = {"eos": EOS, "beam": 4, "groups": 2, "strength": 0.8}
    together = diverse_beam_search(
        model, model.initial(3), start=prefixes, prefix_lengths=lengths, max_length=most, **options
    )
    filled = PrefillModel(TableModel(VOCAB, seed=9, bias={EOS: 0.4}))
    once = diverse_beam_search(
        filled, model.initial(3), start=prefixes, prefix_lengths=lengths, max_length=most, **options
    )
    assert filled.prefilled == [(prefixes.tolist(), lengths.tolist())], "the prefix is read once a sentence"
    assert torch.equal(together.tokens, once.tokens) and torch.equal(together.scores, once.scores)
    for b, n in enumerate(lengths.tolist()):
        alone = diverse_beam_search(
            model, model.initial([b]), start=prefixes[b : b + 1, :n], max_length=int(most[b]), **options
        )
        assert torch.equal(alone.scores[0], together.scores[b]) and alone.best(0) == together.best(b)


PROCESSORS: dict[str, Any] = {
    "forced prefix": lambda: processors.ForcedPrefix(torch.tensor([[3, 2], [4, -1], [2, 5]])),
    "a mask of each sentence": lambda: processors.AllowedMask(
        torch.tensor([[1, 1, 1, 1, 0, 0, 1], [1, 0, 1, 1, 1, 0, 1], [1] * 7]) > 0
    ),
    "allowed tokens": lambda: processors.AllowedTokens(lambda b, tokens: [0, 1, 2, b + 3, (len(tokens) + b) % 7]),
    "no repeat": lambda: processors.NoRepeatNGram(1),
    "suppressed": lambda: processors.SuppressTokens([4]),
    "a callable": lambda: lambda tokens, log_probs: log_probs.scatter(1, tokens, -5.0),
}


@pytest.mark.parametrize("names", [*([name] for name in PROCESSORS), ["suppressed", "forced prefix"]], ids="+".join)
def test_processors_know_their_sentences(names: list[str]) -> None:
    """Each group finds what beam search with its beams finds; the first, which avoids nothing, always."""
    model = TableModel(VOCAB, seed=14, bias={EOS: 0.3})
    options = {"start": 1, "eos": EOS, "max_length": 6, "processors": [PROCESSORS[name]() for name in names]}
    plain = beam_search(model, model.initial(3), beam=2, n_best=2, **options)
    free = diverse_beam_search(model, model.initial(3), beam=4, groups=2, strength=0.0, **options)
    avoiding = diverse_beam_search(model, model.initial(3), beam=4, groups=2, strength=0.7, **options)
    for b in range(3):
        expected = _pairs(plain, b)
        assert _pairs(free, b) == sorted(expected * 2)
        assert set(expected) <= set(_pairs(avoiding, b))


def _pairs(result: Any, b: int) -> list[tuple[tuple[int, ...], float]]:
    rows = (tuple(t for t in row if t >= 0) for row in result.tokens[b].tolist())
    return sorted(zip(rows, result.scores[b].tolist(), strict=True))


def test_a_fault_names_the_sentence_of_the_batch() -> None:
    model = TableModel(VOCAB)

    def step(tokens: Any, state: Any, memory: Any) -> Any:
        logits, state = model(tokens, state, memory)
        if len(model.rows) == 3:
            logits = logits.clone()
            logits[-1] = math.nan
        return logits, state

    with pytest.raises(ValueError, match=r"diverse_beam_search: step 2: .*NaN.*sentence 1, beam 1"):
        diverse_beam_search(step, model.initial(2), start=1, eos=EOS, beam=4, groups=2, strength=1.0, min_length=5)


WRONG: dict[str, dict[str, Any]] = {
    "groups": {"groups": 0},
    "divide": {"groups": 4},
    "beam": {"beam": 0},
    "n_best": {"n_best": 7},
    "strength": {"strength": -1.0},
    "finite strength": {"strength": math.nan},
    "rules": {"rules": "allennlp"},
    "one of": {"rules": "moses"},
    "pruning": {"pruning": 2.0},
    "backend": {"backend": "quick"},
}


@pytest.mark.parametrize("word", WRONG)
def test_a_wrong_option_is_refused_by_name(word: str) -> None:
    model = TableModel(VOCAB)
    options = {"start": 1, "eos": 0, "groups": 3, "strength": 0.5} | WRONG[word]
    with pytest.raises(ValueError, match=rf"expected.*{word}.*got"):
        diverse_beam_search(model, model.initial(2), **options)


def test_an_empty_batch() -> None:
    model = TableModel(VOCAB)
    result = diverse_beam_search(model, model.initial(0), start=1, eos=0, groups=2, strength=0.5, beam=4)
    assert result.tokens.shape == (0, 4, 0)
