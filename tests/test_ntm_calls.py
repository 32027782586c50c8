"""How the Neural Turing Machine's ops are called: strides, dtypes, errors, graphs, threads, compiling."""

import math

import pytest
import torch
from torch.testing import assert_close

import s2sfast
from s2sfast import NTMActivation, NTMHead, reference
from tests.ntm_inputs import (
    BOTH,
    COMPOSITIONS,
    CONTENT_ALONE,
    ON_CPU,
    OPS,
    ORDERS,
    OVER_OPS,
    assert_equal_bits,
    gradients,
    head,
    inputs,
    leaves_of,
    mapped,
    mixture,
    named,
    results,
    step_inputs,
)
from tests.over import normals, settled

HALVES = pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)


# --- shapes, dtypes, strides -------------------------------------------------------------------------------


def strange(x: torch.Tensor) -> torch.Tensor:
    """The same numbers, every second of a larger tensor whose dimensions are the other way round."""
    wide = torch.full([2 * n for n in reversed(x.shape)], math.nan, dtype=x.dtype)
    view = wide[tuple(slice(None, None, 2) for _ in x.shape)].permute(*reversed(range(x.dim())))
    view.copy_(x)
    return view


@OVER_OPS
@BOTH
def test_strides_do_not_matter(op, side):
    given = inputs(op, 2, 21, 13, 3)
    expected = results(op, given, side)
    for mine, theirs in zip(results(op, mapped(strange, given), side), expected, strict=True):
        assert_close(mine, theirs, atol=1e-6, rtol=1e-5)


@OVER_OPS
@BOTH
def test_expanded_inputs(op, side):
    """One sentence for all, as a memory is at first: its gradient is the sum of theirs."""
    given = inputs(op, 1, 21, 13, 3)
    leaves, copies = leaves_of(given), leaves_of(given)
    found = results(op, mapped(lambda x: x.expand(4, *x.shape[1:]), leaves), side)
    expected = results(op, mapped(lambda x: x.repeat(4, *[1] * (x.dim() - 1)), copies), side)
    for mine, theirs in zip(found, expected, strict=True):
        assert_close(mine, theirs, atol=1e-6, rtol=1e-5)
    mine, theirs = gradients(mixture(found), leaves), gradients(mixture(expected), copies)
    for name in theirs:
        assert_close(mine[name], theirs[name], atol=1e-5, rtol=1e-4)


@BOTH
def test_a_memory_of_transposed_width(side):
    """(B, M, N) as convolutions give it; and heads that are slices of one tensor."""
    given = step_inputs(2, 21, 13, 2, 2)
    turned = {**given, "memory": given["memory"].mT.contiguous().mT}
    for mine, theirs in zip(side.ntm_step(**turned), side.ntm_step(**given), strict=True):
        assert_close(mine, theirs, atol=1e-6, rtol=1e-5)


@BOTH
@OVER_OPS
@HALVES
def test_half_precision(op, side, dtype):
    """The outputs are in the dtype of the memory, and what float32 gives for the same numbers, rounded."""
    given = mapped(lambda x: x.to(dtype), inputs(op, 2, 21, 13, 3))
    expected = results(op, mapped(torch.Tensor.float, given), reference)
    for mine, theirs in zip(results(op, given, side), expected, strict=True):
        assert mine.dtype == dtype
        # A step reads what it has written, rounded.
        ulps = (4 if op == "ntm_step" else 0.51) * torch.finfo(dtype).eps
        assert_close(mine.float(), theirs, atol=ulps * max(1.0, float(theirs.abs().max())), rtol=ulps)


@OVER_OPS
@BOTH
def test_empty_batches(op, side):
    leaves = leaves_of(inputs(op, 0, 9, 5, 3))
    found = results(op, leaves, side)
    assert all(x.shape[0] == 0 for x in found)
    got = gradients(mixture(found), leaves)
    assert all(got[n].shape == x.shape for n, x in named(leaves).items())


