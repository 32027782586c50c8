"""The gradients of every differentiable op, over the table of cases."""

import inspect

import pytest
import torch

from s2sfast.cases import OPS
from tests.over import assert_close, assert_same, sample, tensors

DIFFERENTIABLE = [op for op in OPS if op.differentiable]


def over_cases(*dtypes):
    triples = [
        pytest.param(op, case, dtype, id=f"{op.name}-{case.why}-{str(dtype).removeprefix('torch.')}")
        for op in DIFFERENTIABLE
        for case in op.of("test")
        for dtype in dtypes
    ]
    return pytest.mark.parametrize(("op", "case", "dtype"), triples)


def bound(op, args, kwargs):
    """All arguments by name."""
    return dict(inspect.signature(op.fast).bind(*args, **kwargs).arguments)


def with_gradients(op, arguments, cast=lambda x: x):
    """(arguments, those of them that want a gradient), each a leaf; a field of a tuple is named `tuple.field`."""
    leaves = {}

    def leaf(name, value):
        if isinstance(value, torch.Tensor):
            leaves[name] = value = cast(value.detach()).requires_grad_()
        elif isinstance(value, tuple):
            value = value._replace(**{n: leaf(f"{name}.{n}", x) for n, x in zip(value._fields, value, strict=True)})
        return value

    made = {n: leaf(n, x) if n in op.differentiable else x for n, x in arguments.items()}
    return made, leaves


def replaced(arguments, name, value):
    """With another value of one argument, or of a field of one."""
    name, _, field = name.partition(".")
    return {**arguments, name: arguments[name]._replace(**{field: value}) if field else value}


def call(function, arguments):
    positional = [arguments[n] for n in ("query", "keys", "values") if n in arguments]
    keywords = {n: x for n, x in arguments.items() if n not in ("query", "keys", "values")}
    return tensors(function(*positional, **keywords)) if positional else tensors(function(**arguments))


def loss_of(outputs, seed=1):
    """Every finite number with a weight of its own."""
    generator = torch.Generator("cpu").manual_seed(seed)
    total = 0
    for x in outputs:
        weight = torch.randn(x.shape, generator=generator, dtype=torch.float64, device="cpu").to(x.device)
        total = total + (x.double().masked_fill(x.isinf(), 0) * weight).sum()
    return total


def gradients(op, function, arguments, cast=lambda x: x):
    arguments, leaves = with_gradients(op, arguments, cast)
    loss = loss_of(call(function, arguments))
    return torch.autograd.grad(loss, list(leaves.values()), allow_unused=True, materialize_grads=True)


@over_cases(torch.float32, torch.float64, torch.bfloat16, torch.float16)
def test_gradients_are_the_references(op, case, dtype):
    arguments = bound(op, *sample(op, case, dtype))
    got = gradients(op, op.fast, arguments)
    exact = gradients(op, op.reference, arguments, cast=torch.Tensor.double)
    for mine, theirs in zip(got, exact, strict=True):
        assert mine.dtype == dtype
        assert_close(mine, theirs, 4 * op.tolerance[dtype])


@over_cases(torch.float32)
def test_threads_do_not_matter(op, case, dtype):
    arguments = bound(op, *sample(op, case, dtype))
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found.append(gradients(op, op.fast, arguments))
    for other in found[1:]:
        assert_same(op, case, found[0], other)


GRADCHECKED = (
    "odd-everything", "mask-and-lengths", "one-query-with-lengths", "location-features", "coverage",
    "sqrt-eps-0.5", "product-eps-0.5", "clamp-eps-3.5", "many-queries-mask-of-a-query",
)  # fmt: skip


@pytest.mark.parametrize(
    ("op", "case"),
    [
        pytest.param(op, case, id=f"{op.name}-{case.why}")
        for op in DIFFERENTIABLE
        for case in op.of("test")
        if case.why in GRADCHECKED
    ],
)
def test_gradcheck(op, case):
    arguments, leaves = with_gradients(op, bound(op, *sample(op, case, torch.float64)))

    def function(*values):
        given = arguments
        for name, value in zip(leaves, values, strict=True):
            given = replaced(given, name, value)
        outputs = call(op.fast, given)
        return tuple(x.masked_fill(x.isinf(), 0) for x in outputs)

    assert torch.autograd.gradcheck(function, tuple(leaves.values()), fast_mode=True)


@pytest.mark.parametrize("op", DIFFERENTIABLE, ids=lambda op: op.name)
def test_each_gradient_alone(op):
    """What wants no gradient gets none, and does not disturb the others."""
    case = next(c for c in op.of("test") if c.why in ("location-features", "odd-everything", "usual"))
    arguments = bound(op, *sample(op, case, torch.float64))
    _, leaves = with_gradients(op, arguments)
    together = dict(zip(leaves, gradients(op, op.fast, arguments), strict=True))
    for name, leaf in leaves.items():
        alone = leaf.detach().clone().requires_grad_()
        outputs = call(op.fast, replaced(arguments, name, alone))
        assert torch.equal(torch.autograd.grad(loss_of(outputs), alone)[0], together[name])


@pytest.mark.parametrize("op", DIFFERENTIABLE, ids=lambda op: op.name)
def test_no_gradient_of_a_gradient(op):
    """An error, not a wrong number."""
    case = next(c for c in op.of("test") if c.why in ("beams", "usual"))
    arguments, leaves = with_gradients(op, bound(op, *sample(op, case)))
    with pytest.raises(RuntimeError, match=r"create_graph=True.*s2sfast\.reference"):
        torch.autograd.grad(loss_of(call(op.fast, arguments)), list(leaves.values()), create_graph=True)


@pytest.mark.parametrize("op", DIFFERENTIABLE, ids=lambda op: op.name)
def test_compiles_whole_with_its_gradient(op):
    case = next(c for c in op.of("test") if c.why in ("location-features", "odd-everything", "usual"))
    arguments = bound(op, *sample(op, case))
    torch.compiler.reset()
    fast = torch.compile(op.fast, fullgraph=True)
    assert_same(op, case, gradients(op, fast, arguments), gradients(op, op.fast, arguments))
