"""The Neural Turing Machine: what a step is, that a sequence is its steps, and that its derivative by hand is right."""

import copy
import gc
import weakref

import pytest
import torch
from torch.testing import assert_close

import s2sfast
from s2sfast import reference
from s2sfast.models import NTM, NTMState
from s2sfast.nn import NTMMemory
from tests.nn.compare import assert_same, gradients

B, L, INPUTS, OUTPUTS, H, N, M = 2, 6, 3, 4, 7, 5, 4

OPTIONS = {
    "usual": {},
    "lstm": {"controller": "lstm"},
    "deep": {"layers": 3},
    "deep-lstm": {"controller": "lstm", "layers": 2},
    "several-heads": {"read_heads": 2, "write_heads": 3},
    "clip": {"clip": 0.3, "read_heads": 2},
    "all-learned": {"memory_init": "learned", "reads_init": "learned"},
    "content-only": {"content_only": True},
    "shared": {"shared": True, "write_heads": 2},
    "lecture": {"shared": True, "content_only": True, "reads_init": "memory", "controller": "lstm"},
    "other-words": {
        "order": "read_write", "composition": "product", "key": "tanh", "strength": "oneplus", "add": "tanh",
        "shift_offsets": (0, 1), "weights_init": "first",
    },
}  # fmt: skip


class OwnMemory(NTMMemory):
    """What a user might derive."""


def made(**options):
    return NTM(INPUTS, OUTPUTS, **{"hidden": H, "slots": N, "width": M, "memory_init": "random", **options})


@pytest.fixture(autouse=True)
def in_float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(params=list(OPTIONS))
def model(request):
    return made(**OPTIONS[request.param])


def stepwise(model):
    """The same, one node of the graph for each op: a memory of another class goes by steps."""
    other = copy.deepcopy(model)
    other.memory.__class__ = OwnMemory
    return other


def flat(state):
    return [*state.memory, *(x for pair in state.controller for x in pair)]


def in_two_calls(model, x):
    logits, state = model(x)
    more, state = model(2 * x, state)
    return [logits, more, *flat(state)]


def test_a_sequence_and_its_derivative_are_those_of_its_steps(model):
    x, other = torch.randn(B, L, INPUTS, requires_grad=True), stepwise(model)
    assert "_Sequence" in repr(model(x)[1].memory.memory.grad_fn)
    assert "_NTMStep" in repr(other(x)[1].memory.memory.grad_fn)
    assert_same(in_two_calls(model, x), in_two_calls(other, x), [x], model.parameters(), other.parameters())


def test_the_derivative_of_the_last_state_alone(model):
    x, other = torch.randn(B, L, INPUTS, requires_grad=True), stepwise(model)
    for mine, theirs in zip(flat(model(x)[1]), flat(other(x)[1]), strict=True):
        for a, b in zip(gradients([mine], [x]), gradients([theirs], [x]), strict=True):
            assert_close(a, b)


def test_a_step_is_controller_memory_and_output():
    """By the equations of the paper's section 3 and of torch.nn.LSTMCell."""
    model, x = made(controller="lstm", read_heads=2), torch.randn(B, INPUTS)
    cell = torch.nn.LSTMCell(INPUTS + 2 * M, 7)
    controller = model.controller
    with torch.no_grad():
        cell.weight_ih.copy_(torch.cat((controller.project.weight, controller.layers[0].weight), 1))
        cell.weight_hh.copy_(controller.again[0].weight)
        cell.bias_ih.copy_(controller.project.bias)
        cell.bias_hh.zero_()
    state = model.step(torch.randn(B, INPUTS))[1]  # not the first: everything is in motion
    logits, after = model.step(x, state)
    h, c = cell(torch.cat((x, state.memory.reads.flatten(1)), 1), state.controller[0])
    memory = state.memory
    step = reference.ntm_step(
        memory.memory, memory.read_weights, memory.write_weights, *model.memory.heads(h), **model.memory.options
    )
    for mine, theirs in zip(flat(after), (*step, h, c), strict=True):
        assert_close(mine, theirs)
    assert_close(logits, model.output(torch.cat((h, step.reads.flatten(1)), 1)))


def test_a_feedforward_step():
    model, x = made(layers=2), torch.randn(B, INPUTS)
    logits, after = model.step(x)
    first, second = model.controller.layers
    reads = model.memory.initial(B).reads.flatten(1)
    h = torch.tanh(model.controller.project(x) + reads @ first.weight.T)
    h = torch.tanh(h @ second.weight.T + second.bias)
    assert_close(after.memory.memory, model.memory(h, model.memory.initial(B)).memory)
    assert_close(logits, model.output(torch.cat((h, after.memory.reads.flatten(1)), 1)))
    assert after.controller == ()


