"""The pool of keys and values against rows that are simply copied, and what a search leaves uncopied."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import StoppingCriteria, StoppingCriteriaList

import s2sfast
from s2sfast.hf import attention, step
from s2sfast.hf.cache import Pool, SelfLayer
from tests.hf.models import inputs, model
from tests.over import integers, normals

HEADS, WIDTH = 2, 3


class Copied:
    """What each row has seen, (t, H, d) of each, gathered by parent as any cache would be."""

    def __init__(self, prompt: Tensor, lengths: list[int]):
        self.rows = [row.transpose(0, 1)[len(row[0]) - n :] for row, n in zip(prompt, lengths, strict=True)]

    def follow(self, rows: list[int]) -> None:
        self.rows = [self.rows[row] for row in rows]

    def add(self, new: Tensor) -> None:
        self.rows = [torch.cat((row, x.transpose(0, 1))) for row, x in zip(self.rows, new, strict=True)]


def visible(pool: Pool, keys: Tensor, row: int) -> Tensor:
    """(t, H, d) the keys that a row may look at, in the order of their positions."""
    sentence = row // pool.width
    seen = (pool.mask[row] == 0).nonzero().flatten()
    positions, order = pool.positions[sentence, seen].sort()
    first = int(positions[0])
    assert positions.tolist() == list(range(first, first + len(seen)))
    return keys[sentence].transpose(0, 1)[seen[order]]


@pytest.mark.parametrize("seed", range(6))
def test_every_row_sees_its_own_past(seed: int) -> None:
    """Through 40 steps of random parents, in which one of three sentences leaves and the beams get fewer."""
    draw, normal = integers(seed), normals(seed)
    lengths, length = [4, 2, 3], 4
    pool = Pool(torch.arange(length) >= length - torch.tensor(lengths)[:, None], None, torch.float64, 64)
    layer = SelfLayer(pool)
    prompt = normal(3, HEADS, length, WIDTH).double()
    layer.update(prompt, prompt + 1)
    copied = Copied(prompt, lengths)
    for t in range(40):
        width = 5 if t < 30 else 2
        base = torch.arange(pool.sentences)[:, None] * pool.width
        rows = base + draw(0, pool.width, (pool.sentences, width))
        if t == 20:
            keep = torch.tensor([0, 2])
            pool.keep_sentences(keep)
            rows = rows[keep]
        pool.follow(rows.flatten())
        copied.follow(rows.flatten().tolist())
        pool.advance(length + t)
        new = normal(pool.sentences * width, HEADS, 1, WIDTH).double()
        keys, values = layer.update(new, new + 1)
        copied.add(new)
        for row, expected in enumerate(copied.rows):
            assert torch.equal(visible(pool, keys, row), expected), (t, row)
            assert torch.equal(visible(pool, values, row), expected + 1), (t, row)
    assert layer.get_seq_length() == length + 40
    assert pool.entries < length + 40 * 5 / 2  # most have been dropped


def test_there_are_no_fewer_entries_than_positions() -> None:
    """However much of the prompt is padding: a bias by position is as long as the keys."""
    pool = Pool(torch.arange(9)[None] == 8, None, torch.float32, 64)
    for t in range(20):
        pool.follow(torch.tensor([0, 0]))  # everything but the last step's other beam is needed by both
        pool.advance(9 + t)
        assert 9 + t < pool.entries == pool.mask.shape[1] == pool.positions.shape[1]
        assert int(pool.positions.max()) == 9 + t


@pytest.mark.parametrize("groups", [1, 3], ids=["as-many-heads", "three-heads-share-keys"])
def test_folded_attention_is_attention_of_each_row(groups: int) -> None:
    normal = normals(5)
    pool = Pool(torch.tensor([[True, True], [False, True]]), None, torch.float64, 64)
    layer = SelfLayer(pool)
    layer.update(*(normal(2, HEADS, 2, WIDTH).double() for _ in range(2)))
    pool.follow(torch.tensor([0, 0, 1, 1]))
    pool.advance(2)
    keys, values = layer.update(*(normal(4, HEADS, 1, WIDTH).double() for _ in range(2)))
    query = normal(4, HEADS * groups, 1, WIDTH).double()
    with attention.stepping(pool):
        context, _ = attention.attend(torch.nn.Module(), query, keys, values, None, scaling=0.7)
    assert context.shape == (4, 1, HEADS * groups, WIDTH)
    for row in range(4):
        sees = [[0, 1, 2], [0, 1, 3], [1, 2], [1, 3]][row]
        for head in range(HEADS * groups):
            mine = [x[row // 2, head // groups, sees] for x in (keys, values)]
            weights = torch.softmax(0.7 * mine[0] @ query[row, head, 0], 0)
            torch.testing.assert_close(context[row, 0, head], weights @ mine[1])


def test_attention_that_is_not_understood_is_an_error() -> None:
    pool = Pool(torch.ones(1, 2, dtype=torch.bool), None, torch.float32, 64)
    x = torch.zeros(1, 1, 1, 2)
    with attention.stepping(pool), pytest.raises(ValueError, match="expected attention of one token over what its"):
        attention.attend(torch.nn.Module(), x, x, x, None)


class Spy(StoppingCriteria):
    """Looks at a cache after each step, and ends nothing."""

    def __init__(self, look: Any):
        self.look, self.seen = look, []

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        self.seen.append(self.look())
        return torch.zeros(len(input_ids), dtype=torch.bool)


def test_nothing_is_copied_for_the_beams(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cross-attention's keys lie where the first step put them; of the prompt there is one copy a sentence."""
    caches: list[Any] = []
    make = step.make_cache
    monkeypatch.setattr(step, "make_cache", lambda *given: caches.append(make(*given)) or caches[-1])

    def look() -> tuple[int, tuple, tuple]:
        cross, own = caches[0].cross_attention_cache.layers[0].keys, caches[0].self_attention_cache.layers[0].keys
        return cross.data_ptr(), tuple(cross.shape), tuple(own.shape[:2])

    spy = Spy(look)
    model("bart").generate(
        **inputs("bart", 3), num_beams=4, min_new_tokens=20, max_new_tokens=20,
        stopping_criteria=StoppingCriteriaList([spy]), custom_generate=s2sfast.hf.beam_search,
    )  # fmt: skip
    assert len(spy.seen) == 20
    assert set(spy.seen) == {(spy.seen[0][0], (3, 2, 7, 8), (3, 2))}


def test_sentences_leave_the_models_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """One row a sentence first, then K each, and none for those that are done."""
    made = model("gpt2")
    rows: list[int] = []
    handle = made.transformer.wte.register_forward_hook(lambda module, given, out: rows.append(len(given[0])))
    options = {"num_beams": 3, "max_new_tokens": 12, "length_penalty": -1.0, "min_new_tokens": 3}
    try:
        made.generate(**inputs("gpt2", 4), **options, custom_generate=s2sfast.hf.beam_search)
    finally:
        handle.remove()
    assert rows[:2] == [4, 12]
    assert rows == sorted(rows[:1]) + sorted(rows[1:], reverse=True)
    assert rows[-1] < 12 and all(n % 3 == 0 for n in rows[1:])
