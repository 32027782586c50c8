"""Kernels with a planted fault, compiled: each gate fails by name, and the good twin passes."""

import json
import re
import subprocess
import sys

import pytest

from tests.sass import gates
from tests.sass.compile import ARCHS, compile_all, parse_ptxas
from tests.sass.conftest import PLANTED
from tests.sass.tools import ROOT

NEED = {"why": "planted", "wide": True, "in_flight": 4, "occupancy": 100}


def broken(planted, name, arch, registers=None, **need):
    """The gates that one kernel breaks, with the caps that the rule gives."""
    kernel = planted[name, arch]
    table = {"needs": {name: {**NEED, **need}}, "kernels": {}}
    table, _ = gates.update([kernel], table)
    if registers is not None:
        table["kernels"][name][arch]["caps"]["registers"] = registers
    return [str(failure) for failure in gates.check([kernel], table)]


@pytest.mark.parametrize("arch", ARCHS)
class TestGates:
    def test_good(self, planted, arch):
        assert broken(planted, "wide<float>", arch) == []
        assert broken(planted, "unrolled", arch, where="kernel") == []
        assert broken(planted, "roomy", arch, occupancy=31.25) == []

    def test_spills(self, planted, arch):
        failures = "\n".join(broken(planted, "spilling", arch))
        for what in ("spill_bytes", "stack_bytes", "local_instructions"):
            assert re.search(rf"^spilling, {arch}: expected {what} <= 0, got [1-9]\d*$", failures, re.M)

    def test_local_memory_without_spills(self, planted, arch):
        stack, local = broken(planted, "local_array", arch, in_flight=1)
        assert stack == f"local_array, {arch}: expected stack_bytes <= 0, got 64"
        assert re.fullmatch(rf"local_array, {arch}: expected local_instructions <= 0, got \d+", local)

    def test_narrow_loads(self, planted, arch):
        assert broken(planted, "narrow", arch) == [
            f"narrow, {arch}: expected 128-bit loads only in the hot loop, got widths [4]"
        ]
        assert broken(planted, "narrow", arch, wide=False) == []

    def test_one_load_in_flight(self, planted, arch):
        expected = f"one_in_flight, {arch}: expected loads in flight >= 4, got 1"
        assert broken(planted, "one_in_flight", arch) == [expected]
        assert broken(planted, "one_in_flight", arch, in_flight=1) == []

    def test_registers(self, planted, arch):
        used = planted["roomy", arch].resources.registers
        expected = f"roomy, {arch}: expected registers <= 64, got {used}"
        assert broken(planted, "roomy", arch, registers=64, occupancy=0) == [expected]

    def test_occupancy(self, planted, arch):
        percent = "25" if arch == "sm_80" else "31.25"  # 40 KiB, worked out in test_occupancy.py
        expected = f"crowded, {arch}: expected occupancy >= 50 %, got {percent} %"
        assert broken(planted, "crowded", arch, in_flight=1, occupancy=50) == [expected]

    def test_dynamic_shared_memory_counts(self, planted, arch):
        [failure] = broken(planted, "wide<float>", arch, dynamic_shared=100 * 1024)
        assert "expected occupancy >= 100 %" in failure

    def test_launch_bounds(self, planted, arch):
        expected = f"boundless, {arch}: expected __launch_bounds__, got none"
        assert broken(planted, "boundless", arch, in_flight=1) == [expected]

    def test_a_loop_around_a_loop(self, planted, arch):
        kernel = planted["nested", arch]
        assert [(loop.depth, loop.innermost, bool(loop.loads)) for loop in kernel.loops] == [
            (1, False, True),
            (2, True, False),
        ]
        assert kernel.hot is kernel.loops[0]


