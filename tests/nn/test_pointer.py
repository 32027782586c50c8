"""The pointer layer: its formula, its masks, and a pointer network that learns."""

import copy
import io

import pytest
import torch
from torch import nn
from torch.testing import assert_close

import s2sfast
from s2sfast.nn import PointerLayer
from tests.nn.compare import assert_same, gradients, leaf

S, Q, T, C, D = 3, 4, 6, 5, 7
LENGTHS = torch.tensor([6, 0, 3])


def formula(pointer, query, keys, allowed):
    """Vinyals et al., eq. 3; Bello et al., appendix, for the clip."""
    inside = (query @ pointer.query_projection.weight.T)[:, :, None] + (keys @ pointer.key_projection.weight.T)[:, None]
    logits = (pointer.v * torch.tanh(inside)).sum(-1)
    if pointer.clip is not None:
        logits = pointer.clip * torch.tanh(logits)
    return logits.masked_fill(~allowed, -torch.inf)


@pytest.mark.parametrize("clip", [None, 10.0, 0.3])
def test_it_means_its_formula(clip):
    pointer, query, keys = PointerLayer(C, D, 9, clip=clip), leaf(S, Q, C), leaf(S, T, D)
    with torch.no_grad():
        pointer.v.mul_(5.0)  # so that a clip matters
    mask = torch.rand(S, Q, T) > 0.3
    mask[..., 0] = True
    expected = formula(pointer, query, keys, mask)
    inputs = [query, keys, *pointer.parameters()]
    seen = torch.where(mask, expected, 0.0)
    logits = pointer.logits(query, keys, mask=mask)
    assert torch.equal(logits.isneginf(), ~mask)
    assert_same((torch.where(mask, logits, 0.0),), (seen,), inputs)
    log_probs, expected = pointer(query, keys, mask=mask), expected.log_softmax(-1)
    assert torch.equal(log_probs.isneginf(), ~mask)
    assert_same((torch.where(mask, log_probs, 0.0),), (torch.where(mask, expected, 0.0),), inputs)


def test_a_clip_bounds_the_logits():
    pointer = PointerLayer(C, D, 9, clip=2.0)
    with torch.no_grad():
        pointer.v.mul_(1e6)
    logits = pointer.logits(torch.randn(S, Q, C), torch.randn(S, T, D))
    assert_close(logits.abs(), torch.full_like(logits, 2.0))


@pytest.mark.parametrize("clip", [None, 10.0])
def test_where_everything_is_masked_there_is_nothing_to_point_at(clip):
    pointer, query, keys = PointerLayer(C, D, 9, clip=clip), leaf(S, C), leaf(S, T, D)
    log_probs = pointer(query, keys, lengths=LENGTHS)
    assert log_probs[1].isneginf().all()
    assert_close(log_probs[[0, 2]].exp().sum(-1), torch.ones(2))
    finite = torch.where(log_probs.isneginf(), 0.0, log_probs)
    with torch.autograd.set_detect_anomaly(True):  # no NaN on the way either
        found = gradients((finite,), [query, keys, *pointer.parameters()])
    assert all(gradient.isfinite().all() for gradient in found)
    assert not found[0][1].any()


def test_nan_in_the_padding_reaches_nothing():
    pointer, query = PointerLayer(C, D, 9, clip=10.0, bias=True), leaf(S, Q, C)
    padding = (torch.arange(T) >= LENGTHS[:, None])[..., None]
    base = torch.randn(S, T, D)

    def run(fill):
        keys = base.masked_fill(padding, fill).requires_grad_()
        log_probs = pointer(query, pointer.precompute(keys, lengths=LENGTHS))
        finite = torch.where(log_probs.isneginf(), 0.0, log_probs)
        return finite, *gradients((finite,), [query, keys, *pointer.parameters()])

    for poisoned, clean in zip(run(torch.nan), run(0.0), strict=True):
        assert poisoned.isfinite().all()
        assert_close(poisoned, clean)


def test_precomputed_keys_beams_and_single_queries_agree():
    pointer, query, keys = PointerLayer(C, D, 9, clip=10.0), leaf(S, Q, C), leaf(S, T, D)
    lengths = torch.tensor([6, 2, 3])
    memory = pointer.precompute(keys, lengths=lengths)
    assert memory.values is None  # a search would carry them along for nothing
    together = pointer(query, memory)
    tiled = pointer(query.flatten(0, 1), keys.repeat_interleave(Q, 0), lengths=lengths.repeat_interleave(Q))
    assert_close(together.flatten(0, 1), tiled)
    assert_close(together[:, 1], pointer(query[:, 1], memory))


