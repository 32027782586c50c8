"""What every test shares. Fresh memory is NaN: an element that no kernel writes is caught."""

import os

os.environ["S2SFAST_POISON"] = "1"  # read once, at the first allocation of an op
if "PYTEST_XDIST_WORKER" in os.environ:  # other workers have the other cores; a thread that spins would take them
    os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}

import pytest
import torch

from tests import machine
from tests.sass.tools import missing


def pytest_addoption(parser):
    parser.addoption("--machine", default="cpu", help="what the ops run on; see tests/machine.py")


def pytest_configure(config):
    if os.environ.get("S2SFAST_CUDA") == "1" and (absent := missing("nvcc", "nvdisasm", "cuobjdump", "c++filt")):
        raise pytest.UsageError(f"S2SFAST_CUDA=1: the tests of the CUDA half cannot run: {', '.join(absent)}")
    try:
        machine.use(config.getoption("--machine"))
    except ValueError as error:
        raise pytest.UsageError(str(error)) from error


def pytest_report_header():
    return machine.describe()


@pytest.fixture(autouse=True)
def unwritten_memory_is_nan():
    torch.manual_seed(0)
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(autouse=True)
def same_threads_afterwards():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
