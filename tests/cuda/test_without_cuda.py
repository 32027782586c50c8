"""A build without nvcc: it imports, says what it lacks, and its ops refuse tensors of a device."""

import subprocess
import sys

import pytest

from tests.cuda import simulated

PROGRAM = """
import sys
from pathlib import Path
from tests.cuda import simulated
simulated.load(Path(sys.argv[1]))
import torch, s2sfast
index = torch.zeros(1, 1, 1, dtype=torch.int64)
for call in (
    lambda: s2sfast.beam_topk(torch.zeros(1, 1, 4), torch.zeros(1, 1), 2),
    lambda: s2sfast.backtrace(index, index, index[0]),
):
    try:
        call()
    except ValueError as error:
        print(error)
"""


@pytest.mark.skipif(not simulated.can_build(), reason="no build whose commands could be used")
def test_the_ops_of_a_build_without_cuda_say_so():
    module = simulated.make_without_cuda()
    done = subprocess.run([sys.executable, "-c", PROGRAM, module], cwd=simulated.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split(": install nvcc")[0] for line in lines] == [
        "beam_topk: built without CUDA",
        "backtrace: built without CUDA",
    ]
    assert all("S2SFAST_CUDA=1" in line for line in lines)
