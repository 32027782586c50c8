"""Every op against its reference, over the table of cases."""

import pytest
import torch
from torch.utils._pytree import tree_leaves, tree_map

from s2sfast.cases import OPS
from tests.over import assert_close, assert_same, cases, cases_and_dtypes, failures, sample, settled, tensors

ULP = torch.finfo(torch.float32).eps


def assert_same_candidates(got, expected):
    """Scores to 2^-22 max(1, |score|); parents and tokens equal, but for candidates whose scores are that close."""
    inf = expected.scores.isinf()
    assert torch.equal(got.scores.isinf(), inf)
    finite = expected.scores.masked_fill(inf, 0.0)
    budget = 2 * ULP * finite.abs().clamp(min=1.0)
    assert ((got.scores.masked_fill(inf, 0.0) - finite).abs() <= budget).all()
    differ = (got.parents != expected.parents) | (got.tokens != expected.tokens)
    apart = (finite[:, 1:] - finite[:, :-1]).abs() > 4 * ULP * finite[:, 1:].abs().clamp(min=1.0)
    edge = torch.zeros_like(differ[:, :1])
    alone = torch.cat((~edge, apart), 1) & torch.cat((apart, edge), 1)  # the last might tie with one that is not shown
    assert not (differ & alone).any()
    assert differ.float().mean() < 0.01 or differ.numel() == 0


def assert_agree(op, got, expected):
    if op.name == "beam_topk":
        assert_same_candidates(got, expected)
    else:
        assert torch.equal(got, expected)


def in_float64(arguments):
    return tree_map(lambda x: x.double() if isinstance(x, torch.Tensor) and x.is_floating_point() else x, arguments)


@cases_and_dtypes()
def test_means_what_the_reference_means(op, case, dtype):
    args, kwargs = sample(op, case, dtype)
    got, expected = op.fast(*args, **kwargs), op.reference(*args, **kwargs)
    for mine, theirs in zip(tensors(got), tensors(expected), strict=True):
        assert (mine.shape, mine.dtype, mine.device) == (theirs.shape, theirs.dtype, theirs.device)
    if not op.tolerance:
        return assert_agree(op, got, expected)
    exact = op.reference(*in_float64(args), **in_float64(kwargs))
    for mine, theirs in zip(tensors(got), tensors(exact), strict=True):
        assert_close(mine, theirs, op.tolerance[dtype])


@cases()
def test_inputs_are_left_alone(op, case):
    args, kwargs = sample(op, case)
    copies, _ = sample(op, case)
    op.fast(*args, **kwargs)
    for mine, copy in zip(tree_leaves(args), tree_leaves(copies), strict=True):
        assert not isinstance(mine, torch.Tensor) or torch.equal(mine, copy)


@cases()
def test_threads_do_not_matter(op, case):
    args, kwargs = sample(op, case)
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(tensors(op.fast(*args, **kwargs)))
    for other in results[1:]:
        assert_same(op, case, results[0], other)


@cases()
def test_opcheck(op, case):
    args, kwargs = sample(op, case)
    raw, arguments = op.raw
    torch.library.opcheck(raw, arguments(args, kwargs))


COMPILED = (
    "beams",
    "many-queries-with-lengths",
    "location-features",
    "phonemes",
    "usual",
    "prune-with-bias",
    "bias-scalar",
    "shortlist-names",
    "strided",
)


@pytest.mark.parametrize(
    ("op", "case"),
    [
        pytest.param(op, case, id=f"{op.name}-{case.why}")
        for op in OPS
        for case in op.of("test")
        if case.why in COMPILED
    ],
)
def test_compiles_whole(op, case):
    """One graph, and the same answer, with something of torch's own before and behind the op."""
    torch.compiler.reset()  # of one function there may be eight versions
    args, kwargs = sample(op, case)
    tensor, rest = args[0], args[1:]

    def around(x):
        return tensors(op.fast(x * 1, *rest, **kwargs))[-1] + 1

    assert_same(op, case, [torch.compile(around, fullgraph=True)(tensor)], [around(tensor)])


@failures()
@pytest.mark.parametrize("side", ["fast", "reference"])
def test_bad_calls_say_what_is_wrong(op, failure, side):
    case = next(c for c in op.of("test") if c.why in ("phonemes", "usual", "beams"))
    args, kwargs = failure.spoil(*sample(op, case))
    with pytest.raises(ValueError) as error:
        settled(getattr(op, side))(*args, **kwargs)
    assert str(error.value).startswith(f"{op.name}: ")
    assert failure.message in str(error.value)


@pytest.mark.parametrize("op", [op for op in OPS if not op.differentiable], ids=lambda op: op.name)
def test_not_differentiable(op):
    args, kwargs = sample(op, op.of("test")[0])
    args = tuple(a.requires_grad_() if isinstance(a, torch.Tensor) and a.is_floating_point() else a for a in args)
    for side in (op.fast, op.reference):
        assert not any(t.requires_grad for t in tensors(side(*args, **kwargs)))
