"""The extension module: what it was compiled for, what it registers, and what it needs of the CUDA runtime."""

import re
import subprocess

import pytest
import torch

from s2sfast import _ops
from tests.cuda import mutants, simulated
from tests.sass.tools import run

DIFFERENTIABLE = (
    "dot_attention", "cosine_attention", "additive_attention", "additive_scores", "pointer_mixture", "pointer_nll",
    "content_address", "location_address", "memory_read", "memory_write", "ntm_step",
)  # fmt: skip
OPS = ("beam_topk", "beam_topk_out", "backtrace", *(op + way for op in DIFFERENTIABLE for way in ("", "_backward")))
BUILT_WITH_CUDA = pytest.mark.skipif(not _ops.cuda_archs(), reason="built without CUDA")


@pytest.mark.parametrize("op", OPS)
def test_every_op_is_registered_for_both_devices(op):
    for key in ("CPU", "CUDA"):
        assert torch._C._dispatch_has_kernel_for_dispatch_key(f"s2sfast::{op}", key)


@BUILT_WITH_CUDA
def test_the_architectures_in_the_file_are_those_it_names():
    listed = run("cuobjdump", "--list-elf", "--list-ptx", _ops.__file__)
    binaries, ptx = set(re.findall(r"\.(sm_\d+)\.cubin", listed)), set(re.findall(r"\.sm_(\d+)\.ptx", listed))
    assert binaries | {f"compute_{arch}" for arch in ptx} == set(_ops.cuda_archs().split())


@BUILT_WITH_CUDA
def test_no_cuda_library_is_needed_to_load_it():
    needed = subprocess.run(["readelf", "-d", _ops.__file__], check=True, capture_output=True, text=True).stdout
    assert "libtorch_cpu" in needed
    assert "libcuda" not in needed


@BUILT_WITH_CUDA
def test_the_launchers_call_nothing_that_waits():
    """Of the CUDA runtime, the objects that launch call this; the memory for faults is got once, by runtime_cuda."""
    launching = {"cudaGetLastError", "__cudaLaunchKernel", "__cudaPushCallConfiguration", "__cudaPopCallConfiguration"}
    registering = re.compile("__cuda(Register|Unregister|InitModule|GetKernel)")
    for source in simulated.kernel_sources():
        if source.stem == "runtime_cuda":
            continue
        undefined = subprocess.run(
            ["nm", "-u", simulated.REAL_BUILD / f"{source.stem}.o"], check=True, capture_output=True, text=True
        )
        called = {name for name in undefined.stdout.split() if "cuda" in name and not name.startswith("_ZN7s2sfast")}
        assert {name for name in called if not registering.match(name)} <= launching, source


@BUILT_WITH_CUDA
def test_nothing_but_the_module_is_exported():
    """The CUDA runtime inside must not meet that of torch, nor one C++ library's templates another's."""
    symbols = subprocess.run(["nm", "-D", "--defined-only", _ops.__file__], check=True, capture_output=True, text=True)
    assert [line.split()[-1] for line in symbols.stdout.splitlines()] == ["PyInit__ops"]


def test_every_barrier_has_been_taken_out_once():
    """A new barrier is tried (`make cuda-mutants`), and docs/testing.md tells what missed it."""
    page = (simulated.ROOT / "docs" / "testing.md").read_text()
    for barrier in mutants.barriers():
        row = f"| `{barrier.file.relative_to(mutants.CSRC)}` {barrier.number} |"
        assert row in page or barrier.name in mutants.REDUNDANT, barrier
    assert len(mutants.barriers()) == page.count("| race in ")
