"""mbr and its utilities: numbers by hand, and naive counts and distances in Python."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from models import MemoryModel, TableModel
from torch import Tensor

from s2sfast import BeamResult, EditSimilarity, NgramF, beam_search, mbr

NEVER = -math.inf
usual = settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
Tokens = Sequence[int]


def made(*sentences: Sequence[tuple[Tokens, float]], finished: bool = False, places: int = 0) -> BeamResult:
    """A result of (tokens, score) pairs; the eos of finished ones is 0."""
    tail = [0] if finished else []
    hypotheses = [[([*tokens, *tail], score) for tokens, score in sentence] for sentence in sentences]
    n = max([places, *(len(h) for h in hypotheses)])
    L = max([0, *(len(tokens) for h in hypotheses for tokens, _ in h)])
    shape = (len(sentences), n)
    result = BeamResult(
        tokens=torch.full((*shape, L), -1), lengths=torch.zeros(shape, dtype=torch.int64),
        scores=torch.full(shape, NEVER), log_probs=torch.full(shape, NEVER), token_log_probs=torch.zeros(*shape, L),
        finished=torch.zeros(shape, dtype=torch.bool),
    )  # fmt: skip
    for b, sentence in enumerate(hypotheses):
        for i, (tokens, score) in enumerate(sentence):
            result.tokens[b, i, : len(tokens)] = torch.tensor(tokens)
            result.lengths[b, i], result.finished[b, i] = len(tokens), finished
            result.scores[b, i] = result.log_probs[b, i] = score
    return result


def same(hypothesis: list[int], reference: list[int]) -> float:
    return float(hypothesis == reference)


def listed(result: BeamResult, b: int) -> list[list[int]]:
    rows = zip(result.tokens[b].tolist(), result.lengths[b].tolist(), strict=True)
    return [tokens[:length] for tokens, length in rows]


def test_the_mode_of_the_samples_wins_by_exact_match() -> None:
    """5 was sampled once with the best score, 6 7 twice."""
    samples = made([([5], -0.1), ([6, 7], -2.0), ([8], -3.0), ([6, 7], -2.0)])
    found = mbr(samples, same)
    assert listed(found, 0) == [[6, 7], [6, 7], [5], [8]]
    assert found.scores[0].tolist() == [0.5, 0.5, 0.25, 0.25]
    assert found.log_probs[0].tolist() == [-2.0, -2.0, pytest.approx(-0.1), -3.0]


def test_softmax_weighs_by_the_scores() -> None:
    """Probabilities 0.4, 0.35, 0.25; utility 1 - half the difference in length: the middle one is the safest."""
    scores = [math.log(p) - 4 for p in (0.4, 0.35, 0.25)]
    beams = made([([1], scores[0]), ([1, 1], scores[1]), ([1, 1, 1], scores[2])])
    found = mbr(beams, lambda h, r: 1 - abs(len(h) - len(r)) / 2, weights="softmax")
    assert listed(found, 0) == [[1, 1], [1], [1, 1, 1]]
    assert found.scores[0].tolist() == pytest.approx([0.2 + 0.35 + 0.125, 0.4 + 0.175, 0.175 + 0.25])
    # The fourth powers, as a temperature of 1 / 4 makes them: trust in the best.
    sharp = mbr(beams, lambda h, r: 1 - abs(len(h) - len(r)) / 2, weights="softmax", temperature=0.25)
    a, b, c = 0.4**4, 0.35**4, 0.25**4
    assert listed(sharp, 0) == [[1], [1, 1], [1, 1, 1]]
    assert (sharp.scores[0] * (a + b + c)).tolist() == pytest.approx([a + b / 2, b + a / 2 + c / 2, c + b / 2])


def test_ties_stay_in_order_and_unfilled_places_count_for_nothing() -> None:
    beams = made([([1], -1.0), ([2], -1.0)], [([3], -1.0)], [], places=3)
    found = mbr(beams, same)
    assert [listed(found, b) for b in range(3)] == [[[1], [2], []], [[3], [], []], [[], [], []]]
    assert found.scores.tolist() == [[0.5, 0.5, NEVER], [1.0, NEVER, NEVER], [NEVER] * 3]
    holes = made([([1], NEVER), ([2], -1.0)])  # an unfilled place in front, as of a result cut together
    holes.lengths[0, 0], holes.tokens[0, 0] = 0, -1
    assert listed(mbr(holes, same), 0) == [[2], []]


def test_other_references() -> None:
    found = mbr(made([([1], 0.0), ([2], -1.0)]), same, references=made([([2], -1.0), ([2], -5.0), ([3], -0.1)]))
    assert listed(found, 0) == [[2], [1]]
    assert found.scores[0].tolist() == pytest.approx([2 / 3, 0.0])


def test_the_eos_of_finished_hypotheses_is_left_out() -> None:
    seen = []
    mbr(made([([4, 5], -1.0)], finished=True), lambda h, r: seen.append((h, r)) or 0.0)
    mbr(made([([4, 0], -1.0)], finished=False), lambda h, r: seen.append((h, r)) or 0.0)
    assert seen == [([4, 5], [4, 5]), ([4, 0], [4, 0])]


def test_everything_goes_with_its_hypothesis() -> None:
    model = MemoryModel(6, 3, 1)
    beams = beam_search(
        model, TableModel.initial(4), memory=model.make_memory(4), start=1, eos=0, beam=6, n_best=6, max_length=7,
        return_attention=True,
    )  # fmt: skip
    before = beams.scores.clone()
    found = mbr(beams)
    moved = 0
    for b in range(4):
        places = listed(beams, b)
        for i, tokens in enumerate(listed(found, b)):
            at = places.index(tokens)  # hypotheses of a beam are distinct
            moved += at != i
            for name in ("log_probs", "finished", "token_log_probs", "attention"):
                assert torch.equal(getattr(found, name)[b, i], getattr(beams, name)[b, at])
    assert moved and found.scores.diff(dim=1).le(0).all()
    assert torch.equal(beams.scores, before) and found.stats == beams.stats
    assert found.best(0) == listed(found, 0)[0]


def naive_ngram_f(order: int) -> Callable[[Tokens, Tokens], float]:
    def grams(tokens: Tokens, n: int) -> Counter:
        return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))

    def score(h: Tokens, r: Tokens) -> float:
        pairs = [(grams(h, n), grams(r, n)) for n in range(1, order + 1)]
        scores = [2 * (a & b).total() / (a.total() + b.total()) for a, b in pairs if a or b]
        return sum(scores) / len(scores) if scores else 1.0

    return score


def naive_edit_similarity(h: Tokens, r: Tokens) -> float:
    distance = {(i, 0): i for i in range(len(h) + 1)} | {(0, j): j for j in range(len(r) + 1)}
    for i in range(1, len(h) + 1):
        for j in range(1, len(r) + 1):
            kept = distance[i - 1, j - 1] + (h[i - 1] != r[j - 1])
            distance[i, j] = min(distance[i - 1, j] + 1, distance[i, j - 1] + 1, kept)
    longest = max(len(h), len(r))
    return 1 - distance[len(h), len(r)] / longest if longest else 1.0


UTILITIES = [
    (NgramF(1), naive_ngram_f(1)),
    (NgramF(2), naive_ngram_f(2)),
    (NgramF(), naive_ngram_f(4)),
    (EditSimilarity(), naive_edit_similarity),
]


@pytest.mark.parametrize(("utility", "naive"), UTILITIES, ids=["unigrams", "bigrams", "ngrams", "edit"])
@given(data=st.data())
@usual
def test_utilities_equal_the_naive_ones(utility: Any, naive: Callable[[Tokens, Tokens], float], data: Any) -> None:
    sequences = st.lists(st.lists(st.integers(0, 3), max_size=7), min_size=1, max_size=4)
    ours, theirs = data.draw(sequences), data.draw(sequences)

    def padded(rows: list[list[int]], pad: int) -> tuple[Tensor, Tensor]:
        L = max(map(len, rows)) + data.draw(st.integers(0, 2))
        tokens = torch.tensor([row + [pad] * (L - len(row)) for row in rows], dtype=torch.int64).reshape(len(rows), L)
        return tokens, torch.tensor([len(row) for row in rows])

    # What is beyond a length looks like tokens, and the same in both.
    got = utility.pairwise(*padded(ours, 2), *padded(theirs, 2))
    expected = [[naive(h, r) for r in theirs] for h in ours]
    assert got.shape == (len(ours), len(theirs))
    assert got.flatten().tolist() == pytest.approx([u for row in expected for u in row], abs=1e-6)


@pytest.mark.parametrize(("utility", "naive"), UTILITIES, ids=["unigrams", "bigrams", "ngrams", "edit"])
@pytest.mark.parametrize("weights", ["uniform", "softmax"])
def test_a_vectorised_utility_ranks_as_the_same_one_on_lists(utility: Any, naive: Callable, weights: Any) -> None:
    beams = beam_search(TableModel(5, 3), TableModel.initial(6), start=1, eos=0, beam=7, n_best=7, max_length=6)
    by_tensor, by_list = mbr(beams, utility, weights=weights), mbr(beams, naive, weights=weights)
    torch.testing.assert_close(by_tensor.scores, by_list.scores)
    assert [by_tensor.best(b) for b in range(6)] == [by_list.best(b) for b in range(6)]


def test_ngram_f_by_hand() -> None:
    """the cat sat on the mat / the cat the cat: "the" 2, "cat" 1 of 6 + 4; "the cat" 1 of 5 + 3."""
    h, r = torch.tensor([[1, 2, 3, 4, 1, 5]]), torch.tensor([[1, 2, 1, 2]])
    got = NgramF(2).pairwise(h, torch.tensor([6]), r, torch.tensor([4]))
    assert float(got) == pytest.approx((2 * 3 / 10 + 2 * 1 / 8) / 2)


def test_kitten_and_sitting() -> None:
    words = [torch.tensor([[ord(c) for c in word]]) for word in ("kitten", "sitting")]
    got = EditSimilarity().pairwise(words[0], torch.tensor([6]), words[1], torch.tensor([7]))
    assert float(got) == pytest.approx(1 - 3 / 7)


def test_an_empty_batch_and_empty_hypotheses() -> None:
    empty = made(places=3)
    assert mbr(empty).scores.shape == (0, 3)
    ended_at_once = made([([], -0.1), ([4], -0.2)], finished=True)
    for utility in (NgramF(), EditSimilarity()):
        found = mbr(ended_at_once, utility)
        assert listed(found, 0) == [[0], [4, 0]] and found.scores[0].tolist() == [0.5, 0.5]


class Wrong:
    def pairwise(self, *args: Tensor) -> Tensor:
        return torch.zeros(2)


TWO = made([([1], -1.0), ([2], -1.0)], [([3], -1.0)])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mbr(TWO, same, weights="scores"), r'expected weights "uniform" or "softmax"; got \'scores\''),
        (lambda: mbr(TWO, same, weights="softmax", temperature=0.0), r"expected a finite temperature > 0; got 0.0"),
        (lambda: mbr(TWO, same, weights="softmax", temperature=math.nan), r"expected a finite temperature"),
        (lambda: mbr(TWO, same, temperature=2.0), r'expected temperature only with weights="softmax"; got 2.0'),
        (lambda: mbr(TWO, 3), r"expected utility to be callable or to have a method pairwise; got 3"),
        (lambda: mbr(TWO, same, references=made([([1], 0.0)])), r"expected references for B=2 sentences; got 1"),
        (
            lambda: mbr(TWO, same, references=made([([1], 0.0)], [])),
            r"expected references for every sentence with hypotheses; got none for sentence 1",
        ),
        (lambda: mbr(TWO, lambda h, r: math.nan if h == [3] else 0.0), r"expected finite utilities; .*sentence 1"),
        (lambda: mbr(TWO, lambda h, r: "high"), r"expected utility to return a number; got 'high'"),
        (lambda: mbr(TWO, lambda h, r: None), r"expected utility to return a number; got None"),
        (lambda: mbr(TWO, Wrong()), r"expected utilities \(N, M\)=\(2, 2\) of sentence 0; got \(2,\)"),
    ],
)
def test_errors_say_what_was_expected(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"mbr: {message}"):
        call()


def test_the_order_of_ngrams_is_checked() -> None:
    with pytest.raises(ValueError, match="NgramF: expected order to be an integer >= 1; got 0"):
        NgramF(0)
