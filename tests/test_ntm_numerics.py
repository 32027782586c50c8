"""The Neural Turing Machine's numbers: edges of the contract, long sequences, properties."""

import math

import hypothesis
import pytest
import torch
from hypothesis import strategies as st
from torch.testing import assert_close

import s2sfast
from s2sfast import NTMHead, reference
from tests import ntm_oracle, over
from tests.ntm_inputs import (
    BOTH,
    COMPOSITIONS,
    EPS_MODES,
    ON_CPU,
    ORDERS,
    SIMULATED,
    gradients,
    leaves_of,
    mapped,
    mixture,
    rows,
    step_inputs,
)
from tests.over import normals, settled

FLOATS = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


# --- sharpening --------------------------------------------------------------------------------------------

SHARPEN = (1.0, 1.5, 2.0, 10.0, 50.0, 100.0)


def shapes_of_rows(N: int, normal) -> dict[str, torch.Tensor]:
    flat = torch.full((N,), 1 / N, dtype=torch.float64)
    one_hot = torch.zeros(N, dtype=torch.float64)
    one_hot[N // 3] = 1
    holes = flat * 2
    holes[::2] = 0
    if N > 1:
        holes = holes / holes.sum()
    two = torch.zeros(N, dtype=torch.float64)
    two[0] = two[-1] = 0.5
    tail = torch.full((N,), 1e-30, dtype=torch.float64)
    tail[-1] = 1
    return {
        "flat": flat,
        "near-flat": flat * (1 + 1e-3 * normal(N).double()),
        "flat-but-for-rounding": flat * (1 + 1e-7 * normal(N).double()),
        "one-hot": one_hot,
        "two-equal": two / two.sum(),
        "every-other-is-zero": holes,
        "tiny-tail": tail,
        "softmax": (3 * normal(N).double()).softmax(-1),
        "steep": torch.linspace(0, -80, N, dtype=torch.float64).softmax(-1),
    }


@BOTH
@FLOATS
@pytest.mark.parametrize("shifted", [False, True])
@pytest.mark.parametrize("N", [2, 7, 128, pytest.param(65_536, marks=ON_CPU)])
def test_sharpening_conserves_mass(side, dtype, shifted, N):
    """Sums, taken in float64, to 1e-5; gradients are finite, and 0 at exact zeros."""
    shapes = shapes_of_rows(N, normals(1))
    content = torch.stack(list(shapes.values())).to(dtype).repeat_interleave(len(SHARPEN), 0)[None]
    H = content.shape[1]
    sharpen = torch.tensor(SHARPEN, dtype=dtype).repeat(len(shapes))[None]
    shift = torch.tensor([0.0, 0.0, 1.0], dtype=dtype).expand(1, H, 3) if shifted else None
    leaves = leaves_of({
        "content": content, "previous": content, "gate": torch.ones(1, H, dtype=dtype), "shift": shift,
        "sharpen": sharpen,
    })  # fmt: skip
    found = side.location_address(**leaves)
    sums = found.detach().double().sum(-1)[0]
    assert_close(sums, torch.ones(H).double(), atol=1e-5, rtol=0)
    zeros = content.roll(1, -1) == 0 if shifted else content == 0
    assert (found[zeros] == 0).all() and (found >= 0).all()
    got = gradients(mixture([found]), leaves)
    assert all(x.isfinite().all() for x in got.values())
    for name in ("content", "previous"):
        assert (got[name][content == 0] == 0).all()


@BOTH
@FLOATS
def test_gradients_of_sharpening_by_formula(side, dtype):
    """d loss / d row = gamma w / row (g - E g), 0 where the row is; d gamma = sum w g (log row - E log row)."""
    normal = normals(2)
    shapes = torch.stack(list(shapes_of_rows(60, normal).values())).to(dtype)
    shapes[-1] *= 0.3  # a row need not sum to 1
    H = len(shapes)
    for gamma in SHARPEN:
        leaves = leaves_of({"content": shapes[None], "sharpen": torch.full((1, H), gamma, dtype=dtype)})
        one = torch.ones(1, H, dtype=dtype)
        found = side.location_address(leaves["content"], shapes[None], one, None, leaves["sharpen"])
        grad = normal(1, H, 60).to(dtype)
        got = torch.autograd.grad(found, list(leaves.values()), grad)
        row, grad = shapes.double(), grad[0].double()
        logs = row.log().where(row > 0, 0)
        w = (gamma * (logs - logs.where(row > 0, -math.inf).amax(-1, True))).exp() * (row > 0)
        w = w / w.sum(-1, keepdim=True)
        of_row = gamma * w / row.where(row > 0, 1) * (grad - (w * grad).sum(-1, keepdim=True))
        of_gamma = (w * grad * (logs - (w * logs).sum(-1, keepdim=True))).sum(-1)
        off = {torch.float32: 2e-5, torch.float64: 2e-12}[dtype]  # gamma = 100 magnifies the rounding of a logarithm
        over.assert_close(found[0].detach(), w, off)
        over.assert_close(got[0][0], of_row, off)
        over.assert_close(got[1][0], of_gamma, off)


@BOTH
@FLOATS
@pytest.mark.parametrize("sharpen", [None, *SHARPEN])
def test_a_row_of_zeros_stays_one(side, dtype, sharpen):
    zeros = torch.zeros(2, 3, 9, dtype=dtype)
    leaves = leaves_of({
        "content": zeros, "previous": zeros, "gate": torch.full((2, 3), 0.5, dtype=dtype),
        "shift": torch.full((2, 3, 3), 1 / 3, dtype=dtype),
        "sharpen": None if sharpen is None else torch.full((2, 3), sharpen, dtype=dtype),
    })  # fmt: skip
    found = side.location_address(**leaves)
    assert (found == 0).all()
    got = gradients(mixture([found]), leaves)
    assert all(x.isfinite().all() for x in got.values())
    if sharpen is not None:
        assert all((x == 0).all() for x in got.values())


@BOTH
@FLOATS
def test_a_zero_row_among_others(side, dtype):
    normal = normals(4)
    content = rows(normal, 2, 3, 70).to(dtype)
    content[1, 1] = 0
    sharpen = 1 + normal(2, 3).exp().to(dtype)
    found = side.location_address(content, content, torch.ones(2, 3, dtype=dtype), None, sharpen)
    expected = torch.ones(2, 3, dtype=torch.float64)
    expected[1, 1] = 0
    assert_close(found.double().sum(-1), expected, atol=1e-5, rtol=0)


@BOTH
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_flat_rows_of_half_precision(side, dtype):
    """1 / 65,536 is subnormal in float16, and exact: still not 0."""
    N = 4096 if SIMULATED else 65_536
    content = torch.full((1, 2, N), 1 / N, dtype=dtype)
    one = torch.ones(1, 2, dtype=dtype)
    found = side.location_address(content, content, one, None, torch.tensor([[1.0, 100.0]], dtype=dtype))
    assert found.dtype == dtype
    assert_close(found.double().sum(-1), torch.ones(1, 2).double(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("least", [1e-30, 1e-36, 1e-37, 2e-38])
@pytest.mark.parametrize("N", [1, 2, 20])
def test_gradients_of_tiny_rows(least, N):
    """As from previous weights of zeros and a gate that is nearly shut: finite, where the derivative is; one of all
    weights together is 0."""
    for gamma in SHARPEN:
        content = torch.full((1, 1, N), least, requires_grad=True)
        sharpen = torch.tensor([[gamma]], requires_grad=True)
        found = s2sfast.location_address(content, torch.zeros(1, 1, N), torch.ones(1, 1), None, sharpen)
        assert_close(found, torch.full((1, 1, N), 1 / N))
        slope = 0.5 * gamma / N * (1 - 1 / N) / least  # of half the first weight
        for loss, expected in ((found.sum(), 0.0), (0.5 * found[0, 0, 0], slope)):
            of_content, of_sharpen = torch.autograd.grad(loss, (content, sharpen), retain_graph=True)
            assert of_content.isfinite().all() and of_sharpen.isfinite().all()
            if expected < torch.finfo(torch.float32).max:
                assert_close(float(of_content[0, 0, 0]), expected, rtol=1e-4, atol=1e-4 * slope)


@BOTH
def test_sharpening_what_is_negative(side):
    """As a controller without a softmax may make it: counts as 0, and has no gradient."""
    content = torch.tensor([[[0.75, -0.5, 0.25, 0.0]]], requires_grad=True)
    one = torch.ones(1, 1)
    found = side.location_address(content, content.detach(), one, None, 2 * one)
    assert_close(found, torch.tensor([[[0.9, 0.0, 0.1, 0.0]]]))
    found[0, 0, 0].backward()
    # 2 w / row (g - E g): 2 * 0.9 / 0.75 * 0.1, 2 * 0.1 / 0.25 * -0.9
    assert_close(content.grad, torch.tensor([[[0.24, 0.0, -0.72, 0.0]]]))


@BOTH
def test_a_sharpen_of_one_changes_no_distribution(side):
    content = rows(normals(5), 2, 3, 70)
    one = torch.ones(2, 3)
    assert_close(side.location_address(content, content, one, None, one), content, atol=1e-7, rtol=1e-6)


@BOTH
@pytest.mark.parametrize("number", [0.999999, 0.5, 0.0, -3.0])
def test_sharpen_below_one_is_an_error(side, number):
    content, one = rows(normals(6), 2, 3, 5), torch.ones(2, 3)
    sharpen = one.clone()
    sharpen[1, 2] = number
    with pytest.raises(ValueError, match=r"^location_address: expected sharpen >= 1; got") as error:
        settled(side.location_address)(content, content, one, None, sharpen)
    assert f"got {number:g}" in str(error.value)
    for name in ("read_head", "write_head"):
        given = step_inputs(2, 5, 4, 3, 3)
        given[name] = given[name]._replace(sharpen=sharpen)
        with pytest.raises(ValueError, match=rf"^ntm_step: expected {name}.sharpen >= 1; got {number:g}"):
            settled(side.ntm_step)(**given)


@BOTH
def test_sharpen_is_not_looked_at_without_a_gate(side):
    content = rows(normals(6), 2, 3, 5)
    nothing = torch.full((2, 3), math.nan)
    assert torch.equal(side.location_address(content, content * math.nan, None, None, nothing), content)


# --- norms of 0 and strengths ------------------------------------------------------------------------------


def largest_slope(mode: str, eps: float, own: float, other: float) -> float:
    """How much a cosine can change with a vector of norm `own`, beside one of norm `other`, by unit of the vector.

    The change is (u - (u . v) v s) |other| / below, where u, v are the directions, and s <= 1: at most |other| / below.
    A clamped norm is a constant.
    """
    if mode == "clamp":
        return other / (max(own, eps) * max(other, eps))
    if mode == "sqrt":
        return other / math.sqrt((own**2 + eps) * (other**2 + eps))
    return other / (own * other + eps)


@BOTH
@FLOATS
@EPS_MODES
@pytest.mark.parametrize("eps", [1e-16, 1e-8, 1e-3])
@pytest.mark.parametrize("tiny", [0.0, 1e-12, 1e-6])
def test_gradients_near_norms_of_zero(side, dtype, mode, eps, tiny):
    """Finite, and below what follows from the formula: over a row, sum w |g - E g| <= (max g - min g) / 2, and of one
    slot, w |g - E g| <= (max g - min g) / 4; g is what the loss makes of a weight."""
    B, N, M, H = 1, 6, 4, 3
    normal = normals(8)
    memory, key, strength = normal(B, N, M).to(dtype), normal(B, H, M).to(dtype), normal(B, H).to(dtype) * 3
    memory[0, 1] *= tiny
    memory[0, 4] *= tiny
    key[0, 0] *= tiny
    leaves = leaves_of({"memory": memory, "key": key, "strength": strength})
    weights = side.content_address(*leaves.values(), eps=eps, eps_mode=mode)
    assert_close(weights.double().sum(-1), torch.ones(B, H).double(), atol=1e-6, rtol=0)
    g = normal(B, H, N).to(dtype)
    got = dict(zip(leaves, torch.autograd.grad(weights, list(leaves.values()), g), strict=True))
    assert all(x.isfinite().all() for x in got.values())
    norms, of_keys = memory[0].double().norm(dim=-1).tolist(), key[0].double().norm(dim=-1).tolist()
    spread = (g.amax(-1) - g.amin(-1))[0].tolist()
    beta = strength[0].abs().tolist()
    rounding = 1 + 1e-5
    for h in range(H):
        slope = max(largest_slope(mode, eps, of_keys[h], other) for other in norms)
        assert float(got["key"][0, h].norm()) <= beta[h] * spread[h] / 2 * slope * rounding
        assert abs(float(got["strength"][0, h])) <= spread[h]
    for n in range(N):
        bound = sum(beta[h] * spread[h] / 4 * largest_slope(mode, eps, norms[n], of_keys[h]) for h in range(H))
        assert float(got["memory"][0, n].norm()) <= bound * rounding


@BOTH
@EPS_MODES
def test_the_bound_is_reached(side, mode):
    """A memory of one direction and of zeros, and a key of zeros: weights 1/2, so that d w / d key = slope / 4."""
    eps = 1e-8
    leaves = leaves_of({"memory": torch.tensor([[[3.0, 4.0], [0.0, 0.0]]]), "key": torch.zeros(1, 1, 2)})
    weights = side.content_address(*leaves.values(), torch.ones(1, 1), eps=eps, eps_mode=mode)
    assert weights.tolist() == [[[0.5, 0.5]]]
    of_memory, of_key = torch.autograd.grad(weights[0, 0, 0], list(leaves.values()))
    slope = {"clamp": 1e8, "sqrt": 1e4, "product": 5e8}[mode]
    assert_close(of_key, torch.tensor([[[0.6, 0.8]]]) * slope / 4)
    assert (of_memory == 0).all()


@BOTH
@EPS_MODES
def test_nothing_but_zeros(side, mode):
    """As pytorch-ntm begins: all slots alike, and no gradient but that of the keys at most."""
    leaves = leaves_of({"memory": torch.zeros(2, 5, 3), "key": torch.zeros(2, 2, 3), "strength": torch.ones(2, 2)})
    weights = side.content_address(*leaves.values(), eps_mode=mode)
    assert_close(weights, torch.full((2, 2, 5), 0.2))
    assert all((x == 0).all() for x in torch.autograd.grad(mixture([weights]), list(leaves.values())))


@BOTH
@FLOATS
def test_strengths(side, dtype):
    """Cosines 0.6, 0.8, 0, -1 of a key with four slots."""
    memory = torch.tensor([[[3.0, 4.0], [40.0, 30.0], [0.0, 0.1], [-7.0, 0.0]]], dtype=dtype)
    strengths = [0.0, 1.0, 1e3, 1e4, -1e3, -1e4, -1.0]
    H = len(strengths)
    key = torch.tensor([2.0, 0.0], dtype=dtype).expand(1, H, 2)
    leaves = leaves_of({"memory": memory, "key": key, "strength": torch.tensor([strengths], dtype=dtype)})
    found = side.content_address(*leaves.values())
    best, least = [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]
    expected = torch.tensor(
        [ntm_oracle.softmax([b * c for c in (0.6, 0.8, 0.0, -1.0)]) for b in strengths], dtype=torch.float64
    )
    assert_close(found[0].double(), expected, atol=1e-6, rtol=0)
    assert found[0, 0].tolist() == [0.25] * 4
    assert [found[0, 3].tolist(), found[0, 5].tolist()] == [best, least]
    assert_close(found.double().sum(-1), torch.ones(1, H).double(), atol=1e-6, rtol=0)
    got = gradients(mixture([found]), leaves)
    assert all(x.isfinite().all() for x in got.values())
    assert (got["key"][0, [3, 5]] == 0).all() and (got["strength"][0, [3, 5]] == 0).all()


@BOTH
@pytest.mark.parametrize("N", [70, pytest.param(65_536, marks=ON_CPU)])
def test_rows_of_content_sum_to_one(side, N):
    normal = normals(9)
    strength = torch.tensor([[0.0, 1.0, 100.0, -30.0]])
    found = side.content_address(normal(1, N, 5), normal(1, 4, 5), strength)
    assert_close(found.double().sum(-1), torch.ones(1, 4).double(), atol=1e-5, rtol=0)


# --- long sequences ----------------------------------------------------------------------------------------


@ORDERS
@pytest.mark.parametrize("missing", [(), ("sharpen",), ("shift", "sharpen")], ids=["all", "no-sharpen", "gate-alone"])
@COMPOSITIONS
def test_a_thousand_steps(order, missing, composition):
    """Float32; the heads are new in every step, and every weighting comes from the one before."""
    B, N, M, R, W, steps = 2, 37, 11, 2, 2, 20 if SIMULATED else 1000
    of_all = step_inputs(B * steps, N, M, R, W, without=missing)
    memory, read, write = (of_all[name][:B] for name in ("memory", "read_previous", "write_previous"))
    heads = [NTMHead(*(None if x is None else x.split(B) for x in of_all[n])) for n in ("read_head", "write_head")]
    sums = []
    for t in range(steps):
        now = [NTMHead(*(None if x is None else x[t] for x in kind)) for kind in heads]
        memory, reads, read, write = s2sfast.ntm_step(memory, read, write, *now, order=order, composition=composition)
        sums.append(torch.cat((read, write), 1).double().sum(-1))
    assert memory.isfinite().all() and reads.isfinite().all()
    assert_close(torch.stack(sums), torch.ones(steps, B, R + W).double(), atol=1e-5, rtol=0)


@ON_CPU
@ORDERS
@COMPOSITIONS
def test_the_gradient_through_fifty_steps(order, composition):
    """As of the reference, in float64; finite in float32, and as near as that allows."""
    B, N, M, R, W, steps = 2, 9, 5, 1, 2, 50
    of_all = step_inputs(B * steps, N, M, R, W)

    def run(side, dtype):
        leaves = leaves_of(mapped(lambda x: x.to(dtype), of_all))
        memory, read, write = (leaves[n][:B] for n in ("memory", "read_previous", "write_previous"))
        heads = [NTMHead(*(None if x is None else x.split(B) for x in leaves[n])) for n in ("read_head", "write_head")]
        loss = 0
        for t in range(steps):
            now = [NTMHead(*(None if x is None else x[t] for x in kind)) for kind in heads]
            memory, reads, read, write = side.ntm_step(memory, read, write, *now, order=order, composition=composition)
            loss = loss + mixture([reads], seed=t)
        return gradients(loss + mixture([memory]), leaves)

    exact, single = run(reference, torch.float64), run(s2sfast, torch.float32)
    for name, mine in run(s2sfast, torch.float64).items():
        assert exact[name].isfinite().all() and exact[name].abs().max() > 0
        over.assert_close(mine, exact[name], 1e-11)
        over.assert_close(single[name], exact[name], 2e-3)  # fifty steps, each magnifies what was rounded before


# --- properties --------------------------------------------------------------------------------------------

PROPERTY = hypothesis.settings(max_examples=4 if SIMULATED else 25, deadline=None)
SEEDS = st.integers(0, 999)


@PROPERTY
@hypothesis.given(order=st.permutations(range(19)), seed=SEEDS)
def test_the_order_of_slots(order, seed):
    normal, order = normals(seed), torch.tensor(order)
    memory, key, strength = normal(2, 19, 5), normal(2, 3, 5), 3 * normal(2, 3)
    found = s2sfast.content_address(memory, key, strength)
    assert_close(s2sfast.content_address(memory[:, order], key, strength), found[..., order], atol=1e-6, rtol=1e-5)


@PROPERTY
@hypothesis.given(power=st.integers(-20, 40), seed=SEEDS)
def test_a_cosine_knows_no_lengths(power, seed):
    """A power of 2 changes no digit: the same bits, as long as nothing is clamped."""
    normal = normals(seed)
    memory, key, strength = normal(2, 19, 5), normal(2, 3, 5), 3 * normal(2, 3)
    found = s2sfast.content_address(memory, key, strength)
    assert torch.equal(s2sfast.content_address(memory, key * 2.0**power, strength), found)
    assert torch.equal(s2sfast.content_address(memory * 2.0**power, key, strength), found)


@PROPERTY
@hypothesis.given(offset=st.integers(-(2**40), 2**40), seed=SEEDS)
def test_there_and_back(offset, seed):
    content, one, tap = rows(normals(seed), 2, 3, 19), torch.ones(2, 3), torch.ones(2, 3, 1)
    there = s2sfast.location_address(content, content, one, tap, None, shift_offsets=[offset])
    back = s2sfast.location_address(there, there, one, tap, None, shift_offsets=[-offset])
    assert torch.equal(back, content)


@PROPERTY
@hypothesis.given(S=st.integers(1, 9), N=st.integers(1, 70), seed=SEEDS, data=st.data())
def test_a_shift_conserves_mass(S, N, seed, data):
    offsets = data.draw(st.lists(st.integers(-100, 100), min_size=S, max_size=S))
    normal = normals(seed)
    content, previous, gate = rows(normal, 2, 3, N), rows(normal, 2, 3, N), normal(2, 3).sigmoid()
    shift = normal(2, 3, S).softmax(-1)
    found = s2sfast.location_address(content, previous, gate, shift, None, shift_offsets=offsets)
    assert_close(found.double().sum(-1), torch.ones(2, 3).double(), atol=2e-6, rtol=0)
    twice = s2sfast.location_address(content, previous, gate, 2 * shift, None, shift_offsets=offsets)
    assert torch.equal(twice, 2 * found)


@PROPERTY
@hypothesis.given(seed=SEEDS, a=st.floats(-3, 3, width=32), b=st.floats(-3, 3, width=32))
def test_reading_is_linear(seed, a, b):
    normal = normals(seed)
    one, other, weights, further = normal(2, 19, 5), normal(2, 19, 5), normal(2, 3, 19), normal(2, 3, 19)
    read = s2sfast.memory_read
    assert_close(read(a * one + b * other, weights), a * read(one, weights) + b * read(other, weights),
                 atol=5e-5, rtol=1e-5)  # fmt: skip
    assert_close(read(one, a * weights + b * further), a * read(one, weights) + b * read(one, further),
                 atol=5e-5, rtol=1e-5)  # fmt: skip


@PROPERTY
@hypothesis.given(seed=SEEDS, H=st.integers(0, 5))
def test_writing_without_erasing_adds_up(seed, H):
    """erase = 0: memory + weights^T add, in both compositions."""
    normal = normals(seed)
    memory, weights, add = normal(2, 19, 5), rows(normal, 2, H, 19), normal(2, H, 5)
    for composition in ("sequential", "product"):
        found = s2sfast.memory_write(memory, weights, torch.zeros(2, H, 5), add, composition=composition)
        assert_close(found, memory + weights.mT @ add, atol=2e-6, rtol=1e-5)
