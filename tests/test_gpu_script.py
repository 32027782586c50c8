"""benchmarks/gpu.sh and gpu.py as far as they go without a GPU: the script's flow, the measuring and the tables."""

import inspect
import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from benchmarks import gpu, gpu_tables
from s2sfast.cases import OPS

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "benchmarks" / "gpu.sh"
NVIDIA_SMI = 'echo "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-1)"'
PYTHON = """
case "$*" in
  *get_device_capability*) echo 90 ;;
  *benchmarks.gpu*) echo "no kernel image"; exit 1 ;;
  *"--machine cuda"*) echo "401 passed" ;;
  "-c import transformers" | "-c import g2p_en") exit 1 ;;
  *pytest*) echo "$*"; echo "503 passed" ;;
esac
"""


def run(*arguments, cwd=ROOT, **environment):
    return subprocess.run(
        ["bash", SCRIPT, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def machine(tmp_path):
    """The environment of a machine whose GPU and Python are made up."""
    program(tmp_path / "bin" / "nvidia-smi", NVIDIA_SMI)
    python = program(tmp_path / "bin" / "made-up-python", PYTHON)
    return {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", "PYTHON": str(python)}


def test_the_script_parses():
    subprocess.run(["bash", "-n", SCRIPT], check=True)


def test_help_names_what_comes_and_goes():
    done = run("--help")
    assert done.returncode == 0
    assert all(word in done.stdout for word in ("RESULTS", "gpu_ops.json", "PYTHON=", "QUICK=1", "Exit status"))


@pytest.mark.parametrize("arguments", [(), ("--quick",), ("one", "two")])
def test_other_arguments_are_refused(arguments):
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage: benchmarks/gpu.sh RESULTS" in done.stderr


def test_without_a_gpu_it_says_so(tmp_path):
    program(tmp_path / "bin" / "nvidia-smi", "exit 9")
    done = run(tmp_path / "results", PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    assert done.returncode == 2
    assert done.stderr.startswith("benchmarks/gpu.sh: no CUDA device")


def test_a_python_that_does_not_do_says_why(tmp_path, machine):
    program(Path(machine["PYTHON"]), 'echo "torch 2.9.0 is older than 2.13" >&2; exit 1')
    done = run(tmp_path / "results", **machine)
    assert done.returncode == 2
    assert "made-up-python: torch 2.9.0 is older than 2.13" in done.stderr


def test_one_failing_step_fails_the_run_and_the_others_run(tmp_path, machine):
    done = run("results", cwd=tmp_path, **machine)
    assert done.returncode == 1
    summary = (tmp_path / "results" / "summary.txt").read_text()
    steps = [line.split("(")[0].split(":")[0].split() for line in summary.splitlines()]
    assert ["passed", "build"] in steps and ["passed", "tests_gpu"] in steps and ["passed", "tests_cpu"] in steps
    assert ["FAILED", "times"] in steps
    assert "no kernel image" in summary
    assert "skipped  sanitizer: no compute-sanitizer on PATH" in summary
    assert "skipped  the demo's tests" in summary
    assert "--ignore=tests/search/test_hf.py" in (tmp_path / "results" / "tests_cpu.log").read_text()


def test_what_the_sanitizer_finds_in_torch_is_not_ours(tmp_path, machine):
    program(
        tmp_path / "bin" / "compute-sanitizer",
        'case "$*" in *initcheck*) echo "========= at at::native::fill+0x30"; exit 9 ;; esac; echo "0 errors"',
    )
    done = run("results", cwd=tmp_path, SKIP="times", **machine)
    assert done.returncode == 0
    assert "not counted, all of it is in torch's own kernels" in done.stdout
    program(
        tmp_path / "bin" / "compute-sanitizer",
        'case "$*" in *racecheck*) echo "========= at beam_topk_scan+0x30"; exit 9 ;; esac; echo "0 errors"',
    )
    done = run("results", cwd=tmp_path, SKIP="times", **machine)
    assert done.returncode == 1
    assert "beam_topk_scan" in (tmp_path / "results" / "sanitizer.log").read_text()


# --- gpu.py ---------------------------------------------------------------------------------------------


class Cpu:
    """Stands in for a device: the same questions, other answers."""

    name = "cpu"

    def __init__(self, free=2**33):
        self.free = free

    def free_memory(self):
        return self.free

    def synchronize(self):
        pass

    def warm(self, function, calls):
        start = time.perf_counter()
        for _ in range(calls):
            function()
        return time.perf_counter() - start

    flushed = warm

    def capture(self, function):
        answer = function()
        return function, answer


def small(name):
    op = next(op for op in OPS if op.name == name)
    return op, min(op.of("bench"), key=lambda case: op.bytes_moved(**case.sizes))


MADE_UP = {
    "name": "NVIDIA H100 80GB HBM3", "capability": "9.0", "sms": 132, "l2_mb": 50.0, "memory_gib": 79.2,
    "driver": "580.1", "cuda": "13.0", "read_GB/s": 3000.0,
}  # fmt: skip


def content(rows, **more):
    base = {"gpu": MADE_UP, "commit": {"id": "0123456789abcdef", "dirty": False}, "versions": {"torch": "2.13.0+cu130"}}
    base |= {"date": "2026-11-25T10:00:00+00:00", "quick": False, "wrong": [], "left_out": []}
    providers = {op.name: gpu.about(op) for op in OPS}
    return json.loads(json.dumps({**base, "providers": providers, "rows": rows, **more}))


@pytest.mark.parametrize("name", [op.name for op in OPS])
def test_an_op_is_measured_and_shown(name):
    op, case = small(name)
    rows, left_out, wrong = gpu.run([(op, case)], Cpu(), seconds=0.1, quick=True)
    assert not wrong
    assert [entry["provider"] for entry in left_out] == ["compiled"]
    wanted = {"fast", "graph", "eager" if op.rivals else "reference"}
    wanted |= {"out"} & set(inspect.signature(op.fast).parameters)
    assert wanted <= {row["provider"] for row in rows}
    assert not any(row["provider"].startswith("numpy") for row in rows)
    assert {row["cache"] for row in rows} == {"warm", "flushed"}
    page = gpu_tables.document(content(rows, left_out=left_out, quick=True))
    assert f"## {name}, L2 flushed" in page
    assert case.why in page
    assert "From a quick run" in page


def test_a_wrong_answer_gets_no_time(monkeypatch):
    op, case = small("beam_topk")
    monkeypatch.setattr(
        Cpu, "capture", lambda self, function: (function, function()._replace(scores=function()[0] + 1))
    )
    rows, _, wrong = gpu.run([(op, case)], Cpu(), seconds=0.1, quick=True)
    assert not rows
    assert "beam_topk, graph" in wrong[0]


def test_what_does_not_fit_is_left_out_with_a_reason():
    op, case = small("beam_topk")
    rows, left_out, _ = gpu.run([(op, case)], Cpu(free=1000), seconds=0.1, quick=True)
    assert not rows
    assert left_out[0]["provider"] == "everyone"
    assert "are free" in left_out[0]["reason"]


def test_a_loss_is_called_one():
    def row(provider, cache, median):
        sizes = {"B": 1, "K": 5, "V": 32_000, "k": 10}
        keys = {"op": "beam_topk", "case": "B1-K5-V32k", "provider": provider, "cache": cache, "sizes": sizes}
        return {**keys, "median": median, "q1": median, "q3": median, "rounds": 15, "bytes_moved": 640_220}

    rows = [row("fast", "warm", 8e-6), row("out", "warm", 6e-6), row("graph", "warm", 1e-6), row("eager", "warm", 5e-6)]
    rows += [row("fast", "flushed", 9e-6), row("graph", "flushed", 4e-6), row("eager", "flushed", 40e-6)]
    page = gpu_tables.document(content(rows, wrong=["backtrace long: AssertionError: no"]))
    warm, flushed = (line for line in page.splitlines() if "B1-K5-V32k |" in line)
    assert warm.startswith("| **LOSS** B1-K5-V32k | 0.83x (eager) | 107 | 4 % |")  # a graph is no fair rival of eager
    assert flushed.startswith("| B1-K5-V32k | 10.0x (eager) | 160 | 5 % |")
    assert "* backtrace long: AssertionError: no" in page


def test_the_command_writes_both_files(tmp_path, monkeypatch):
    class Described(Cpu):
        def describe(self):
            return MADE_UP

    monkeypatch.setattr(gpu, "CudaDevice", Described)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("sys.argv", ["gpu", str(tmp_path), "--quick", "--only", "V1k", "--commit", "a1b2c3"])
    assert gpu.main() == 0
    written = json.loads((tmp_path / "gpu_ops.json").read_text())
    assert (written["kind"], written["quick"], written["commit"]["id"]) == ("gpu_ops", True, "a1b2c3")
    assert str(ROOT) not in (tmp_path / "gpu_ops.json").read_text()
    assert "B1-K1-V1k" in (tmp_path / "gpu_ops.md").read_text()
