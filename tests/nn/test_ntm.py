"""The memory of a Neural Turing Machine and its heads: what the options mean; nothing is hidden in the module."""

import pytest
import torch
from torch.nn.functional import cosine_similarity, softplus
from torch.testing import assert_close

import s2sfast
from s2sfast import reference
from s2sfast.nn import NTMHeads, NTMMemory
from tests.nn.compare import assert_same, gradients

B, C, N, M = 3, 11, 7, 5

OPTIONS = {
    "usual": {},
    "several-heads": {"read_heads": 2, "write_heads": 3},
    "tanh-oneplus": {"key": "tanh", "strength": "oneplus", "add": "tanh"},
    "read-write-product": {"order": "read_write", "composition": "product", "write_heads": 2},
    "no-shift": {"shifts": 0},
    "two-taps": {"shift_offsets": (0, 1)},
    "clip": {"clip": 0.2},
    "sqrt": {"eps": 1e-3, "eps_mode": "sqrt"},
    "content-only": {"content_only": True, "read_heads": 2},
    "shared": {"shared": True, "write_heads": 2},
    "lecture": {"shared": True, "content_only": True, "memory_init": "learned", "reads_init": "memory"},
}


@pytest.fixture(params=list(OPTIONS))
def memory(request):
    return made(**OPTIONS[request.param])


def made(**options):
    """With distinct slots, unless it says otherwise: a memory of equal ones hides what the keys do."""
    return NTMMemory(C, N, M, **{"memory_init": "random", **options})


def after(memory, steps=3, batch=B):
    state = memory.initial(batch)
    for controller_output in torch.randn(steps, batch, C):
        state = memory(controller_output, state)
    return state


def test_a_step_is_the_reference_s_step_of_the_layer_s_output(memory):
    output, state = torch.randn(B, C, requires_grad=True), memory.initial(B)
    step = reference.ntm_step(
        state.memory, state.read_weights, state.write_weights, *memory.heads(output), **memory.options
    )
    located = [p for name, p in memory.named_parameters() if name != "initial_reads"]
    if memory.heads.content_only:  # then the previous weights are not looked at
        located = [p for p in located if p is not memory.initial_write_weights]
    assert_same(memory(output, state), step, [output, *located])


def test_the_layer_s_output_is_split_in_the_order_of_the_fields():
    heads = NTMHeads(C, M, read_heads=2, write_heads=1)
    output = torch.randn(B, C)
    read, write = heads(output)
    flat = output @ heads.linear.weight.T + heads.linear.bias
    assert_close(torch.cat((read.flatten(1), write.flatten(1)), 1), flat)
    assert read.shape == (B, 2, M + 6) and write.shape == (B, 1, 3 * M + 6)
    assert_close(heads.join([read], [write]), flat)


def test_heads_for_content_alone_have_only_the_fields_that_are_looked_at():
    heads = NTMHeads(C, M, read_heads=2, content_only=True)
    assert heads.linear.out_features == 2 * (M + 1) + 3 * M + 1
    read, write = heads(torch.randn(B, C))
    assert read.gate is read.shift is read.sharpen is read.erase is write.gate is None
    assert write.add.shape == (B, 1, M)
    assert_close(heads.join(read, write), torch.cat([x.flatten(1) for x in (*read, *write) if x is not None], 1)[
        :, [*range(M), 2 * M, *range(M, 2 * M), 2 * M + 1, *range(2 * M + 2, 5 * M + 3)]
    ])  # fmt: skip


def test_nothing_is_hidden_in_the_module(memory):
    before = {name: value.clone() for name, value in memory.state_dict().items()}
    output, state = torch.randn(B, C), memory.initial(B)
    old = [x.clone() for x in state]
    first, again = memory(output, state), memory(output, state)
    for a, b in zip((*first, *state), (*again, *old), strict=True):
        assert torch.equal(a, b)
    after(memory)
    assert memory.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in memory.state_dict().items())


def test_sentences_do_not_see_each_other(memory):
    outputs, state = torch.randn(4, B, C), memory.initial(B)
    alone = memory.initial(1)
    for output in outputs:
        state, alone = memory(output, state), memory(output[1:2], alone)
    for a, b in zip(state, alone, strict=True):
        assert_close(a[1:2], b)


def test_every_parameter_gets_its_gradient(memory):
    seen = *after(memory), memory.initial(1).reads
    found = torch.autograd.grad(sum(x.square().sum() for x in seen), list(memory.parameters()))
    assert all(x.abs().max() > 0 for x in found)


def test_a_detached_state_cuts_the_past_off():
    memory = made(memory_init="learned")
    outputs = torch.randn(2, B, C, requires_grad=True)
    state = memory(outputs[0], memory.initial(B))
    state = memory(outputs[1], type(state)(*(x.detach() for x in state)))
    (found,) = gradients(state, [outputs])
    assert found[0].abs().max() == 0 < found[1].abs().max()


