"""The translator refuses what it does not know, and says where; the build skips what is up to date."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.ptx.build import build, link
from tests.ptx.translator import PtxError, translate

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = ROOT / "build" / "ptx"  # the runtime is built there for all tests

KERNEL = """\
.version 9.0
.target sm_90
.address_size 64
.visible .entry kernel(.param .u64 .ptr .global .align 4 pointer, .param .u32 count)
{
    .reg .pred %p<3>;
    .reg .b16 %rs<3>;
    .reg .b32 %r<5>;
    .reg .f32 %f<5>;
    .reg .b64 %rd<5>;
    ld.param.u64 %rd1, [pointer];
    @INSTRUCTION@;
    ret;
}
"""
LINE = 12  # of @INSTRUCTION@


def translated(tmp_path: Path, instruction: str) -> str:
    ptx, cpp = tmp_path / "hand.ptx", tmp_path / "hand.cpp"
    ptx.write_text(KERNEL.replace("@INSTRUCTION@", instruction))
    translate(ptx, cpp)
    return cpp.read_text()


# What must be refused, and the word that says why.
REFUSED = {
    "frobnicate.b32 %r1, %r2": "unknown instruction",
    "add.f32.hurry %f1, %f2, %f3": "unknown instruction",
    "add.rna.f32 %f1, %f2, %f3": "unknown instruction",
    "add.ftz.f64 %rd1, %rd2, %rd3": "unknown instruction",
    "fma.f32 %f1, %f2, %f3, %f4": "unknown instruction",  # fma wants its rounding
    "mul.s32 %r1, %r2, %r3": "unknown instruction",  # .lo, .hi or .wide
    "setp.lt.b32 %p1, %r1, %r2": "unknown instruction",
    "setp.lo.s32 %p1, %r1, %r2": "unknown instruction",
    "cvt.f32.s32 %f1, %r1": "unknown instruction",  # no rounding
    "cvt.rn.f32.f64.sat %f1, %rd1": "unknown instruction",
    "cvt.rn.satfinite.e4m3x2.f32 %rs1, %f1, %f2": "unknown instruction",
    "ld.global.mmio.u32 %r1, [%rd1]": "unknown instruction",
    "ld.release.gpu.global.u32 %r1, [%rd1]": "unknown instruction",
    "atom.global.add.s64 %rd2, [%rd1], %rd3": "unknown instruction",
    "atom.global.add.noftz.f16x2 %r1, [%rd1], %r2": "unknown instruction",
    "membar.moon": "unknown instruction",
    "add.s32 %r1, %r2": "unknown operands",
    "bar.sync 0, 64": "unknown operands",
    "ld.global.v2.u32 %r1, [%rd1]": "unknown operands",
    "add.s32 %r1, %r9, %r2": "unknown operand %r9",
    "mov.u32 %r1, %smid": "unknown operand %smid",
    "mov.u32 %r1, %clock": "unknown operand %clock",
    "add.s64 %rd1, %r2, %rd3": "b32 register read as s64",
    "add.s32 %rs1, %r2, %r3": "s32 into a b16 register",
    "add.f32 %f1, %f2, 1": "an integer as f32",
    "bra nowhere": "unknown label",
    "ld.param.u64 %rd2, [pointer+4]": "outside of the parameter",
    "st.param.u32 [count], %r1": "write in .param",
    "call.uni (%r1), function, (%r2)": "device functions that were not inlined",
    "activemask.b32 %r1": "activemask",
    "cp.async.ca.shared.global [%r1], [%rd1], 16": "asynchronous copies",
    "mbarrier.init.shared.b64 [%r1], 1": "mbarrier",
    "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%f1}, {%f2}, {%f3}, {%f4}": "tensor cores",
    "tex.2d.v4.f32.f32 {%f1, %f2, %f3, %f4}, [%rd1, {%f1, %f2}]": "textures",
    "barrier.cluster.arrive": "clusters",
    "bar.arrive 0, 64": "barriers of a part of the block",
    "shfl.down.b32 %r1, %r2, 1, 31": "without .sync",
    ".reg .b128 %q": "unknown register",
    ".global .align 4 .u32 elsewhere[]": "variable of another file",
}


@pytest.mark.parametrize("instruction", REFUSED)
def test_the_unknown_is_refused_by_name(tmp_path, instruction):
    with pytest.raises(PtxError) as error:
        translated(tmp_path, instruction)
    message = str(error.value)
    assert message.startswith(f"hand.ptx:{LINE}: ")
    assert REFUSED[instruction] in message
    assert instruction in message


def test_an_error_names_the_line_of_the_source(tmp_path):
    source = tmp_path / "refused.cu"
    source.write_text('__global__ void kernel(int* x) {\n  asm("activemask.b32 %0;" : "=r"(*x));\n}\n')
    with pytest.raises(PtxError, match=r"compute_90.ptx:\d+: not supported \(activemask.*from .*refused\.cu:2\)"):
        build([source], BUILD)


ACCEPTED = [
    "@!%p1 bra done; done: ld.global.nc.L1::no_allocate.L2::128B.v4.f32 {%f1, %f2, %f3, %f4}, [%rd1+-16]",
    "{ .reg .pred p; setp.lt.and.f32 p|%p2, %f1, 0f3F800000, !%p1; }",
    "atom.acq_rel.gpu.global.cas.b32 %r1, [%rd1], 0, 1; red.relaxed.sys.global.add.f32 [%rd1], %f1",
    "ld.acquire.gpu.global.u32 %r1, [%rd1]; st.release.sys.global.u32 [%rd1], %r1; fence.acq_rel.gpu",
    "mov.b32 {%rs1, %rs2}, %r1; mov.b64 %rd2, {%r1, %r2}; mov.u64 %rd3, pointer",
    "$table: .branchtargets one, two; brx.idx %r1, $table; one: two: mov.u32 %r1, %laneid",
]


@pytest.mark.parametrize("instructions", ACCEPTED)
def test_what_nvcc_writes_compiles(tmp_path, instructions):
    """By hand, for forms that the other kernels here do not hold."""
    ptx = tmp_path / "hand.ptx"
    ptx.write_text(KERNEL.replace("@INSTRUCTION@", instructions))
    link(build([ptx], BUILD), tmp_path / "libhand.so")


def test_the_command_line(tmp_path):
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", *arguments], cwd=ROOT, capture_output=True, text=True)

    ptx = tmp_path / "hand.ptx"
    ptx.write_text(KERNEL.replace("@INSTRUCTION@", "exit"))
    done = run("tests.ptx.translator", str(ptx), str(tmp_path / "hand.cpp"), "--arch", "80")
    assert done.returncode == 0, done.stderr
    assert 'Module module{"hand.ptx", 80,' in (tmp_path / "hand.cpp").read_text()
    ptx.write_text(KERNEL.replace("@INSTRUCTION@", "frobnicate"))
    done = run("tests.ptx.translator", str(ptx), str(tmp_path / "hand.cpp"))
    assert done.returncode == 1
    assert done.stderr == f"error: hand.ptx:{LINE}: unknown instruction: frobnicate\n"
    assert "--arch" in run("tests.ptx.build", "--help").stdout


def test_only_what_is_old_is_made_again(tmp_path):
    header, source = tmp_path / "part.h", tmp_path / "fresh.cu"
    header.write_text("constexpr int kValue = 1;\n")
    source.write_text('#include "part.h"\n__global__ void kernel(int* x) { *x = kValue; }\n')
    first = {path: path.stat().st_mtime_ns for path in build([source], BUILD)}
    again = {path: path.stat().st_mtime_ns for path in build([source], BUILD)}
    assert again == first
    header.write_text("constexpr int kValue = 2;\n")
    third = {path: path.stat().st_mtime_ns for path in build([source], BUILD)}
    changed = {path.name for path in third if third[path] != first[path]}
    assert changed == {"host.o", "compute_90.o"}
