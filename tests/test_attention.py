"""What the table cannot say of the attentions: hand-made numbers, other libraries, loops of floats, properties."""

import math
import os

import hypothesis
import pytest
import torch
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.testing import assert_close

import s2sfast
from s2sfast import reference
from tests.over import integers, normals

BOTH = pytest.mark.parametrize("side", [s2sfast, reference], ids=["fast", "reference"])
KINDS = ("dot", "bilinear", "cosine", "additive", "features")
OVER_KINDS = pytest.mark.parametrize("kind", KINDS)
FEW_AND_MANY = pytest.mark.parametrize("Q", [4, 18], ids=["few-queries", "many-queries"])
ON_CPU = pytest.mark.skipif(
    torch.get_default_device().type != "cpu" or "PTX_ARCH" in os.environ,
    reason="too much for a simulation",
)
MOST = 400  # positions
GARBAGE = (math.nan, math.inf, -math.inf, 1e30)


def own(kind: str, B: int, Q: int, T: int, D: int, seed: int = 0) -> dict:
    """What a kind has beside query, keys and values."""
    normal = normals(seed + 1000)
    if kind == "bilinear":
        return {"weight": normal(D, D)}
    if kind == "cosine":
        return {"strength": 3 * normal(B, Q)}
    if kind == "additive":
        return {"v": normal(D)}
    if kind == "features":
        return {"v": normal(D), "features": normal(B, Q, T, 2), "feature_weight": normal(2, D)}
    return {}


def function_of(kind: str, side=s2sfast):
    return getattr(side, f"{'additive' if kind == 'features' else kind}_attention")


def inputs(kind: str, B: int, Q: int, T: int, D: int, E: int, seed: int = 0) -> dict:
    """All floating arguments by name."""
    normal = normals(seed)
    return {
        "query": normal(B, Q, D), "keys": normal(B, T, D), "values": normal(B, T, E), **own(kind, B, Q, T, D, seed)
    }  # fmt: skip


def attend(kind: str, given: dict, side=s2sfast, **options):
    given = {**given, **options}
    positional = [given.pop(name) for name in ("query", "keys", "values")]
    return function_of(kind, side)(*positional, **given)


def with_gradients(kind: str, given: dict, **options):
    """(context, weights) and the gradients by name of a fixed mixture of both."""
    leaves = {name: x.detach().clone().requires_grad_() for name, x in given.items()}
    context, weights = attend(kind, leaves, **options)
    normal = normals(7)
    mixture = normal(*weights.shape[:-1], MOST)[..., : weights.shape[-1]]  # the same when positions are appended
    loss = (context * normal(*context.shape)).sum() + (weights * mixture).sum()
    return (context.detach(), weights.detach()), dict(
        zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True)
    )


def at_positions(given: dict, change) -> dict:
    """`change(x, dimension of the positions)` of what has positions."""
    dimension = {"keys": 1, "values": 1, "features": 2}
    return {name: change(x, dimension[name]) if name in dimension else x for name, x in given.items()}


def assert_equal_bits(got: torch.Tensor, expected: torch.Tensor) -> None:
    assert torch.equal(got, expected), f"off by {float((got - expected).abs().max()):.3g}"


def assert_same_bits_but_of_matmul(kind: str, got: torch.Tensor, expected: torch.Tensor) -> None:
    """The projection of bilinear attention is torch's matmul, whose bits may depend on batch and threads."""
    if kind == "bilinear":
        assert_close(got, expected, atol=2e-4, rtol=2e-4)
    else:
        assert_equal_bits(got, expected)


# --- by hand -----------------------------------------------------------------------------------------------

# Two queries and three positions, values 0, 10, 20. Scores are logarithms of whole numbers where the page says so.
LOG2, LOG3 = math.log(2), math.log(3)
VALUES = torch.tensor([[[0.0], [10.0], [20.0]]])


def assert_attends(found, weights, context):
    assert_close(found.weights, torch.tensor([weights]))
    assert_close(found.context, torch.tensor([context])[..., None])


@BOTH
def test_dot_by_hand(side):
    """Keys 0, log 2, log 3 and queries 1 and -1: exponentials 1, 2, 3 and 1, 1/2, 1/3."""
    keys = torch.tensor([[[0.0], [LOG2], [LOG3]]])
    found = side.dot_attention(torch.tensor([[[1.0], [-1.0]]]), keys, VALUES)
    assert_attends(found, [[1 / 6, 2 / 6, 3 / 6], [6 / 11, 3 / 11, 2 / 11]], [80 / 6, 70 / 11])
    found = side.dot_attention(torch.tensor([[[1.0], [-1.0]]]), keys, VALUES, lengths=torch.tensor([2]))
    assert_attends(found, [[1 / 3, 2 / 3, 0], [2 / 3, 1 / 3, 0]], [20 / 3, 10 / 3])


