"""Every instruction set the machine has, forced in a process of its own."""

import os
import subprocess
import sys

import pytest
import torch

from s2sfast import _engine, _ops


def run(isa: str, *command: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *command], env={**os.environ, "S2SFAST_ISA": isa}, capture_output=True, text=True, timeout=500
    )


def test_both_modules_agree():
    assert _ops.isa() == _engine.isa()


@pytest.mark.parametrize("isa", _engine.isas())
def test_the_ops_on(isa):
    if isa == _engine.isa():
        pytest.skip("the instruction set of this very run")
    done = run(isa, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-k", "means or feel or hand or random",
               "tests/test_ops.py", "tests/test_beam_topk.py", "tests/test_backtrace.py")  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    assert run(isa, "-c", "import s2sfast; print(s2sfast.info()['isa'])").stdout.strip() == isa


def test_an_unknown_isa_is_an_error():
    done = run("avx1024", "-c", "import s2sfast")
    assert done.returncode != 0
    assert "expected baseline, avx2 or avx512" in done.stderr


@pytest.mark.parametrize("width", [0, 1, 7, 16, 511, 512, 513, 5000])
def test_log_sum_exp_of_the_engine(width):
    rows = torch.randn(3, width) * 20
    rows[1] = -torch.inf
    expected = rows.double().logsumexp(-1)
    torch.testing.assert_close(torch.from_numpy(_engine.log_sum_exp(rows.numpy())), expected, rtol=1e-7, atol=1e-7)
