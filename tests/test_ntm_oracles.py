"""The Neural Turing Machine against loops of floats, and against numbers of other implementations."""

import json
from pathlib import Path

import hypothesis
import pytest
import torch
from hypothesis import strategies as st
from torch.testing import assert_close

import s2sfast
from s2sfast import NTMActivation, NTMHead, reference
from tests import ntm_oracle, over
from tests.ntm_inputs import (
    BOTH,
    COMPOSITIONS,
    EPS_MODES,
    ORDERS,
    SIMULATED,
    gradients,
    leaves_of,
    mapped,
    mixture,
    named,
    rows,
    step_inputs,
)
from tests.over import normals

# Of float32: strengths to 10 and exponents to 4 magnify the rounding of a cosine, about 2^-23 sqrt(M), some 40 times;
# what is read from a new memory is addressed with it again.
TOLERANCE = {torch.float32: 3e-5, torch.float64: 1e-13}


# --- loops of floats ---------------------------------------------------------------------------------------


def loops(given: dict, **options) -> tuple[torch.Tensor, ...]:
    """What the oracle says of a batch, in float64."""
    memory = given["memory"]
    (B, N, M), heads = memory.shape, {}
    for kind in ("read", "write"):
        of = given[f"{kind}_head"]
        heads[kind] = (
            None if of is None else {n: x.tolist() for n, x in zip(of._fields, of, strict=True) if x is not None}
        )
    R, W = (0 if given[f"{kind}_head"] is None else given[f"{kind}_head"].key.shape[1] for kind in ("read", "write"))

    def of_sentence(kind, b, H):
        return None if heads[kind] is None else [{n: x[b][h] for n, x in heads[kind].items()} for h in range(H)]

    def row(name, b):
        return None if given[name] is None else given[name][b].tolist()

    found = [
        ntm_oracle.step(
            memory[b].tolist(), M, row("read_previous", b), row("write_previous", b), of_sentence("read", b, R),
            of_sentence("write", b, W), **options,
        )
        for b in range(B)
    ]  # fmt: skip
    R = W if heads["read"] is None else R
    shapes = ((B, N, M), (B, R, M), (B, R, N), (B, W, N))
    return tuple(torch.tensor([x[i] for x in found], dtype=torch.float64).view(shape) for i, shape in enumerate(shapes))


SIZE = {
    "B": st.sampled_from([1, 2, 3, 0]),
    "N": st.sampled_from([5, 1, 2, 3, 15, 16, 17, 33, 64, 65, 70, 0]),
    "M": st.sampled_from([4, 1, 2, 3, 7, 16, 17, 33, 65, 0]),
    "R": st.integers(0, 4),
    "W": st.integers(0, 4),
    "S": st.integers(0, 5),
}
MISSING = ((), (), ("gate", "shift", "sharpen"), ("shift",), ("sharpen",), ("gate",), ("shift", "sharpen"))


