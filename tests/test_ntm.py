"""What the Neural Turing Machine's ops mean: numbers by hand, exact cases, activations, sizes."""

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
    BOTH,
    COMPOSITIONS,
    CONTENT_ALONE,
    EPS_MODES,
    OPS,
    ORDERS,
    SIMULATED,
    assert_equal_bits,
    gradients,
    inputs,
    leaves_of,
    mapped,
    mixture,
    results,
    rows,
    step_inputs,
)
from tests.over import integers, normals


def one_hot(places: list[list[int]], N: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor(places), N).float()


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


# --- sizes -------------------------------------------------------------------------------------------------


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