@pytest.mark.parametrize("init", ["constant", "random", "learned", "zeros"])
def test_how_a_memory_begins(init):
    memory = NTMMemory(C, 100, M, memory_init=init)
    value = memory.initial(2).memory
    assert value.shape == (2, 100, M) and torch.equal(value[0], value[1])
    kept = {"random": "buffers", "learned": "parameters"}.get(init)
    for where in ("buffers", "parameters"):
        assert ("initial_memory" in dict(getattr(memory, f"named_{where}")())) == (where == kept)
    if kept:  # uniform in +-1/sqrt(N + M)
        bound = 105**-0.5
        assert value.abs().max() <= bound
        assert_close(value[0].std(), torch.tensor(bound / 3**0.5), rtol=0.1, atol=0)
    else:
        assert (value == {"constant": 1e-6, "zeros": 0.0}[init]).all()


@pytest.mark.parametrize("init", ["learned", "first", "uniform", "zeros"])
def test_how_weights_begin(init):
    memory = made(weights_init=init, read_heads=2)
    state = memory.initial(B)
    assert state.read_weights.shape == (B, 2, N) and state.write_weights.shape == (B, 1, N)
    expected = {
        "learned": lambda: memory.initial_read_weights.softmax(-1).expand(B, -1, -1),
        "first": lambda: torch.eye(N)[0].expand(B, 2, N),
        "uniform": lambda: torch.full((B, 2, N), 1 / N),
        "zeros": lambda: torch.zeros(B, 2, N),
    }[init]()
    assert_close(state.read_weights, expected)
    assert ("initial_write_weights" in memory.state_dict()) == (init == "learned")


def test_how_reads_begin():
    assert (made(reads_init="zeros").initial(B).reads == 0).all()
    learned = made(reads_init="learned", read_heads=2)
    assert learned.initial_reads.shape == (2, M)
    state = made(reads_init="memory", read_heads=2).initial(B)
    assert_close(state.reads, state.read_weights @ state.memory)


def test_state_dicts():
    assert set(made().state_dict()) == {
        "initial_memory", "initial_read_weights", "initial_write_weights", "heads.linear.weight", "heads.linear.bias",
    }  # fmt: skip
    assert set(made(memory_init="zeros", weights_init="zeros").state_dict()) == {
        "heads.linear.weight",
        "heads.linear.bias",
    }
    one, other = made(read_heads=2), made(read_heads=2)
    other.load_state_dict(one.state_dict())
    output = torch.randn(B, C)
    assert all(
        torch.equal(a, b) for a, b in zip(one(output, one.initial(B)), other(output, other.initial(B)), strict=True)
    )


def test_the_first_state_follows_the_parameters():
    state = made().float().initial(B)
    assert {x.dtype for x in state} == {torch.float32}


# --- whose implementation has which options: their equations, written out --------------------------------


def test_pytorch_ntm():
    """loudinthecloud/pytorch-ntm with a read head and a write head: shift[0] moves the focus on by 1."""
    memory = made(weights_init="zeros", order="read_write", shift_offsets=(1, 0, -1))
    outputs = torch.randn(4, B, C, requires_grad=True)

    def address(held, head, previous):
        key, strength, gate, shift, sharpen = (
            head[:, :M],
            head[:, M],
            head[:, M + 1],
            head[:, M + 2 : M + 5],
            head[:, M + 5],
        )
        found = cosine_similarity(held + 1e-16, (key + 1e-16)[:, None], dim=-1, eps=1e-8)
        content = (softplus(strength)[:, None] * found).softmax(-1)
        gate, shift = gate.sigmoid()[:, None], shift.softmax(-1)
        w = gate * content + (1 - gate) * previous
        w = w.roll(1, 1) * shift[:, :1] + w * shift[:, 1:2] + w.roll(-1, 1) * shift[:, 2:]
        w = w ** (1 + softplus(sharpen))[:, None]
        return w / (w.sum(-1, keepdim=True) + 1e-16)

    held, read_w, write_w = memory.initial_memory.expand(B, N, M), torch.zeros(B, N), torch.zeros(B, N)
    state = memory.initial(B)
    for output in outputs:
        state = memory(output, state)
        read, write = memory.heads.linear(output).split([M + 6, 3 * M + 6], 1)
        read_w = address(held, read, read_w)
        reads = torch.einsum("bn,bnm->bm", read_w, held)
        write_w = address(held, write, write_w)
        erase, add = write[:, M + 6 : 2 * M + 6].sigmoid(), write[:, 2 * M + 6 :]
        held = held * (1 - write_w[..., None] * erase[:, None]) + write_w[..., None] * add[:, None]
    theirs = held, reads[:, None], read_w[:, None], write_w[:, None]
    assert_same(state, theirs, [outputs], memory.heads.parameters(), memory.heads.parameters())


