"""What all attention modules promise, and what each of them means in plain PyTorch."""

import copy
import io

import pytest
import torch
from torch.testing import assert_close

import s2sfast
from s2sfast.nn import (
    AdditiveAttention,
    AttentionalState,
    BilinearAttention,
    CosineAttention,
    CoverageAttention,
    DotAttention,
    LocationAwareAttention,
    coverage_loss,
)
from tests.nn.compare import assert_same, gradients, leaf

S, Q, T, C, D, E = 3, 4, 7, 5, 6, 8
LENGTHS = torch.tensor([7, 0, 4])

# With the width of their queries; keys have width D.
MAKERS = {
    "dot": (lambda: DotAttention(), D),
    "dot-scaled": (lambda: DotAttention(None), D),
    "dot-learnt": (lambda: DotAttention(0.7, learn=True), D),
    "bilinear": (lambda: BilinearAttention(C, D), C),
    "cosine": (lambda: CosineAttention(3.0), D),
    "cosine-learnt": (lambda: CosineAttention(3.0, learn=True), D),
    "additive": (lambda: AdditiveAttention(C, D, 9), C),
    "additive-projected": (lambda: AdditiveAttention(None, None, D), D),
    "additive-normalized": (lambda: AdditiveAttention(C, D, 9, normalize=True), C),
    "coverage": (lambda: CoverageAttention(C, D, 9), C),
    "location": (lambda: LocationAwareAttention(C, D, 9, channels=2, kernel=3), C),
    "cumulative": (lambda: LocationAwareAttention(C, D, 9, channels=2, kernel=3, cumulative=True), C),
}


def extras(kind, *shape):
    """Arguments that only this kind takes, for weights of this shape."""
    if kind == "coverage":
        return {"coverage": torch.rand(shape)}
    if kind == "location":
        return {"previous": torch.rand(shape)}
    if kind == "cumulative":
        return {"previous": torch.rand(shape), "accumulated": torch.rand(shape)}
    return {}


@pytest.fixture(params=list(MAKERS))
def kind(request):
    return request.param


@pytest.fixture
def attention(kind):
    return MAKERS[kind][0]()


@pytest.fixture
def query(kind):
    return leaf(S, Q, MAKERS[kind][1])


@pytest.fixture
def keys():
    return leaf(S, T, D)


@pytest.fixture
def values():
    return leaf(S, T, E)


def everything(module, *inputs):
    return [*inputs, *module.parameters()]


def expected_scores(kind, module, query, keys, extra):
    """(S, Q, T), by the formulas of the papers."""
    name = kind.split("-")[0]
    if name == "dot":
        return torch.einsum("sqd,std->sqt", query, keys) * {"dot": 1.0, "dot-scaled": D**-0.5, "dot-learnt": 0.7}[kind]
    if name == "bilinear":
        return torch.einsum("sqc,cd,std->sqt", query, module.weight, keys)
    if name == "cosine":
        return 3.0 * torch.cosine_similarity(query[:, :, None], keys[:, None], dim=-1)
    weights = dict(module.named_parameters())
    if kind == "additive-projected":
        inside = query[:, :, None] + keys[:, None]
    else:
        W, U, b = (weights[f"{n}_projection.{w}"] for n, w in (("query", "weight"), ("key", "weight"), ("key", "bias")))
        inside = (query @ W.T)[:, :, None] + (keys @ U.T + b)[:, None]
    if name == "coverage":
        inside = inside + extra["coverage"][..., None] * weights["feature_weight"][0]
    if name in ("location", "cumulative"):
        inside = inside + located(weights["location.weight"], extra) @ weights["feature_weight"]
    v = weights["v"]
    if "g" in weights:
        v = weights["g"] * v / v.pow(2).sum().sqrt()
    return torch.tanh(inside) @ v