@hypothesis.settings(max_examples=6 if SIMULATED else 150, deadline=None)
@hypothesis.given(
    sizes=st.fixed_dictionaries(SIZE),
    options=st.fixed_dictionaries({
        "order": st.sampled_from(["write_read", "read_write"]),
        "composition": st.sampled_from(["sequential", "product"]),
        "eps_mode": st.sampled_from(["clamp", "sqrt", "product"]),
        "eps": st.sampled_from([1e-8, 0.3, 2.0]),
    }),
    missing=st.sampled_from(MISSING),
    lecture=st.sampled_from([False, False, True]),
    offsets=st.none() | st.lists(st.integers(-150, 150), min_size=5, max_size=5),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_loops_of_floats(sizes, options, missing, lecture, offsets, seed):
    """Both sides, in both dtypes: the numbers are float32's, so that one oracle serves all four."""
    S = sizes["S"]
    given = step_inputs(**sizes, seed=seed, without=missing)
    if lecture:
        given |= {"read_previous": None, "read_head": None}
        options["order"] = "write_read"
    if "gate" in missing:
        given |= {"read_previous": None, "write_previous": None}
    if S and "shift" not in missing and (offsets or S % 2 == 0):
        options["shift_offsets"] = (offsets or [0, 1, -1, 7, -9])[:S]
    exact = loops(mapped(torch.Tensor.double, given), **options)
    for dtype in (torch.float32, torch.float64):
        for side in (s2sfast, reference):
            found = side.ntm_step(**mapped(lambda x, dtype=dtype: x.to(dtype), given), **options)
            for mine, theirs in zip(found, exact, strict=True):
                assert mine.dtype == dtype
                over.assert_close(mine, theirs, TOLERANCE[dtype])


@BOTH
@pytest.mark.parametrize("key", ["none", "tanh"])
@pytest.mark.parametrize("strength", ["softplus", "oneplus"])
@pytest.mark.parametrize("add", ["none", "tanh"])
def test_loops_of_activated_floats(side, key, strength, add):
    """Of a controller's numbers, as fields and in one tensor, those that overflow exp() among them."""
    B, N, M, R, W, S = 2, 6, 5, 2, 2, 3
    normal = normals(3)
    flat = {"read_head": 3 * normal(B, R, M + 3 + S), "write_head": 3 * normal(B, W, 3 * M + 3 + S)}
    flat["read_head"][0, 0, M] = 60.0  # strength
    flat["write_head"][1, 1, M] = -200.0
    flat["write_head"][0, 0, M + 1] = -900.0  # gate
    flat["read_head"][1, 0, M + 1] = 900.0
    flat["read_head"][0, 1, M + 2 : M + 5] = torch.tensor([900.0, 0.0, 0.0])  # shift
    flat["write_head"][0, 1, M + 5] = -700.0  # sharpen
    flat["write_head"][1, 0, M + 6] = -800.0  # erase
    given = {
        "memory": normal(B, N, M), "read_previous": rows(normal, B, R, N), "write_previous": rows(normal, B, W, N)
    }  # fmt: skip
    made = {}
    for name, numbers in flat.items():
        raw = NTMHead.split(numbers.double(), M, write=name == "write_head")
        fields = [n for n, x in zip(raw._fields, raw, strict=True) if x is not None]
        plain = [
            [
                ntm_oracle.activated({n: getattr(raw, n)[b, h].tolist() for n in fields}, key, strength, add)
                for h in range(2)
            ]
            for b in range(B)
        ]
        made[name] = NTMHead(
            **{n: torch.tensor([[h[n] for h in heads] for heads in plain], dtype=torch.float64) for n in fields}
        )
    exact = loops({**mapped(torch.Tensor.double, given), **made})
    activation = NTMActivation(key, strength, add)
    as_fields = {name: NTMHead.split(x, M, write=name == "write_head") for name, x in flat.items()}
    for heads in (flat, as_fields):
        for dtype in (torch.float32, torch.float64):
            inputs = mapped(lambda x, dtype=dtype: x.to(dtype), {**given, **heads})
            for mine, theirs in zip(side.ntm_step(**inputs, activation=activation), exact, strict=True):
                # A strength of 60 magnifies rounding 60 times.
                over.assert_close(mine, theirs, 10 * TOLERANCE[dtype])


@BOTH
@EPS_MODES
@ORDERS
@COMPOSITIONS
@pytest.mark.parametrize("lecture", [False, True])
def test_gradients_of_loops(side, mode, order, composition, lecture):
    """Central differences of the oracle. eps is such that it clamps some norms."""
    if lecture and order == "read_write":
        order, missing = "write_read", ("gate", "shift", "sharpen")  # as in the lecture: content alone
    else:
        missing = ()
    given = mapped(torch.Tensor.double, step_inputs(1, 4, 3, 2, 2, without=missing))
    if lecture:
        given |= {"read_previous": None, "read_head": None}
    options = {
        "order": order, "composition": composition, "eps_mode": mode, "eps": {"clamp": 1.5}.get(mode, 0.4),
        "shift_offsets": [2, 0, -1],
    }  # fmt: skip
    leaves = leaves_of(given)
    found = gradients(mixture(side.ntm_step(**leaves, **options)), leaves)
    assert len(found) == len(named(given))
    step = 1e-5
    copies = mapped(torch.clone, given)
    for name, x in named(copies).items():
        if "previous" in name and "gate" in missing:
            assert (found[name] == 0).all()
            continue
        flat, expected = x.view(-1), []
        for i in range(flat.numel()):
            middle = float(flat[i])
            losses = []
            for moved in (middle + step, middle - step):
                flat[i] = moved
                losses.append(float(mixture(loops(copies, **options))))
            flat[i] = middle
            expected.append((losses[0] - losses[1]) / (2 * step))
        # The differences' own error is about step^2 times a third derivative.
        assert_close(found[name].view(-1), torch.tensor(expected, dtype=torch.float64), atol=2e-8, rtol=2e-7)


# --- other implementations ---------------------------------------------------------------------------------

PUBLIC = json.loads((Path(__file__).parent / "data" / "ntm_public.json").read_text())


def numbers(x):
    return torch.tensor(x, dtype=torch.float32)


@BOTH
@pytest.mark.parametrize("name", [n for n in PUBLIC if n.startswith("dnc")])
def test_numbers_of_dnc(side, name):
    """pytorch-dnc: content weightings, what is read, and a write of several heads (product)."""
    case = PUBLIC[name]
    memory = numbers(case["memory"])
    weights = side.content_address(
        memory, numbers(case["key"]), numbers(case["strength"]), eps=case["eps"], eps_mode="product"
    )
    assert_close(weights, numbers(case["weights"]), atol=1e-6, rtol=1e-5)
    assert_close(side.memory_read(memory, weights), numbers(case["reads"]), atol=2e-6, rtol=1e-5)
    written = side.memory_write(memory, weights, numbers(case["erase"]), numbers(case["add"]), composition="product")
    assert_close(written, numbers(case["written"]), atol=2e-6, rtol=1e-5)


@BOTH
@pytest.mark.parametrize("name", [n for n in PUBLIC if n.startswith("tf-ntm")])
def test_numbers_of_tensorflow(side, name):
    """The NTMCell of TensorFlow 1.15 (Collier & Beel 2018), several steps from its first state on."""
    case = PUBLIC[name]
    memory = numbers(case["memory"])
    read_weights, write_weights = numbers(case["read_previous"]), numbers(case["write_previous"])
    activation = NTMActivation(key="tanh", strength="softplus", add="tanh")
    for step in case["steps"]:
        memory, reads, read_weights, write_weights = side.ntm_step(
            memory, read_weights, write_weights, numbers(step["read_head"]), numbers(step["write_head"]),
            order="read_write", composition="sequential", shift_offsets=case["shift_offsets"], eps=case["eps"],
            eps_mode="product", activation=activation,
        )  # fmt: skip
        # Both are float32; theirs takes exp() without the largest score off, and powers of weights.
        for name_, x in (
            ("memory", memory), ("reads", reads), ("read_weights", read_weights), ("write_weights", write_weights)
        ):  # fmt: skip
            assert_close(x, numbers(step[name_]), atol=5e-6, rtol=5e-5)