def test_collier_and_tf_contrib_ntm_cell():
    """With two heads of each kind: taps in the order 0, +1, -1; all heads address and read the old memory; tanh of key
    and add; numbers within +-20; eps beside the product of the norms."""
    R = W = 2
    options = {"order": "read_write", "shift_offsets": (0, 1, -1), "key": "tanh", "add": "tanh", "eps_mode": "product"}
    memory = NTMMemory(C, N, M, read_heads=R, write_heads=W, clip=20.0, reads_init="learned", **options)
    outputs = torch.randn(4, B, C) * 30  # some numbers are clipped
    outputs.requires_grad_()

    def address(held, head, previous):
        key, shift = head[:, :M].tanh(), head[:, M + 2 : M + 5].softmax(-1)
        norms = held.square().sum(-1).sqrt() * key.square().sum(-1).sqrt()[:, None]
        found = torch.einsum("bnm,bm->bn", held, key) / (norms + 1e-8)
        content = (softplus(head[:, M])[:, None] * found).exp()
        content = content / content.sum(-1, keepdim=True)
        gate = head[:, M + 1].sigmoid()[:, None]
        w = gate * content + (1 - gate) * previous
        w = sum(shift[:, tap, None] * w.roll(by, 1) for tap, by in enumerate((0, 1, -1)))
        w = w ** (softplus(head[:, M + 5]) + 1)[:, None]
        return w / w.sum(-1, keepdim=True)

    held = torch.full((B, N, M), 1e-6)
    weights = [w.softmax(-1).expand(B, N) for w in (*memory.initial_read_weights, *memory.initial_write_weights)]
    state = memory.initial(B)
    for output in outputs:
        state = memory(output, state)
        numbers = memory.heads.linear(output).clamp(-20, 20)
        heads = numbers.split([M + 6] * R + [3 * M + 6] * W, 1)
        weights = [address(held, head, w) for head, w in zip(heads, weights, strict=True)]
        reads = [torch.einsum("bn,bnm->bm", w, held) for w in weights[:R]]
        for head, w in zip(heads[R:], weights[R:], strict=True):
            erase, add = head[:, M + 6 : 2 * M + 6].sigmoid(), head[:, 2 * M + 6 :].tanh()
            held = held * (1 - w[..., None] * erase[:, None]) + w[..., None] * add[:, None]
    theirs = held, torch.stack(reads, 1), torch.stack(weights[:R], 1), torch.stack(weights[R:], 1)
    mine = [memory.heads.linear.weight, memory.initial_read_weights, memory.initial_write_weights]
    assert (memory.heads.linear(outputs).abs() > 20).any()
    assert_same(state, theirs, [outputs], mine, mine)


def test_the_lecture_s_machine():
    """One weighting, of the old memory by content; it writes, and then reads what it has written."""
    memory = made(**OPTIONS["lecture"])
    output, state = torch.randn(B, C), memory.initial(B)
    old = state.memory
    (_, head), step = memory.heads(output), memory(output, state)
    alpha = (softplus(head.strength[:, 0])[:, None] * cosine_similarity(old, head.key, dim=-1)).softmax(-1)
    erase, add = head.erase[:, 0].sigmoid(), head.add[:, 0]
    new = old - alpha[..., None] * erase[:, None] * old + alpha[..., None] * add[:, None]
    assert_close(step.memory, new)
    assert_close(step.reads[:, 0], torch.einsum("bn,bnm->bm", alpha, new))
    assert_close(step.read_weights, alpha[:, None])
    assert step.read_weights is step.write_weights
    assert_close(state.reads, state.write_weights @ old)  # r_0 of the lecture


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"order": "read"}, "NTMMemory: expected order to be write_read or read_write; got 'read'"),
        ({"composition": "sum"}, "NTMMemory: expected composition to be sequential or product; got 'sum'"),
        ({"eps_mode": "max"}, "NTMMemory: expected eps_mode to be clamp, sqrt or product; got 'max'"),
        (
            {"memory_init": "ones"},
            "NTMMemory: expected memory_init to be constant, random, learned or zeros; got 'ones'",
        ),
        ({"weights_init": 1}, "NTMMemory: expected weights_init to be learned, first, uniform or zeros; got 1"),
        ({"reads_init": "first"}, "NTMMemory: expected reads_init to be zeros, learned or memory; got 'first'"),
        ({"key": "relu"}, "NTMActivation: expected key to be none or tanh; got 'relu'"),
        ({"slots": 0}, "NTMMemory: expected slots and width of at least 1; got 0 and 5"),
        ({"read_heads": 0}, "NTMHeads: expected read_heads of at least 1; got 0"),
        ({"write_heads": 0}, "NTMHeads: expected write_heads of at least 1; got 0"),
        ({"shifts": -1}, "NTMHeads: expected shifts of at least 0; got -1"),
        ({"shifts": 2}, "NTMMemory: expected shift_offsets where shifts is even; got None for 2"),
        ({"clip": 0.0}, "NTMHeads: expected clip > 0 or None; got 0.0"),
        ({"shared": True, "order": "read_write"}, "NTMMemory: expected order='write_read' with shared=True"),
    ],
    ids=lambda x: None if isinstance(x, str) else next(iter(x)),
)
def test_what_it_refuses(options, message):
    with pytest.raises(ValueError) as error:
        NTMMemory(**{"controller_dim": C, "slots": N, "width": M, **options})
    assert message in str(error.value)


def test_its_options_are_shown():
    shown = repr(s2sfast.nn.NTMMemory(C, N, M, add="tanh"))
    assert "slots=7" in shown and "add='tanh'" in shown and "memory_init='constant'" in shown
