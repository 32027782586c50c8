"""The planted kernels, compiled once."""

from pathlib import Path

import pytest

from tests.sass.report import Kernel, measure
from tests.sass.tools import missing

PLANTED = Path(__file__).with_name("planted.cu")
TOOLS = ("nvcc", "nvdisasm", "cuobjdump", "c++filt")


@pytest.fixture(scope="session")
def toolkit() -> None:
    absent = missing(*TOOLS)
    if absent:
        pytest.skip(", ".join(absent))


@pytest.fixture(scope="session")
def planted(toolkit, tmp_path_factory) -> dict[tuple[str, str], Kernel]:
    """By name and architecture."""
    kernels = measure([PLANTED], build=tmp_path_factory.mktemp("sass"))
    return {(kernel.name, kernel.arch): kernel for kernel in kernels}
