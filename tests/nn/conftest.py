"""The tests of the modules work on tiny tensors: one thread (see tests/search/conftest.py), and float64 by default.

In float64 rounding is out of the way: what differs, differs in meaning.
"""

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def in_float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