def located(filters, extra):
    """(S, Q, T, channels): the convolution, tap by tap over shifted rows."""
    rows = [extra["previous"]] + ([extra["accumulated"]] if "accumulated" in extra else [])
    reach = filters.shape[2] // 2
    out = torch.zeros(S, Q, T, filters.shape[0])
    for channel, row in enumerate(rows):
        for tap in range(filters.shape[2]):
            for t in range(T):
                if 0 <= t + tap - reach < T:
                    out[:, :, t] += row[:, :, t + tap - reach, None] * filters[:, channel, tap]
    return out


def test_it_means_its_formula(kind, attention, query, keys, values):
    extra = extras(kind, S, Q, T)
    context, weights = attention(query, keys, values, **extra)
    expected = expected_scores(kind, attention, query, keys, extra).softmax(-1)
    parameters = [p for p in attention.parameters() if kind not in ("dot-learnt", "cosine-learnt")]
    inputs = [query, keys, values, *parameters]
    for mine, theirs in zip(
        (context, weights, *gradients((context, weights), inputs)),
        (expected @ values, expected, *gradients((expected @ values, expected), inputs)),
        strict=True,
    ):
        assert_close(mine, theirs)


def test_a_learnt_number_gets_its_gradient():
    """By a difference quotient."""
    query, keys = torch.randn(S, Q, D), torch.randn(S, T, D)
    for module, of in (
        (DotAttention(0.7, learn=True), DotAttention),
        (CosineAttention(3.0, learn=True), CosineAttention),
    ):
        (number,) = module.parameters()
        (gradient,) = torch.autograd.grad(module(query, keys).context.square().sum(), number)
        up, down = (of(number.item() + step)(query, keys).context.square().sum() for step in (1e-5, -1e-5))
        assert_close(gradient, (up - down) / 2e-5, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("eps_mode", ["clamp", "sqrt", "product"])
def test_cosines_with_a_strength_for_each_query(eps_mode):
    attention = CosineAttention(3.0, eps=0.5, eps_mode=eps_mode)
    query, keys, strength = leaf(S, Q, D), leaf(S, T, D), leaf(S, Q)
    with torch.no_grad():
        keys[0] *= 0.01  # short enough for eps to matter

    def norm(x):
        return (x.square().sum(-1) + (0.5 if eps_mode == "sqrt" else 0.0)).sqrt()

    norms = norm(query)[..., None], norm(keys)[:, None]
    if eps_mode == "clamp":
        norms = tuple(x.clamp(min=0.5) for x in norms)
    product = norms[0] * norms[1] + (0.5 if eps_mode == "product" else 0.0)
    weights = (strength[..., None] * (query @ keys.mT) / product).softmax(-1)
    assert_same(attention(query, keys, strength=strength), (weights @ keys, weights), (query, keys, strength))


def test_values_are_by_default_the_keys_before_any_projection(kind, attention, query, keys):
    extra = extras(kind, S, Q, T)
    context, weights = attention(query, keys, **extra)
    assert_close(context, weights @ keys)


def test_a_precomputed_memory_changes_nothing(kind, attention, query, keys, values):
    extra, mask = extras(kind, S, Q, T), torch.rand(S, T) > 0.3
    memory = attention.precompute(keys, values, mask=mask, lengths=LENGTHS)
    once = attention(query, memory, **extra)
    directly = attention(query, keys, values, mask=mask, lengths=LENGTHS, **extra)
    inputs = everything(attention, query, keys, values)
    assert_same(once, directly, inputs)


def test_a_mask_beside_a_memory_takes_away_more(kind, attention, query, keys):
    extra, mask = extras(kind, S, Q, T), torch.rand(S, Q, T) > 0.3
    some = torch.rand(S, T) > 0.2
    memory = attention.precompute(keys, mask=some, lengths=torch.tensor([7, 6, 4]))
    got = attention(query, memory, mask=mask, lengths=torch.tensor([5, 7, 7]), **extra)
    allowed = mask & some[:, None] & (torch.arange(T) < torch.tensor([5, 6, 4])[:, None])[:, None]
    if "previous" in extra:  # which positions a filter sees depends on what any query may attend to
        extra = {name: rows * allowed.any(1)[:, None] for name, rows in extra.items()}
    expected = attention(query, keys, mask=allowed, **extra)
    for a, b in zip(got, expected, strict=True):
        assert_close(a, b)
    assert not got.weights[~allowed].any()


@pytest.mark.parametrize("kind", ["dot", "additive"])
def test_masks_of_both_shapes_are_anded(attention, query, keys):
    one, other = torch.rand(S, T) > 0.3, torch.rand(S, T) > 0.3
    for a, b in ((one, other), (one, other[:, None].expand(-1, Q, -1)), (one[:, None].expand(-1, Q, -1), other)):
        got = attention(query, attention.precompute(keys, mask=a), mask=b)
        for mine, theirs in zip(got, attention(query, keys, mask=one & other), strict=True):
            assert_close(mine, theirs)


def test_nan_in_the_padding_reaches_nothing(kind, attention, query, keys, values):
    extra = extras(kind, S, Q, T)
    padding = torch.arange(T) >= LENGTHS[:, None]

    def run(fill):
        k, v = (x.detach().masked_fill(padding[..., None], fill).requires_grad_() for x in (keys, values))
        rest = {name: row.masked_fill(padding[:, None], fill) for name, row in extra.items()}
        outputs = attention(query, k, v, lengths=LENGTHS, **rest)
        return [*outputs, *gradients(outputs, everything(attention, query, k, v))]

    for poisoned, clean in zip(run(torch.nan), run(0.0), strict=True):
        assert poisoned.isfinite().all()
        assert_close(poisoned, clean)


def test_a_fully_masked_row_is_zero(kind, attention, query, keys):
    context, weights = attention(query, keys, lengths=LENGTHS, **extras(kind, S, Q, T))
    assert not context[1].any()
    assert not weights[1].any()
    assert_close(weights[[0, 2]].sum(-1), torch.ones(2, Q))


def test_beams_are_queries_of_one_memory(kind, attention, query, keys, values):
    """(S, K, D) against (S, T, D) is (S K, D) against S K copies."""
    extra = extras(kind, S, Q, T)
    together = attention(query, attention.precompute(keys, values, lengths=LENGTHS), **extra)

    def tiled(x):
        return x.repeat_interleave(Q, 0)

    apart = attention(
        query.flatten(0, 1),
        tiled(keys),
        tiled(values),
        lengths=tiled(LENGTHS),
        **{name: row.flatten(0, 1) for name, row in extra.items()},
    )
    assert together.context.shape == (S, Q, E)
    assert apart.context.shape == (S * Q, E)
    assert_same([x.flatten(0, 1) for x in together], apart, everything(attention, query, keys, values))


def test_weights_can_be_left_out(kind, attention, query, keys):
    extra = extras(kind, S, Q, T)
    context, weights = attention(query, keys, need_weights=False, **extra)
    assert weights is None
    assert_close(context, attention(query, keys, **extra).context)


def test_a_state_dict_carries_it_over(kind, attention, query, keys):
    buffer = io.BytesIO()
    torch.save(attention.state_dict(), buffer)
    buffer.seek(0)
    other = MAKERS[kind][0]()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.fill_(9.0)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    twin = copy.deepcopy(attention)
    extra = extras(kind, S, Q, T)
    expected = attention(query, keys, **extra)
    for module in (other, twin):
        for a, b in zip(module(query, keys, **extra), expected, strict=True):
            assert torch.equal(a, b)
    assert all(a is not b for a, b in zip(twin.parameters(), attention.parameters(), strict=True))


def test_an_empty_batch(kind, attention, query, keys):
    context, weights = attention(query[:0], keys[:0], **extras(kind, 0, Q, T))
    assert context.shape == (0, Q, D)
    assert weights.shape == (0, Q, T)


def test_values_beside_a_memory_are_refused(kind, attention, query, keys, values):
    with pytest.raises(ValueError, match=f"{type(attention).__name__}: expected no values beside a memory"):
        attention(query, attention.precompute(keys), values)


@pytest.mark.parametrize("kind", ["bilinear", "additive", "location", "dot-learnt", "cosine-learnt"])
def test_under_autocast(kind, attention, query, keys):
    attention, query, keys = attention.float(), query.float(), keys.float()
    extra = {name: row.float() for name, row in extras(kind, S, Q, T).items()}
    exact = attention(query, keys, **extra)
    with torch.autocast("cpu", torch.bfloat16):
        memory = attention.precompute(keys, lengths=torch.full((S,), T))
        rough = attention(query, memory, **extra)
    assert_close(rough.weights.float(), exact.weights, rtol=0.05, atol=0.02)


@pytest.mark.parametrize("kind", ["dot", "bilinear", "cosine", "additive", "coverage", "cumulative"])
def test_it_compiles_whole(kind, attention, query, keys):
    attention, query, keys = attention.float(), query.detach().float(), keys.detach().float()
    extra = {name: row.float() for name, row in extras(kind, S, Q, T).items()}

    def step(query, keys, lengths):
        memory = attention.precompute(keys, lengths=lengths)
        return attention(query, memory, **extra)

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    query.requires_grad_()
    keys.requires_grad_()
    inputs = everything(attention, query, keys)
    assert_same(compiled(query, keys, LENGTHS), step(query, keys, LENGTHS), inputs)


def test_a_memory_serves_a_search():
    """Beams as queries, finished sentences leaving, state reordered: each sentence alone finds the same."""
    torch.manual_seed(3)
    V, H = 6, 8
    attention = LocationAwareAttention(H, D, 9, channels=2, kernel=3)
    cell, embedding, output = torch.nn.GRUCell(H + D, H), torch.nn.Embedding(V, H), torch.nn.Linear(H + D, V)
    with torch.no_grad():
        for module in (cell, embedding, output, attention):
            for parameter in module.parameters():
                parameter.normal_(std=1.0)
        output.bias[1] += 2.0  # eos
    encoded, lengths = torch.randn(S, T, D), torch.tensor([7, 2, 4])

    def step(tokens, state, memory):
        hidden = cell(torch.cat((embedding(tokens), state["context"]), 1), state["hidden"])
        sentences = len(memory.keys)
        context, weights = attention(
            hidden.view(sentences, -1, H), memory, previous=state["previous"].view(sentences, -1, T)
        )
        context, weights = context.flatten(0, 1), weights.flatten(0, 1)
        state = {"hidden": hidden, "context": context, "previous": weights}
        return output(torch.cat((hidden, context), 1)), state, weights

    def search(which):
        state = {
            "hidden": torch.zeros(len(which), H),
            "context": torch.zeros(len(which), D),
            "previous": torch.zeros(len(which), T),
        }
        with torch.no_grad():
            memory = attention.precompute(encoded[which], lengths=lengths[which])
        return s2sfast.beam_search(
            step, state, memory=memory, start=0, eos=1, beam=3, max_length=12, return_attention=True
        )

    together = search([0, 1, 2])
    lasted = set()
    for sentence in range(S):
        alone = search([sentence])
        lasted.add(int(alone.lengths[0, 0]))
        assert alone.best(0) == together.best(sentence)
        L = int(alone.lengths[0, 0])
        assert_close(alone.attention[0, 0, :L], together.attention[sentence, 0, :L])
        assert not together.attention[sentence, 0, :L, lengths[sentence] :].any()
    assert len(lasted) > 1  # some left before others


def test_no_features_yet_are_zeros():
    query, keys = torch.randn(S, Q, C), torch.randn(S, T, D)
    zeros = torch.zeros(S, Q, T)
    covered = CoverageAttention(C, D, 9)
    assert_close(covered(query, keys), covered(query, keys, coverage=zeros))
    aware = LocationAwareAttention(C, D, 9, cumulative=True)
    assert_close(aware(query, keys), aware(query, keys, previous=zeros, accumulated=zeros))


def test_features_of_ones_own():
    attention = AdditiveAttention(C, D, 9, features=2)
    query, keys, features = leaf(S, C), leaf(S, T, D), leaf(S, T, 2)
    got = attention(query, keys, features=features)
    inside = attention.query_projection(query)[:, None] + attention.key_projection(keys)
    weights = (torch.tanh(inside + features @ attention.feature_weight) @ attention.v).softmax(-1)
    expected = (torch.einsum("st,std->sd", weights, keys), weights)
    assert_same(got, expected, everything(attention, query, keys, features))


def test_a_new_normalized_attention_has_the_length_of_its_gain():
    attention = AdditiveAttention(C, D, 16, normalize=True)
    assert_close(attention.direction().norm(), attention.g.detach().abs())
    assert_close(attention.g.detach(), torch.tensor(0.25))
    with torch.no_grad():
        attention.v.mul_(100.0)  # only its direction counts
    assert_close(attention.direction().norm(), torch.tensor(0.25))


def test_coverage_loss_by_hand():
    weights = torch.tensor([[[0.5, 0.5, 0.0], [0.2, 0.8, 0.0], [0.6, 0.1, 0.3]]])
    # c: (0 0 0), (.5 .5 0), (.7 1.3 0); minima: 0; .2 + .5; .6 + .1 + 0
    expected = torch.tensor([[0.0, 0.7, 0.7]])
    assert_close(coverage_loss(weights), expected)
    coverage = torch.tensor([[[0.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.7, 1.3, 0.0]]])
    assert_close(coverage_loss(weights, coverage), expected)
    assert_close(coverage_loss(weights[:, 2], coverage[:, 2]), expected[:, 2])


def test_coverage_loss_makes_attention_move_on():
    """Descending on it takes weight from where it was before."""
    scores = torch.tensor([[[3.0, 0.0], [2.0, 0.0]]], requires_grad=True)
    before = coverage_loss(scores.softmax(-1)).sum()
    (slope,) = torch.autograd.grad(before, scores)
    after = coverage_loss((scores - slope).softmax(-1)).sum()
    assert after < before
    assert torch.autograd.gradcheck(lambda s: coverage_loss(s.softmax(-1)), torch.randn(2, 4, 5, requires_grad=True))


def test_what_makes_no_sense_is_refused():
    query, keys = torch.randn(S, C), torch.randn(S, T, D)
    row = torch.zeros(S, T)
    with pytest.raises(ValueError, match="odd kernel; got 4"):
        LocationAwareAttention(C, D, 9, kernel=4)
    with pytest.raises(ValueError, match="accumulated weights without cumulative"):
        LocationAwareAttention(C, D, 9)(query, keys, previous=row, accumulated=row)
    with pytest.raises(ValueError, match="together"):
        LocationAwareAttention(C, D, 9, cumulative=True)(query, keys, previous=row)
    with pytest.raises(ValueError, match="expected no features"):
        AdditiveAttention(C, D, 9)(query, keys, features=row[..., None])
    with pytest.raises(ValueError, match="learn=True"):
        DotAttention(None, learn=True)
    with pytest.raises(ValueError, match=r"weights \(B, L, T\)"):
        coverage_loss(row)
    with pytest.raises(ValueError, match="as the weights"):
        coverage_loss(row, row[:, 1:])


def test_the_attentional_state():
    join = AttentionalState(2, 3, 4, bias=True)
    query, context = torch.randn(S, 2), torch.randn(S, 3)
    W, b = join.linear.weight, join.linear.bias
    assert_close(join(query, context), torch.tanh(context @ W[:, :3].T + query @ W[:, 3:].T + b))
    join.tanh = False
    assert_close(join(query, context), context @ W[:, :3].T + query @ W[:, 3:].T + b)


def test_every_module_says_what_it_is(attention):
    assert type(attention).__name__ in repr(attention)
