"""What the table cannot say of the Neural Turing Machine's ops: numbers by hand, exact cases, bookkeeping."""

import itertools
import math

import hypothesis
import pytest
import torch
from hypothesis import strategies as st
from torch.testing import assert_close

import s2sfast
from s2sfast import NTMActivation, NTMHead, reference
from tests import over
from tests.ntm_inputs import (
    EPS_MODES,
    ON_CPU,
    SIMULATED,
    gradients,
    head,
    leaves_of,
    mapped,
    mixture,
    named,
    rows,
    step_inputs,
)
from tests.over import integers, normals, settled

BOTH = pytest.mark.parametrize("side", [s2sfast, reference], ids=["fast", "reference"])
HALVES = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
ORDERS = pytest.mark.parametrize("order", ["write_read", "read_write"])
COMPOSITIONS = pytest.mark.parametrize("composition", ["sequential", "product"])
OPS = ("content_address", "location_address", "memory_read", "memory_write", "ntm_step")
OVER_OPS = pytest.mark.parametrize("op", OPS)
CONTENT_ALONE = ("gate", "shift", "sharpen")


def inputs(op: str, B: int = 2, N: int = 9, M: int = 5, H: int = 3, seed: int = 0) -> dict:
    """The arguments of an op, by name."""
    normal = normals(seed)
    if op == "ntm_step":
        return step_inputs(B, N, M, H, H, seed=seed)
    if op == "location_address":
        of = head(normal, B, H, M)
        return {
            "content": rows(normal, B, H, N), "previous": rows(normal, B, H, N), "gate": of.gate, "shift": of.shift,
            "sharpen": of.sharpen,
        }  # fmt: skip
    given = {"memory": normal(B, N, M)}
    if op == "content_address":
        return given | {"key": normal(B, H, M), "strength": 3 * normal(B, H)}
    given["weights"] = rows(normal, B, H, N)
    if op == "memory_write":
        given |= {"erase": normal(B, H, M).sigmoid(), "add": normal(B, H, M)}
    return given


def results(op: str, given: dict, side=s2sfast, **options) -> tuple[torch.Tensor, ...]:
    return over.tensors(getattr(side, op)(**given, **options))


def one_hot(places: list[list[int]], N: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor(places), N).float()


def assert_equal_bits(got: torch.Tensor, expected: torch.Tensor) -> None:
    assert torch.equal(got, expected), f"off by {float((got - expected).abs().max()):.3g}"


# --- by hand -----------------------------------------------------------------------------------------------

LOG2, LOG3 = math.log(2), math.log(3)


@BOTH
def test_content_by_hand(side):
    """Cosines of (5, 0) with (2, 0), (0, 9), (-1, 0): 1, 0, -1; of (0, 3): 0, 1, 0. Strengths log 2 and log 3."""
    memory, key = torch.tensor([[[2.0, 0.0], [0.0, 9.0], [-1.0, 0.0]]]), torch.tensor([[[5.0, 0.0], [0.0, 3.0]]])
    found = side.content_address(memory, key, torch.tensor([[LOG2, LOG3]]))
    assert_close(found, torch.tensor([[[4 / 7, 2 / 7, 1 / 7], [1 / 5, 3 / 5, 1 / 5]]]))


@BOTH
def test_location_by_hand(side):
    """Half (1, 0, 0, 0), half (0, 0, 1, 0); a quarter stays and three go on by one; squares of 1, 3, 1, 3 eighths."""
    content, previous = torch.tensor([[[1.0, 0, 0, 0]]]), torch.tensor([[[0, 0, 1.0, 0]]])
    gate, shift = torch.tensor([[0.5]]), torch.tensor([[[0.0, 0.25, 0.75]]])
    found = side.location_address(content, previous, gate, shift, None)
    assert_close(found, torch.tensor([[[1.0, 3, 1, 3]]]) / 8)
    found = side.location_address(content, previous, gate, shift, torch.tensor([[2.0]]))
    assert_close(found, torch.tensor([[[1.0, 9, 1, 9]]]) / 20)
    found = side.location_address(content, previous, gate, shift, None, shift_offsets=[0, 2, -1])
    assert_close(found, torch.tensor([[[1.0, 3, 1, 3]]]).roll(2) / 8)  # 1/4 by two: slots 2 and 0; 3/4 back by one


@BOTH
def test_writing_by_hand(side):
    """Slot 0 has 8: heads of weight 1/2 erase 1 and 1/2, and add 4 and 6; slot 1 is seen by nobody."""
    memory = torch.tensor([[[8.0], [5.0]]])
    weights = torch.tensor([[[0.5, 0.0], [0.5, 0.0]]])
    erase, add = torch.tensor([[[1.0], [0.5]]]), torch.tensor([[[4.0], [6.0]]])
    # 8 -> 8/2 + 2 = 6 -> 6 * 3/4 + 3; 8 * 1/2 * 3/4 + 2 + 3
    assert side.memory_write(memory, weights, erase, add).tolist() == [[[7.5], [5.0]]]
    assert side.memory_write(memory, weights, erase, add, composition="product").tolist() == [[[8.0], [5.0]]]
    turned = [x.flip(1) for x in (weights, erase, add)]
    assert side.memory_write(memory, *turned).tolist() == [[[6.5], [5.0]]]  # 8 * 3/4 + 3 = 9 -> 9/2 + 2
    assert side.memory_write(memory, *turned, composition="product").tolist() == [[[8.0], [5.0]]]