@BOTH
def test_bilinear_by_hand(side):
    """W = (0, log 2): scores log 2 q k2, with k2 = 0, 1, 2: exponentials 1, 2, 4 and, of q = -1, 1, 1/2, 1/4."""
    keys, weight = torch.tensor([[[9.0, 0.0], [-7.0, 1.0], [5.0, 2.0]]]), torch.tensor([[0.0, LOG2]])
    found = side.bilinear_attention(torch.tensor([[[1.0], [-1.0]]]), keys, VALUES, weight=weight)
    assert_attends(found, [[1 / 7, 2 / 7, 4 / 7], [4 / 7, 2 / 7, 1 / 7]], [100 / 7, 40 / 7])


@BOTH
def test_cosine_by_hand(side):
    """Cosines of (5, 0) with (2, 0), (0, 9), (-1, 0): 1, 0, -1; of (0, 3): 0, 1, 0. Strengths log 2 and log 3."""
    query, keys = torch.tensor([[[5.0, 0.0], [0.0, 3.0]]]), torch.tensor([[[2.0, 0.0], [0.0, 9.0], [-1.0, 0.0]]])
    found = side.cosine_attention(query, keys, VALUES, strength=torch.tensor([[LOG2, LOG3]]))
    assert_attends(found, [[4 / 7, 2 / 7, 1 / 7], [1 / 5, 3 / 5, 1 / 5]], [40 / 7, 10.0])


@BOTH
def test_additive_by_hand(side):
    """tanh(log 2 / 2) = 1/3, tanh(log 3 / 2) = 1/2; v = 6 log 2: exponentials 2^(6 tanh)."""
    query, keys = torch.tensor([[[0.0], [LOG2 / 2]]]), torch.tensor([[[0.0], [LOG2 / 2], [-LOG2 / 2]]])
    v = torch.tensor([3 * LOG2])
    # of query 0: 3 tanh = 0, 1, -1; of query 1: 1, 3 tanh(log 2) = 3 * 3/5, 0
    assert_close(side.additive_scores(query, keys, v=v) / LOG2, torch.tensor([[[0.0, 1.0, -1.0], [1.0, 1.8, 0.0]]]))
    found = side.additive_attention(query, keys, VALUES, v=v)
    most, total = 2**1.8, 3 + 2**1.8
    assert_attends(found, [[2 / 7, 4 / 7, 1 / 7], [2 / total, most / total, 1 / total]],
                   [60 / 7, (10 * most + 20) / total])  # fmt: skip


@BOTH
def test_additive_with_coverage_by_hand(side):
    """A feature f with weight log 2 / 2 moves what is inside the tanh: f = 1, 0, -1 and 0, 1, 2 from log 2 / 2 (k)."""
    query, keys = torch.zeros(1, 2, 1), torch.tensor([[[0.0], [LOG2 / 2], [-LOG2 / 2]]])
    features = torch.tensor([[[[1.0], [0.0], [1.0]], [[0.0], [1.0], [-1.0]]]])
    options = {"v": torch.tensor([3 * LOG2]), "features": features, "feature_weight": torch.tensor([[LOG2 / 2]])}
    scores = torch.tensor([[[1.0, 1.0, 0.0], [0.0, 1.8, -1.8]]]) * LOG2
    assert_close(side.additive_scores(query, keys, **options), scores)
    found = side.additive_attention(query, keys, VALUES, **options)
    assert_close(found.weights[0, 0], torch.tensor([0.4, 0.4, 0.2]))
    assert_close(found.context[0, 0], torch.tensor([8.0]))


@BOTH
def test_scores_are_minus_infinity_where_masked(side):
    keys = torch.tensor([[[0.0], [LOG2 / 2], [math.nan]]])
    mask = torch.tensor([[[True, False, True], [True, True, True]]])
    found = side.additive_scores(torch.zeros(1, 2, 1), keys, v=torch.ones(1), mask=mask, lengths=torch.tensor([2]))
    assert_close(found, torch.tensor([[[0.0, -math.inf, -math.inf], [0.0, 1 / 3, -math.inf]]]))


def test_gradients_by_hand():
    """One query, two positions of weights 1/4 and 3/4, values 0 and 8; the loss is the context."""
    keys = torch.tensor([[[0.0], [LOG3]]], requires_grad=True)
    query = torch.tensor([[[1.0]]], requires_grad=True)
    values = torch.tensor([[[0.0], [8.0]]], requires_grad=True)
    context, _ = s2sfast.dot_attention(query, keys, values)
    context.sum().backward()
    # d context / d score = w (value - context) = 1/4 (0 - 6), 3/4 (8 - 6)
    assert_close(keys.grad, torch.tensor([[[-1.5], [1.5]]]))
    assert_close(query.grad, torch.tensor([[[1.5 * LOG3]]]))
    assert_close(values.grad, torch.tensor([[[0.25], [0.75]]]))