@OVER_OPS
def test_results_are_new(op):
    """Neither an argument nor another result: a change in place has no further effect."""
    for options in ({}, {"nobody": True}, {"alone": True}):
        given = inputs(op)
        if op == "memory_write" and "nobody" in options:
            given |= {n: x[:, :0] for n, x in given.items() if n != "memory"}
        if op == "location_address" and "alone" in options:
            given["gate"] = None
        if op != "ntm_step":
            options = {}
        if "nobody" in options:  # writes: a new memory all the same
            given |= {
                "write_head": head(normals(0), 2, 0, 5, write=True), "write_previous": given["write_previous"][:, :0]
            }  # fmt: skip
        if "alone" in options:
            given = {
                n: x._replace(**dict.fromkeys(CONTENT_ALONE)) if isinstance(x, NTMHead) else x for n, x in given.items()
            }
        before = [x.clone() for x in named(given).values()]
        found = results(op, given)
        after = [x.clone() for x in found]
        for i, x in enumerate(found):
            x.fill_(-7)
            assert all(torch.equal(x, y) for x, y in zip(named(given).values(), before, strict=True)), options
            assert all(torch.equal(x, y) for x, y in zip(found[i + 1 :], after[i + 1 :], strict=True)), options


@BOTH
@pytest.mark.parametrize("H", [0, 2])
def test_no_heads_write_nothing(side, H):
    memory = normals(0)(2, 9, 5)
    weights, erase, add = torch.zeros(2, H, 9), torch.ones(2, H, 5), torch.ones(2, H, 5)
    for composition in ("sequential", "product"):
        found = side.memory_write(memory, weights, erase, add, composition=composition)
        assert_equal_bits(found, memory)


# --- errors ------------------------------------------------------------------------------------------------

SHAPES = {  # what a message calls a shape
    "memory": "(B, N, M)", "content": "(B, H, N)", "key": "(B, H, M)", "strength": "(B, H)", "previous": "(B, H, N)",
    "gate": "(B, H)", "shift": "(B, H, S)", "sharpen": "(B, H)", "weights": "(B, H, N)", "erase": "(B, H, M)",
    "add": "(B, H, M)", "read_previous": "(B, R, N)", "write_previous": "(B, W, N)",
}  # fmt: skip
FIELDS = [(op, name) for op in OPS for name in named(inputs(op)) if name not in ("read_head.erase", "read_head.add")]
OVER_FIELDS = pytest.mark.parametrize(("op", "name"), FIELDS)


def replaced(given: dict, name: str, value) -> dict:
    name, _, field = name.partition(".")
    return {**given, name: given[name]._replace(**{field: value}) if field else value}


def raised(op: str, given: dict, side, **options) -> str:
    with pytest.raises(ValueError) as error:
        settled(getattr(side, op))(**given, **options)
    message = str(error.value)
    assert message.startswith(f"{op}: expected "), message
    return message


@OVER_FIELDS
@BOTH
def test_each_shape_is_checked(op, name, side):
    given = inputs(op, 2, 9, 5, 3)
    x = named(given)[name]
    sizes = {"a dimension more": x[None], "a dimension less": x[0]}
    for d in range(x.dim()):
        if (op, name, d) in (
            ("memory_read", "memory", 2),
            ("content_address", "memory", 1),
            ("memory_read", "weights", 1),
        ):
            continue  # any size does
        if name.endswith("shift") and d == 2:
            continue  # the number of taps
        sizes[f"one less of dimension {d}"] = x.narrow(d, 0, x.shape[d] - 1)
        sizes[f"one more of dimension {d}"] = torch.cat((x, x.narrow(d, 0, 1)), d)
    for what, wrong in sizes.items():
        message = raised(op, replaced(given, name, wrong), side)
        assert "; got (" in message, f"{what}: {message}"
        if (name.split(".")[-1], what[-11:]) == ("weights", "dimension 1"):
            continue  # what the others' H is held against
        if name.split(".")[-1] not in ("memory", "content", "key"):  # whose sizes may be what others are held against
            field = SHAPES[name.split(".")[-1]].replace("H", {"read": "R", "write": "W"}.get(name.split("_")[0], "H"))
            assert f"expected {name} {field}" in message and f"got {tuple(wrong.shape)}" in message, (
                f"{what}: {message}"
            )


