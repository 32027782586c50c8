"""What only a real device can show: capture into a graph, streams, and that nothing waits for the host."""

import pytest
import torch

import s2sfast
from s2sfast.types import BeamCandidates


def inputs(seed: int = 0):
    generator = torch.Generator("cpu").manual_seed(seed)
    logits, scores = torch.randn(4, 5, 32_000, generator=generator, device="cpu"), torch.zeros(4, 5, device="cpu")
    return logits.cuda(), scores.cuda()


@pytest.mark.parametrize("k", [10, 100])
def test_a_captured_step_replays_on_new_logits(k):
    logits, scores = inputs()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = s2sfast.beam_topk(logits, scores, k)
    logits.copy_(inputs(1)[0])
    graph.replay()
    expected = s2sfast.beam_topk(logits, scores, k)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_a_fault_in_a_replay_is_found():
    logits, scores = inputs()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        s2sfast.beam_topk(logits, scores, 10)
    logits[2, 3, 4] = float("nan")
    graph.replay()
    with pytest.raises(ValueError, match="sentence 2, beam 3"):
        s2sfast.synchronize()


def test_the_current_stream_is_used():
    logits, scores = inputs()
    expected = s2sfast.beam_topk(logits, scores, 10)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        torch.cuda._sleep(100_000_000)  # what runs on another stream would be done before this
        moved = logits * 1
        found = s2sfast.beam_topk(moved, scores, 10)
    stream.synchronize()
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_nothing_waits_for_the_device():
    logits, scores = inputs()
    out = s2sfast.beam_topk(logits, scores, 10)
    torch.cuda.set_sync_debug_mode("error")
    try:
        s2sfast.beam_topk(logits, scores, 10, out=BeamCandidates(*out))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    start, end = torch.cuda.Event(), torch.cuda.Event()
    start.record()
    torch.cuda._sleep(1_000_000_000)
    s2sfast.beam_topk(logits, scores, 10)
    end.record()
    assert not end.query()  # the call has returned, and the device still sleeps


def test_tensors_of_two_devices_are_refused():
    logits, scores = inputs()
    with pytest.raises(ValueError, match="expected scores on the device of logits"):
        s2sfast.beam_topk(logits, scores.cpu(), 10)
