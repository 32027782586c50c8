"""The table of cases of :func:`s2sfast.content_address`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from s2sfast import ops, reference
from s2sfast.cases import memory
from s2sfast.cases.memory import change, test
from s2sfast.cases.table import Failure, Op


def sample(
    dtype: torch.dtype,
    device: str,
    generator: torch.Generator,
    *,
    B: int,
    N: int,
    M: int,
    H: int,
    strided: bool = False,
    expanded: bool = False,
    strength: float | None = None,
    **eps: Any,
) -> tuple[tuple, dict]:
    drawn = memory.inputs(dtype, device, generator, strided)
    heads = memory.Heads(drawn, B, H)
    given = heads.strength()
    return (drawn.rows(B, N, M, expanded), heads.vector(M), given if strength is None else 0 * given + strength), eps


def eager(memory: Tensor, key: Tensor, strength: Tensor) -> Tensor:
    """The best spelling: one matmul, and the norms divided out of its result."""
    norms = memory.norm(dim=-1).clamp(min=1e-8)[:, None] * key.norm(dim=-1).clamp(min=1e-8)[..., None]
    return (torch.bmm(key, memory.mT) / norms * strength[..., None]).softmax(-1)


def eager_usual(memory: Tensor, key: Tensor, strength: Tensor) -> Tensor:
    """F.cosine_similarity of broadcast keys and memory."""
    similarity = torch.nn.functional.cosine_similarity(key[:, :, None], memory[:, None], dim=-1)
    return (strength[..., None] * similarity).softmax(-1)


def bytes_moved(*, B: int, N: int, M: int, H: int) -> int:
    return 4 * B * (N * M + H * M + H + H * N)


OP = Op(
    name="content_address",
    fast=ops.content_address,
    reference=reference.content_address,
    raw=(
        torch.ops.s2sfast.content_address.default,
        lambda args, kwargs: (
            *args,
            kwargs.get("eps", 1e-8),
            ("clamp", "sqrt", "product").index(kwargs.get("eps_mode", "clamp")),
        ),
    ),
    sample=sample,
    cases=(
        *memory.COMMON,
        test("strength-of-0", memory.sizes(2, 37, 12, 2), strength=0.0),
        # 1000 magnifies a cosine's rounding beyond the tolerance, the reference's too: see tests/test_ntm_numerics.py.
        test("strength-of-100", memory.sizes(2, 37, 12, 2), strength=100.0),
        *(
            test(f"{mode}-eps-{eps}", memory.sizes(2, 20, 12, 3), eps_mode=mode, eps=eps)
            for mode in ("clamp", "sqrt", "product")
            for eps in (0.0, 0.5, 3.5)
        ),
        *memory.BENCH,
    ),
    failures=(
        *memory.MEMORY_FAILURES,
        Failure("key-width", change(1, lambda x: x[..., 1:]), "expected key (B, H, M)=(2, 3, 12); got (2, 3, 11)"),
        Failure("key-batch", change(1, lambda x: x[:1]), "expected key (B, H, M)=(2, 3, 12); got (1, 3, 12)"),
        Failure("key-2d", change(1, lambda x: x[0]), "expected key (B, H, M)=(2, H, 12); got (3, 12)"),
        Failure("strength-shape", change(2, lambda x: x[:, 1:]), "expected strength (B, H)=(2, 3); got (2, 2)"),
        Failure("integer-key", change(1, Tensor.long), "expected floating key"),
        Failure("eps-mode", change("eps_mode", lambda _: "max"), "expected eps_mode to be clamp, sqrt or product"),
        Failure("eps-negative", change("eps", lambda _: -1.0), "expected eps in [0, inf)"),
    ),
    dtypes=tuple(memory.TOLERANCE),
    bytes_moved=bytes_moved,
    tolerance=memory.TOLERANCE,
    differentiable=("memory", "key", "strength"),
    rivals={"eager": eager, "eager_usual": eager_usual},
)
