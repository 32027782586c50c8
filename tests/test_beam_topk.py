"""What the table cannot say of beam_topk: hand-made numbers, properties, NaN, determinism, the out variant."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import s2sfast
from s2sfast import Pruning, reference
from s2sfast.cases import beam_topk as table
from tests.over import normals, sample, settled

BOTH = pytest.mark.parametrize("topk", [s2sfast.beam_topk, reference.beam_topk], ids=["fast", "reference"])


def logs(*rows: list[float]) -> torch.Tensor:
    """One sentence of beams, from probabilities."""
    return torch.tensor([rows]).log()


@BOTH
def test_by_hand(topk):
    """Scores 0.6 and 0.4; products 0.6 * (0.5, 0.3, 0.2), 0.4 * (0.1, 0.8, 0.1)."""
    found = topk(logs([0.5, 0.3, 0.2], [0.1, 0.8, 0.1]), torch.tensor([[0.6, 0.4]]).log(), 4)
    torch.testing.assert_close(found.scores.exp(), torch.tensor([[0.32, 0.30, 0.18, 0.12]]))
    assert found.parents.tolist() == [[1, 0, 0, 0]]
    assert found.tokens.tolist() == [[1, 0, 1, 2]]


@BOTH
def test_logits_are_normalised(topk):
    found = topk(torch.tensor([[[1000.0, 1000.0]]]), torch.zeros(1, 1), 1)
    torch.testing.assert_close(found.scores, torch.tensor([[math.log(0.5)]]))


@BOTH
def test_ties_are_judged_on_the_rounded_score(topk):
    """At -1e6 float32 has steps of 1/16: the better but higher column must not pass the lower one."""
    logits = torch.tensor([[[0.0, 0.001, 0.002, -5.0]]])
    found = topk(logits, torch.tensor([[-1e6]]), 3)
    assert found.tokens.tolist() == [[0, 1, 2]]
    assert len(set(found.scores[0].tolist())) == 1


@BOTH
@pytest.mark.parametrize("place", [40, 3000, 19_999])
def test_one_ulp_better_than_thousands_of_ties(topk, place):
    logits = torch.full((1, 1, 20_000), -1.0)
    logits[0, 0, place] = torch.nextafter(torch.tensor(-1.0), torch.tensor(0.0))
    found = topk(logits, torch.zeros(1, 1), 2, normalized=True)
    assert found.tokens.tolist() == [[place, 0]]


@BOTH
def test_masks_that_add_up_beyond_float32(topk):
    """A row of lowest numbers is a row of equal ones, and a bias of lowest numbers leaves finite scores."""
    lowest = torch.finfo(torch.float32).min
    found = topk(torch.full((1, 1, 40), lowest), torch.zeros(1, 1), 3, bias=torch.full((40,), lowest))
    assert found.scores.tolist() == [[lowest] * 3]
    assert found.tokens.tolist() == [[0, 1, 2]]


@BOTH
def test_minus_zero_ties_with_zero(topk):
    logits, scores = torch.tensor([[[-0.0, -1.0], [0.0, -1.0]]]), torch.tensor([[-0.0, 0.0]])
    bias = torch.tensor([-0.0, 0.0])  # without it, 0.0 is added, and nothing is -0.0 any more
    assert topk(logits, scores, 2, bias=bias, normalized=True).parents.tolist() == [[0, 1]]


@BOTH
def test_names_of_every_beam_of_every_sentence(topk):
    logits = torch.tensor([0.0, 1.0, 2.0]).expand(2, 2, 3)
    names = torch.arange(12).view(2, 2, 3) + 100
    found = topk(logits, torch.tensor([[0.0, -9.0], [-9.0, 0.0]]), 4, token_ids=names)
    assert found.tokens.tolist() == [[102, 101, 100, 105], [111, 110, 109, 108]]
    with pytest.raises(ValueError, match=r"expected token_ids .*\(2, 2, 3\); got \(1, 1, 3\)"):
        topk(logits, torch.zeros(2, 2), 4, token_ids=names[:1, :1])


@BOTH
@pytest.mark.parametrize("place", [0, 100_000, 250_000, 299_999])  # of several warps, the last one too
def test_the_best_of_many_stands_anywhere(topk, place):
    logits = torch.linspace(-1, 1, 300_000).repeat(1, 1, 1)
    logits[0, 0, place] = 9.0
    assert topk(logits, torch.zeros(1, 1), 2).tokens.tolist() == [[place, 299_999 - (place == 299_999)]]


@BOTH
def test_ties_lower_parent_then_lower_column(topk):
    found = topk(torch.zeros(1, 3, 4), torch.tensor([[-1.0, 0.0, 0.0]]), 6)
    assert found.parents.tolist() == [[1, 1, 1, 1, 2, 2]]
    assert found.tokens.tolist() == [[0, 1, 2, 3, 0, 1]]


@BOTH
@pytest.mark.parametrize(
    ("pruning", "kept"),
    [
        (Pruning(), [(0, 0), (1, 0), (0, 1), (1, 1), (1, 2), (0, 2)]),
        (Pruning(relative=0.4), [(0, 0), (1, 0)]),  # 0.35 best; 0.4 * 0.35 = 0.14
        (Pruning(absolute=math.log(2.95)), [(0, 0), (1, 0), (0, 1)]),  # at least 0.35 / 2.95 = 0.1186
        (Pruning(relative_local=0.3), [(0, 0), (1, 0), (1, 1)]),  # token probability at least 0.3 * 0.7
        (Pruning(max_per_beam=1), [(0, 0), (1, 0)]),
        (Pruning(relative=0.1, max_per_beam=2), [(0, 0), (1, 0), (0, 1), (1, 1)]),
    ],
    ids=str,
)
def test_pruning_by_hand(topk, pruning, kept):
    """Products 0.35, 0.12, 0.03 and 0.27, 0.117, 0.063; last tokens of at least 0.3 * 0.7 = 0.21: not 0.20."""
    logits = logs([0.70, 0.24, 0.06], [0.60, 0.26, 0.14])
    scores = torch.tensor([[0.5, 0.45]]).log()
    if pruning.relative_local is not None:
        logits = logs([0.70, 0.20, 0.10], [0.60, 0.25, 0.15])
    found = topk(logits, scores, 6, pruning=pruning)
    alive = found.scores[0] > -math.inf
    pairs = list(zip(found.parents[0][alive].tolist(), found.tokens[0][alive].tolist(), strict=True))
    assert pairs == kept


@BOTH
def test_ties_between_beams_that_offer_few(topk):
    found = topk(torch.zeros(1, 6, 5), torch.zeros(1, 6), 3, pruning=Pruning(max_per_beam=2))
    assert found.parents.tolist() == [[0, 0, 1]]
    assert found.tokens.tolist() == [[0, 1, 0]]


@BOTH
def test_empty_slots(topk):
    found = topk(torch.zeros(1, 2, 2), torch.tensor([[0.0, -math.inf]]), 4, token_ids=torch.tensor([8, 9]))
    assert found.scores[0, 2:].tolist() == [-math.inf] * 2
    assert found.parents.tolist() == [[0, 0, 0, 0]]
    assert found.tokens.tolist() == [[8, 9, 0, 0]]


@BOTH
def test_a_dead_beam_is_not_looked_at(topk):
    logits = torch.zeros(1, 2, 3)
    logits[0, 1] = math.nan
    assert topk(logits, torch.tensor([[0.0, -math.inf]]), 3).parents.tolist() == [[0, 0, 0]]


@BOTH
def test_without_the_check_a_nan_offers_nothing(topk):
    logits = torch.zeros(1, 3, 4)
    logits[0, 0, 2] = math.nan
    found = topk(logits, torch.tensor([[0.0, math.nan, -1.0]]), 8, check_nan=False)
    assert found.parents[found.scores > -math.inf].tolist() == [2, 2, 2, 2]
    ready = topk(torch.log_softmax(torch.zeros(1, 1, 3), -1).masked_fill(torch.tensor([False, True, False]), math.nan),
                 torch.zeros(1, 1), 3, normalized=True, check_nan=False)  # fmt: skip
    assert ready.tokens[ready.scores > -math.inf].tolist() == [0, 2]


def test_a_nan_in_a_block_that_is_skipped_is_found():
    """Far below the maximum no exponential is taken; the NaN must be seen all the same."""
    logits = torch.full((1, 1, 5000), -200.0)
    logits[0, 0, 0], logits[0, 0, 4000] = 0.0, math.nan
    beam_topk = settled(s2sfast.beam_topk)
    with pytest.raises(ValueError, match="sentence 0, beam 0"):
        beam_topk(logits, torch.zeros(1, 1), 2)
    logits[0, 0, 2048:] = -math.inf
    logits[0, 0, 4000] = math.nan
    with pytest.raises(ValueError, match="sentence 0, beam 0"):
        beam_topk(logits, torch.zeros(1, 1), 2)


def test_out_variant_writes_the_same_and_allocates_nothing():
    op, case = table.OP, next(c for c in table.CASES if c.why == "phonemes")
    (logits, scores, k), _ = sample(op, case)
    expected = s2sfast.beam_topk(logits, scores, k)
    out = s2sfast.BeamCandidates(torch.empty(4, k), *(torch.empty(4, k, dtype=torch.int64) for _ in range(2)))
    assert s2sfast.beam_topk(logits, scores, k, out=out) is out
    assert all(torch.equal(a, b) for a, b in zip(out, expected, strict=True))
    with pytest.raises(ValueError, match=r"expected contiguous outputs \(B, k\)=\(4, 10\)"):
        s2sfast.beam_topk(logits, scores, k, out=s2sfast.BeamCandidates(*(t[:, :-1] for t in out)))


@pytest.mark.parametrize("case", [c for c in table.CASES if c.sizes["B"] > 1 and "test" in c.use], ids=lambda c: c.why)
def test_a_sentence_does_not_feel_its_neighbours(case):
    (logits, scores, k), kwargs = sample(table.OP, case)
    bias = kwargs.pop("bias", None)
    bias = None if bias is None else bias.expand(logits.shape)
    whole = s2sfast.beam_topk(logits, scores, k, bias=bias, **kwargs)
    for b in range(logits.shape[0]):
        own_bias = None if bias is None else bias[b : b + 1]
        alone = s2sfast.beam_topk(logits[b : b + 1], scores[b : b + 1], k, bias=own_bias, **kwargs)
        assert all(torch.equal(a[0], w[b]) for a, w in zip(alone, whole, strict=True))


numbers = st.integers(0, 2**31)


@settings(max_examples=60, deadline=None)
@given(seed=numbers, B=st.integers(1, 4), K=st.integers(1, 6), V=st.integers(1, 80), k=st.integers(1, 100))
def test_random_sizes(seed, B, K, V, k):
    from tests.test_ops import assert_same_candidates

    case = type("Case", (), {"sizes": {"B": B, "K": K, "V": V, "k": k}, "options": {"ties": bool(seed % 2)}})
    args, kwargs = sample(table.OP, case, seed=seed)
    assert_same_candidates(s2sfast.beam_topk(*args, **kwargs), reference.beam_topk(*args, **kwargs))


@settings(max_examples=30, deadline=None)
@given(seed=numbers, shift=st.integers(-64, 64))
def test_a_constant_added_to_a_row_changes_nothing(seed, shift):
    """Logits are multiples of 1/8, so that the addition is exact and the results are the same bits."""
    normal = normals(seed)
    logits = (normal(2, 3, 700) * 8).round() / 8
    scores = normal(2, 3)
    moved = logits + torch.tensor([shift, -shift, 7.0])[None, :, None]
    for a, b in zip(s2sfast.beam_topk(logits, scores, 9), s2sfast.beam_topk(moved, scores, 9), strict=True):
        assert torch.equal(a, b)


@settings(max_examples=30, deadline=None)
@given(seed=numbers, permutation=st.permutations(range(5)))
def test_permuting_the_batch_permutes_the_result(seed, permutation):
    normal = normals(seed)
    logits, scores = normal(5, 3, 200), normal(5, 3)
    found = s2sfast.beam_topk(logits, scores, 6)
    moved = s2sfast.beam_topk(logits[permutation], scores[permutation], 6)
    assert all(torch.equal(a[permutation], b) for a, b in zip(found, moved, strict=True))


rules = st.builds(
    Pruning,
    relative=st.none() | st.floats(1e-3, 1.0),
    absolute=st.none() | st.floats(0.0, 8.0),
    relative_local=st.none() | st.floats(1e-3, 1.0),
    max_per_beam=st.none() | st.integers(1, 5),
)


@settings(max_examples=60, deadline=None)
@given(seed=numbers, pruning=rules)
def test_pruning_only_removes(seed, pruning):
    normal = normals(seed)
    logits, scores = normal(2, 4, 60) * 2, normal(2, 4)
    everything = s2sfast.beam_topk(logits, scores, 240)
    pruned = s2sfast.beam_topk(logits, scores, 240, pruning=pruning)
    for b in range(2):
        names = [list(zip(x.scores[b].tolist(), x.parents[b].tolist(), x.tokens[b].tolist(), strict=True))
                 for x in (everything, pruned)]  # fmt: skip
        kept = [c for c in names[1] if c[0] > -math.inf]
        order = {candidate: place for place, candidate in enumerate(names[0])}
        places = [order[c] for c in kept]  # KeyError: a candidate that was not there before
        assert places == sorted(places)
        if pruning.relative_local is None:  # that one may drop even the best, by its last token
            assert kept[:1] == names[0][:1]


def test_pruning_says_what_is_out_of_range():
    for bad in (
        {"relative": 0.0},
        {"relative": 1.5},
        {"absolute": -1.0},
        {"relative_local": -0.1},
        {"max_per_beam": 0},
    ):
        with pytest.raises(ValueError, match=f"Pruning: expected .*{next(iter(bad))}"):
            Pruning(**bad)


def test_large_k_times_v_does_not_overflow_32_bits():
    """K * V above 2^31 entries, by a row that is shared (stride 0): nothing of that size is touched."""
    row = torch.full((1, 1, 70_000), -3.0)
    row[0, 0, 69_999] = 4.0
    K = 40_000  # K * V = 2.8e9
    scores = torch.full((1, K), -math.inf)
    scores[0, K - 1] = -1.0
    found = s2sfast.beam_topk(row.expand(1, K, 70_000), scores, 2)
    assert (found.parents[0, 0].item(), found.tokens[0, 0].item()) == (K - 1, 69_999)
