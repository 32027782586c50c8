"""What only a real device can show: capture into a graph, streams, and that nothing waits for the host."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import s2sfast
from s2sfast.types import BeamCandidates


def inputs(seed: int = 0):
    generator = torch.Generator("cpu").manual_seed(seed)
    logits, scores = torch.randn(4, 5, 32_000, generator=generator, device="cpu"), torch.zeros(4, 5, device="cpu")
    return logits.cuda(), scores.cuda()


OPTIONS = [
    {"k": 10},
    {"k": 100},
    {"k": 10, "pruning": s2sfast.Pruning(0.6, 2.5, 0.02, 3)},
    {"k": 10, "normalized": True, "check_nan": False},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_captured_step_replays_on_new_logits(options):
    logits, scores = inputs()
    bias = torch.zeros(32_000)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = s2sfast.beam_topk(logits, scores, **options)
        biased = s2sfast.beam_topk(logits, scores, bias=bias, **options)
    logits.copy_(inputs(1)[0])
    bias[:100] = -9.0
    graph.replay()
    expected = s2sfast.beam_topk(logits, scores, **options)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    expected = s2sfast.beam_topk(logits, scores, bias=bias, **options)
    assert all(torch.equal(a, b) for a, b in zip(biased, expected, strict=True))


def test_a_captured_step_writes_into_out_and_backtrace_follows():
    logits, scores = inputs()
    out = BeamCandidates(*s2sfast.beam_topk(logits, scores, 5))
    ends = torch.zeros(4, 2, dtype=torch.int64)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        s2sfast.beam_topk(logits, scores, 5, out=out)
        sequences = s2sfast.backtrace(out.parents[None], out.tokens[None], ends)
    logits.copy_(inputs(1)[0])
    graph.replay()
    expected = s2sfast.beam_topk(logits, scores, 5)
    assert all(torch.equal(a, b) for a, b in zip(out, expected, strict=True))
    assert torch.equal(sequences, expected.tokens[:, :1, None].expand(4, 2, 1))


CAPTURE_FIRST = """
import torch, s2sfast
logits, scores = torch.randn(2, 3, 5000, device="cuda"), torch.zeros(2, 3, device="cuda")
graph = torch.cuda.CUDAGraph()
with torch.cuda.graph(graph):
    found = s2sfast.beam_topk(logits, scores, 4)
graph.replay()
expected = s2sfast.beam_topk(logits, scores, 4)
assert all(torch.equal(a, b) for a, b in zip(found, expected))
"""


def test_the_very_first_call_may_be_captured():
    """The memory for faults is then got, and the kernels are loaded, during the capture."""
    done = subprocess.run([sys.executable, "-c", CAPTURE_FIRST], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_threads_with_streams_of_their_own():
    logits, scores = inputs()
    expected = s2sfast.beam_topk(logits, scores, 10)

    def decode(_: int) -> bool:
        with torch.cuda.stream(torch.cuda.Stream()):
            found = [s2sfast.beam_topk(logits, scores, 10) for _ in range(50)]
            torch.cuda.current_stream().synchronize()
        return all(torch.equal(a, b) for one in found for a, b in zip(one, expected, strict=True))

    torch.cuda.synchronize()
    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(decode, range(4)))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="one GPU")
def test_the_tensors_device_is_used_and_left():
    logits, scores = inputs()
    expected = s2sfast.beam_topk(logits, scores, 10)
    there = [x.to("cuda:1") for x in (logits, scores)]
    found = s2sfast.beam_topk(*there, 10)
    assert torch.cuda.current_device() == 0
    assert all(torch.equal(a.cpu(), b.cpu()) for a, b in zip(found, expected, strict=True))
    there[0][1, 2, 3] = float("nan")
    s2sfast.beam_topk(*there, 10)
    with pytest.raises(ValueError, match="sentence 1, beam 2"):
        s2sfast.synchronize("cuda:1")


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
