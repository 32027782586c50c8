"""Parametrises tests over the table of cases."""

import pytest
import torch

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
    generator = torch.Generator().manual_seed(seed)
    return op.sample(dtype or op.dtypes[0], "cpu", generator, **case.sizes, **case.options)


def tensors(result) -> tuple[torch.Tensor, ...]:
    return (result,) if isinstance(result, torch.Tensor) else tuple(result)
