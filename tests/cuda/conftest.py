"""Which of these tests belong to the machine that the run is for: the others are not collected."""

from pathlib import Path

import pytest

OF_THE_BUILD = ("test_build.py", "test_without_cuda.py")  # they look at files
OF_A_GPU = ("test_gpu.py",)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config):
    if not collection_path.name.startswith("test_"):
        return None
    machine = config.getoption("--machine")
    if collection_path.name in OF_THE_BUILD:
        belongs = machine == "cpu"
    elif collection_path.name in OF_A_GPU:
        belongs = machine == "cuda"
    else:
        belongs = machine != "cpu"
    return None if belongs else True


@pytest.fixture(autouse=True)
def no_fault_is_left_behind():
    yield
    import s2sfast  # not above: what it loads is chosen when pytest is configured

    s2sfast.synchronize()
