"""Who competes in an op's benchmark, whether their answers are right, and who has to stay out and why."""

from __future__ import annotations

import inspect
import re
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy
import torch
from torch import Tensor

from benchmarks import training
from benchmarks.environment import available_memory
from s2sfast import _engine
from s2sfast.cases import Case, Op

OURS = ("fast", "out")
COMPILED = "compiled"
COMPILE_LIMIT = 60
"""Seconds that torch.compile may take for one size."""
BIGGEST_INPUT = 4 * 2**30
TOLERANCE = {"rtol": 1e-5, "atol": 1e-4}
"""Of scores in float32 against float64; candidates closer than this may change places."""

_NUMBERS = numpy.linspace(-4, 4, 1024, dtype=numpy.float32)  # in the L1 cache

ORIENTATION: dict[str, dict[str, Callable]] = {
    "beam_topk": {
        "logsumexp": lambda logits, scores, k: logits.logsumexp(-1),
        "floor": lambda logits, scores, k: _engine.log_sum_exp(logits.flatten(0, 1).numpy()),
    },
    "additive_attention": {
        "floor": lambda query, keys, v: _engine.tanh(_NUMBERS, query.shape[1] * keys.numel() // len(_NUMBERS)),
    },
}
"""Timed beside the others but not the same work: no speed-up is computed against these."""

ABOUT = {
    "fast": "s2sfast.{op}",
    "out": "s2sfast.{op} with out=, which allocates nothing",
    COMPILED: "torch.compile(dynamic=False, fullgraph=True) of `{basis}`",
    "reference": "s2sfast.reference.{op}, in plain PyTorch",
    "logsumexp": "torch.logsumexp alone, for orientation: not the same work",
    "floor": "the bare elementary functions that the work consists of, always on one thread: not the same work",
}

COPIES = {"eager": 1.0, COMPILED: 1.0, "eager_usual": 2.0, "logsumexp": 1.0, "floor": 0.0, "fast": 0.0, "out": 0.0}
"""Memory that a contestant needs beside the input, in sizes of the input; others are taken to need 6 (numpy does)."""

_EXACT_LIMIT = 4_000_000  # logits that the reference sorts in one go


def basis_of(op: Op) -> tuple[str, Callable]:
    """What torch.compile gets: the best eager spelling, or the reference where there is none."""
    return ("eager", op.rivals["eager"]) if "eager" in op.rivals else ("reference", op.reference)


def names_of(op: Op) -> list[str]:
    rivals = list(op.rivals) or ["reference"]
    ours = [name for name in OURS if name == "fast" or "out" in inspect.signature(op.fast).parameters]
    return [*ours, *rivals, COMPILED, *ORIENTATION.get(op.name, {})]


def about(op: Op) -> dict[str, str]:
    """A line on each contestant, for the report."""
    known = {name: text.format(op=op.name, basis=basis_of(op)[0]) for name, text in ABOUT.items()}
    spoken = {name: (rival.__doc__ or name).strip().splitlines()[0] for name, rival in op.rivals.items()}
    return {name: spoken.get(name) or known.get(name, name) for name in names_of(op)}


def enter(
    op: Op,
    args: tuple,
    kwargs: dict,
    truth: Any,
    quick: bool,
    names: Sequence[str] | None = None,
    free_memory: Callable[[], int] = available_memory,
    case: Case | None = None,
) -> tuple[dict[str, Callable], dict[str, str]]:
    """(functions without arguments that gave the right answer, reasons of those left out)."""
    functions: dict[str, Callable] = {}
    left_out: dict[str, str] = {}
    train = case is not None and training.trains(case)
    for name in names_of(op) if names is None else names:
        if train and name in ORIENTATION.get(op.name, {}):
            continue
        need = _need(op, name, args, case)
        if need > 0.8 * free_memory():
            left_out[name] = f"needs about {need / 2**30:.1f} GiB more, {free_memory() / 2**30:.1f} are free"
        elif name == COMPILED and quick:
            left_out[name] = "--quick does not compile"
        else:
            try:
                functions[name] = _bind(op, name, args, kwargs, truth, train)
            except AssertionError:
                raise  # a wrong answer is no reason to go on
            except Exception as error:
                left_out[name] = f"failed: {_brief(error)}"
    return functions, left_out


def _need(op: Op, name: str, args: tuple, case: Case | None) -> float:
    """Bytes that a contestant takes beside the inputs, about."""
    if case is not None and op.name.startswith("additive") and name not in OURS:
        B, Q, T, D = (case.sizes[letter] for letter in "BQTD")
        return 4.0 * B * Q * T * D * (3 if training.trains(case) else 2)
    if case is not None and op.name in ("content_address", "ntm_step") and name not in OURS:
        B, N, M = (case.sizes[letter] for letter in "BNM")
        heads = case.sizes.get("H") or case.sizes["W"]
        return 4.0 * B * N * M * heads * (12 if training.trains(case) else 4)
    size = sum(x.numel() * x.element_size() for x in args if isinstance(x, Tensor))
    return COPIES.get(name, 6.0) * size


def _brief(error: Exception) -> str:
    """One line, without paths of this machine: it is committed."""
    text = re.sub(r"(/[\w.+-]+){2,}/?", "<path>", " ".join(str(error).split()))
    return f"{type(error).__name__}: {text[:120]}"


def _bind(op: Op, name: str, args: tuple, kwargs: dict, truth: Any, train: bool = False) -> Callable[[], Any]:
    if train:
        return _bind_training(op, name, args, kwargs, truth)
    orientation = ORIENTATION.get(op.name, {})
    if name in orientation:
        function = partial(orientation[name], *args, **kwargs)
        function()
        return function
    if name == "fast":
        function = partial(op.fast, *args, **kwargs)
    elif name == "out":
        function = partial(op.fast, *args, **kwargs, out=type(truth)(*map(torch.empty_like, op.fast(*args, **kwargs))))
    elif name == COMPILED:
        function = _compiled(basis_of(op)[1], args, kwargs)
    else:
        function = partial(op.rivals.get(name, op.reference), *args, **kwargs)
    check(function(), truth, f"{op.name}, {name}", op)
    return function


def _bind_training(op: Op, name: str, args: tuple, kwargs: dict, truth: Any) -> Callable[[], Any]:
    if name == "fast":
        function = op.fast
    elif name == COMPILED:
        function = _fresh_compile(basis_of(op)[1])
    else:
        function = op.rivals.get(name, op.reference)
    run = training.forward_and_back(op, function, args, kwargs)
    with _time_limit(COMPILE_LIMIT if name == COMPILED else 0):
        found = run()
    for mine, exact in zip(found, truth, strict=True):
        _check_close(mine, exact, f"{op.name}, {name}", op)
    return run


def _fresh_compile(function: Callable) -> Callable:
    torch.compiler.reset()  # every size is its own program; none may fall back for having met too many others
    return torch.compile(function, dynamic=False, fullgraph=True)


def _compiled(function: Callable, args: tuple, kwargs: dict) -> Callable[[], Any]:
    bound = partial(_fresh_compile(function), *args, **kwargs)
    with _time_limit(COMPILE_LIMIT):
        bound()
    return bound


@contextmanager
def _time_limit(seconds: int) -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise TimeoutError(f"not compiled after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


# --- right or wrong -------------------------------------------------------------------------------------


def truth_of(op: Op, args: tuple, kwargs: dict, case: Case | None = None) -> Any:
    """The reference's answer. Where its full sort would take minutes, sentence by sentence: the first by the reference,
    which the rival `eager` in float64 must agree with, and the others by that."""
    if case is not None and training.trains(case):
        return training.truth_of(op, args, kwargs)
    if "N" in (case.sizes if case else ()):
        return _by_sentence(op, args, kwargs)
    if op.name != "beam_topk" or args[0].numel() <= _EXACT_LIMIT:
        return op.reference(*args, **kwargs)
    logits, scores, k = args
    found = []
    for b in range(logits.shape[0]):
        sentence = logits[b : b + 1], scores[b : b + 1]
        exact = op.rivals["eager"](*(x.double() for x in sentence), k)
        if b == 0:
            check(exact, op.reference(*sentence, k), "beam_topk, eager in float64")
        found.append(exact)
    return type(found[0])(*(torch.cat(part) for part in zip(*found, strict=True)))


def _by_sentence(op: Op, args: tuple, kwargs: dict) -> Any:
    """Of a Neural Turing Machine: the reference takes many times the memory's size."""
    found = [op.reference(*training.sentence(args, b), **training.sentence(kwargs, b)) for b in range(args[0].shape[0])]
    if isinstance(found[0], Tensor):
        return torch.cat(found)
    return type(found[0])(*(torch.cat(part) for part in zip(*found, strict=True)))


def _check_close(found: Tensor, exact: Tensor, who: str, op: Op) -> None:
    """Eight times what the tests allow: the sizes are larger, and the answers of others have to pass too."""
    scale = 1 + float(exact.masked_fill(~exact.isfinite(), 0).abs().max())
    budget = 8 * op.tolerance[found.dtype] * scale
    torch.testing.assert_close(
        found.double(), exact.double(), rtol=0, atol=budget, equal_nan=True, msg=lambda m: f"{who}: {m}"
    )


def check(found: Any, truth: Any, who: str, op: Op | None = None) -> None:
    """Raises AssertionError unless the answer is right: no time for a wrong one."""
    if op is not None and op.tolerance:
        pairs = zip(
            (found,) if isinstance(found, Tensor) else found,
            (truth,) if isinstance(truth, Tensor) else truth,
            strict=True,
        )
        for mine, exact in pairs:
            if mine is not None:  # weights that a rival does not return
                _check_close(mine, exact, who, op)
        return
    if isinstance(truth, Tensor):
        torch.testing.assert_close(found, truth, rtol=0, atol=0, msg=lambda m: f"{who}: {m}")
        return
    scores, exact = found.scores.double(), truth.scores.double()
    torch.testing.assert_close(scores, exact, **TOLERANCE, msg=lambda m: f"{who}: {m}")
    apart = (exact[:, :-1] - exact[:, 1:]) > TOLERANCE["atol"] + TOLERANCE["rtol"] * exact[:, 1:].abs()
    edge = torch.ones_like(apart[:, :1])
    clear = torch.cat((edge, apart), 1) & torch.cat((apart, ~edge), 1)  # the last one's successor is not known
    for part in ("parents", "tokens"):
        same = getattr(found, part) == getattr(truth, part)
        assert bool(same[clear].all()), f"{who}: wrong {part} where no candidate is near"
