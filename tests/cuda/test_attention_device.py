"""Attention on a device: two launches for a few queries, tiles for more; lengths are found bad late."""

import math

import pytest
import torch

import s2sfast
from s2sfast import reference

OPS = ("dot_attention", "bilinear_attention", "cosine_attention", "additive_attention", "additive_scores")
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-5, torch.bfloat16: 2e-2, torch.float16: 3e-3}
"""Of the largest number of a result or a gradient."""
FEW, MANY = 5, 17
"""Queries that are decoded, and that are not."""


def arguments(op, B, Q, T, D, E=0, C=0, dtype=torch.float32, seed=0):
    """(args, kwargs) without a mask; E=0: the keys are the values."""
    torch.manual_seed(seed)

    def numbers(*sizes):
        return torch.randn(*sizes, dtype=torch.float64).to(dtype)

    args = [numbers(B, Q, D), numbers(B, T, D)]
    if op != "additive_scores":
        args.append(numbers(B, T, E) if E else None)
    kwargs = {}
    if op.startswith("additive"):
        kwargs["v"] = numbers(D)
        if C:
            kwargs |= {"features": numbers(B, Q, T, C), "feature_weight": numbers(C, D)}
    if op == "bilinear_attention":
        kwargs["weight"] = numbers(D, D)
    if op == "cosine_attention":
        kwargs["strength"] = numbers(B, Q) * 3
    return args, kwargs


def masked(kind, B, Q, T):
    torch.manual_seed(1)
    some, lengths = torch.rand(B, Q, T) > 0.3, torch.randint(0, T + 1, (B,))
    return {
        "all": {},
        "shared": {"mask": some[:, 0]},
        "pairs": {"mask": some},
        "lengths": {"lengths": lengths},
        "both": {"mask": some, "lengths": lengths},
    }[kind]


def outputs(found):
    return found if isinstance(found, tuple) else (found,)


def with_gradients(function, args, kwargs):
    leaves = [x.detach().clone().requires_grad_() if is_float(x) else x for x in (*args, *kwargs.values())]
    found = outputs(function(*leaves[: len(args)], **dict(zip(kwargs, leaves[len(args) :], strict=True))))
    torch.manual_seed(2)
    wanted = [torch.randn(x.shape, dtype=torch.float64).to(x.dtype) for x in found]
    total = sum((x.masked_fill(x.isinf(), 0) * w).sum() for x, w in zip(found, wanted, strict=True))
    return [x.detach() for x in found] + list(torch.autograd.grad(total, [x for x in leaves if is_float(x)]))


def is_float(x):
    return isinstance(x, torch.Tensor) and x.is_floating_point()


def assert_means_the_same(op, args, kwargs):
    mine = with_gradients(getattr(s2sfast, op), args, kwargs)
    exact = (
        [x.double() if is_float(x) else x for x in args],
        {name: x.double() if is_float(x) else x for name, x in kwargs.items()},
    )
    theirs = with_gradients(getattr(reference, op), *exact)
    for found, expected in zip(mine, theirs, strict=True):
        assert torch.equal(found.isinf(), expected.isinf())
        finite = expected.masked_fill(expected.isinf(), 0)
        apart = (found.double().masked_fill(found.isinf(), 0) - finite).abs()
        assert (apart <= TOLERANCE[found.dtype] * max(1.0, finite.abs().max().item() if finite.numel() else 0)).all()


@pytest.mark.parametrize("kind", ["all", "shared", "pairs", "lengths", "both"])
@pytest.mark.parametrize("queries", [FEW, MANY])
@pytest.mark.parametrize("op", OPS)
def test_means_what_the_reference_means(op, queries, kind):
    args, kwargs = arguments(op, 2, queries, 11, 6, 3)
    assert_means_the_same(op, args, kwargs | masked(kind, 2, queries, 11))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("queries", [FEW, MANY])
@pytest.mark.parametrize("op", OPS)
def test_in_every_dtype(op, queries, dtype):
    args, kwargs = arguments(op, 2, queries, 9, 16, 8, 2, dtype)
    assert_means_the_same(op, args, kwargs | masked("both", 2, queries, 9))


@pytest.mark.parametrize("channels", [1, 4, 7, 13])
@pytest.mark.parametrize("queries", [FEW, MANY])
def test_features(queries, channels):
    for op in ("additive_attention", "additive_scores"):
        args, kwargs = arguments(op, 2, queries, 7, 40, 0, channels)
        assert_means_the_same(op, args, kwargs | masked("both", 2, queries, 7))


SIZES = {  # B, Q, T, D, E
    "parts of several tiles": (1, 2, 700, 8, 3),
    "chunks of columns": (1, 16, 40, 1030, 0),
    "more value columns than threads": (1, 9, 20, 4, 1030),
    "tiles of queries and positions": (1, 66, 130, 20, 70),
    "splits of positions": (1, 17, 300, 33, 0),
    "one of all": (1, 1, 1, 1, 1),
}


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_where_ways_of_working_meet(sizes, op):
    if op == "bilinear_attention":
        pytest.skip("dot_attention's kernels")
    if op == "cosine_attention" and sizes[3] == 1:
        pytest.skip("of one column the cosine is a sign, and its gradient rounding")
    B, Q, T, D, E = sizes
    args, kwargs = arguments(op, B, Q, T, D, E)
    if op != "cosine_attention":
        args[0] = args[0] * D**-0.5  # scores stay small, so that their rounding does
    if "v" in kwargs:
        kwargs["v"] = kwargs["v"] * D**-0.5
    assert_means_the_same(op, args, kwargs | masked("shared", B, Q, T))
    assert_means_the_same(op, args, kwargs | masked("pairs", B, Q, T))