@BOTH
def test_a_step_by_hand(side):
    """Both heads look for the direction of slot 0, exactly. The writer leaves (0, 2) there: the reader finds that, or,
    when it reads first, what was there."""
    memory = torch.tensor([[[3.0, 0.0], [0.0, 1.0]]])
    write = NTMHead(
        torch.tensor([[[1.0, 0.0]]]), torch.tensor([[1e4]]), erase=torch.ones(1, 1, 2), add=torch.tensor([[[0.0, 2.0]]])
    )
    read = NTMHead(torch.tensor([[[1.0, 0.0]]]), torch.tensor([[1e4]]))
    step = side.ntm_step(memory, None, None, read, write, order="read_write")
    assert step.memory.tolist() == [[[0.0, 2.0], [0.0, 1.0]]]
    assert step.write_weights.tolist() == step.read_weights.tolist() == [[[1.0, 0.0]]]
    assert step.reads.tolist() == [[[3.0, 0.0]]]
    step = side.ntm_step(memory, None, None, read, write)  # both slots point to (0, 1) now, at right angles
    assert step.read_weights.tolist() == [[[0.5, 0.5]]]
    assert step.reads.tolist() == [[[0.0, 1.5]]]
    step = side.ntm_step(memory, None, None, None, write)  # the lecture's: the writer's weights read the new memory
    assert step.read_weights.tolist() == [[[1.0, 0.0]]]
    assert step.reads.tolist() == [[[0.0, 2.0]]]