# --- loops of floats ---------------------------------------------------------------------------------------


def plain(kind: str, given: dict, allowed) -> tuple[list, list]:
    """(contexts, weights) in Python's floats, from the formulas of Luong 2015, Bahdanau 2015 and Graves 2014."""
    lists = {name: x.tolist() for name, x in given.items()}
    query, keys, values = lists["query"], lists["keys"], lists["values"]

    def dot(a, b):
        return math.fsum(x * y for x, y in zip(a, b, strict=True))

    def score(b, q, t):
        one, other = query[b][q], keys[b][t]
        if kind == "dot":
            return 0.7 * dot(one, other)
        if kind == "bilinear":
            return math.fsum(
                x * w * y for x, row in zip(one, lists["weight"], strict=True) for w, y in zip(row, other, strict=True)
            )
        if kind == "cosine":
            return lists["strength"][b][q] * dot(one, other) / math.sqrt(dot(one, one) * dot(other, other))
        inside = [x + y for x, y in zip(one, other, strict=True)]
        if kind == "features":
            for feature, row in zip(lists["features"][b][q][t], lists["feature_weight"], strict=True):
                inside = [x + feature * w for x, w in zip(inside, row, strict=True)]
        return math.fsum(v * math.tanh(x) for v, x in zip(lists["v"], inside, strict=True))

    contexts, weights = [], []
    for b in range(len(query)):
        for q in range(len(query[b])):
            exponentials = [math.exp(score(b, q, t)) if allowed(b, q, t) else 0.0 for t in range(len(keys[b]))]
            total = math.fsum(exponentials) or 1.0
            row = [e / total for e in exponentials]
            weights.append(row)
            contexts.append([dot(row, column) for column in zip(*values[b], strict=True)])
    return contexts, weights


@OVER_KINDS
@BOTH
@pytest.mark.parametrize("masked", ["nothing", "lengths", "both"])
def test_loops_of_floats(kind, side, masked):
    B, Q, T, D, E = 2, 3, 5, 4, 3
    given = inputs(kind, B, Q, T, D, E)
    options = {"scale": 0.7} if kind == "dot" else {}
    lengths, mask = [T, T], [[[True] * T] * Q] * B
    if masked != "nothing":
        lengths = [3, 5]
        options["lengths"] = torch.tensor(lengths)
    if masked == "both":
        drawn = integers(3)(0, 2, (B, Q, T)).bool()
        drawn[0, 1] = False
        mask, options["mask"] = drawn.tolist(), drawn
    contexts, weights = plain(kind, given, lambda b, q, t: t < lengths[b] and mask[b][q][t])
    found = attend(kind, given, side, **options)
    assert_close(found.weights.flatten(0, 1), torch.tensor(weights), atol=1e-6, rtol=1e-5)
    assert_close(found.context.flatten(0, 1), torch.tensor(contexts), atol=2e-6, rtol=1e-5)


# --- other libraries ---------------------------------------------------------------------------------------


def gradients_of(outputs, leaves):
    normal = normals(5)
    return torch.autograd.grad(sum((x * normal(*x.shape)).sum() for x in outputs), leaves)


def assert_same_with_gradients(mine, theirs, leaves, their_leaves=None, tolerance=1e-5):
    """Outputs, and the gradients of the leaves through them; None: both have the same leaves."""
    for a, b in zip(mine, theirs, strict=True):
        assert_close(a, b, atol=tolerance, rtol=tolerance)
    for a, b in zip(gradients_of(mine, leaves), gradients_of(theirs, their_leaves or leaves), strict=True):
        assert b.abs().max() > 0
        assert_close(a, b, atol=10 * tolerance, rtol=10 * tolerance)


def leaves_of(given: dict) -> dict:
    return {name: x.requires_grad_() for name, x in given.items()}


@FEW_AND_MANY
@pytest.mark.parametrize("masked", ["nothing", "shared", "per-query"])
def test_torch_sdpa(Q, masked):
    B, T, D, E = 2, 7, 8, 5
    given = leaves_of(inputs("dot", B, Q, T, D, E))
    mask = None
    if masked != "nothing":
        mask = integers(1)(0, 2, (B, T) if masked == "shared" else (B, Q, T)).bool()
        mask[..., 2] = True  # torch's own fully masked rows differ between its versions
    theirs = F.scaled_dot_product_attention(
        *(given[n] for n in ("query", "keys", "values")),
        attn_mask=mask[:, None] if masked == "shared" else mask,
        scale=0.4,
    )
    mine = attend("dot", given, scale=0.4, mask=mask)
    assert_same_with_gradients([mine.context], [theirs], list(given.values()))