def test_calls_steps_and_traces_agree(model):
    x = torch.randn(B, L, INPUTS)
    logits, state = model(x)
    trace = model.trace(x)
    step_state, rows, weights = None, [], []
    for x_t in x.unbind(1):
        row, step_state = model.step(x_t, step_state)
        rows.append(row)
        weights.append((step_state.memory.reads, step_state.memory.read_weights, step_state.memory.write_weights))
    with torch.no_grad():
        unrecorded, unrecorded_state = model(x)
    for other in (trace.logits, torch.stack(rows, 1), unrecorded):
        assert_close(logits, other)
    for mine, *others in zip(flat(state), flat(trace.state), flat(step_state), flat(unrecorded_state), strict=True):
        for other in others:
            assert_close(mine, other)
    for mine, theirs in zip(
        (trace.reads, trace.read_weights, trace.write_weights), zip(*weights, strict=True), strict=True
    ):
        assert_close(mine, torch.stack(theirs, 1))


def test_nothing_is_hidden_in_the_model(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x, state = torch.randn(B, L, INPUTS), model.initial(B)
    old = [y.clone() for y in flat(state)]
    first, again = model(x, state), model(x, state)
    assert torch.equal(first[0], again[0])
    assert all(torch.equal(a, b) for a, b in zip((*flat(first[1]), *flat(state)), (*flat(again[1]), *old), strict=True))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_sentences_do_not_see_each_other(model):
    x = torch.randn(B, L, INPUTS)
    assert_close(model(x)[0][1:], model(x[1:])[0])
    assert model(x[:0])[0].shape == (0, L, OUTPUTS)


def test_a_detached_state_truncates_backpropagation():
    model = made(controller="lstm")
    x, y = torch.randn(B, L, INPUTS, requires_grad=True), torch.randn(B, L, INPUTS, requires_grad=True)
    state = model(x)[1]
    cut = NTMState(
        s2sfast.NTMStep(*(v.detach() for v in state.memory)),
        tuple((h.detach(), c.detach()) for h, c in state.controller),
    )
    found = torch.autograd.grad(model(y, cut)[0].sum(), [x, y], allow_unused=True)
    assert found[0] is None and found[1].abs().max() > 0


def test_every_parameter_gets_its_gradient(model):
    model(torch.randn(B, L, INPUTS))[0].square().sum().backward()
    assert all(p.grad.abs().max() > 0 for p in model.parameters())


def test_a_weight_that_was_changed_before_the_backward_is_noticed():
    model = made()
    loss = model(torch.randn(B, L, INPUTS))[0].sum()
    with torch.no_grad():
        model.memory.heads.linear.weight.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_second_derivative_is_refused():
    model, x = made(), torch.randn(B, L, INPUTS, requires_grad=True)
    with pytest.raises(RuntimeError, match="NTM: expected a first derivative"):
        torch.autograd.grad(model(x)[0].sum(), x, create_graph=True)


def test_a_sequence_that_is_not_differentiated_is_forgotten():
    model = made(controller="lstm")
    logits, state = model(torch.randn(B, L, INPUTS))
    kept = weakref.ref(state.memory.memory.grad_fn.steps[0][1][0])
    assert kept() is not None
    gc.disable()
    try:
        del logits, state
        assert kept() is None
    finally:
        gc.enable()


def test_within_autocast():
    model = made(controller="lstm").float()
    x = torch.randn(B, L, INPUTS, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        logits, state = model(x)
    assert_close(logits.float(), model(x)[0], rtol=0.05, atol=0.05)
    logits.float().sum().backward()
    assert state.memory.memory.dtype == torch.float32


def test_in_bfloat16():
    model = made(controller="lstm").float()
    x = torch.randn(B, L, INPUTS, dtype=torch.float32)
    exact = model(x)[0]
    logits, state = model.bfloat16()(x.bfloat16())
    assert {y.dtype for y in (logits, *flat(state))} == {torch.bfloat16}
    assert_close(logits.float(), exact, rtol=0.05, atol=0.05)
    logits.sum().backward()
    assert all(p.grad.dtype == torch.bfloat16 for p in model.parameters())


def test_state_dicts():
    assert set(made().state_dict()) == {
        "memory.initial_memory", "memory.initial_read_weights", "memory.initial_write_weights",
        "memory.heads.linear.weight", "memory.heads.linear.bias", "controller.project.weight",
        "controller.project.bias", "controller.layers.0.weight", "output.weight", "output.bias",
    }  # fmt: skip
    extra = set(made(controller="lstm", layers=2).state_dict()) - set(made().state_dict())
    assert extra == {
        "controller.layers.1.weight", "controller.layers.1.bias", "controller.again.0.weight",
        "controller.again.1.weight",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"controller": "gru"}, "NTM: expected controller to be feedforward or lstm; got 'gru'"),
        ({"layers": 0}, "NTM: expected layers of at least 1; got 0"),
        ({"memory_init": "ones"}, "NTMMemory: expected memory_init to be constant, random, learned or zeros"),
    ],
)
def test_what_it_refuses(options, message):
    with pytest.raises(ValueError) as error:
        made(**options)
    assert message in str(error.value)


@pytest.mark.parametrize("shape", [(B, INPUTS), (B, 0, INPUTS), (B, L, INPUTS + 1)])
def test_an_input_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError) as error:
        made()(torch.zeros(shape))
    assert f"NTM: expected x (B, L, inputs)=(B, L, {INPUTS}), L at least 1; got {shape}" in str(error.value)