# --- exact cases -------------------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("N", [1, 2, 5, 70])
@pytest.mark.parametrize("S", [1, 2, 3, 5])
def test_a_one_hot_shift_is_a_roll(side, N, S):
    """Of every tap, with offsets beyond the slots on both sides."""
    content, one = rows(normals(0), 2, 1, N), torch.ones(2, 1)
    lists = [[0, 1, -1, N, -N][:S], [N + 1, -N - 1, 3 * N - 1, -3 * N + 1, 2**40][:S]]
    for offsets in lists if S % 2 == 0 else [None, *lists]:
        for s in range(S):
            tap = one_hot([[s], [s]], S)
            found = side.location_address(content, content, one, tap, None, shift_offsets=offsets)
            assert_equal_bits(found, content.roll(s - S // 2 if offsets is None else offsets[s] % N, -1))


@BOTH
def test_one_hot_rows_stay_so(side):
    """Whatever the exponent: exactly."""
    content = one_hot([[0, 3, 6], [5, 1, 2]], 7)
    tap, one = one_hot([[2] * 3] * 2, 3), torch.ones(2, 3)
    for sharpen in (1.0, 1.5, 100.0):
        found = side.location_address(content, 0 * content, one, tap, sharpen * one)
        assert_equal_bits(found, content.roll(1, -1))


@BOTH
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_gates_of_zero_and_one(side, dtype):
    normal = normals(1)
    content, previous = rows(normal, 2, 3, 70).to(dtype), rows(normal, 2, 3, 70).to(dtype)
    gate = torch.ones(2, 3, dtype=dtype)
    assert_equal_bits(side.location_address(content, previous, 0 * gate, None, None), previous)
    assert_equal_bits(side.location_address(content, previous, gate, None, None), content)


@BOTH
@COMPOSITIONS
@pytest.mark.parametrize("M", [1, 5, 16, 67])
def test_erased_and_written(side, composition, M):
    """A one-hot weight and an erase of 1 store what is added; the other slots keep their bits."""
    normal = normals(2)
    memory, add = 1000 * normal(2, 70, M), normal(2, 1, M) / 3
    places = torch.tensor([7, 69])
    found = side.memory_write(
        memory, one_hot(places[:, None].tolist(), 70), torch.ones(2, 1, M), add, composition=composition
    )
    memory[torch.arange(2), places] = add[:, 0]
    assert_equal_bits(found, memory)


@BOTH
@COMPOSITIONS
def test_a_step_stores_exactly(side, composition):
    """The same of `ntm_step`: previous weights that are one-hot, by gate 0; and the reader gets it back."""
    given = step_inputs(2, 70, 13, 1, 1)
    places = [[7], [69]]
    still = {"gate": torch.zeros(2, 1), "shift": one_hot([[1], [1]], 3)}
    given |= {"read_previous": one_hot(places, 70), "write_previous": one_hot(places, 70)}
    given["read_head"] = given["read_head"]._replace(**still)
    given["write_head"] = given["write_head"]._replace(**still, erase=torch.ones(2, 1, 13))
    step = side.ntm_step(**given, composition=composition)
    expected = given["memory"].clone()
    expected[torch.arange(2), torch.tensor([7, 69])] = given["write_head"].add[:, 0]
    assert_equal_bits(step.memory, expected)
    assert_equal_bits(step.reads, given["write_head"].add)
    for weights in (step.read_weights, step.write_weights):
        assert_equal_bits(weights, one_hot(places, 70))


@BOTH
@pytest.mark.parametrize("H", [2, 9])
def test_heads_apart_do_not_meet(side, H):
    """One-hot at different slots: what each does alone, in any composition and order."""
    normal = normals(3)
    memory, erase, add = normal(2, 70, 13), normal(2, H, 13).sigmoid(), normal(2, H, 13)
    weights = one_hot([list(range(0, 7 * H, 7)), list(range(69, 69 - 7 * H, -7))], 70)
    expected = memory
    for h in range(H):
        expected = side.memory_write(expected, *(x[:, h : h + 1] for x in (weights, erase, add)))
    assert_close(side.memory_write(memory, weights, erase, add), expected, atol=1e-6, rtol=0)
    for composition in ("sequential", "product"):
        found = side.memory_write(memory, *(x.flip(1) for x in (weights, erase, add)), composition=composition)
        assert_close(found, expected, atol=1e-6, rtol=0)
        untouched = weights.sum(1) == 0
        assert_equal_bits(found[untouched], memory[untouched])


@BOTH
@pytest.mark.parametrize("H", [2, 3, 9])
def test_the_order_of_heads(side, H):
    """It matters for "sequential": one head after the other; not for "product"."""
    given = inputs("memory_write", 2, 9, 5, H)
    memory, *heads = given.values()
    turned = [x.flip(1) for x in heads]
    assert not torch.allclose(side.memory_write(memory, *heads), side.memory_write(memory, *turned), atol=1e-3)
    product = side.memory_write(memory, *heads, composition="product")
    assert_close(side.memory_write(memory, *turned, composition="product"), product, atol=2e-6, rtol=1e-5)
    one_by_one = memory
    for h in range(H):
        one_by_one = side.memory_write(one_by_one, *(x[:, h : h + 1] for x in heads))
    assert_close(side.memory_write(memory, *heads), one_by_one, atol=2e-6, rtol=1e-5)


@BOTH
@ORDERS
@COMPOSITIONS
@EPS_MODES
@pytest.mark.parametrize("missing", [(), ("shift",), ("sharpen",), CONTENT_ALONE, ("gate",)])
def test_a_step_is_the_single_ops(side, order, composition, mode, missing):
    """As called by hand, in this order. ("gate",): what a shift and an exponent are does not matter."""
    given = step_inputs(2, 21, 13, 2, 3, without=missing)
    options = {"shift_offsets": [3, 0, -1]} if "shift" not in missing else {}
    eps = {"eps": 0.5, "eps_mode": mode}

    def address(memory, previous, of):
        content = side.content_address(memory, of.key, of.strength, **eps)
        return side.location_address(content, previous, of.gate, of.shift, of.sharpen, **options)

    old, read_previous, write_previous, read, write = given.values()
    write_weights = address(old, write_previous, write)
    new = side.memory_write(old, write_weights, write.erase, write.add, composition=composition)
    source = new if order == "write_read" else old
    read_weights = address(source, read_previous, read)
    expected = (new, side.memory_read(source, read_weights), read_weights, write_weights)
    found = side.ntm_step(**given, order=order, composition=composition, **options, **eps)
    for mine, theirs in zip(found, expected, strict=True):
        assert_close(mine, theirs, atol=2e-6, rtol=1e-5)


@BOTH
@COMPOSITIONS
def test_the_lectures_reader_is_the_writer(side, composition):
    """Also with a location; its weights read the new memory."""
    given = step_inputs(2, 21, 13, 2, 3)
    both = side.ntm_step(**given, composition=composition)
    step = side.ntm_step(**{**given, "read_head": None, "read_previous": None}, composition=composition)
    assert_close(step.memory, both.memory)
    assert_close(step.write_weights, both.write_weights)
    assert_equal_bits(step.read_weights, step.write_weights)
    assert_close(step.reads, side.memory_read(step.memory, step.write_weights), atol=1e-6, rtol=1e-5)


@BOTH
@ORDERS
def test_a_field_that_is_not_used_does_not_matter(side, order):
    """Content alone: NaN in the previous weights, in shift and in sharpen; a read head's erase and add."""
    given = step_inputs(2, 9, 5, 2, 2)
    nothing = dict.fromkeys(CONTENT_ALONE)
    nan = {"shift": torch.full((2, 2, 3), math.nan), "sharpen": torch.full((2, 2), -math.inf)}
    plain = {n: x._replace(**nothing) if isinstance(x, NTMHead) else x for n, x in given.items()}
    expected = side.ntm_step(plain["memory"], None, None, plain["read_head"], plain["write_head"], order=order)
    spoilt = {n: x._replace(**nan) if isinstance(x, NTMHead) else x * math.nan for n, x in plain.items()}
    spoilt["memory"] = given["memory"]
    spoilt["read_head"] = spoilt["read_head"]._replace(
        erase=torch.full((2, 2, 5), math.nan), add=torch.full((2, 2, 5), math.nan)
    )
    leaves = leaves_of(spoilt)
    found = side.ntm_step(**leaves, order=order)
    for mine, theirs in zip(found, expected, strict=True):
        assert_equal_bits(mine.detach(), theirs)
    got = gradients(mixture(found), leaves)
    for name, gradient in got.items():
        if "previous" in name or name.split(".")[-1] in nan or name in ("read_head.erase", "read_head.add"):
            assert (gradient == 0).all()
        else:
            assert gradient.isfinite().all() and gradient.abs().max() > 0


# --- flat heads and activations ----------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("S", [0, 1, 3, 5])
def test_flat_heads_are_their_fields(side, S):
    """The same bits, and the gradient is in one piece."""
    B, N, M, R, W = 2, 9, 5, 2, 3
    given = step_inputs(B, N, M, R, W, S)
    flat = {
        name: torch.cat([x if x.dim() == 3 else x[..., None] for x in given[name] if x is not None], -1)
        for name in ("read_head", "write_head")
    }
    assert flat["read_head"].shape == (B, R, M + 3 + S) and flat["write_head"].shape == (B, W, 3 * M + 3 + S)
    leaves, flat_leaves = leaves_of(given), leaves_of({**given, **flat})
    found, flat_found = side.ntm_step(**leaves), side.ntm_step(**flat_leaves)
    for mine, theirs in zip(flat_found, found, strict=True):
        assert_equal_bits(mine, theirs)
    got, flat_got = gradients(mixture(found), leaves), gradients(mixture(flat_found), flat_leaves)
    for name in flat:
        split = NTMHead.split(flat_got[name], M, write=name == "write_head")
        for field, gradient in zip(split._fields, split, strict=True):
            assert (gradient is None) == (getattr(given[name], field) is None)
            if gradient is not None:
                assert_equal_bits(gradient, got[f"{name}.{field}"])


def test_one_flat_head_and_one_of_fields():
    given = step_inputs(2, 9, 5, 2, 3)
    expected = s2sfast.ntm_step(**given)
    for name in ("read_head", "write_head"):
        flat = torch.cat([x if x.dim() == 3 else x[..., None] for x in given[name] if x is not None], -1)
        for mine, theirs in zip(s2sfast.ntm_step(**{**given, name: flat}), expected, strict=True):
            assert_equal_bits(mine, theirs)


ACTIVATIONS = list(itertools.product(["none", "tanh"], ["softplus", "oneplus"], ["none", "tanh"]))


def activate(raw: NTMHead, key: str, strength: str, add: str) -> NTMHead:
    """The formulas of the docstring, in torch."""
    softplus = torch.nn.functional.softplus
    named = {"none": lambda x: x, "tanh": torch.tanh, "softplus": softplus, "oneplus": lambda x: 1 + softplus(x)}
    functions = {
        "key": named[key], "strength": named[strength], "gate": torch.sigmoid, "shift": lambda x: x.softmax(-1),
        "sharpen": lambda x: 1 + softplus(x), "erase": torch.sigmoid, "add": named[add],
    }  # fmt: skip
    return NTMHead(*(None if x is None else functions[n](x) for n, x in zip(raw._fields, raw, strict=True)))


@BOTH
@ORDERS
@pytest.mark.parametrize(("key", "strength", "add"), ACTIVATIONS)
def test_activations(side, order, key, strength, add):
    """As the formulas, forward and back, of fields and of flat heads, with what saturates among the numbers."""
    B, N, M, R, W = 2, 9, 5, 2, 3
    normal = normals(4)
    raw = {"read_head": 4 * normal(B, R, M + 6).double(), "write_head": 4 * normal(B, W, 3 * M + 6).double()}
    for x in raw.values():
        x.view(-1)[::17] *= 20
    given = mapped(torch.Tensor.double, step_inputs(B, N, M, R, W)) | raw

    def split(leaves):
        return {n: NTMHead.split(x, M, write=n == "write_head") if n in raw else x for n, x in leaves.items()}

    leaves = leaves_of(given)
    made = {n: activate(x, key, strength, add) if n in raw else x for n, x in split(leaves).items()}
    expected = reference.ntm_step(**made, order=order)
    theirs = gradients(mixture(expected), leaves)
    activation = NTMActivation(key, strength, add)
    for form in (lambda leaves: leaves, split):
        leaves = leaves_of(given)
        found = side.ntm_step(**form(leaves), order=order, activation=activation)
        for a, b in zip(found, expected, strict=True):
            assert_close(a, b, atol=1e-12, rtol=1e-10)
        mine = gradients(mixture(found), leaves)
        for name in theirs:
            assert mine[name].isfinite().all()
            assert_close(mine[name], theirs[name], atol=1e-10, rtol=1e-9)


def test_an_activation_makes_any_number_a_parameter():
    """Of 1e4 and -1e4 and in float32: finite, rows that sum to 1, gradients finite."""
    B, N, M = 2, 9, 5
    raw = {"read_head": normals(5)(B, 2, M + 6), "write_head": normals(6)(B, 2, 3 * M + 6)}
    for x in raw.values():
        x.view(-1)[::3] *= 1e4
    leaves = leaves_of(step_inputs(B, N, M, 2, 2) | raw)
    found = s2sfast.ntm_step(**leaves, activation=NTMActivation())
    assert all(x.isfinite().all() for x in found)
    for weights in (found.read_weights, found.write_weights):
        assert_close(weights.double().sum(-1), torch.ones(B, 2).double(), atol=1e-5, rtol=0)
    assert all(x.isfinite().all() for x in gradients(mixture(found), leaves).values())


def test_an_activation_is_of_known_names():
    for name in ("key", "strength", "add"):
        with pytest.raises(ValueError, match=rf"^NTMActivation: expected {name} to be .*; got 'relu'"):
            NTMActivation(**{name: "relu"})


# --- shapes, dtypes, strides -------------------------------------------------------------------------------


def strange(x: torch.Tensor) -> torch.Tensor:
    """The same numbers, every second of a larger tensor whose dimensions are the other way round."""
    wide = torch.full([2 * n for n in reversed(x.shape)], math.nan, dtype=x.dtype)
    view = wide[tuple(slice(None, None, 2) for _ in x.shape)].permute(*reversed(range(x.dim())))
    view.copy_(x)
    return view


@OVER_OPS
@BOTH
def test_strides_do_not_matter(op, side):
    given = inputs(op, 2, 21, 13, 3)
    expected = results(op, given, side)
    for mine, theirs in zip(results(op, mapped(strange, given), side), expected, strict=True):
        assert_close(mine, theirs, atol=1e-6, rtol=1e-5)


@OVER_OPS
@BOTH
def test_expanded_inputs(op, side):
    """One sentence for all, as a memory is at first: its gradient is the sum of theirs."""
    given = inputs(op, 1, 21, 13, 3)
    leaves, copies = leaves_of(given), leaves_of(given)
    found = results(op, mapped(lambda x: x.expand(4, *x.shape[1:]), leaves), side)
    expected = results(op, mapped(lambda x: x.repeat(4, *[1] * (x.dim() - 1)), copies), side)
    for mine, theirs in zip(found, expected, strict=True):
        assert_close(mine, theirs, atol=1e-6, rtol=1e-5)
    mine, theirs = gradients(mixture(found), leaves), gradients(mixture(expected), copies)
    for name in theirs:
        assert_close(mine[name], theirs[name], atol=1e-5, rtol=1e-4)


@BOTH
def test_a_memory_of_transposed_width(side):
    """(B, M, N) as convolutions give it; and heads that are slices of one tensor."""
    given = step_inputs(2, 21, 13, 2, 2)
    turned = {**given, "memory": given["memory"].mT.contiguous().mT}
    for mine, theirs in zip(side.ntm_step(**turned), side.ntm_step(**given), strict=True):
        assert_close(mine, theirs, atol=1e-6, rtol=1e-5)


@BOTH
@OVER_OPS
@HALVES
def test_half_precision(op, side, dtype):
    """The outputs are in the dtype of the memory, and what float32 gives for the same numbers, rounded."""
    given = mapped(lambda x: x.to(dtype), inputs(op, 2, 21, 13, 3))
    expected = results(op, mapped(torch.Tensor.float, given), reference)
    for mine, theirs in zip(results(op, given, side), expected, strict=True):
        assert mine.dtype == dtype
        # A step reads what it has written, rounded.
        ulps = (4 if op == "ntm_step" else 0.51) * torch.finfo(dtype).eps
        assert_close(mine.float(), theirs, atol=ulps * max(1.0, float(theirs.abs().max())), rtol=ulps)


@OVER_OPS
@BOTH
def test_empty_batches(op, side):
    leaves = leaves_of(inputs(op, 0, 9, 5, 3))
    found = results(op, leaves, side)
    assert all(x.shape[0] == 0 for x in found)
    got = gradients(mixture(found), leaves)
    assert all(got[n].shape == x.shape for n, x in named(leaves).items())


@OVER_OPS
def test_results_are_new(op):
    """Neither an argument nor another result: a change in place has no further effect."""
    for options in ({}, {"nobody": True}, {"alone": True}):
        given = inputs(op)
        if op == "memory_write" and "nobody" in options:
            given |= {n: x[:, :0] for n, x in given.items() if n != "memory"}
        if op == "location_address" and "alone" in options:
            given["gate"] = None
        if op != "ntm_step":
            options = {}
        if "nobody" in options:  # writes: a new memory all the same
            given |= {
                "write_head": head(normals(0), 2, 0, 5, write=True), "write_previous": given["write_previous"][:, :0]
            }  # fmt: skip
        if "alone" in options:
            given = {n: x._replace(**dict.fromkeys(CONTENT_ALONE)) if isinstance(x, NTMHead) else x for n, x in given.items()}
        before = [x.clone() for x in named(given).values()]
        found = results(op, given)
        after = [x.clone() for x in found]
        for i, x in enumerate(found):
            x.fill_(-7)
            assert all(torch.equal(x, y) for x, y in zip(named(given).values(), before, strict=True)), options
            assert all(torch.equal(x, y) for x, y in zip(found[i + 1 :], after[i + 1 :], strict=True)), options


@BOTH
@pytest.mark.parametrize("H", [0, 2])
def test_no_heads_write_nothing(side, H):
    memory = normals(0)(2, 9, 5)
    weights, erase, add = torch.zeros(2, H, 9), torch.ones(2, H, 5), torch.ones(2, H, 5)
    for composition in ("sequential", "product"):
        found = side.memory_write(memory, weights, erase, add, composition=composition)
        assert_equal_bits(found, memory)


# --- errors ------------------------------------------------------------------------------------------------

SHAPES = {  # what a message calls a shape
    "memory": "(B, N, M)", "content": "(B, H, N)", "key": "(B, H, M)", "strength": "(B, H)", "previous": "(B, H, N)",
    "gate": "(B, H)", "shift": "(B, H, S)", "sharpen": "(B, H)", "weights": "(B, H, N)", "erase": "(B, H, M)",
    "add": "(B, H, M)", "read_previous": "(B, R, N)", "write_previous": "(B, W, N)",
}  # fmt: skip
FIELDS = [(op, name) for op in OPS for name in named(inputs(op)) if name not in ("read_head.erase", "read_head.add")]
OVER_FIELDS = pytest.mark.parametrize(("op", "name"), FIELDS)


def replaced(given: dict, name: str, value) -> dict:
    name, _, field = name.partition(".")
    return {**given, name: given[name]._replace(**{field: value}) if field else value}


def raised(op: str, given: dict, side, **options) -> str:
    with pytest.raises(ValueError) as error:
        settled(getattr(side, op))(**given, **options)
    message = str(error.value)
    assert message.startswith(f"{op}: expected "), message
    return message


@OVER_FIELDS
@BOTH
def test_each_shape_is_checked(op, name, side):
    given = inputs(op, 2, 9, 5, 3)
    x = named(given)[name]
    sizes = {"a dimension more": x[None], "a dimension less": x[0]}
    for d in range(x.dim()):
        if (op, name, d) in (("memory_read", "memory", 2), ("content_address", "memory", 1), ("memory_read", "weights", 1)):
            continue  # any size does
        if name.endswith("shift") and d == 2:
            continue  # the number of taps
        sizes[f"one less of dimension {d}"] = x.narrow(d, 0, x.shape[d] - 1)
        sizes[f"one more of dimension {d}"] = torch.cat((x, x.narrow(d, 0, 1)), d)
    for what, wrong in sizes.items():
        message = raised(op, replaced(given, name, wrong), side)
        assert "; got (" in message, f"{what}: {message}"
        if (name.split(".")[-1], what[-11:]) == ("weights", "dimension 1"):
            continue  # what the others' H is held against
        if name.split(".")[-1] not in ("memory", "content", "key"):  # whose sizes may be what others are held against
            field = SHAPES[name.split(".")[-1]].replace("H", {"read": "R", "write": "W"}.get(name.split("_")[0], "H"))
            assert f"expected {name} {field}" in message and f"got {tuple(wrong.shape)}" in message, f"{what}: {message}"


@OVER_FIELDS
@BOTH
def test_each_dtype_is_checked(op, name, side):
    given = inputs(op)
    x = named(given)[name]
    first = next(iter(given))
    for dtype in (torch.float64, torch.bfloat16):
        message = raised(op, replaced(given, name, x.to(dtype)), side)
        assert f"in the dtype of {first}; got" in message
        if name != first:
            assert f"expected {name} " in message
    for dtype in (torch.int64, torch.bool, torch.complex64):
        message = raised(op, replaced(given, name, x.to(dtype)), side)
        assert "expected" in message and name in message and "got" in message


@OVER_FIELDS
def test_each_device_is_checked(op, name):
    """Of the reference. Where there is one device alone, torch sends what has a part on "meta" to the fake kernel."""
    given = inputs(op)
    first = next(iter(given))
    message = raised(op, replaced(given, name, named(given)[name].to("meta")), reference)
    assert message.endswith(f"on the device of {first}")
    assert name == first or message == f"{op}: expected {name} on the device of {first}"


@OVER_FIELDS
def test_what_may_not_be_none(op, name):
    side = s2sfast
    field = name.split(".")[-1]
    if field in ("gate", "shift", "sharpen"):
        assert all(x.isfinite().all() for x in results(op, replaced(inputs(op), name, None), side))
    else:
        message = raised(op, replaced(inputs(op), name, None), side)
        assert f"expected {name} " in message and message.endswith(("got None", "got NoneType")), message


@OVER_FIELDS
def test_what_is_no_tensor(op, name):
    for wrong in (1.0, [[1.0]], "here"):
        message = raised(op, replaced(inputs(op), name, wrong), s2sfast)
        assert message == f"{op}: expected {name} to be a tensor; got {type(wrong).__name__}"


@BOTH
def test_options_that_are_none(side):
    content, write, step = (inputs(op) for op in ("content_address", "memory_write", "ntm_step"))
    for op, given, options, message in (
        ("content_address", content, {"eps_mode": "max"}, "expected eps_mode to be clamp, sqrt or product; got 'max'"),
        ("content_address", content, {"eps": -1e-9}, "expected eps in [0, inf); got -1e-09"),
        ("content_address", content, {"eps": math.inf}, "expected eps in [0, inf); got inf"),
        ("content_address", content, {"eps": math.nan}, "expected eps in [0, inf); got nan"),
        ("memory_write", write, {"composition": "sum"}, "expected composition to be sequential or product; got 'sum'"),
        ("ntm_step", step, {"composition": None}, "expected composition to be sequential or product; got None"),
        ("ntm_step", step, {"order": "read"}, "expected order to be write_read or read_write; got 'read'"),
        ("ntm_step", step, {"eps_mode": 1}, "expected eps_mode to be clamp, sqrt or product; got 1"),
        ("ntm_step", step, {"shift_offsets": [0, 1]}, "expected shift_offsets of S=3 integers; got 2"),
    ):
        assert message in raised(op, given, side, **options)


def test_options_of_another_type():
    step = inputs("ntm_step")
    for options in (
        {"shift_offsets": [0, 1, 0.5]}, {"shift_offsets": 1}, {"shift_offsets": "abc"}, {"activation": "tanh"}, {"eps": "much"}
    ):  # fmt: skip
        (name,) = options
        message = raised("ntm_step", step, s2sfast, **options)
        assert message.startswith(f"ntm_step: expected {name} ") and "; got" in message


@BOTH
def test_taps_that_are_even_need_offsets(side):
    given = inputs("location_address")
    given["shift"] = given["shift"][..., :2]
    assert "expected shift_offsets where the number of taps is even; got None for S=2" in raised(
        "location_address", given, side
    )
    assert results("location_address", given, side, shift_offsets=(0, 1))[0].isfinite().all()


@BOTH
def test_a_head_that_is_none(side):
    given = inputs("ntm_step")
    assert "expected a read_head" in raised("ntm_step", {**given, "read_head": None}, side, order="read_write")
    for name in ("read_head", "write_head"):
        flat = torch.zeros(2, 3, 7)
        assert f"expected {name} (B, {name[0].upper()}, P)" in raised("ntm_step", {**given, name: flat}, side)


def test_a_writer_that_is_none():
    message = raised("ntm_step", {**inputs("ntm_step"), "write_head": None}, s2sfast)
    assert message.startswith("ntm_step: expected write_head ") and message.endswith(("got None", "got NoneType"))


def test_a_read_head_without_a_key_is_none():
    """Not the lecture's: its reader is None altogether."""
    given = inputs("ntm_step")
    given["read_head"] = given["read_head"]._replace(key=None)
    assert raised("ntm_step", given, s2sfast).startswith("ntm_step: expected read_head.key ")


# --- bookkeeping -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("output", ["memory", "reads", "read_weights", "write_weights"])
@ORDERS
@pytest.mark.parametrize("lecture", [False, True])
def test_gradient_through_one_output(output, order, lecture):
    """As of the reference."""
    given = mapped(torch.Tensor.double, step_inputs(2, 9, 5, 2, 3))
    if lecture:
        given |= {"read_head": None, "read_previous": None}
        order = "write_read"
    found = []
    for side in (s2sfast, reference):
        leaves = leaves_of(given)
        found.append(gradients(mixture([getattr(side.ntm_step(**leaves, order=order), output)]), leaves))
    for name in found[1]:
        assert_close(found[0][name], found[1][name], atol=1e-12, rtol=1e-10)


@ORDERS
@COMPOSITIONS
def test_gradient_of_one_input(order, composition):
    """The same bits as when all want one, of every field of every head; what wants none gets none."""
    given = step_inputs(2, 9, 5, 2, 3)
    options = {"order": order, "composition": composition}
    leaves = leaves_of(given)
    together = gradients(mixture(s2sfast.ntm_step(**leaves, **options)), leaves)
    for name, x in named(given).items():
        alone = x.clone().requires_grad_()
        found = s2sfast.ntm_step(**replaced(given, name, alone), **options)
        assert all(y.requires_grad for y in found)
        (gradient,) = torch.autograd.grad(mixture(found), alone)
        assert_equal_bits(gradient, together[name])


@OVER_OPS
def test_no_graph_without_need(op):
    given = inputs(op)
    assert not any(x.requires_grad for x in results(op, given))
    leaves = leaves_of(given)
    with torch.no_grad():
        assert not any(x.requires_grad for x in results(op, leaves))
    with torch.inference_mode():
        assert not any(x.requires_grad for x in results(op, given))


@ORDERS
def test_a_loop_in_place_of_the_old_memory(order):
    """Three steps; the old memory and weights may be overwritten only where no gradient needs them: torch says so."""
    given = step_inputs(2, 9, 5, 2, 2)
    leaves = leaves_of(given)
    copy = leaves["memory"].clone()
    found = s2sfast.ntm_step(copy, *list(leaves.values())[1:], order=order)
    copy.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        mixture(found).backward()


@ORDERS
@COMPOSITIONS
@pytest.mark.parametrize("R", [0, 2])
def test_what_is_kept_for_the_gradient(order, composition, R):
    """Beyond the arguments, three numbers for each head and slot, norms, and a few for each head: nothing of (B, N, M)."""
    B, N, M, W = 2, 40, 96, 3
    leaves = leaves_of(step_inputs(B, N, M, R, W))
    own = {x.untyped_storage().data_ptr() for x in named(leaves).values()}
    kept = {}

    def keep(x):
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        found = s2sfast.ntm_step(**leaves, order=order, composition=composition)
    assert own & set(kept)
    more = sum(size for place, size in kept.items() if place not in own)
    assert more <= 4 * B * ((3 * (R + W) + 2) * N + 8 * (R + W))
    del found


@ON_CPU
@ORDERS
def test_memory_of_a_step(order):
    """No allocation of (B, H, N, M), forward or back."""
    B, N, M, H = 2, 128, 64, 8
    leaves = leaves_of(step_inputs(B, N, M, H, H))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        sum(x.sum() for x in s2sfast.ntm_step(**leaves, order=order)).backward()
    most = max(event.nbytes() for event in profile.profiler.kineto_results.events() if event.name() == "[memory]")
    assert 4 * B * N * M <= most < 4 * B * N * M * H / 2


@ON_CPU
@OVER_OPS
@pytest.mark.parametrize(("B", "N"), [(1, 4000), (3, 1500), (8, 300)])
def test_threads_share_the_work(op, B, N):
    """Enough for more than one thread; the bits are the same, gradients' too."""
    given = inputs(op, B, N, 33, 3)
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        leaves = leaves_of(given)
        outputs = results(op, leaves)
        loss = sum((x * x).sum() for x in outputs)  # torch's own sums take no part in the gradients
        found.append([*(x.detach() for x in outputs), *gradients(loss, leaves).values()])
    for other in found[1:]:
        for a, b in zip(other, found[0], strict=True):
            assert_equal_bits(a, b)


@OVER_OPS
def test_a_sentence_alone_and_in_a_batch(op):
    """The same bits, gradients' too."""
    given = inputs(op, 5, 70, 33, 3)

    def run(part):
        leaves = leaves_of(mapped(lambda x: x[part], given))
        outputs = results(op, leaves)
        return [*(x.detach() for x in outputs), *gradients(sum((x * x).sum() for x in outputs), leaves).values()]

    together = run(slice(None))
    for b in range(5):
        for one, all_of_them in zip(run(slice(b, b + 1)), together, strict=True):
            assert_equal_bits(one[0], all_of_them[b])


@ON_CPU
@OVER_OPS
def test_autocast(op):
    """Dtypes may differ within it, as a controller's linear layers make them: the computation is in the memory's
    float32, and everybody's gradient is in his own dtype."""
    given = inputs(op)
    first = next(iter(given))
    given = {n: x if n == first or "previous" in n else mapped(torch.Tensor.bfloat16, {n: x})[n] for n, x in given.items()}
    exact = results(op, mapped(torch.Tensor.float, given))
    leaves = leaves_of(given)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = results(op, leaves)
    for mine, theirs in zip(found, exact, strict=True):
        assert mine.dtype == torch.float32
        assert_close(mine, theirs, atol=1e-6, rtol=1e-5)
    for name, gradient in gradients(mixture(found), leaves).items():
        assert gradient.dtype == named(leaves)[name].dtype and gradient.isfinite().all()


@ON_CPU
@ORDERS
@pytest.mark.parametrize("flat", [False, True])
def test_a_compiled_loop(order, flat):
    """Three steps in one graph, forward and back; what is around them is compiled by torch itself elsewhere
    (tests/test_ops.py): aot_eager takes the same graphs without a C++ compiler's seconds."""
    torch.compiler.reset()
    given = step_inputs(2, 9, 5, 2, 2)
    activation = None
    if flat:
        activation = NTMActivation(key="tanh")
        normal = normals(8)
        given |= {"read_head": normal(2, 2, 11), "write_head": normal(2, 2, 21)}

    def loop(memory, read_previous, write_previous, read_head, write_head):
        total, read, write = [], read_previous, write_previous
        for _ in range(3):
            memory, reads, read, write = s2sfast.ntm_step(
                memory, read, write, read_head, write_head, order=order, activation=activation
            )
            total.append(reads.tanh())
        return memory, torch.stack(total), read, write

    found = []
    for function in (loop, torch.compile(loop, fullgraph=True, backend="aot_eager")):
        leaves = leaves_of(given)
        outputs = function(**leaves)
        found.append([*(x.detach() for x in outputs), *gradients(mixture(outputs), leaves).values()])
    for eager, compiled in zip(*found, strict=True):
        assert_close(compiled, eager, atol=1e-6, rtol=1e-6)


@hypothesis.settings(max_examples=3 if SIMULATED else 20, deadline=None)
@hypothesis.given(
    B=st.integers(0, 3), N=st.integers(0, 70), M=st.integers(0, 40), H=st.integers(0, 5), seed=st.integers(0, 99)
)
@pytest.mark.parametrize("op", OPS[:4])
def test_any_size(op, B, N, M, H, seed):
    """Every single op as the reference in float64, gradients too."""
    given = inputs(op, B, N, M, H, seed)
    if op == "memory_write":
        options = {"composition": ("sequential", "product")[seed % 2]}
    elif op == "content_address":
        options = {"eps_mode": ("clamp", "sqrt", "product")[seed % 3], "eps": (1e-8, 0.5)[seed % 2]}
    elif op == "location_address":
        offsets = integers(seed)(-90, 90, (3,)).tolist()
        options = {"shift_offsets": offsets if seed % 2 else None}
    else:
        options = {}
    for dtype, off in ((torch.float32, 2e-5), (torch.float64, 1e-12)):
        both = []
        for side, cast in ((s2sfast, dtype), (reference, torch.float64)):
            leaves = leaves_of(mapped(lambda x, cast=cast: x.to(cast), given))
            found = results(op, leaves, side, **options)
            both.append([*(x.detach() for x in found), *gradients(mixture(found), leaves).values()])
        for mine, exact in zip(*both, strict=True):
            over.assert_close(mine, exact, off)
