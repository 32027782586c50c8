"""Parametrises tests over the table of cases."""

import pytest
import torch

import s2sfast
from s2sfast.cases import OPS, Op


def cases(use: str = "test"):
    pairs = [pytest.param(op, case, id=f"{op.name}-{case.why}") for op in OPS for case in op.of(use)]
    return pytest.mark.parametrize(("op", "case"), pairs)


def cases_and_dtypes():
    triples = [
        pytest.param(op, case, dtype, id=f"{op.name}-{case.why}-{str(dtype).removeprefix('torch.')}")
        for op in OPS
        for case in op.of("test")
        for dtype in op.dtypes
    ]
    return pytest.mark.parametrize(("op", "case", "dtype"), triples)


def failures():
    pairs = [pytest.param(op, failure, id=f"{op.name}-{failure.why}") for op in OPS for failure in op.failures]
    return pytest.mark.parametrize(("op", "failure"), pairs)


def sample(op: Op, case, dtype: torch.dtype | None = None, seed: int = 0):
    """(args, kwargs) of a case; the same numbers for every dtype, before they are rounded to it."""
    generator = torch.Generator("cpu").manual_seed(seed)
    return op.sample(dtype or op.dtypes[0], str(torch.get_default_device()), generator, **case.sizes, **case.options)


def normals(seed: int):
    """A function of sizes that draws normal numbers, the same on every device."""
    generator = torch.Generator("cpu").manual_seed(seed)
    return lambda *size: torch.randn(size, generator=generator, device="cpu").to(torch.get_default_device())


def integers(seed: int):
    """A function of bounds and size that draws integers, the same on every device."""
    generator = torch.Generator("cpu").manual_seed(seed)

    def draw(low: int, high: int, size: tuple[int, ...]) -> torch.Tensor:
        return torch.randint(low, high, size, generator=generator, device="cpu").to(torch.get_default_device())

    return draw


def settled(function):
    """`function`, but a fault that a device finds late is raised before it returns."""

    def call(*args, **kwargs):
        result = function(*args, **kwargs)
        s2sfast.synchronize()
        return result

    return call


def tensors(result) -> tuple[torch.Tensor, ...]:
    return (result,) if isinstance(result, torch.Tensor) else tuple(result)


def assert_close(got: torch.Tensor, exact: torch.Tensor, tolerance: float) -> None:
    """Within tolerance times (1 + the largest finite number) of what is exact; what is not finite is the same."""
    assert got.shape == exact.shape
    exact = exact.to(torch.float64)
    finite = exact.isfinite()
    torch.testing.assert_close(got.double().where(~finite, 0), exact.where(~finite, 0), rtol=0, atol=0, equal_nan=True)
    scale = 1 + float(exact.where(finite, 0).abs().max()) if exact.numel() else 1.0
    off = (got.double() - exact).where(finite, 0).abs()
    assert not off.numel() or float(off.max()) <= tolerance * scale, f"off by {float(off.max()):.3g}, scale {scale:.3g}"


def assert_same(op: Op, case, one, other) -> None:
    """The same bits, but where torch's matmul takes part."""
    for a, b in zip(one, other, strict=True):
        if op.by_matmul(case):
            assert_close(a, b, op.tolerance[a.dtype])
        else:
            assert torch.equal(a, b)
