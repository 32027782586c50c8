"""What is different on a device: faults come late, sizes have limits, and slots stand in shared memory or not."""

import math

import pytest
import torch

import s2sfast
from s2sfast import Pruning, reference
from tests.over import integers


def test_a_fault_does_not_stop_the_call_that_has_it():
    logits = torch.randn(3, 2, 40)
    logits[1, 1, 7] = math.nan
    found = s2sfast.beam_topk(logits, torch.zeros(3, 2), 4)
    with pytest.raises(ValueError, match=r"a NaN or \+inf in logits of sentence 1, beam 1 \(found on the device"):
        s2sfast.synchronize()
    clean = s2sfast.beam_topk(logits[::2], torch.zeros(2, 2), 4)
    for mine, alone in zip(found, clean, strict=True):
        assert torch.equal(mine[::2], alone)
    assert found.scores[1].tolist() == [-math.inf] * 4
    assert found.parents[1].tolist() == found.tokens[1].tolist() == [0] * 4


def test_the_next_call_of_any_op_raises_it_once():
    logits = torch.full((1, 1, 4), math.nan)
    s2sfast.beam_topk(logits, torch.zeros(1, 1), 2)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    steps = torch.zeros(1, 1, 1, dtype=torch.int64)
    with pytest.raises(ValueError, match="sentence 0, beam 0"):
        s2sfast.backtrace(steps, steps, torch.zeros(1, 1, dtype=torch.int64))
    assert s2sfast.backtrace(steps, steps, torch.zeros(1, 1, dtype=torch.int64)).tolist() == [[[0]]]


def test_a_search_does_not_take_an_earlier_fault_for_its_own():
    def step(tokens, state, memory):
        return torch.zeros(len(tokens), 4), state

    s2sfast.beam_topk(torch.full((1, 1, 4), math.nan), torch.zeros(1, 1), 2)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    with pytest.raises(ValueError, match=r"^beam_topk: "):
        s2sfast.beam_search(step, None, start=1, eos=0, batch_size=1, max_length=2)
    assert s2sfast.beam_search(step, None, start=1, eos=0, batch_size=1, max_length=2).finished.all()


def test_the_lowest_beam_of_a_sentence_is_named():
    scores = torch.zeros(1, 40)
    scores[0, 9], scores[0, 33] = math.nan, math.inf
    s2sfast.beam_topk(torch.zeros(1, 40, 5), scores, 2)
    with pytest.raises(ValueError, match="in scores of sentence 0, beam 9 "):
        s2sfast.synchronize()


def test_a_backpointer_out_of_range_ends_its_own_hypothesis_only():
    parents = torch.tensor([[[0, 0]], [[7, 0]], [[0, 1]]])
    tokens = torch.tensor([[[10, 20]], [[11, 21]], [[12, 22]]])
    found = s2sfast.backtrace(parents, tokens, torch.tensor([[0, 1]]))
    message = r"beams and parents in \[0, K\)=\[0, 2\); got 7 on the way of sentence 0, hypothesis 0 at step 0"
    with pytest.raises(ValueError, match=message):
        s2sfast.synchronize()
    assert found.tolist() == [[[-1, 11, 12], [10, 21, 22]]]


def test_a_slot_just_out_of_range_is_found():
    steps = torch.zeros(3, 1, 2, dtype=torch.int64)
    s2sfast.backtrace(steps, steps, torch.tensor([[2]]))
    with pytest.raises(ValueError, match="got 2 on the way of sentence 0, hypothesis 0 at step 2"):
        s2sfast.synchronize()


@pytest.mark.parametrize("far", [-12.0, -16.0, -20.0])
def test_a_confident_row_keeps_its_small_change(far):
    """Beside a term of 1, float32 sums lose what is below 2^-24: the score of the best would be 0, or a little off."""
    logits = torch.full((1, 2, 3000), far)
    logits[0, :, 0] = 0.0
    logits[0, 1, 128:] -= 1.0
    scores = torch.zeros(1, 2)
    found, exact = (topk(logits, scores, 2) for topk in (s2sfast.beam_topk, reference.beam_topk))
    assert torch.equal(found.parents, exact.parents)
    torch.testing.assert_close(found.scores, exact.scores, rtol=1e-6, atol=0)


def test_limits_are_errors():
    row = torch.zeros(1, 1, 1)
    cases = {
        "k <= 1024 on CUDA; got 1025": (row.expand(1, 2, 3000), 1025),
        "V <= 2\\^26": (row.expand(1, 1, 2**26 + 1), 1),
        "K\\*V < 2\\^32": (row.expand(1, 2**20, 2**13), 1),
    }
    for message, (logits, k) in cases.items():
        with pytest.raises(ValueError, match=message):
            s2sfast.beam_topk(logits, torch.zeros(logits.shape[:2]), k)


@pytest.mark.parametrize("k", [31, 32, 33, 1000, 1024])
@pytest.mark.parametrize("width", [1023, 1024, 1025, 4096, 5000])
def test_where_ways_of_working_meet(width, k):
    """Tiles of 1,024 columns, 32 keys in registers, 1,024 in shared memory; ties everywhere tell the order."""
    logits, scores = torch.randn(2, 3, width).round(), torch.randn(2, 3).round()
    for pruning in (None, Pruning(max_per_beam=40, relative_local=0.01)):
        found = s2sfast.beam_topk(logits, scores, k, pruning=pruning)
        expected = reference.beam_topk(logits, scores, k, pruning=pruning)
        torch.testing.assert_close(found.scores, expected.scores, rtol=0, atol=2e-6)
        assert torch.equal(found.parents, expected.parents)
        assert torch.equal(found.tokens, expected.tokens)


@pytest.mark.parametrize("offset", [0, 1, 2, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_rows_that_start_anywhere_give_the_same_bits(dtype, offset):
    """Loads of 16 bytes where a row allows it, of one number where not: the lanes get the same columns."""
    rows = torch.randn(2, 3, 2048).to(dtype)
    memory = torch.zeros(2 * 3 * 2048 + offset, dtype=dtype)
    moved = memory[offset:].view(2, 3, 2048).copy_(rows)
    aligned, elsewhere = (s2sfast.beam_topk(x, torch.zeros(2, 3), 6) for x in (rows, moved))
    assert all(torch.equal(a, b) for a, b in zip(aligned, elsewhere, strict=True))


@pytest.mark.parametrize("beams", [4096, 4097, 6000])
def test_backtrace_with_more_beams_than_are_staged(beams):
    draw = integers(beams)
    arguments = draw(0, beams, (5, 2, beams)), draw(0, 100, (5, 2, beams)), draw(0, beams, (2, 200))
    assert torch.equal(s2sfast.backtrace(*arguments), reference.backtrace(*arguments))


def test_backtrace_longer_than_one_chunk():
    """4,096 parents are staged at a time: 700 steps of 7 beams are two chunks, the second not full."""
    draw = integers(0)
    parents, tokens = draw(0, 7, (700, 2, 7)), draw(0, 7, (700, 2, 7))
    beams, steps = torch.tensor([[6, 0, 3], [1, 1, 5]]), torch.tensor([[700, 584, 585], [0, 1, 116]])
    found = s2sfast.backtrace(parents, tokens, beams, steps=steps)
    assert torch.equal(found, reference.backtrace(parents, tokens, beams, steps=steps))
