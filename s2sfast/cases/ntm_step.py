"""The table of cases of :func:`s2sfast.ntm_step`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from s2sfast import ops, reference
from s2sfast.cases import content_address, location_address, memory, memory_read, memory_write
from s2sfast.cases.memory import change, test
from s2sfast.cases.table import Case, Failure, Op
from s2sfast.ops.ntm_step import options_of, tensors_of
from s2sfast.reference.ntm_step import activated
from s2sfast.types import NTMActivation, NTMHead, NTMStep


def sample(
    dtype: torch.dtype,
    device: str,
    generator: torch.Generator,
    *,
    B: int,
    N: int,
    M: int,
    R: int,
    W: int,
    S: int,
    strided: bool = False,
    flat: bool = False,
    lecture: bool = False,
    without: tuple[str, ...] = (),
    **options: Any,
) -> tuple[tuple, dict]:
    """`flat`: the heads are one tensor each, as an activation wants them; `lecture`: no read head."""
    drawn = memory.inputs(dtype, device, generator, strided)
    held = drawn.normal(B, N, M)
    previous: list[Any] = []
    heads: list[Any] = []
    for H, write in ((R, False), (W, True)):
        of = memory.Heads(drawn, B, H)
        previous.append(of.weights(N))
        heads.append(of.vector((3 if write else 1) * M + 3 + S) if flat else _head(of, M, S, write, without))
    if lecture:
        previous[0] = heads[0] = None
    if "gate" in without:
        previous = [None, None]
    return (held, *previous, *heads), options


def _head(of: memory.Heads, M: int, S: int, write: bool, without: tuple[str, ...]) -> NTMHead:
    head = NTMHead(
        of.vector(M), of.strength(), of.gate(), of.shift(S), of.sharpen(),
        of.erase(M) if write else None, of.vector(M) if write else None,
    )  # fmt: skip
    absent: dict[str, Any] = dict.fromkeys(without)
    return head._replace(**absent)


# --- rivals ----------------------------------------------------------------------------------------------


def _step_of(content: Callable[..., Tensor]) -> Callable[..., NTMStep]:
    def step(
        memory: Tensor,
        read_previous: Tensor,
        write_previous: Tensor,
        read_head: NTMHead | Tensor,
        write_head: NTMHead | Tensor,
        *,
        activation: NTMActivation | None = None,
    ) -> NTMStep:
        def head_of(given: NTMHead | Tensor, write: bool) -> NTMHead:
            head = given if isinstance(given, NTMHead) else NTMHead.split(given, memory.shape[2], write=write)
            return head if activation is None else activated(head, activation)

        def address(of: Tensor, previous: Tensor, head: NTMHead) -> Tensor:
            found = content(of, head.key, head.strength)
            return location_address.eager(found, previous, head.gate, head.shift, head.sharpen)

        read, write = head_of(read_head, False), head_of(write_head, True)
        write_weights = address(memory, write_previous, write)
        written = memory_write.eager(memory, write_weights, write.erase, write.add)
        read_weights = address(written, read_previous, read)
        return NTMStep(written, memory_read.eager(written, read_weights), read_weights, write_weights)

    return step


eager = _step_of(content_address.eager)
eager.__doc__ = "The best spelling: torch.bmm for dot products and reading, rolled rows, outer products."
eager_usual = _step_of(content_address.eager_usual)
eager_usual.__doc__ = "The same, with F.cosine_similarity of broadcast keys and memory."


def bytes_moved(*, B: int, N: int, M: int, R: int, W: int, S: int) -> int:
    """The memory is read once and written once; once more it is read for what the read heads find in the new one."""
    heads = R * (M + 3 + S) + W * (3 * M + 3 + S)
    return 4 * B * (3 * N * M + heads + 2 * (R + W) * N + R * M)


# --- the table -------------------------------------------------------------------------------------------


def _sizes(B: int, N: int, M: int, R: int, W: int, S: int = 3) -> dict[str, int]:
    return {"B": B, "N": N, "M": M, "R": R, "W": W, "S": S}


def _bench(use: str, B: int, N: int, M: int, H: int) -> Case:
    return memory.bench(use, f"B{B}-N{N}-M{M}-heads{H}", _sizes(B, N, M, H, H))


def _raw_bench(use: str, B: int, N: int, M: int, H: int) -> Case:
    """From a controller's numbers, one tensor for each kind of heads, through their activation."""
    why = f"B{B}-N{N}-M{M}-heads{H}-raw"
    return memory.bench(use, why, _sizes(B, N, M, H, H), flat=True, activation=NTMActivation())


