"""The Neural Turing Machine on a device: a step in one launch, or in several where a block's memory is too small."""

import pytest
import torch

import s2sfast
from s2sfast import reference
from tests.over import assert_close

TOLERANCE = 4e-6
FITS, BEYOND = (3, 70, 20), (2, 650, 60)
"""B, N, M of memories that a block has room for, and has not: 152 KiB of float32."""


def normal(*sizes, seed=0):
    generator = torch.Generator("cpu").manual_seed(seed + sum(sizes))
    return torch.randn(*sizes, generator=generator, device="cpu").to(torch.get_default_device())


def head(B, H, M, S=3, seed=0, write=False):
    return s2sfast.NTMHead(
        normal(B, H, M, seed=seed),
        normal(B, H, seed=seed).exp(),
        normal(B, H, seed=seed + 1).sigmoid(),
        normal(B, H, S, seed=seed + 2).softmax(-1),
        1 + normal(B, H, seed=seed + 3).exp(),
        normal(B, H, M, seed=seed + 4).sigmoid() if write else None,
        normal(B, H, M, seed=seed + 5) if write else None,
    )


def step(B, N, M, R=2, W=2):
    """Arguments of s2sfast.ntm_step."""
    weights = [normal(B, H, N, seed=H).softmax(-1) for H in (R, W)]
    return (normal(B, N, M), *weights, head(B, R, M, seed=10), head(B, W, M, seed=20, write=True))


def by_single_ops(memory, read_previous, write_previous, read, write, order="write_read", composition="sequential"):
    def address(of, previous, by):
        content = s2sfast.content_address(of, by.key, by.strength)
        return s2sfast.location_address(content, previous, by.gate, by.shift, by.sharpen)

    write_weights = address(memory, write_previous, write)
    written = s2sfast.memory_write(memory, write_weights, write.erase, write.add, composition=composition)
    looked_at = written if order == "write_read" else memory
    read_weights = address(looked_at, read_previous, read)
    return written, s2sfast.memory_read(looked_at, read_weights), read_weights, write_weights


def with_gradients(function, arguments, **options):
    leaves = []

    def leaf(x):
        if isinstance(x, tuple):
            return type(x)(*map(leaf, x))
        if x is not None:
            leaves.append(x.detach().clone().requires_grad_())
            return leaves[-1]
        return None

    found = function(*map(leaf, arguments), **options)
    found = found if isinstance(found, tuple) else (found,)
    wanted = [normal(*x.shape, seed=i).to(x.dtype) for i, x in enumerate(found)]
    total = sum((x * w).sum() for x, w in zip(found, wanted, strict=True))
    return [x.detach() for x in found], torch.autograd.grad(total, leaves)


def in_float64(x):
    if isinstance(x, tuple):
        return type(x)(*map(in_float64, x))
    return x if x is None else x.double()


@pytest.mark.parametrize("order", ["write_read", "read_write"])
@pytest.mark.parametrize("sizes", [FITS, BEYOND], ids=["in one launch", "in several"])
def test_a_step_is_its_single_ops(sizes, order):
    """To the bit: its stages are theirs, whether they share a launch or not."""
    arguments = step(*sizes)
    whole = s2sfast.ntm_step(*arguments, order=order)
    for mine, single in zip(whole, by_single_ops(*arguments, order=order), strict=True):
        assert torch.equal(mine, single)


def assert_means_the_same(name, arguments, **options):
    """Results and gradients, against the reference in float64."""
    outputs, found = with_gradients(getattr(s2sfast, name), arguments, **options)
    exact_outputs, exact = with_gradients(getattr(reference, name), tuple(map(in_float64, arguments)), **options)
    for mine, theirs in zip((*outputs, *found), (*exact_outputs, *exact), strict=True):
        assert_close(mine, theirs, 4 * TOLERANCE)


@pytest.mark.parametrize(
    ("sizes", "order", "composition"),
    [
        (FITS, "write_read", "sequential"),
        (FITS, "read_write", "product"),
        (BEYOND, "write_read", "product"),
        (BEYOND, "read_write", "sequential"),
    ],
)
def test_gradients_in_one_launch_and_in_several(sizes, order, composition):
    assert_means_the_same("ntm_step", step(*sizes), order=order, composition=composition)


@pytest.mark.parametrize("order", ["write_read", "read_write"])
def test_gradients_by_content_alone(order):
    memory, _, _, read, write = step(*FITS)
    read, write = (x._replace(gate=None, shift=None, sharpen=None) for x in (read, write))
    assert_means_the_same("ntm_step", (memory, None, None, read, write), order=order)


def test_gradients_of_a_step_that_reads_with_its_write_weights():
    memory, _, previous, _, write = step(*BEYOND)
    assert_means_the_same("ntm_step", (memory, None, previous, None, write))


def test_gradients_of_more_heads_than_are_done_at_once():
    B, N, M, H = 1, 70, 7, 35
    assert_means_the_same("content_address", (normal(B, N, M), normal(B, H, M), normal(B, H).exp()))
    weights = normal(B, H, N).softmax(-1)
    assert_means_the_same("memory_read", (normal(B, N, M), weights))
    few = weights[:, :6]
    for composition in ("sequential", "product"):
        arguments = (normal(B, N, 70), few, normal(B, 6, 70).sigmoid(), normal(B, 6, 70, seed=1))
        assert_means_the_same("memory_write", arguments, composition=composition)