class TestTable:
    @pytest.fixture
    def kernels(self, planted):
        return [kernel for (name, _), kernel in planted.items() if name in ("wide<float>", "narrow")]

    @pytest.fixture
    def table(self, kernels):
        table, _ = gates.update(kernels, gates.load(PLANTED.with_name("nowhere.json")))
        for need in table["needs"].values():
            need["why"] = "planted"
        return table

    def test_a_new_table_holds_once_the_reasons_are_written(self, kernels, table):
        assert table["needs"]["wide<float>"] == {**NEED, "where": "loop"}
        assert table["needs"]["narrow"]["wide"] is False
        assert gates.check(kernels, table) == []
        table["needs"]["narrow"]["why"] = ""
        assert {failure.expected for failure in gates.check(kernels, table)} == {"a reason (why) in the needs"}

    def test_it_is_the_same_after_a_trip_to_disk(self, table, tmp_path):
        gates.save(table, tmp_path / "gates.json")
        assert gates.load(tmp_path / "gates.json") == table

    def test_a_kernel_without_rows(self, kernels, table):
        del table["kernels"]["narrow"], table["needs"]["narrow"]
        failures = [str(failure) for failure in gates.check(kernels, table)]
        for part in ("table", "needs"):
            assert f"narrow, sm_90: expected a row in the {part} (python -m tests.sass --update), got none" in failures

    def test_rows_without_a_kernel(self, kernels, table):
        failures = [str(f) for f in gates.check([k for k in kernels if k.name == "narrow"], table)]
        assert len(failures) == 2
        assert all(re.match(r"wide<float>, every arch: expected a kernel of this name", text) for text in failures)

    def test_two_kernels_of_one_name(self, kernels, table):
        failures = gates.check([*kernels, kernels[0]], table)
        assert [failure.expected for failure in failures] == ["one kernel of this name"]

    def test_the_longest_pattern_counts(self, kernels, table):
        wide, narrow = table["needs"]["wide<float>"], table["needs"]["narrow"]
        table["needs"] = {"*": narrow, "wide<*>": {**wide, "in_flight": 5}}
        failures = gates.check(kernels, table)
        assert {failure.kernel for failure in failures} == {"wide<float>"}
        assert {failure.expected for failure in failures} == {"loads in flight >= 5"}
        table["needs"]["wide<float>"] = wide
        assert gates.check(kernels, table) == []

    def test_old_measured_values(self, kernels, table):
        table["kernels"]["narrow"]["sm_90"]["measured"]["in_flight"] = 3
        [failure] = gates.check(kernels, table)
        assert "up to date (python -m tests.sass --update): in_flight" in failure.expected
        table["nvcc"] = "another"
        assert gates.check(kernels, table) == []

    def test_an_update_loosens_nothing(self, planted, table):
        """Not for a kernel that got worse, which is what another kernel under its name stands for."""
        worse = [planted["spilling", arch] for arch in ARCHS]
        rows = {
            arch: {"caps": {"registers": 24, **dict.fromkeys(gates.ZERO_CAPS, 0)}, "measured": {}} for arch in ARCHS
        }
        before = {"needs": {"spilling": dict(NEED)}, "kernels": {"spilling": rows, "gone": rows}}
        after, notes = gates.update(worse, before)
        assert after["needs"] == before["needs"]
        assert all(after["kernels"]["spilling"][arch]["caps"] == rows[arch]["caps"] for arch in ARCHS)
        assert "gone" in after["kernels"]
        assert sum("over its cap" in note for note in notes) == 4 * len(ARCHS)

        loose, _ = gates.update(worse, before, loosen=["spilling", "gone"])
        assert all(loose["kernels"]["spilling"][arch]["caps"]["registers"] == 32 for arch in ARCHS)
        assert all(loose["kernels"]["spilling"][arch]["caps"]["spill_bytes"] > 0 for arch in ARCHS)
        assert loose["needs"] == before["needs"]
        assert "gone" not in loose["kernels"]


class TestCommand:
    @staticmethod
    def run(*options):
        command = [sys.executable, "-m", "tests.sass", "--sources", PLANTED, "--archs", "sm_90", *options]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    @pytest.fixture(autouse=True)
    def needs_tools(self, toolkit):
        pass

    def test_tables(self):
        assert re.search(r"^wide<float> +sm_90 +128 ", self.run().stdout, re.M)
        assert "loop at 0x" in self.run("--loops").stdout
        rows = json.loads(self.run("--json").stdout)
        assert {row["kernel"]: row["hot"]["in_flight_widths"] for row in rows}["wide<float>"] == [16] * 4

    def test_check(self, tmp_path):
        table = ("--gates", tmp_path / "gates.json")
        assert self.run("--update", *table).returncode == 0
        done = self.run("--check", *table)
        assert done.returncode == 1
        assert re.search(r"^spilling, sm_90: expected spill_bytes <= 0, got \d+$", done.stdout, re.M)

    def test_an_unknown_kernel_is_not_loosened(self, tmp_path):
        done = self.run("--update", "--gates", tmp_path / "gates.json", "--loosen", "nobody")
        assert done.returncode == 2
        assert "no kernel named nobody" in done.stderr


def test_only_what_changed_is_compiled(toolkit, tmp_path):
    source = tmp_path / "one.cu"
    source.write_text("__global__ void one(int* out) { *out = 1; }\n")

    def built():
        [cubin] = compile_all([source], ["sm_90"], tmp_path / "build")
        assert [resources.barriers for resources in cubin.resources.values()] == [0]
        return cubin.path.stat().st_mtime_ns

    first = built()
    assert built() == first
    source.write_text("__global__ void two(int* out) { *out = 2; }\n")
    assert built() > first


def test_device_functions_in_the_report_of_ptxas():
    log = """\
ptxas info    : Compiling entry function '_Z4mainPf' for 'sm_90'
ptxas info    : Function properties for _Z4mainPf
    16 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
ptxas info    : Function properties for _Z6helperf
    99 bytes stack frame, 99 bytes spill stores, 99 bytes spill loads
ptxas info    : Used 40 registers, used 2 barriers, 16 bytes cumulative stack size, 1024 bytes smem, 380 bytes cmem[0]
"""
    [found] = parse_ptxas(log).values()
    assert (found.registers, found.spill_stores, found.spill_loads, found.stack) == (40, 8, 12, 16)
    assert (found.shared, found.barriers) == (1024, 2)