_OPTIONS = {
    "order": "write_read", "composition": "sequential", "shift_offsets": None, "eps": 1e-8, "eps_mode": "clamp",
    "activation": None,
}  # fmt: skip


def _raw(args: tuple, kwargs: dict) -> tuple:
    return *tensors_of(*args), *options_of(**{**_OPTIONS, **kwargs}), True


def _of_head(at: int, **fields: Any) -> Callable[[tuple, dict], tuple[tuple, dict]]:
    """For Failure: fields of a head are changed."""
    return change(at, lambda head: head._replace(**{n: how(getattr(head, n)) for n, how in fields.items()}))


ALL = {"order": "read_write", "composition": "product"}
RAW = NTMActivation(key="tanh", strength="oneplus", add="tanh")

OP = Op(
    name="ntm_step",
    fast=ops.ntm_step,
    reference=reference.ntm_step,
    raw=(torch.ops.s2sfast.ntm_step.default, _raw),
    sample=sample,
    cases=(
        test("usual", _sizes(2, 20, 12, 2, 3)),
        test("one-of-everything", _sizes(1, 1, 1, 1, 1, 1)),
        test("empty-batch", _sizes(0, 4, 3, 2, 1)),
        test("no-slots", _sizes(2, 0, 3, 2, 1)),
        test("no-width", _sizes(2, 4, 0, 2, 1)),
        test("no-read-heads", _sizes(2, 9, 3, 0, 2)),
        test("no-write-heads", _sizes(2, 9, 3, 2, 0)),
        test("paper", _sizes(1, 128, 20, 1, 1)),
        test("odd-everything", _sizes(3, 131, 33, 3, 2, 5)),
        test("odd-everything-read-write-product", _sizes(3, 131, 33, 3, 2, 5), **ALL),
        test("many-heads", _sizes(1, 70, 21, 9, 10)),
        test("many-heads-product", _sizes(1, 70, 21, 9, 10), composition="product"),
        test("read-write", _sizes(2, 70, 12, 2, 3), order="read_write"),
        test("even-taps", _sizes(2, 37, 12, 2, 2, 2), shift_offsets=[0, 1]),
        test("content-alone", _sizes(2, 37, 12, 2, 2), without=("gate", "shift", "sharpen")),
        test(
            "content-alone-read-write",
            _sizes(2, 37, 12, 2, 2),
            without=("gate", "shift", "sharpen"),
            order="read_write",
        ),
        test("no-shift", _sizes(2, 37, 12, 2, 2), without=("shift",)),
        test("no-taps", _sizes(2, 37, 12, 2, 2, 0)),
        test("no-sharpening", _sizes(2, 37, 12, 2, 2), without=("sharpen",)),
        test("lecture", _sizes(2, 70, 12, 0, 1), lecture=True, without=("gate", "shift", "sharpen")),
        test("lecture-with-location", _sizes(2, 70, 12, 0, 3), lecture=True),
        test("flat", _sizes(2, 37, 12, 2, 3), flat=True, activation=NTMActivation()),
        test("flat-without-shift", _sizes(2, 37, 12, 2, 3, 0), flat=True, activation=RAW),
        test("activated", _sizes(2, 37, 12, 2, 3), activation=RAW),
        test("strided", _sizes(2, 70, 12, 2, 2), strided=True),
        test("sqrt-eps-0.5", _sizes(2, 20, 12, 3, 2), eps_mode="sqrt", eps=0.5),
        test("product-eps-0.5", _sizes(2, 20, 12, 3, 2), eps_mode="product", eps=0.5),
        test("clamp-eps-3.5", _sizes(2, 20, 12, 3, 2), eps_mode="clamp", eps=3.5),
        *(
            _bench(use, B, N, M, H)
            for use in ("bench", "train")
            for B in (1, 16, 64)
            for N in (128, 1024, 8192)
            for M in (20, 64)
            for H in (1, 4)
        ),
        *(_raw_bench(use, *sizes) for use in ("bench", "train") for sizes in ((1, 128, 20, 1), (16, 1024, 64, 4))),
    ),
    failures=(
        *memory.MEMORY_FAILURES[:2],
        Failure("memory-dtype", change(0, Tensor.double), "expected write_head.key in the dtype of memory"),
        Failure(
            "order", change("order", lambda _: "read"), "expected order to be write_read or read_write; got 'read'"
        ),
        Failure(
            "composition", change("composition", lambda _: "sum"), "expected composition to be sequential or product"
        ),
        Failure("eps-mode", change("eps_mode", lambda _: "max"), "expected eps_mode to be clamp, sqrt or product"),
        Failure("eps-negative", change("eps", lambda _: -1.0), "expected eps in [0, inf)"),
        Failure(
            "no-read-head",
            lambda a, k: ((*a[:3], None, a[4]), {**k, "order": "read_write"}),
            "expected a read_head with order='read_write'; got None",
        ),
        Failure("no-add", _of_head(4, add=lambda _: None), "expected write_head.add (B, W, M)=(2, 3, 12); got None"),
        Failure(
            "erase-shape",
            _of_head(4, erase=lambda x: x[:, 1:]),
            "expected write_head.erase (B, W, M)=(2, 3, 12); got (2, 2, 12)",
        ),
        Failure(
            "key-width",
            _of_head(3, key=lambda x: x[..., 1:]),
            "expected read_head.key (B, R, M)=(2, 2, 12); got (2, 2, 11)",
        ),
        Failure("gate-shape", _of_head(3, gate=lambda x: x[:1]), "expected read_head.gate (B, R)=(2, 2); got (1, 2)"),
        Failure(
            "read-previous-shape",
            change(1, lambda x: x[..., 1:]),
            "expected read_previous (B, R, N)=(2, 2, 20); got (2, 2, 19)",
        ),
        Failure(
            "no-write-previous",
            change(2, lambda _: None),
            "expected write_previous (B, W, N)=(2, 3, 20) with a gate; got None",
        ),
        Failure(
            "flat-too-narrow",
            change(4, lambda _: torch.zeros(2, 3, 38)),
            "expected write_head (B, W, P)=(2, W, P), P at least 39; got (2, 3, 38)",
        ),
        Failure(
            "even-taps",
            _of_head(3, shift=lambda x: x[..., 1:]),
            "expected shift_offsets where the number of taps is even; got None for S=2",
        ),
        Failure(
            "too-few-offsets", change("shift_offsets", lambda _: [1]), "expected shift_offsets of S=3 integers; got 1"
        ),
        Failure(
            "sharpen-below-1",
            _of_head(4, sharpen=lambda x: torch.where(torch.arange(6).view(2, 3).to(x.device) == 0, 0.5, x)),
            "expected write_head.sharpen >= 1; got 0.5 for sentence 0, head 0",
        ),
    ),
    dtypes=tuple(memory.TOLERANCE),
    bytes_moved=bytes_moved,
    tolerance=memory.TOLERANCE,
    differentiable=("memory", "read_previous", "write_previous", "read_head", "write_head"),
    rivals={"eager": eager, "eager_usual": eager_usual},
)