@pytest.mark.parametrize("without", [(), ("shift",), ("sharpen",), ("shift", "sharpen")], ids=str)
def test_gradients_of_location_addressing(without):
    B, N, H = 2, 600, 2
    read = head(B, H, 3)._replace(**dict.fromkeys(without))
    weights = [normal(B, H, N, seed=i).softmax(-1) for i in range(2)]
    assert_means_the_same("location_address", (*weights, read.gate, read.shift, read.sharpen))


def second(x):
    """Of the sentences."""
    if isinstance(x, tuple):
        return type(x)(*map(second, x))
    return x if x is None else x[1:2]


def test_a_sentence_does_not_feel_its_neighbours():
    for sizes in (FITS, BEYOND):
        arguments = step(*sizes)
        together = with_gradients(s2sfast.ntm_step, arguments)[0]
        for all_of_them, alone in zip(together, s2sfast.ntm_step(*map(second, arguments)), strict=True):
            assert torch.equal(all_of_them[1:2], alone)


def moved(x, offset):
    """The same numbers, beginning `offset` numbers after a place of 16 bytes."""
    if isinstance(x, tuple):
        return type(x)(*(moved(y, offset) for y in x))
    return x if x is None else torch.zeros(x.numel() + offset)[offset:].view(x.shape).copy_(x)


@pytest.mark.parametrize("offset", [1, 3])
def test_rows_that_start_anywhere_give_the_same_bits(offset):
    arguments = step(*FITS)
    outputs = s2sfast.ntm_step(*arguments)
    elsewhere = [moved(x, offset) for x in arguments]
    for mine, other in zip(outputs, s2sfast.ntm_step(*elsewhere), strict=True):
        assert torch.equal(mine, other)
    memory, weights, grad = elsewhere[0], outputs[2], moved(normal(3, 2, 20), offset)
    for x in (memory, grad):
        x.requires_grad_()
    s2sfast.memory_read(memory, weights).backward(grad.detach())
    aligned = arguments[0].clone().requires_grad_()
    s2sfast.memory_read(aligned, weights).backward(grad.detach().clone())
    assert torch.equal(memory.grad, aligned.grad)


@pytest.mark.parametrize("taps", [15, 16, 17])
@pytest.mark.parametrize("op", ["ntm_step", "location_address"])
def test_a_shift_has_at_most_16_taps(op, taps):
    memory, read_previous, write_previous, read, write = step(1, 40, 4)
    read, write = (x._replace(shift=normal(1, 2, taps).softmax(-1)) for x in (read, write))
    arguments, offsets = (memory, read_previous, write_previous, read, write), list(range(taps))
    if op == "location_address":
        arguments = (read_previous, write_previous, read.gate, read.shift, read.sharpen)
    if taps <= 16:
        return assert_means_the_same(op, arguments, shift_offsets=offsets)
    with pytest.raises(ValueError, match=f"^{op}: expected at most 16 shift taps on CUDA; got 17$"):
        getattr(s2sfast, op)(*arguments, shift_offsets=offsets)


@pytest.mark.parametrize("sizes", [FITS, BEYOND], ids=["in one launch", "in several"])
@pytest.mark.parametrize("kind", ["read_head", "write_head"])
def test_a_sharpen_below_1_is_found_late(kind, sizes):
    arguments = list(step(*sizes))
    at = 3 if kind == "read_head" else 4
    sharpen = arguments[at].sharpen.clone()
    sharpen[1, 1] = 0.25
    arguments[at] = arguments[at]._replace(sharpen=sharpen)
    found = s2sfast.ntm_step(*arguments)
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    message = rf"^ntm_step: expected {kind}.sharpen >= 1; got 0.25 for sentence 1, head 1 \(found on the device"
    with pytest.raises(ValueError, match=message):
        s2sfast.synchronize()
    assert all(x.isfinite().all() for x in found)
    read = arguments[at]
    s2sfast.location_address(arguments[1], arguments[2], read.gate, read.shift, read.sharpen)
    with pytest.raises(ValueError, match=r"^location_address: expected sharpen >= 1; got 0.25 for sentence 1, head 1"):
        s2sfast.synchronize()


def test_long_rows_and_large_sizes():
    """More slots than a block has threads, several columns of tiles, more heads than are done at once."""
    B, N, M, H = 1, 1100, 70, 5
    memory, key, strength = normal(B, N, M), normal(B, H, M), normal(B, H).exp()
    weights = s2sfast.content_address(memory, key, strength)
    exact = reference.content_address(memory.double(), key.double(), strength.double())
    assert_close(weights, exact, TOLERANCE)
    assert_close(s2sfast.memory_read(memory, weights), reference.memory_read(memory.double(), exact), TOLERANCE)


def test_grids_have_a_limit():
    memory, weights = torch.zeros(2**20, 1, 0), torch.zeros(1).expand(2**20, 2**12, 1)
    with pytest.raises(
        ValueError, match=r"^memory_read: expected B times the pieces of a sentence below 2\^31 on CUDA;"
    ):
        s2sfast.memory_read(memory, weights)
