"""pointer_mixture and pointer_nll: by hand, against loops over floats, their gradients, and where numbers end."""

import math

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import s2sfast
from s2sfast import reference
from s2sfast.cases import OPS
from tests.over import normals, sample, settled

POINTER = [op for op in OPS if op.name.startswith("pointer_")]
BOTH_SIDES = pytest.mark.parametrize("side", [s2sfast, reference], ids=["fast", "reference"])
LARGEST = {dtype: torch.finfo(dtype).max for dtype in POINTER[0].dtypes}


def table(*whys: str):
    return pytest.mark.parametrize(
        ("op", "case"),
        [
            pytest.param(op, case, id=f"{op.name}-{case.why}")
            for op in POINTER
            for case in op.of("test")
            if not whys or case.why in whys
        ],
    )


def with_gradients(function, args, kwargs, grad=None):
    """(result, the gradients of the floating arguments) of a call, given the gradient of its result."""
    args = [a.detach().clone().requires_grad_() if a.is_floating_point() else a for a in args]
    result = function(*args, **kwargs)
    grad = torch.ones_like(result) if grad is None else grad.to(result.dtype)
    result.backward(grad)
    return result.detach(), [a.grad for a in args if a.is_floating_point()]


def same(a, b):
    return torch.equal(a.nan_to_num(nan=12345.0), b.nan_to_num(nan=12345.0))


# --- by hand -----------------------------------------------------------------------------------------------


def by_hand():
    """V=3, T=4, p = 1/2: the table of docs/pointer_mixture.md."""
    vocab_logits = torch.tensor([[0.5, 0.25, 0.25]]).log()
    copy_weights = torch.tensor([[0.4, 0.3, 0.2, 0.1]])
    return vocab_logits, copy_weights, torch.tensor([[2, 4, 2, -1]]), torch.zeros(1)


@BOTH_SIDES
def test_mixture_by_hand(side):
    found = side.pointer_mixture(*by_hand(), extended_size=5)
    torch.testing.assert_close(found.exp(), torch.tensor([[0.25, 0.125, 0.425, 0.0, 0.15]]))
    assert found[0, 3] == -math.inf


@BOTH_SIDES
@pytest.mark.parametrize(("target", "p"), [(0, 0.25), (1, 0.125), (2, 0.425), (3, 0.0), (4, 0.15), (77, 0.0)])
def test_nll_by_hand(side, target, p):
    loss = side.pointer_nll(*by_hand(), torch.tensor([target]))
    torch.testing.assert_close(loss, torch.tensor([-math.log(p) if p else math.inf]))


@BOTH_SIDES
def test_nll_gradients_by_hand(side):
    """The table of docs/pointer_nll.md: target 2, P = 0.125 + 0.3."""
    _, (logits, weights, gate) = with_gradients(side.pointer_nll, (*by_hand(), torch.tensor([2])), {})
    share = 0.125 / 0.425
    torch.testing.assert_close(logits, share * torch.tensor([[0.5, 0.25, -0.75]]))
    torch.testing.assert_close(weights, -0.5 / 0.425 * torch.tensor([[1.0, 0.0, 1.0, 0.0]]))
    torch.testing.assert_close(gate, torch.tensor([-(share * 0.5 - (1 - share) * 0.5)]))


# --- loops over floats -------------------------------------------------------------------------------------


def probability(logits, weights, ids, gate, token):
    """P of a token, by the words of the contract; in Python's floats."""
    p = 1 / (1 + math.exp(-gate))
    top = max((x for x in logits if x > -math.inf), default=0.0)
    everything = sum(math.exp(x - top) for x in logits)
    chosen = p * math.exp(logits[token] - top) / everything if token < len(logits) and everything else 0.0
    return chosen + (1 - p) * math.fsum(a for a, i in zip(weights, ids, strict=True) if i == token)