@OVER_FIELDS
@BOTH
def test_each_dtype_is_checked(op, name, side):
    given = inputs(op)
    x = named(given)[name]
    first = next(iter(given))
    for dtype in (torch.float64, torch.bfloat16):
        message = raised(op, replaced(given, name, x.to(dtype)), side)
        assert f"in the dtype of {first}; got" in message
        if name != first:
            assert f"expected {name} " in message
    for dtype in (torch.int64, torch.bool, torch.complex64):
        message = raised(op, replaced(given, name, x.to(dtype)), side)
        assert "expected" in message and name in message and "got" in message


@OVER_FIELDS
def test_each_device_is_checked(op, name):
    """Of the reference. Where there is one device alone, torch sends what has a part on "meta" to the fake kernel."""
    given = inputs(op)
    first = next(iter(given))
    message = raised(op, replaced(given, name, named(given)[name].to("meta")), reference)
    assert message.endswith(f"on the device of {first}")
    assert name == first or message == f"{op}: expected {name} on the device of {first}"


@OVER_FIELDS
def test_what_may_not_be_none(op, name):
    side = s2sfast
    field = name.split(".")[-1]
    if field in ("gate", "shift", "sharpen"):
        assert all(x.isfinite().all() for x in results(op, replaced(inputs(op), name, None), side))
    else:
        message = raised(op, replaced(inputs(op), name, None), side)
        assert f"expected {name} " in message and message.endswith(("got None", "got NoneType")), message


@OVER_FIELDS
def test_what_is_no_tensor(op, name):
    for wrong in (1.0, [[1.0]], "here"):
        message = raised(op, replaced(inputs(op), name, wrong), s2sfast)
        assert message == f"{op}: expected {name} to be a tensor; got {type(wrong).__name__}"


@BOTH
def test_options_that_are_none(side):
    content, write, step = (inputs(op) for op in ("content_address", "memory_write", "ntm_step"))
    for op, given, options, message in (
        ("content_address", content, {"eps_mode": "max"}, "expected eps_mode to be clamp, sqrt or product; got 'max'"),
        ("content_address", content, {"eps": -1e-9}, "expected eps in [0, inf); got -1e-09"),
        ("content_address", content, {"eps": math.inf}, "expected eps in [0, inf); got inf"),
        ("content_address", content, {"eps": math.nan}, "expected eps in [0, inf); got nan"),
        ("memory_write", write, {"composition": "sum"}, "expected composition to be sequential or product; got 'sum'"),
        ("ntm_step", step, {"composition": None}, "expected composition to be sequential or product; got None"),
        ("ntm_step", step, {"order": "read"}, "expected order to be write_read or read_write; got 'read'"),
        ("ntm_step", step, {"eps_mode": 1}, "expected eps_mode to be clamp, sqrt or product; got 1"),
        ("ntm_step", step, {"shift_offsets": [0, 1]}, "expected shift_offsets of S=3 integers; got 2"),
    ):
        assert message in raised(op, given, side, **options)


def test_options_of_another_type():
    step = inputs("ntm_step")
    wrong = {"shift_offsets": ([0, 1, 0.5], 1, "abc"), "activation": ("tanh",), "eps": ("much",)}
    for name, value in ((n, x) for n, several in wrong.items() for x in several):
        message = raised("ntm_step", step, s2sfast, **{name: value})
        assert message.startswith(f"ntm_step: expected {name} ") and "; got" in message


@BOTH
def test_taps_that_are_even_need_offsets(side):
    given = inputs("location_address")
    given["shift"] = given["shift"][..., :2]
    assert "expected shift_offsets where the number of taps is even; got None for S=2" in raised(
        "location_address", given, side
    )
    assert results("location_address", given, side, shift_offsets=(0, 1))[0].isfinite().all()