def test_more_parts_than_are_joined_at_once():
    args, kwargs = arguments("additive_attention", 1, 1, 69_000, 1, 1)
    with torch.no_grad():
        found = s2sfast.additive_attention(*args, **kwargs)
        torch.testing.assert_close(found, reference.additive_attention(*args, **kwargs), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_chunks_of_columns_in_other_dtypes(dtype):
    for op in ("dot_attention", "cosine_attention", "additive_attention"):
        args, kwargs = arguments(op, 1, 3, 20, 1050, 0, dtype=dtype)
        assert_means_the_same(op, [args[0] * 0.03, *args[1:]], kwargs)


@pytest.mark.parametrize(
    "sizes", [(0, 3, 4, 5, 2), (2, 0, 4, 5, 2), (2, 3, 0, 5, 2), (2, 3, 4, 5, 0), (2, 20, 0, 3, 1)]
)
@pytest.mark.parametrize("op", OPS)
def test_nothing_of_something(op, sizes):
    args, kwargs = arguments(op, *sizes, C=2)
    assert_means_the_same(op, args, kwargs)


@pytest.mark.parametrize("queries", [FEW, MANY])
@pytest.mark.parametrize("op", OPS)
def test_what_stands_at_masked_positions_reaches_nothing(op, queries):
    B, T = 2, 9
    args, kwargs = arguments(op, B, queries, T, 6, 3, 2)
    mask = torch.rand(B, queries, T) > 0.4
    mask[:, :, 4], mask[0, 1], mask[1, :, 2] = False, False, False
    lengths = torch.tensor([7, 9])
    mask[0, :, 7:] = False
    expected = with_gradients(getattr(s2sfast, op), args, kwargs | {"mask": mask, "lengths": lengths})
    spoilt = [x if x is None else x.clone() for x in args]
    nobody = ~mask.any(1)
    for x in spoilt[1:]:
        if x is not None:
            x[nobody] = math.nan
    if op != "bilinear_attention":  # whose projection is torch's
        spoilt[0][~mask.any(2)] = math.nan
    if "features" in kwargs:
        kwargs["features"] = kwargs["features"].masked_fill(~mask[..., None], math.nan)
    found = with_gradients(getattr(s2sfast, op), spoilt, kwargs | {"mask": mask, "lengths": lengths})
    for mine, clean in zip(found, expected, strict=True):
        assert torch.equal(mine, clean)
    if op != "additive_scores":
        context, weights, dquery = found[:3]
        assert not context[0, 1].any() and not weights[0, 1].any()
        assert not dquery[0, 1].any()


@pytest.mark.parametrize("queries", [FEW, MANY])
@pytest.mark.parametrize("op", OPS[:4])
def test_a_nan_stays_with_the_queries_that_attend_to_it(op, queries):
    args, kwargs = arguments(op, 1, queries, 6, 4, 3)
    args[1][0, 2, 1] = math.nan
    mask = torch.ones(1, queries, 6, dtype=torch.bool)
    mask[0, 0, 2] = mask[0, 3, 4] = False
    context, weights = getattr(s2sfast, op)(*args, **kwargs, mask=mask)
    assert context[0, 0].isfinite().all() and weights[0, 0].isfinite().all()
    assert context[0, 1:].isnan().all()
    assert torch.equal(weights[0, 1:].isnan(), mask[0, 1:])
    args, kwargs = arguments(op, 1, queries, 6, 4, 3)
    args[2][0, 2, 1] = math.nan  # a value: its own column alone
    context, weights = getattr(s2sfast, op)(*args, **kwargs, mask=mask)
    assert weights.isfinite().all() and context[0, 0].isfinite().all()
    assert context[0, 1:, 1].isnan().all() and context[0, 1:, [0, 2]].isfinite().all()


@pytest.mark.parametrize("queries", [FEW, MANY])
def test_scores_of_any_size(queries):
    """The largest comes early, late, or in the middle of the parts; sums never overflow; a row may hold -inf."""
    keys = torch.zeros(3, 50, 2)
    keys[0, :, 0], keys[1, :, 0] = torch.linspace(-300, 300, 50), torch.linspace(300, -300, 50)
    keys[2, 25, 0] = 1e30
    query = torch.zeros(3, queries, 2)
    query[..., 0] = 1.0
    for values in (None, torch.randn(3, 50, 3)):
        found, exact = s2sfast.dot_attention(query, keys, values), reference.dot_attention(query, keys, values)
        torch.testing.assert_close(found, exact, rtol=1e-5, atol=1e-5)
    keys[0, 10:, 0] = -math.inf
    weights = s2sfast.dot_attention(query, keys, torch.ones(3, 50, 1)).weights
    torch.testing.assert_close(weights, reference.dot_attention(query, keys, torch.ones(3, 50, 1)).weights)
    keys[0, :, 0] = -math.inf
    found = s2sfast.dot_attention(query, keys, torch.ones(3, 50, 1))
    assert found.weights[0].isnan().all() and found.context[0].isnan().all()


@pytest.mark.parametrize("queries", [FEW, MANY])
@pytest.mark.parametrize("op", OPS)
def test_lengths_out_of_range_are_found_late(op, queries):
    args, kwargs = arguments(op, 3, queries, 5, 4)
    found = outputs(getattr(s2sfast, op)(*args, **kwargs, lengths=torch.tensor([3, 7, -2])))
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    message = rf"^{op}: expected lengths in \[0, T\]=\[0, 5\]; got (7 for sentence 1|-2 for sentence 2) \(found on the"
    with pytest.raises(ValueError, match=message):
        s2sfast.synchronize()
    getattr(s2sfast, op)(args[0], args[1][:, :0], *args[2:], **kwargs, lengths=torch.tensor([0, 0, 1]))
    with pytest.raises(ValueError, match=r"in \[0, T\]=\[0, 0\]; got 1 for sentence 2"):
        s2sfast.synchronize()
    nearest = outputs(getattr(s2sfast, op)(*args, **kwargs, lengths=torch.tensor([3, 5, 0])))
    s2sfast.synchronize()
    assert all(torch.equal(a, b) for a, b in zip(found, nearest, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("queries", [FEW, MANY])
@pytest.mark.parametrize("op", OPS)
def test_rows_that_start_anywhere_give_the_same_bits(op, queries, dtype):
    args, kwargs = arguments(op, 2, queries, 40, 24, 16, dtype=dtype)
    found = outputs(getattr(s2sfast, op)(*args, **kwargs))
    for offset in (1, 3):
        moved = []
        for x in args:
            if x is not None:
                memory = torch.zeros(x.numel() + offset, dtype=dtype)
                x = memory[offset:].view(x.shape).copy_(x)
            moved.append(x)
        elsewhere = outputs(getattr(s2sfast, op)(*moved, **kwargs))
        assert all(torch.equal(a, b) for a, b in zip(found, elsewhere, strict=True))
    apart = [x if x is None else torch.cat((x, x), -1)[..., : x.shape[-1]] for x in args]
    elsewhere = outputs(getattr(s2sfast, op)(*apart, **kwargs))
    assert all(torch.equal(a, b) for a, b in zip(found, elsewhere, strict=True))


@pytest.mark.parametrize("queries", [FEW, MANY])
@pytest.mark.parametrize("op", OPS[:4])
def test_a_sentence_does_not_feel_its_neighbours(op, queries):
    args, kwargs = arguments(op, 3, queries, 70, 12, 8)
    mask = {"mask": torch.rand(3, 70) > 0.2}
    all_of_them = with_gradients(getattr(s2sfast, op), args, kwargs | mask)
    one = [x[1:2] for x in args]
    strength = {"strength": kwargs["strength"][1:2]} if "strength" in kwargs else {}
    alone = getattr(s2sfast, op)(*one, **kwargs | strength, mask=mask["mask"][1:2])
    for mine, found in zip(alone, all_of_them, strict=False):
        assert torch.equal(mine, found[1:2])


@pytest.mark.parametrize("op", OPS[:4])
def test_one_memory_for_all_sentences(op):
    """Keys expanded over the batch: a stride of 0."""
    args, kwargs = arguments(op, 1, FEW, 20, 8, 4)
    query = torch.randn(3, FEW, 8)
    if "strength" in kwargs:
        kwargs["strength"] = kwargs["strength"].expand(3, -1)
    shared = [x.expand(3, -1, -1) for x in args[1:]]
    mine = outputs(getattr(s2sfast, op)(query, *shared, **kwargs))
    copied = outputs(getattr(s2sfast, op)(query, *(x.contiguous() for x in shared), **kwargs))
    assert all(torch.equal(a, b) for a, b in zip(mine, copied, strict=True))


def test_tanh_to_float32():
    """Within 2 ulp, small arguments and large ones; a GPU's reciprocal may add half of one (PTX ISA, rcp.approx)."""
    magnitudes = torch.logspace(-30, 1.5, 2500)
    x = torch.cat((torch.zeros(1), magnitudes, -magnitudes, torch.tensor([math.inf, -math.inf])))
    found = s2sfast.additive_scores(torch.zeros(1, 1, 1), x[None, :, None], v=torch.ones(1))[0, 0]
    exact = torch.tanh(x.double())
    ulp = torch.finfo(torch.float32).eps * exact.abs().clamp(min=1e-37)
    assert ((found.double() - exact).abs() <= 2 * ulp).all()
    nan = s2sfast.additive_scores(torch.zeros(1, 1, 1), torch.full((1, 1, 1), math.nan), v=torch.ones(1))
    assert nan.isnan().all()