@FEW_AND_MANY
def test_torch_cosine_similarity(Q):
    given = leaves_of(inputs("cosine", 2, Q, 7, 8, 5))
    similarity = F.cosine_similarity(given["query"][:, :, None], given["keys"][:, None], dim=-1)
    weights = (given["strength"][..., None] * similarity).softmax(-1)
    assert_same_with_gradients(attend("cosine", given), (weights @ given["values"], weights), list(given.values()))


@FEW_AND_MANY
def test_torch_cosine_of_clamped_norms(Q):
    """Norms are about 2.8, so that 2.5 clamps some. There F.cosine_similarity's gradient is not its derivative, and
    F.normalize's is."""
    given = leaves_of(inputs("cosine", 2, Q, 7, 8, 5))
    query, keys, values, strength = given.values()
    mine = attend("cosine", given, eps=2.5)
    similarity = F.cosine_similarity(query[:, :, None], keys[:, None], dim=-1, eps=2.5)
    assert_close(mine.weights, (strength[..., None] * similarity).softmax(-1), atol=1e-5, rtol=1e-5)
    weights = (
        strength[..., None] * (F.normalize(query, dim=-1, eps=2.5) @ F.normalize(keys, dim=-1, eps=2.5).mT)
    ).softmax(-1)
    assert_same_with_gradients(mine, (weights @ values, weights), list(given.values()))


@ON_CPU
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # between Keras and NumPy
@FEW_AND_MANY
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("name", ["Attention", "AdditiveAttention"])
def test_keras(monkeypatch, tmp_path, name, masked, Q):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))  # where it would write settings
    import keras

    assert keras.backend.backend() == "torch"
    kind = "dot" if name == "Attention" else "additive"
    B, T, D, E = 2, 6, 8, 5
    given = leaves_of(inputs(kind, B, Q, T, D, E))
    layer = getattr(keras.layers, name)(use_scale=kind == "additive")
    query, keys, values = given["query"], given["keys"], given["values"]
    layer.build([query.shape, values.shape, keys.shape])
    lengths = torch.tensor([6, 2]) if masked else None
    mask = [None, torch.arange(T) < lengths[:, None]] if masked else None
    if kind == "additive":
        layer.set_weights([given["v"].detach().numpy()])
    theirs = layer([query, values, keys], mask=mask, return_attention_scores=True)
    its_own = [weight.value for weight in layer.weights]
    mine = attend(kind, given, lengths=lengths)
    assert_same_with_gradients(mine, theirs, list(given.values()), [query, keys, values, *its_own])


# --- positions and masks -----------------------------------------------------------------------------------


@OVER_KINDS
@FEW_AND_MANY
@hypothesis.settings(max_examples=6, deadline=None)
@hypothesis.given(order=st.permutations(range(7)), seed=st.integers(0, 999))
def test_order_of_positions(kind, Q, order, seed):
    given, order = inputs(kind, 2, Q, 7, 5, 3, seed), torch.tensor(order)
    mask = integers(seed)(0, 3, (2, Q, 7)) > 0
    found, moved = attend(kind, given, mask=mask), at_positions(given, lambda x, d: x.index_select(d, order))
    after = attend(kind, moved, mask=mask[:, :, order])
    assert_close(after.weights, found.weights[:, :, order], atol=1e-5, rtol=1e-5)
    assert_close(after.context, found.context, atol=1e-5, rtol=1e-5)


def with_appended(given: dict, number: float, count: int = 10) -> dict:
    def append(x, dimension):
        shape = list(x.shape)
        shape[dimension] = count
        return torch.cat((x, torch.full(shape, number, dtype=x.dtype)), dimension)

    return at_positions(given, append)