@st.composite
def problems(draw):
    beams, S = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    V, T, new = draw(st.integers(0, 40)), draw(st.integers(0, 12)), draw(st.integers(0, 4))
    size = max(V + new, 1)
    number = st.floats(-8, 8, width=32)
    logit = st.one_of(number, st.just(-math.inf))
    weight = st.one_of(st.just(0.0), st.floats(2**-20, 1.0, width=32))

    def rows(n, width, of):
        return [draw(st.lists(of, min_size=width, max_size=width)) for _ in range(n)]

    R = beams * S
    return {
        "logits": rows(R, V, logit),
        "weights": rows(R, T, weight),
        "ids": rows(S, T, st.integers(-2, size - 1)),
        "gate": rows(1, R, number)[0],
        "targets": rows(1, R, st.integers(0, size + 1))[0],
        "sizes": (R, S, V, T, size),
    }


@settings(max_examples=150, deadline=None)
@given(problems())
def test_both_ops_mean_what_loops_over_floats_say(problem):
    R, S, V, T, size = problem["sizes"]
    arguments = (
        torch.tensor(problem["logits"], dtype=torch.float32).view(R, V),
        torch.tensor(problem["weights"], dtype=torch.float32).view(R, T),
        torch.tensor(problem["ids"], dtype=torch.int64).view(S, T),
        torch.tensor(problem["gate"]),
    )
    found = s2sfast.pointer_mixture(*arguments, extended_size=size)
    losses = s2sfast.pointer_nll(*arguments, torch.tensor(problem["targets"], dtype=torch.int64))

    def log_of(row, token):
        ids = problem["ids"][row // (R // S)]
        p = probability(problem["logits"][row], problem["weights"][row], ids, problem["gate"][row], token)
        return math.log(p) if p else -math.inf

    expected = [[log_of(r, w) for w in range(size)] for r in range(R)]
    torch.testing.assert_close(found, torch.tensor(expected), rtol=3e-6, atol=3e-6)
    expected = [-log_of(r, y) for r, y in enumerate(problem["targets"])]
    torch.testing.assert_close(losses, torch.tensor(expected), rtol=3e-6, atol=3e-6)


@settings(max_examples=80, deadline=None)
@given(problems(), st.integers(0, 2**31))
def test_properties(problem, seed):
    """P adds up to p + (1 - p) of what is copied; the nll is an entry of it; the order of positions does not matter."""
    R, S, V, T, size = problem["sizes"]
    draw = normals(seed)
    arguments = (
        draw(R, V).double(), draw(R, T).softmax(-1).double(),
        torch.tensor(problem["ids"], dtype=torch.int64).view(S, T), torch.tensor(problem["gate"]).double(),
    )  # fmt: skip
    found = s2sfast.pointer_mixture(*arguments, extended_size=size)
    p = arguments[3].sigmoid()
    copied = arguments[1].masked_fill(arguments[2].repeat_interleave(R // S, 0) < 0, 0).sum(-1)
    torch.testing.assert_close(found.exp().sum(-1), (p if V else 0 * p) + (1 - p) * copied)
    targets = torch.tensor(problem["targets"]).clamp(max=size - 1)
    losses = s2sfast.pointer_nll(*arguments, targets)
    torch.testing.assert_close(-losses, found.gather(1, targets[:, None])[:, 0])
    order = torch.randperm(T, generator=torch.Generator("cpu").manual_seed(seed), device="cpu").to(found.device)
    moved = (arguments[0], arguments[1][:, order], arguments[2][:, order], arguments[3])
    torch.testing.assert_close(s2sfast.pointer_mixture(*moved, extended_size=size), found)


# --- gradients ---------------------------------------------------------------------------------------------


@table()
@pytest.mark.parametrize("dtype", POINTER[0].dtypes, ids=lambda dtype: str(dtype).removeprefix("torch."))
def test_gradients_are_those_of_the_reference_in_float64(op, case, dtype):
    args, kwargs = sample(op, case, dtype)
    exact_args = [a.double() if a.is_floating_point() else a for a in args]
    shape = op.reference(*exact_args, **kwargs).shape
    grad = normals(1)(*shape)
    _, found = with_gradients(op.fast, args, kwargs, grad)
    _, exact = with_gradients(op.reference, exact_args, kwargs, grad.double())
    for name, mine, theirs in zip(op.differentiable, found, exact, strict=True):
        assert mine.dtype == dtype, name
        assert mine.isfinite().all(), name
        theirs = theirs.clamp(-LARGEST[dtype], LARGEST[dtype])
        largest = theirs.abs().max() if theirs.numel() else 0.0
        assert ((mine.double() - theirs).abs() <= op.tolerance[dtype] * (1 + largest)).all(), name


@table("usual", "one-word", "no-source", "no-vocabulary", "equal-ids", "zero-weights", "tail-of-a-vector")
def test_gradcheck(op, case):
    """Numerically too, weights of exactly 0 included; only where P is, since -inf has no slope."""
    args, kwargs = sample(op, case, torch.float64)
    args = [a.detach().clone().requires_grad_() if a.is_floating_point() else a for a in args]
    somewhere = op.reference(*args, **kwargs).detach().isfinite()

    def finite(*args):
        return op.fast(*args, **kwargs)[somewhere]

    assert torch.autograd.gradcheck(finite, args)


@table("usual", "equal-ids", "columns-far-apart")
def test_one_input_may_have_a_gradient_alone(op, case):
    args, kwargs = sample(op, case)
    _, all_of_them = with_gradients(op.fast, args, kwargs)
    for place, argument in enumerate((0, 1, 3)):
        alone = [a.detach().clone().requires_grad_(i == argument) if i in (0, 1, 3) else a for i, a in enumerate(args)]
        op.fast(*alone, **kwargs).backward(torch.ones(op.fast(*args, **kwargs).shape))
        assert torch.equal(alone[argument].grad, all_of_them[place])
        assert all(alone[i].grad is None for i in (0, 1, 3) if i != argument)


@table()
def test_threads_change_no_bits_of_a_gradient(op, case):
    args, kwargs = sample(op, case)
    grad = normals(1)(*op.fast(*args, **kwargs).shape)
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(with_gradients(op.fast, args, kwargs, grad)[1])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@table("usual", "five-beams-share-a-source")
def test_no_graph_where_none_is_wanted(op, case):
    args, kwargs = sample(op, case)
    args = [a.requires_grad_() if a.is_floating_point() else a for a in args]
    with torch.no_grad():
        assert not op.fast(*args, **kwargs).requires_grad
    assert op.fast(*args, **kwargs).requires_grad


@table("usual")
def test_opcheck_of_the_backward_op(op, case):
    args, kwargs = sample(op, case)
    raw, arguments = op.raw
    result, *kept = raw(*arguments(args, kwargs))
    backward = getattr(torch.ops.s2sfast, f"{op.name}_backward").default
    more = (kwargs.get("ignore_index", -100),) if op.name == "pointer_nll" else ()
    torch.library.opcheck(backward, (torch.ones_like(result), *args, *kept, *more))


@table("usual")
def test_compiles_whole_forward_and_backward(op, case):
    args, kwargs = sample(op, case)

    def around(logits, weights, gate, *rest):
        result = op.fast(logits * 2, weights, rest[0], gate + 0, *rest[1:], **kwargs)
        return result.masked_fill(result.isinf(), 0).sum()

    def call(function):
        floats = [a.detach().clone().requires_grad_() for a in (args[0], args[1], args[3])]
        total = function(*floats, args[2], *args[4:])
        total.backward()
        return [total.detach(), *(f.grad for f in floats)]

    compiled = call(torch.compile(around, fullgraph=True))
    for mine, theirs in zip(compiled, call(around), strict=True):
        torch.testing.assert_close(mine, theirs)


@table("usual")
def test_autocast(op, case):
    """What autocast leaves in several dtypes is taken in the widest."""
    args, kwargs = sample(op, case)
    mixed = (args[0].bfloat16(), args[1], args[2], args[3].bfloat16(), *args[4:])
    with torch.autocast(args[0].device.type, dtype=torch.bfloat16):
        found = op.fast(*mixed, **kwargs)
    assert torch.equal(found, op.fast(mixed[0].float(), mixed[1], mixed[2], mixed[3].float(), *mixed[4:], **kwargs))


# --- where numbers end -------------------------------------------------------------------------------------


@BOTH_SIDES
@pytest.mark.parametrize("dtype", POINTER[0].dtypes, ids=lambda dtype: str(dtype).removeprefix("torch."))
@pytest.mark.parametrize("gate", [-200.0, -30.0, 0.0, 30.0, 200.0])
def test_nothing_is_ever_nan(side, gate, dtype):
    """A word that is likely, unlikely or forbidden, with a weight, with none, or with no place in the source."""
    logits = torch.tensor([0.0, -60.0, -math.inf], dtype=dtype).repeat(3, 1)
    weights = torch.tensor([[0.7] * 3, [0.0] * 3, [1e-30] * 3]).to(dtype)
    for target in (0, 1, 2, 3, 9):
        ids = torch.tensor([[0, 2, target]])
        arguments = (logits, weights, ids, torch.full((3,), gate, dtype=dtype), torch.full((3,), target))
        losses, gradients = with_gradients(side.pointer_nll, arguments, {})
        assert not losses.isnan().any()
        assert all(g.isfinite().all() for g in gradients)
        for row in losses.isinf().nonzero().flatten().tolist():
            assert losses[row] == math.inf
            assert not any(g[row].any() for g in gradients)
        result, gradients = with_gradients(side.pointer_mixture, arguments[:4], {"extended_size": 10})
        assert not result.isnan().any()
        assert all(g.isfinite().all() for g in gradients)


@BOTH_SIDES
def test_impossible_targets(side):
    arguments = (*by_hand(), torch.tensor([3]))
    losses, gradients = with_gradients(side.pointer_nll, arguments, {})
    assert losses.tolist() == [math.inf]
    assert not any(g.any() for g in gradients)


@BOTH_SIDES
def test_an_entry_of_minus_infinity_takes_no_gradient_whatever_is_given(side):
    grad = torch.ones(1, 5)
    _, plain = with_gradients(side.pointer_mixture, by_hand(), {"extended_size": 5}, grad)
    for strange in (math.inf, -math.inf, 1e30):
        grad[0, 3] = strange
        _, found = with_gradients(side.pointer_mixture, by_hand(), {"extended_size": 5}, grad)
        assert all(torch.equal(a, b) for a, b in zip(plain, found, strict=True))


@BOTH_SIDES
def test_the_slope_at_a_weight_of_zero(side):
    """d loss / d a = -(1 - p) / P, also where a is 0; where that is beyond the largest number, that number."""
    logits, weights = torch.tensor([[0.0, -5.0]]), torch.zeros(1, 2)
    p = logits.double().softmax(-1)[0, 1] / 2
    _, (_, found, _) = with_gradients(
        side.pointer_nll, (logits, weights, torch.tensor([[1, 0]]), torch.zeros(1), torch.tensor([1])), {}
    )
    torch.testing.assert_close(found, torch.tensor([[-0.5 / p, 0.0]]).float())
    logits[0, 1] = -300.0
    _, (_, found, _) = with_gradients(
        side.pointer_nll, (logits, weights, torch.tensor([[1, 0]]), torch.zeros(1), torch.tensor([1])), {}
    )
    assert found[0, 0] < -1e37
    assert found.isfinite().all()


@BOTH_SIDES
def test_ignored_rows_do_not_count_whatever_stands_in_them(side):
    op = next(op for op in POINTER if op.name == "pointer_nll")
    args, _ = sample(op, next(c for c in op.cases if c.why == "five-beams-share-a-source"))
    targets = args[4].clamp(min=0)
    clean, gradients = with_gradients(side.pointer_nll, (*args[:4], targets), {})
    spoiled = [a.clone() for a in (*args[:4], targets)]
    for row, content in ((3, math.nan), (7, math.inf)):
        for argument in (0, 1, 3):
            spoiled[argument][row] = content
        spoiled[4][row] = -7
    found, others = with_gradients(side.pointer_nll, spoiled, {"ignore_index": -7})
    kept = torch.tensor([row not in (3, 7) for row in range(20)])
    assert torch.equal(found[kept], clean[kept])
    assert found[~kept].tolist() == [0.0, 0.0]
    for mine, theirs in zip(others, gradients, strict=True):
        assert torch.equal(mine[kept], theirs[kept])
        assert not mine[~kept].any()


@BOTH_SIDES
def test_an_ignore_index_that_is_a_word(side):
    arguments = (*by_hand(), torch.tensor([2]))
    assert side.pointer_nll(*arguments, ignore_index=2).tolist() == [0.0]


@table("five-beams-share-a-source", "many-pieces-one-row")
@pytest.mark.parametrize("argument", [0, 1, 3])
@pytest.mark.parametrize("what", [math.nan, math.inf])
def test_a_nan_comes_through_in_its_own_row_only(op, case, argument, what):
    args, kwargs = sample(op, case)
    if argument == 3 and what == math.inf:
        pytest.skip("an infinite gate has a meaning")
    clean = op.fast(*args, **kwargs)
    spoiled = [a.clone() for a in args]
    spoiled[argument].view(len(args[3]), -1)[-1] = what
    found = op.fast(*spoiled, **kwargs)
    assert torch.equal(found[:-1], clean[:-1])
    counts = op.name == "pointer_mixture" or args[4][-1] in args[2][-1] or (argument == 0 and args[4][-1] >= 0)
    if counts and args[-1][-1] != -100:
        assert found[-1].isnan().any() or (argument == 1 and found[-1].isinf().any())


def test_a_row_of_forbidden_words_only_copies():
    logits, weights, ids, gate = by_hand()
    found = s2sfast.pointer_mixture(logits - math.inf, weights, ids, gate, extended_size=5)
    torch.testing.assert_close(found.exp(), torch.tensor([[0.0, 0.0, 0.3, 0.0, 0.15]]))


def test_small_numbers_become_zero_in_the_gradient_of_the_logits():
    """Subnormal numbers would make everything that follows slow."""
    logits = torch.linspace(-200, 0, 3000)[None]
    for grad in (1.0, 1e-30, -1e-37):
        arguments = (logits, torch.zeros(1, 1), torch.zeros(1, 1, dtype=torch.int64), torch.full((1,), 50.0))
        _, (found, *_) = with_gradients(
            s2sfast.pointer_nll, (*arguments, torch.tensor([2999])), {}, torch.tensor([grad])
        )
        some = found[found != 0].abs()
        assert (some >= torch.finfo(torch.float32).tiny).all()
        assert (found == 0).any()


# --- layouts -------------------------------------------------------------------------------------------------


@table("usual", "tile-and-one", "equal-ids")
def test_views_give_the_same_bits(op, case):
    """Rows far apart, columns far apart, rows that start anywhere."""
    args, kwargs = sample(op, case)
    expected, expected_gradients = with_gradients(op.fast, args, kwargs)

    def spread(x):
        room = x.new_zeros(*(2 * n + 3 for n in x.shape))
        return room[tuple(slice(1, 1 + 2 * n, 2) for n in x.shape)].copy_(x)

    def rows_apart(x):
        return x.new_zeros(len(x), *(n + 5 for n in x.shape[1:]))[
            (slice(None), *(slice(3, 3 + n) for n in x.shape[1:]))
        ].copy_(x)

    for view in (spread, rows_apart):
        views = [view(a).requires_grad_(a.is_floating_point()) for a in args]
        found = op.fast(*views, **kwargs)
        assert same(found, expected)
        floats = [v for v in views if v.is_floating_point()]
        gradients = torch.autograd.grad(found, floats, torch.ones_like(found))
        assert all(torch.equal(a, b) for a, b in zip(gradients, expected_gradients, strict=True))


@table("usual", "two-pieces")
def test_gradients_that_are_views(op, case):
    args, kwargs = sample(op, case)
    result = op.fast(*args, **kwargs)
    grad = normals(3)(*result.shape)
    _, expected = with_gradients(op.fast, args, kwargs, grad)
    far = grad.new_zeros(*(2 * n for n in grad.shape))[tuple(slice(None, None, 2) for _ in grad.shape)].copy_(grad)
    _, found = with_gradients(op.fast, args, kwargs, far)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    _, ones = with_gradients(op.fast, args, kwargs)
    _, expanded = with_gradients(op.fast, args, kwargs, torch.ones(()).expand(result.shape))
    assert all(torch.equal(a, b) for a, b in zip(ones, expanded, strict=True))


@table("five-beams-share-a-source")
def test_a_shared_source_is_the_same_as_its_copies(op, case):
    args, kwargs = sample(op, case)
    copies = (*args[:2], args[2].repeat_interleave(5, 0), *args[3:])
    for mine, theirs in zip(
        with_gradients(op.fast, args, kwargs)[1], with_gradients(op.fast, copies, kwargs)[1], strict=True
    ):
        assert torch.equal(mine, theirs)
    assert torch.equal(op.fast(*args, **kwargs), op.fast(*copies, **kwargs))


@table("five-beams-share-a-source", "more-rows-than-threads")
def test_a_row_does_not_feel_its_neighbours(op, case):
    args, kwargs = sample(op, case)
    together = op.fast(*args, **kwargs)
    beams = len(args[0]) // len(args[2])
    for row in range(0, len(args[0]), 4):
        one = [a[row : row + 1] if i != 2 else a[row // beams : row // beams + 1] for i, a in enumerate(args)]
        assert torch.equal(op.fast(*one, **kwargs)[0], together[row])


@pytest.mark.skipif(torch.get_default_device().type != "cpu", reason="memory that is only promised")
def test_rows_further_apart_than_2_31():
    """Of the 4 GiB between two rows nothing is touched, so that it does not exist."""
    apart, V = 2**31 + 16, 40
    logits = torch.from_numpy(numpy.empty(apart + V, numpy.float16)).as_strided((2, V), (apart, 1))
    logits.copy_(normals(0)(2, V))
    arguments = (torch.ones(2, 1).half(), torch.tensor([[5]]), torch.zeros(2).half())
    found = s2sfast.pointer_nll(logits, *arguments, torch.tensor([5, 39]))
    assert torch.equal(found, s2sfast.pointer_nll(logits.contiguous(), *arguments, torch.tensor([5, 39])))
    found = s2sfast.pointer_mixture(logits, *arguments)
    assert torch.equal(found, s2sfast.pointer_mixture(logits.contiguous(), *arguments))


def test_ids_beyond_32_bits():
    """Only their equality counts in the loss."""
    ids = torch.tensor([[2**40 + 3, 3, 2**62, 2**40 + 3]])
    arguments = (torch.zeros(2, 4), torch.full((2, 4), 0.25), ids, torch.zeros(2), torch.tensor([2**40 + 3, 3]))
    losses = s2sfast.pointer_nll(*arguments)
    torch.testing.assert_close(losses.neg().exp(), torch.tensor([0.25, 0.25]))
    assert torch.equal(losses, reference.pointer_nll(*arguments))


# --- failures that the table cannot make -----------------------------------------------------------------


@pytest.mark.parametrize("op", POINTER, ids=lambda op: op.name)
def test_arguments_of_the_wrong_kind(op):
    args, kwargs = sample(op, op.of("test")[0])
    for place, name in enumerate(("vocab_logits", "copy_weights", "source_ids", "p_gen_logit")):
        bad = [*args]
        bad[place] = [1.0]
        with pytest.raises(ValueError, match=f"^{op.name}: expected {name} to be a tensor; got list"):
            op.fast(*bad, **kwargs)
    option = {"pointer_mixture": "extended_size", "pointer_nll": "ignore_index"}[op.name]
    with pytest.raises(ValueError, match=f"^{op.name}: expected an integer {option}; got 'x'"):
        op.fast(*args, **{**kwargs, option: "x"})


@BOTH_SIDES
def test_an_id_outside_is_named(side):
    arguments = list(by_hand())
    with pytest.raises(
        ValueError, match=r"^pointer_mixture: expected source_ids < V'=3; got 4 for source 0, position 1"
    ):
        settled(side.pointer_mixture)(*arguments)
