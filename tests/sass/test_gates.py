"""The project's own kernels keep to tests/sass/gates.json."""

import pytest

from tests.sass import gates
from tests.sass.compile import project_sources
from tests.sass.report import measure


@pytest.mark.skipif(not project_sources(), reason="no csrc/**/*_cuda.cu")
def test_every_kernel_keeps_to_its_gates(toolkit):
    failures = gates.check(measure(project_sources()), gates.load())
    if failures:
        pytest.fail("\n".join(map(str, failures)), pytrace=False)