@OVER_KINDS
@FEW_AND_MANY
@pytest.mark.parametrize("how", ["lengths", "mask", "mask-of-a-query"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_what_is_masked_does_not_matter(kind, Q, how, dtype):
    """Whatever stands there: the same bits, where the kernels are this library's, as with zeros; and as without it."""
    B, T, D, E = 2, 7, 5, 3
    given = {name: x.to(dtype) for name, x in inputs(kind, B, Q, T, D, E).items()}
    off = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 3e-2}[dtype]
    visible = (torch.arange(T + 10) < T).expand(B, T + 10)
    options = {
        "lengths": {"lengths": torch.full((B,), T)},
        "mask": {"mask": visible},
        "mask-of-a-query": {"mask": visible[:, None].expand(B, Q, T + 10)},
    }[how]
    same = assert_equal_bits if Q <= 16 else lambda a, b: assert_close(a, b, atol=off, rtol=off)
    (context, weights), gradients = with_gradients(kind, given)
    (zero_context, zero_weights), zero_gradients = with_gradients(kind, with_appended(given, 0.0), **options)
    assert_close(zero_context, context, atol=off, rtol=off)
    assert_close(zero_weights[..., :T], weights, atol=off, rtol=off)
    for number in GARBAGE:
        (other_context, other_weights), other_gradients = with_gradients(kind, with_appended(given, number), **options)
        same(other_context, zero_context)
        same(other_weights, zero_weights)
        assert (other_weights[..., T:] == 0).all()
        for name, gradient in other_gradients.items():
            same(gradient, zero_gradients[name])
        for name, dimension in (("keys", 1), ("values", 1), ("features", 2)):
            if name in given:
                start, rest = other_gradients[name].split([T, 10], dimension)
                assert (rest == 0).all()
                assert_close(start, gradients[name], atol=10 * off, rtol=10 * off)


@OVER_KINDS
@FEW_AND_MANY
def test_a_row_that_attends_to_nothing(kind, Q):
    """Zeros, even where its query is NaN, and the other rows are as they are alone."""
    given = inputs(kind, 2, Q, 7, 5, 3)
    mask = torch.ones(2, Q, 7, dtype=torch.bool)
    mask[0, 1] = False
    (context, weights), gradients = with_gradients(kind, given, mask=mask)
    assert (context[0, 1] == 0).all() and (weights[0, 1] == 0).all()
    assert (gradients["query"][0, 1] == 0).all()
    spoilt = {name: x.clone() for name, x in given.items()}
    for name in ("query", "strength", "features"):
        if name in spoilt:
            spoilt[name][0, 1] = math.nan
    (same_context, same_weights), same_gradients = with_gradients(kind, spoilt, mask=mask)
    assert_close(same_context, context, atol=1e-6, rtol=1e-6)
    assert_close(same_weights, weights, atol=1e-6, rtol=1e-6)
    for name, gradient in same_gradients.items():
        if name != "weight":  # the projection is torch's matmul, whose gradient is NaN where the query is
            assert_close(gradient, gradients[name], atol=1e-5, rtol=1e-5)
    for name in ("strength", "features"):
        if name in gradients:
            assert (same_gradients[name][0, 1] == 0).all()
    keep = [q for q in range(Q) if q != 1]
    alone = {name: x[:, keep] if name in ("query", "strength", "features") else x for name, x in given.items()}
    assert_close(attend(kind, alone).context[0], context[0, keep], atol=1e-5, rtol=1e-5)


@OVER_KINDS
@FEW_AND_MANY
def test_all_masked_gives_zeros(kind, Q):
    given = at_positions(inputs(kind, 2, Q, 7, 5, 3), lambda x, d: torch.full_like(x, math.nan))
    found, gradients = with_gradients(kind, given, lengths=torch.tensor([0, 0]))
    assert all((x == 0).all() for x in (*found, *gradients.values()))


@OVER_KINDS
@FEW_AND_MANY
@pytest.mark.parametrize("name", ["keys", "values"])
def test_a_nan_reaches_the_rows_that_attend_to_it(kind, Q, name):
    """Position 2 of sentence 0, which only query 1 sees."""
    given = inputs(kind, 2, Q, 7, 5, 3)
    mask = torch.ones(2, Q, 7, dtype=torch.bool)
    mask[0, :, 2] = torch.arange(Q) == 1
    expected = attend(kind, given, mask=mask)
    given[name][0, 2] = math.nan
    found = attend(kind, given, mask=mask)
    reached = torch.zeros(2, Q, dtype=torch.bool)
    reached[0, 1] = True
    assert torch.equal(found.context.isnan(), reached[..., None].expand_as(found.context))
    if name == "keys":
        assert torch.equal(found.weights.isnan(), reached[..., None] & mask)
    assert_close(found.context[~reached], expected.context[~reached], atol=1e-6, rtol=1e-6)
    assert_close(found.weights[~reached], expected.weights[~reached], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("features", [False, True])
def test_scores_do_not_see_what_is_masked(features):
    given = inputs("features" if features else "additive", 2, 4, 7, 5, 3)
    del given["values"]
    found = []
    for number in (0.0, *GARBAGE):
        leaves = leaves_of(with_appended(given, number))
        scores = s2sfast.additive_scores(**leaves, lengths=torch.tensor([7, 7]))
        assert (scores[..., 7:] == -math.inf).all()
        (grad,) = normals(3)(1, *scores.shape)  # of the masked ones too: nothing comes of it
        found.append([scores.detach(), *torch.autograd.grad(scores, list(leaves.values()), grad)])
    for other in found[1:]:
        for a, b in zip(other, found[0], strict=True):
            assert_equal_bits(a, b)


@pytest.mark.parametrize("kind", ["additive", "features"])
def test_scores_are_those_of_the_attention(kind):
    given = inputs(kind, 2, 4, 7, 5, 3)
    lengths = torch.tensor([7, 3])
    found = attend(kind, given, lengths=lengths)
    del given["values"]
    scores = s2sfast.additive_scores(**given, lengths=lengths)
    assert_close(scores.softmax(-1), found.weights, atol=1e-6, rtol=1e-5)


# --- scales ------------------------------------------------------------------------------------------------


@FEW_AND_MANY
def test_one_number_more_for_all_scores_changes_nothing(Q):
    given = inputs("dot", 2, Q, 7, 5, 3)
    wider = {
        "query": torch.cat((given["query"], torch.full((2, Q, 1), 3.0)), -1),
        "keys": torch.cat((given["keys"], torch.full((2, 7, 1), 4.0)), -1),
        "values": given["values"],
    }
    for got, expected in zip(attend("dot", wider), attend("dot", given), strict=True):
        assert_close(got, expected, atol=1e-5, rtol=1e-5)


@FEW_AND_MANY
def test_a_scale_is_a_longer_query(Q):
    given = inputs("dot", 2, Q, 7, 5, 3)
    for scale in (0.25, -2.0, 0.0):
        (one, ones), by_scale = with_gradients("dot", given, scale=scale)
        (other, others), by_query = with_gradients("dot", {**given, "query": scale * given["query"]})
        assert_close(one, other)
        assert_close(ones, others)
        assert_close(by_scale["query"], scale * by_query["query"], atol=1e-5, rtol=1e-5)
        assert_close(by_scale["keys"], by_query["keys"], atol=1e-5, rtol=1e-5)


@FEW_AND_MANY
def test_a_cosine_knows_no_lengths(Q):
    given = inputs("cosine", 2, Q, 7, 5, 3)
    expected = attend("cosine", given)
    for name in ("query", "keys"):
        for factor in (1e-3, 77.0):
            found = attend("cosine", {**given, name: given[name] * factor})
            assert_close(found.weights, expected.weights, atol=1e-5, rtol=1e-5)
            assert_close(found.context, expected.context, atol=1e-5, rtol=1e-5)


@BOTH
@pytest.mark.parametrize(("mode", "slope"), [("clamp", 100.0), ("sqrt", 10 * 5 / math.sqrt(25.01)), ("product", 500.0)])
def test_gradient_at_a_query_of_zeros(side, mode, slope):
    """Keys (3, 4) and (0, 0), eps = 1/100: the cosine with the first has gradient slope (3, 4) / 5; weights are 1/2."""
    query = torch.zeros(1, 2, requires_grad=True)
    keys = torch.tensor([[[3.0, 4.0], [0.0, 0.0]]], requires_grad=True)
    _, weights = side.cosine_attention(query, keys, eps=0.01, eps_mode=mode)
    assert_close(weights, torch.tensor([[0.5, 0.5]]))
    weights[0, 0].backward()
    assert_close(query.grad, torch.tensor([[0.6, 0.8]]) * slope / 4)
    assert_close(keys.grad, torch.zeros(1, 2, 2))


@BOTH
@pytest.mark.parametrize("mode", ["clamp", "sqrt", "product"])
def test_a_vector_of_zeros_has_no_direction(side, mode):
    """Cosine 0 with everything: between 1 and -1."""
    keys = torch.tensor([[[2.0, 0.0], [0.0, 0.0], [-2.0, 0.0]]])
    found = side.cosine_attention(torch.tensor([[3.0, 0.0]]), keys, strength=LOG2, eps_mode=mode)
    assert_close(found.weights, torch.tensor([[4 / 7, 2 / 7, 1 / 7]]))


@OVER_KINDS
@FEW_AND_MANY
def test_rows_sum_to_one(kind, Q):
    given = inputs(kind, 2, Q, 70, 5, 3)
    assert_close(attend(kind, given).weights.double().sum(-1), torch.ones(2, Q).double(), atol=1e-6, rtol=0)


@FEW_AND_MANY
def test_scores_of_ten_thousand(Q):
    """Whole numbers, which float32 has exactly; exponentials relative to the largest."""
    scores = torch.tensor([10_000.0, 9_999, 9_997, 0, -10_000])
    found = s2sfast.dot_attention(torch.ones(1, Q, 1), scores.view(1, 5, 1))
    expected = [math.exp(float(s) - 10_000) for s in scores]
    assert_close(found.weights, torch.tensor([e / sum(expected) for e in expected]).expand(1, Q, 5))
    found = s2sfast.dot_attention(-torch.ones(1, Q, 1), scores.view(1, 5, 1))
    assert found.weights.tolist() == [[[0.0, 0.0, 0.0, 0.0, 1.0]] * Q]


def test_saturated_tanh_and_large_v():
    query = torch.zeros(1, 1, 1, requires_grad=True)
    keys = torch.tensor([[[-50.0], [50.0], [1e30], [-math.inf]]], requires_grad=True)
    scores = s2sfast.additive_scores(query, keys, v=torch.tensor([1e4]))
    assert_close(scores, torch.tensor([[[-1e4, 1e4, 1e4, -1e4]]]), atol=0, rtol=5e-7)
    scores.sum().backward()
    assert keys.grad.isfinite().all() and keys.grad.abs().max() < 1e-1


@FEW_AND_MANY
def test_no_weight_is_subnormal(Q):
    """exp(-87.33) is about the least normal number. Products with subnormal ones are many times as slow."""
    keys = -torch.linspace(80, 110, 61)
    keys[0] = 0
    found = s2sfast.dot_attention(torch.ones(1, Q, 1), keys.view(1, 61, 1))
    least = torch.finfo(torch.float32).tiny
    assert ((found.weights == 0) | (found.weights >= least)).all()
    assert ((found.weights > 0) == (keys > -87.3)).all()


# --- queries, batches, threads -----------------------------------------------------------------------------


@OVER_KINDS
def test_beams_are_queries(kind):
    """As K sentences of one query each, with the memory repeated."""
    B, K, T, D = 2, 5, 9, 6
    given = inputs(kind, B, K, T, D, 3)
    lengths = torch.tensor([9, 4])
    found = attend(kind, given, lengths=lengths)
    tiled = {
        name: x.flatten(0, 1).unsqueeze(1) if name in ("query", "strength", "features")
        else x.repeat_interleave(K, 0) if name in ("keys", "values") else x
        for name, x in given.items()
    }  # fmt: skip
    after = attend(kind, tiled, lengths=lengths.repeat_interleave(K))
    assert_close(after.context.view_as(found.context), found.context, atol=1e-6, rtol=1e-6)
    assert_close(after.weights.view_as(found.weights), found.weights, atol=1e-6, rtol=1e-6)


@OVER_KINDS
def test_one_query_without_its_dimension(kind):
    given = inputs(kind, 2, 1, 7, 5, 3)
    flat = {name: x[:, 0] if name in ("query", "strength", "features") else x for name, x in given.items()}
    (context, weights), gradients = with_gradients(kind, given)
    (flat_context, flat_weights), flat_gradients = with_gradients(kind, flat)
    assert_equal_bits(flat_context, context[:, 0])
    assert_equal_bits(flat_weights, weights[:, 0])
    for name, gradient in flat_gradients.items():
        assert_equal_bits(gradient, gradients[name].view_as(gradient))


@OVER_KINDS
def test_a_sentence_alone_and_in_a_batch(kind):
    """The same bits, and the same gradients of what is its own."""
    given = inputs(kind, 4, 6, 70, 33, 9)
    mask = integers(2)(0, 3, (4, 6, 70)) > 0
    sentences = ("query", "keys", "values", "strength", "features")

    def run(part):
        leaves = leaves_of({n: x[part].clone() if n in sentences else x.clone() for n, x in given.items()})
        found = attend(kind, leaves, mask=mask[part])
        loss = found.context.square().sum() + found.weights.square().sum()
        names = [n for n in leaves if n in sentences]
        return [*(x.detach() for x in found), *torch.autograd.grad(loss, [leaves[n] for n in names])]

    together = run(slice(None))
    for b in range(4):
        for one, all_of_them in zip(run(slice(b, b + 1)), together, strict=True):
            assert_same_bits_but_of_matmul(kind, one[0], all_of_them[b])


@ON_CPU
@OVER_KINDS
@pytest.mark.parametrize("B", [1, 3, 8])
def test_threads_share_a_sentence(kind, B):
    """Enough work for more than one thread: whole sentences each, or the pieces of one; the bits are the same."""
    given = inputs(kind, B, 16, 400, 160, 150)
    lengths = torch.tensor([400, 333, 1, 0, 64, 65, 399, 7])[:B]
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        outputs, gradients = with_gradients(kind, given, lengths=lengths)
        found.append([*outputs, *gradients.values()])
    for other in found[1:]:
        for a, b in zip(other, found[0], strict=True):
            assert_same_bits_but_of_matmul(kind, a, b)


@ON_CPU
@OVER_KINDS
@FEW_AND_MANY
def test_many_positions(kind, Q):
    given = inputs(kind, 1, Q, 5000, 9, 4)
    mask = integers(4)(0, 4, (1, 5000)) > 0
    exact = attend(kind, {name: x.double() for name, x in given.items()}, reference, mask=mask)
    found = attend(kind, given, mask=mask)
    assert_close(found.weights.double(), exact.weights, atol=1e-7, rtol=2e-5)
    assert_close(found.context.double(), exact.context, atol=2e-6, rtol=1e-5)


# --- bookkeeping -------------------------------------------------------------------------------------------


@OVER_KINDS
@FEW_AND_MANY
def test_weights_only_on_request(kind, Q):
    given = inputs(kind, 2, Q, 7, 5, 3)
    both, context = attend(kind, given), attend(kind, given, need_weights=False)
    assert context.weights is None
    assert_close(context.context, both.context)
    leaves = leaves_of(given)
    (grad,) = torch.autograd.grad(attend(kind, leaves, need_weights=False).context.sum(), leaves["query"])
    (expected,) = torch.autograd.grad(attend(kind, leaves).context.sum(), leaves["query"])
    assert_close(grad, expected)


@OVER_KINDS
def test_no_graph_without_need(kind):
    given = inputs(kind, 2, 3, 7, 5, 3)
    assert not any(x.requires_grad for x in attend(kind, given))
    leaves = leaves_of(given)
    with torch.no_grad():
        assert not any(x.requires_grad for x in attend(kind, leaves))
    with torch.inference_mode():
        assert not any(x.requires_grad for x in attend(kind, given))
    for name in given:
        only = {n: x.detach().requires_grad_(n == name) for n, x in given.items()}
        assert all(x.requires_grad for x in attend(kind, only))


@OVER_KINDS
@FEW_AND_MANY
@pytest.mark.parametrize("output", [0, 1], ids=["context", "weights"])
def test_gradient_through_one_output(kind, Q, output):
    """As of the reference; the values have none of the weights'."""
    given = inputs(kind, 2, Q, 7, 5, 3)
    found = []
    for side in (s2sfast, reference):
        leaves = leaves_of({name: x.detach().clone() for name, x in given.items()})
        x = attend(kind, leaves, side)[output]
        wanted = list(leaves.values())
        found.append(torch.autograd.grad((x * normals(9)(*x.shape)).sum(), wanted, allow_unused=True))
    for name, mine, theirs in zip(given, *found, strict=True):
        if theirs is None:
            assert name == "values" and (mine is None or (mine == 0).all())
        else:
            assert_close(mine, theirs, atol=2e-5, rtol=1e-4)


@ON_CPU
@OVER_KINDS
def test_autocast(kind):
    """Dtypes may differ within it; the widest is that of the computation, and everybody's gradient is in his own."""
    given = inputs(kind, 2, 3, 7, 5, 3)
    given["query"] = given["query"].bfloat16()
    exact = attend(kind, {name: x.float() for name, x in given.items()})
    leaves = leaves_of(given)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = attend(kind, leaves)
    tolerance = 3e-2 if kind == "bilinear" else 1e-5  # its projection is a matmul, which autocast does in bfloat16
    for mine, theirs in zip(found, exact, strict=True):
        assert mine.dtype == torch.float32
        assert_close(mine, theirs, atol=tolerance, rtol=tolerance)
    for x, gradient in zip(
        leaves.values(), torch.autograd.grad(found.context.sum(), list(leaves.values())), strict=True
    ):
        assert gradient.dtype == x.dtype and gradient.isfinite().all()


@OVER_KINDS
@FEW_AND_MANY
def test_what_is_kept_for_the_gradient(kind, Q):
    """Arguments and weights: nothing of (B, Q, T, D), also not on the way."""
    B, T, D = 2, 30, 64
    given = leaves_of(inputs(kind, B, Q, T, D, 8))
    kept = {}
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.setdefault(x.data_ptr(), x), lambda x: x):
        attend(kind, given)
    numbers = sum(x.numel() for x in kept.values())
    assert numbers > 0
    assert numbers <= sum(x.numel() for x in given.values()) + B * Q * (T + 2 * D)  # and a projected query


@ON_CPU
@OVER_KINDS
@FEW_AND_MANY
def test_memory_of_a_gradient(kind, Q):
    """No allocation is of the size (B, Q, T, D)."""
    B, T, D = 2, 200, 256
    given = leaves_of(inputs(kind, B, Q, T, D, 8))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        attend(kind, given).context.sum().backward()
    most = max(event.nbytes() for event in profile.profiler.kineto_results.events() if event.name() == "[memory]")
    assert 4 * B * T * D <= most < B * Q * T * D * 4 / 2


def test_features_without_channels():
    """As if there were none, gradients included."""
    draw = normals(3)
    query, keys, v = draw(2, 3, 4).requires_grad_(), draw(2, 5, 4), draw(4)
    features, weight = draw(2, 3, 5, 0).requires_grad_(), draw(0, 4).requires_grad_()
    scores = s2sfast.additive_scores(query, keys, v=v, features=features, feature_weight=weight)
    assert torch.equal(scores, s2sfast.additive_scores(query, keys, v=v))
    found = torch.autograd.grad(scores.sum(), (query, features, weight))
    assert [g.shape for g in found] == [query.shape, features.shape, weight.shape]