@BOTH
def test_a_head_that_is_none(side):
    given = inputs("ntm_step")
    assert "expected a read_head" in raised("ntm_step", {**given, "read_head": None}, side, order="read_write")
    for name in ("read_head", "write_head"):
        flat = torch.zeros(2, 3, 7)
        assert f"expected {name} (B, {name[0].upper()}, P)" in raised("ntm_step", {**given, name: flat}, side)


def test_a_writer_that_is_none():
    message = raised("ntm_step", {**inputs("ntm_step"), "write_head": None}, s2sfast)
    assert message.startswith("ntm_step: expected write_head ") and message.endswith(("got None", "got NoneType"))


def test_a_read_head_without_a_key_is_none():
    """Not the lecture's: its reader is None altogether."""
    given = inputs("ntm_step")
    given["read_head"] = given["read_head"]._replace(key=None)
    assert raised("ntm_step", given, s2sfast).startswith("ntm_step: expected read_head.key ")


# --- bookkeeping -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("output", ["memory", "reads", "read_weights", "write_weights"])
@ORDERS
@pytest.mark.parametrize("lecture", [False, True])
def test_gradient_through_one_output(output, order, lecture):
    """As of the reference."""
    given = mapped(torch.Tensor.double, step_inputs(2, 9, 5, 2, 3))
    if lecture:
        given |= {"read_head": None, "read_previous": None}
        order = "write_read"
    found = []
    for side in (s2sfast, reference):
        leaves = leaves_of(given)
        found.append(gradients(mixture([getattr(side.ntm_step(**leaves, order=order), output)]), leaves))
    for name in found[1]:
        assert_close(found[0][name], found[1][name], atol=1e-12, rtol=1e-10)


@ORDERS
@COMPOSITIONS
def test_gradient_of_one_input(order, composition):
    """The same bits as when all want one, of every field of every head; what wants none gets none."""
    given = step_inputs(2, 9, 5, 2, 3)
    options = {"order": order, "composition": composition}
    leaves = leaves_of(given)
    together = gradients(mixture(s2sfast.ntm_step(**leaves, **options)), leaves)
    for name, x in named(given).items():
        alone = x.clone().requires_grad_()
        found = s2sfast.ntm_step(**replaced(given, name, alone), **options)
        assert all(y.requires_grad for y in found)
        (gradient,) = torch.autograd.grad(mixture(found), alone)
        assert_equal_bits(gradient, together[name])


@OVER_OPS
def test_no_graph_without_need(op):
    given = inputs(op)
    assert not any(x.requires_grad for x in results(op, given))
    leaves = leaves_of(given)
    with torch.no_grad():
        assert not any(x.requires_grad for x in results(op, leaves))
    with torch.inference_mode():
        assert not any(x.requires_grad for x in results(op, given))


@ORDERS
def test_a_loop_in_place_of_the_old_memory(order):
    """Three steps; the old memory and weights may be overwritten only where no gradient needs them: torch says so."""
    given = step_inputs(2, 9, 5, 2, 2)
    leaves = leaves_of(given)
    copy = leaves["memory"].clone()
    found = s2sfast.ntm_step(copy, *list(leaves.values())[1:], order=order)
    copy.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        mixture(found).backward()


@ORDERS
@COMPOSITIONS
@pytest.mark.parametrize("R", [0, 2])
def test_what_is_kept_for_the_gradient(order, composition, R):
    """Beyond the arguments, three numbers for each head and slot, and norms: nothing of (B, N, M)."""
    B, N, M, W = 2, 40, 96, 3
    leaves = leaves_of(step_inputs(B, N, M, R, W))
    own = {x.untyped_storage().data_ptr() for x in named(leaves).values()}
    kept = {}

    def keep(x):
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        found = s2sfast.ntm_step(**leaves, order=order, composition=composition)
    assert own & set(kept)
    more = sum(size for place, size in kept.items() if place not in own)
    assert more <= 4 * B * ((3 * (R + W) + 2) * N + 8 * (R + W))
    del found


