"""Numbers for the tests of the Neural Turing Machine, as a controller would give them."""

import os

import pytest
import torch

import s2sfast
from s2sfast import NTMHead, reference
from tests import over
from tests.over import normals

SIMULATED = torch.get_default_device().type != "cpu" or "PTX_ARCH" in os.environ
ON_CPU = pytest.mark.skipif(SIMULATED, reason="too much for a simulation")
BOTH = pytest.mark.parametrize("side", [s2sfast, reference], ids=["fast", "reference"])
OPS = ("content_address", "location_address", "memory_read", "memory_write", "ntm_step")
OVER_OPS = pytest.mark.parametrize("op", OPS)
ORDERS = pytest.mark.parametrize("order", ["write_read", "read_write"])
COMPOSITIONS = pytest.mark.parametrize("composition", ["sequential", "product"])
CONTENT_ALONE = ("gate", "shift", "sharpen")
EPS_MODES = pytest.mark.parametrize("mode", ["clamp", "sqrt", "product"])


def head(normal, B: int, H: int, M: int, S: int = 3, *, write: bool = False, without: tuple[str, ...] = ()) -> NTMHead:
    """Strengths of both signs, sharpen between 1 and about 4. S = 0: no shift."""
    fields = {
        "key": normal(B, H, M),
        "strength": 2 * normal(B, H) + 2,
        "gate": normal(B, H).sigmoid(),
        "shift": normal(B, H, S).softmax(-1) if S else None,
        "sharpen": 1 + normal(B, H).exp().clamp(max=3),
        "erase": normal(B, H, M).sigmoid() if write else None,
        "add": normal(B, H, M) if write else None,
    }
    return NTMHead(**{name: None if name in without else x for name, x in fields.items()})


def rows(normal, B: int, H: int, N: int) -> torch.Tensor:
    return normal(B, H, N).mul(2).softmax(-1) if N else normal(B, H, N)


def step_inputs(
    B: int, N: int, M: int, R: int, W: int, S: int = 3, *, seed: int = 0, without: tuple[str, ...] = ()
) -> dict:
    """The five arguments of `ntm_step`, by name."""
    normal = normals(seed)
    return {
        "memory": normal(B, N, M),
        "read_previous": rows(normal, B, R, N),
        "write_previous": rows(normal, B, W, N),
        "read_head": head(normal, B, R, M, S, without=without),
        "write_head": head(normal, B, W, M, S, write=True, without=without),
    }


def mapped(function, given: dict) -> dict:
    """`function` of every tensor, those in heads too."""

    def of(x):
        if isinstance(x, NTMHead):
            return NTMHead(*(of(field) for field in x))
        return function(x) if isinstance(x, torch.Tensor) else x

    return {name: of(x) for name, x in given.items()}


def named(given: dict) -> dict[str, torch.Tensor]:
    """Every tensor by name, a head's as `read_head.key`."""
    found = {}
    for name, x in given.items():
        fields = (
            [(f"{name}.{n}", y) for n, y in zip(x._fields, x, strict=True)] if isinstance(x, NTMHead) else [(name, x)]
        )
        found.update({n: y for n, y in fields if isinstance(y, torch.Tensor)})
    return found


def leaves_of(given: dict) -> dict:
    """Copies that want gradients."""
    return mapped(lambda x: x.detach().clone().requires_grad_(), given)


def mixture(outputs, seed: int = 7) -> torch.Tensor:
    """A loss in which every number of every output has a weight of its own."""
    normal = normals(seed)
    return sum((x.double() * normal(*x.shape).double()).sum() for x in outputs)


def gradients(loss: torch.Tensor, leaves: dict) -> dict[str, torch.Tensor]:
    """By name; zeros where the loss does not depend on a leaf."""
    wanted = named(leaves)
    found = torch.autograd.grad(loss, list(wanted.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(wanted, found, strict=True))


def inputs(op: str, B: int = 2, N: int = 9, M: int = 5, H: int = 3, seed: int = 0) -> dict:
    """The arguments of an op, by name."""
    normal = normals(seed)
    if op == "ntm_step":
        return step_inputs(B, N, M, H, H, seed=seed)
    if op == "location_address":
        of = head(normal, B, H, M)
        return {
            "content": rows(normal, B, H, N), "previous": rows(normal, B, H, N), "gate": of.gate, "shift": of.shift,
            "sharpen": of.sharpen,
        }  # fmt: skip
    given = {"memory": normal(B, N, M)}
    if op == "content_address":
        return given | {"key": normal(B, H, M), "strength": 3 * normal(B, H)}
    given["weights"] = rows(normal, B, H, N)
    if op == "memory_write":
        given |= {"erase": normal(B, H, M).sigmoid(), "add": normal(B, H, M)}
    return given


def results(op: str, given: dict, side=s2sfast, **options) -> tuple[torch.Tensor, ...]:
    return over.tensors(getattr(side, op)(**given, **options))


def assert_equal_bits(got: torch.Tensor, expected: torch.Tensor) -> None:
    assert torch.equal(got, expected), f"off by {float((got - expected).abs().max()):.3g}"