def test_a_state_dict_carries_it_over():
    pointer, query, keys = PointerLayer(C, D, 9), torch.randn(S, Q, C), torch.randn(S, T, D)
    buffer = io.BytesIO()
    torch.save(pointer.state_dict(), buffer)
    buffer.seek(0)
    other = PointerLayer(C, D, 9)
    assert not torch.equal(other(query, keys), pointer(query, keys))
    other.load_state_dict(torch.load(buffer, weights_only=True))
    assert torch.equal(other(query, keys), pointer(query, keys))
    assert torch.equal(copy.deepcopy(pointer)(query, keys), pointer(query, keys))


def test_it_compiles_whole():
    pointer, query, keys = PointerLayer(C, D, 9, clip=10.0), leaf(S, Q, C), leaf(S, T, D)
    compiled = torch.compile(pointer, fullgraph=True, backend="aot_eager")
    assert_same((compiled(query, keys),), (pointer(query, keys),), [query, keys, *pointer.parameters()])


@pytest.mark.parametrize("clip", [0.0, -1.0, float("inf"), float("nan")])
def test_a_clip_that_is_none_is_refused(clip):
    with pytest.raises(ValueError, match="clip in"):
        PointerLayer(C, D, 9, clip=clip)


class Sorter(nn.Module):
    """Points at the numbers of a list in ascending order, never twice at one."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.GRU(1, 16, batch_first=True, bidirectional=True)
        self.pointer = PointerLayer(32, 32, 32, clip=10.0)

    def forward(self, numbers, order):
        """(B, T) numbers and their ranks -> log-probabilities (B, T, T), teacher-forced."""
        encoded, _ = self.encoder(numbers[..., None])
        last = encoded.gather(1, order[..., None].expand_as(encoded))  # what each step points at is the next query
        query = torch.cat((encoded.mean(1, keepdim=True), last[:, :-1]), 1)
        mask = torch.ones(*order.shape, order.shape[1], dtype=torch.bool)
        for step in range(1, order.shape[1]):
            mask[:, step].scatter_(1, order[:, :step], False)
        return self.pointer(query, encoded, mask=mask)


def test_it_learns_to_sort():
    """Pointers of a trained layer beat chance by far on lists that it has not seen."""
    torch.manual_seed(1)
    sorter = Sorter().float()
    optimizer = torch.optim.Adam(sorter.parameters(), 1e-2)

    def lists(count):
        numbers = torch.rand(count, 4, dtype=torch.float32)
        return numbers, numbers.argsort(1)

    for _ in range(150):
        numbers, order = lists(64)
        loss = nn.functional.nll_loss(sorter(numbers, order).flatten(0, 1), order.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    numbers, order = lists(500)
    right = (sorter(numbers, order).argmax(-1) == order).all(1).double().mean()
    assert right > 0.6  # by chance 1 in 24


def test_a_search_points():
    """Positions are the tokens of a beam search; what a beam has visited is masked by its own state."""
    torch.manual_seed(0)
    pointer, encoded = PointerLayer(D, D, 9), torch.randn(2, T, D)
    with torch.no_grad():
        pointer.v.mul_(3.0)
    end = T - 1  # the last input stands for the end

    def step(tokens, state, memory):
        keys, inputs = memory
        sentences, beams = len(inputs), len(tokens) // len(inputs)
        sentence = torch.arange(sentences).repeat_interleave(beams)
        begun = state["begun"]
        free = state["free"] & ~(begun[:, None] & nn.functional.one_hot(tokens, T).bool())
        query = torch.where(begun[:, None], inputs[sentence, tokens], inputs.mean(1)[sentence])
        log_probs = pointer(query.view(sentences, beams, D), keys, mask=free.view(sentences, beams, T))
        return log_probs.flatten(0, 1), {"free": free, "begun": torch.ones_like(begun)}

    with torch.no_grad():
        memory = (pointer.precompute(encoded), encoded)
    state = {"free": torch.ones(2, T, dtype=torch.bool), "begun": torch.zeros(2, dtype=torch.bool)}
    found = s2sfast.beam_search(
        step,
        state,
        memory=memory,
        start=0,
        eos=end,
        beam=200,
        n_best=1,
        max_length=T,
        length_penalty=0.0,
        rules="exact",
    )
    for b in range(2):
        path = found.best(b)
        assert len(set(path)) == len(path)
        assert path[-1] == end
        assert_close(found.log_probs[b, 0].double(), best_path(pointer, encoded[b], end), rtol=1e-5, atol=1e-5)


def best_path(pointer, encoded, end):
    """The log-probability of the most probable way to the end, by trying all."""

    def onward(query, free):
        log_probs = formula(pointer, query[None, None], encoded[None], free[None, None])[0, 0].log_softmax(-1)
        ways = [log_probs[end]]
        for t in range(end):
            if free[t]:
                rest = free.clone()
                rest[t] = False
                ways.append(log_probs[t] + onward(encoded[t], rest))
        return torch.stack(ways).max()

    with torch.no_grad():
        return onward(encoded.mean(0), torch.ones(len(encoded), dtype=torch.bool))