@ON_CPU
@ORDERS
def test_memory_of_a_step(order):
    """No allocation of (B, H, N, M), forward or back."""
    B, N, M, H = 2, 128, 64, 8
    leaves = leaves_of(step_inputs(B, N, M, H, H))
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        sum(x.sum() for x in s2sfast.ntm_step(**leaves, order=order)).backward()
    most = max(event.nbytes() for event in profile.profiler.kineto_results.events() if event.name() == "[memory]")
    assert 4 * B * N * M <= most < 4 * B * N * M * H / 2


@ON_CPU
@OVER_OPS
@pytest.mark.parametrize(("B", "N"), [(1, 4000), (3, 1500), (8, 300)])
def test_threads_share_the_work(op, B, N):
    """Enough for more than one thread; the bits are the same, gradients' too."""
    given = inputs(op, B, N, 33, 3)
    found = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        leaves = leaves_of(given)
        outputs = results(op, leaves)
        loss = sum((x * x).sum() for x in outputs)  # torch's own sums take no part in the gradients
        found.append([*(x.detach() for x in outputs), *gradients(loss, leaves).values()])
    for other in found[1:]:
        for a, b in zip(other, found[0], strict=True):
            assert_equal_bits(a, b)


@OVER_OPS
def test_a_sentence_alone_and_in_a_batch(op):
    """The same bits, gradients' too."""
    given = inputs(op, 5, 70, 33, 3)

    def run(part):
        leaves = leaves_of(mapped(lambda x: x[part], given))
        outputs = results(op, leaves)
        return [*(x.detach() for x in outputs), *gradients(sum((x * x).sum() for x in outputs), leaves).values()]

    together = run(slice(None))
    for b in range(5):
        for one, all_of_them in zip(run(slice(b, b + 1)), together, strict=True):
            assert_equal_bits(one[0], all_of_them[b])


@ON_CPU
@OVER_OPS
def test_autocast(op):
    """Dtypes may differ within it, as a controller's linear layers make them: the computation is in the memory's
    float32, and everybody's gradient is in his own dtype."""
    given = inputs(op)
    first = next(iter(given))
    given = {
        n: x if n == first or "previous" in n else mapped(torch.Tensor.bfloat16, {n: x})[n] for n, x in given.items()
    }
    exact = results(op, mapped(torch.Tensor.float, given))
    leaves = leaves_of(given)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = results(op, leaves)
    for mine, theirs in zip(found, exact, strict=True):
        assert mine.dtype == torch.float32
        assert_close(mine, theirs, atol=1e-6, rtol=1e-5)
    for name, gradient in gradients(mixture(found), leaves).items():
        assert gradient.dtype == named(leaves)[name].dtype and gradient.isfinite().all()


@ON_CPU
@ORDERS
@pytest.mark.parametrize("flat", [False, True])
def test_a_compiled_loop(order, flat):
    """Three steps in one graph, forward and back; what is around them is compiled by torch itself elsewhere
    (tests/test_ops.py): aot_eager takes the same graphs without a C++ compiler's seconds."""
    torch.compiler.reset()
    given = step_inputs(2, 9, 5, 2, 2)
    activation = None
    if flat:
        activation = NTMActivation(key="tanh")
        normal = normals(8)
        given |= {"read_head": normal(2, 2, 11), "write_head": normal(2, 2, 21)}

    def loop(memory, read_previous, write_previous, read_head, write_head):
        total, read, write = [], read_previous, write_previous
        for _ in range(3):
            memory, reads, read, write = s2sfast.ntm_step(
                memory, read, write, read_head, write_head, order=order, activation=activation
            )
            total.append(reads.tanh())
        return memory, torch.stack(total), read, write

    found = []
    for function in (loop, torch.compile(loop, fullgraph=True, backend="aot_eager")):
        leaves = leaves_of(given)
        outputs = function(**leaves)
        found.append([*(x.detach() for x in outputs), *gradients(mixture(outputs), leaves).values()])
    for eager, compiled in zip(*found, strict=True):
        assert_close(compiled, eager, atol=1e-6, rtol=1e-6)
