"""Runs contestants in alternation and hands what they needed to pytest-benchmark.

pytest-benchmark's own loop times one function to its end before the next begins, so a busy minute would hit one
contestant alone. Here `rounds.interleave` takes the samples, and each contestant becomes one row (`Metadata`) of
pytest-benchmark's session, which does the rest: statistics, JSON, storage, comparison of runs.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

import pytest
import torch
from pytest_benchmark.stats import Metadata

from benchmarks import environment, memory, rounds, training
from benchmarks.contestants import OURS, about, enter, truth_of
from benchmarks.results import OPS_KINDS
from s2sfast.cases import OPS, Case, Op

_LEFT_OUT = pytest.StashKey[list]()
_KEPT = ("min", "max", "mean", "stddev", "median", "iqr", "q1", "q3", "ops", "outliers", "rounds", "iterations")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="few rounds, three sizes, no torch.compile: does it run?")

    parser.addoption("--budget", type=float, default=12.0, help="seconds for a case forward and back (12)")
    parser.addoption(
        "--kind", choices=OPS_KINDS, default="ops", help="the file of results that this run is for, and its ops"
    )


def pytest_configure(config: pytest.Config) -> None:
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # no pool of compilers beside the clock
    config.addinivalue_line("filterwarnings", "ignore:`torch.jit:DeprecationWarning")  # torch.compile's own
    config.stash[_LEFT_OUT] = []
    config.option.benchmark_quiet = True  # its table of all rows; ours is benchmarks/report.py
    if config.option.benchmark_json:
        config.option.benchmark_json.parent.mkdir(parents=True, exist_ok=True)


@pytest.fixture
def quick(request: pytest.FixtureRequest) -> bool:
    return request.config.getoption("--quick")


@pytest.fixture(scope="session")
def sampled() -> Callable[[Op, Case], tuple]:
    """(args, kwargs, truth) of a case; the last one is kept for the next number of threads."""
    kept: dict[str, Any] = {}

    def make(op: Op, case: Case) -> tuple:
        if kept.get("of") != (op.name, case.why):
            kept.clear()  # before the next is made: some take a gigabyte
            torch.set_num_threads(environment.cores())
            generator = torch.Generator().manual_seed(0)
            args, kwargs = op.sample(op.dtypes[0], "cpu", generator, **case.sizes, **case.options)
            kept.update(of=(op.name, case.why), value=(args, kwargs, truth_of(op, args, kwargs, case)))
        return kept["value"]

    return make


@pytest.fixture
def say(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Prints at once, captured output or not: a long run shows where it is."""
    reporter = request.config.pluginmanager.get_plugin("terminalreporter")
    capture = request.config.pluginmanager.get_plugin("capturemanager")

    def write(line: str) -> None:
        with capture.global_and_fixture_disabled():
            reporter.ensure_newline()
            reporter.write_line(line)

    return write


@pytest.fixture
def leave_out(request: pytest.FixtureRequest, say: Callable) -> Callable[[Op, Case, int, str, str], None]:
    """Notes who did not run and why, on the screen and in the JSON."""

    def note(op: Op, case: Case, threads: int, who: str, why: str) -> None:
        entry = {"op": op.name, "case": case.why, "threads": threads, "provider": who, "reason": why}
        request.config.stash[_LEFT_OUT].append(entry)
        say(f"    {op.name} {case.why}, {threads} thread(s): left out {who}: {why}")

    return note


@pytest.fixture
def compete(
    benchmark: Any, request: pytest.FixtureRequest, quick: bool, sampled: Callable, say: Callable, leave_out: Callable
) -> Callable[[Op, Case, int], None]:
    """Checks and times all contestants of one case and records a row for each."""

    def run(op: Op, case: Case, threads: int) -> None:
        benchmark._mode = "interleaved"  # used, though not by calling it
        args, kwargs, truth = sampled(op, case)
        torch.set_num_threads(threads)
        functions, left_out = enter(op, args, kwargs, truth, quick, case=case)
        for name, reason in left_out.items():
            leave_out(op, case, threads, name, reason)
        if benchmark.disabled:
            return
        effort: dict[str, Any] = {"budget": 0.3, "rounds": 5} if quick else {"least": dict.fromkeys(OURS, 15)}
        if training.trains(case) and not quick:
            effort["budget"] = request.config.getoption("--budget")
        timings = rounds.interleave(functions, threads=threads, **effort)
        peaks = {name: memory.peak(function) for name, function in functions.items()} if training.trains(case) else {}
        for name, timing in timings.items():
            row = _row(benchmark, op, case, threads, name, timing, peaks.get(name))
            request.config._benchmarksession.benchmarks.append(row)
        items = request.session.items
        done = f"[{items.index(request.node) + 1}/{len(items)}]"
        times = ", ".join(f"{name} {timing.median * 1e6:.4g}" for name, timing in timings.items())
        say(f"{done} {op.name} {case.why}, {threads} thread(s), us: {times}")

    return run


def _row(
    benchmark: Any, op: Op, case: Case, threads: int, name: str, timing: rounds.Timing, peak: int | None = None
) -> Metadata:
    row = Metadata(benchmark, iterations=timing.calls, options={"timer": timing.clock, "disable_gc": True})
    row.group = f"{op.name} {case.why} threads={threads}"
    row.name = f"{row.group} {name}"
    row.fullname = f"benchmarks/{op.name}/{case.why}/threads={threads}/{name}"
    row.param, row.params = None, None
    moved = op.bytes_moved(**case.sizes)
    row.extra_info = {
        "op": op.name,
        "case": case.why,
        "sizes": case.sizes,
        "dtype": str(op.dtypes[0]).removeprefix("torch."),
        "threads": threads,
        "provider": name,
        "clock": timing.clock,
        "bytes_moved": moved,
        "GB/s": round(moved / timing.median / 1e9, 2),
        "training": training.trains(case),
        "peak_bytes": peak,
    }
    for seconds in timing.seconds:
        row.update(seconds * timing.calls)
    return row


# --- the JSON -----------------------------------------------------------------------------------------------


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict) -> None:
    """Replaces pytest-benchmark's own, which names the host."""
    machine_info.clear()
    machine_info.update(environment.machine(), versions=environment.versions("pytest-benchmark"))


def pytest_benchmark_update_commit_info(config: pytest.Config, commit_info: dict) -> None:
    commit_info.clear()
    commit_info.update(environment.commit())


def pytest_benchmark_update_json(config: pytest.Config, benchmarks: list, output_json: dict) -> None:
    """Keeps the file small enough to commit: statistics instead of all samples, five digits."""
    output_json["kind"] = config.getoption("--kind")
    output_json["quick"] = config.getoption("--quick")
    timed = {row["extra_info"]["op"] for row in output_json["benchmarks"]}
    output_json["providers"] = {op.name: about(op) for op in OPS if op.name in timed}
    output_json["left_out"] = config.stash[_LEFT_OUT]
    for row in output_json["benchmarks"]:
        row["stats"] = {name: _short(row["stats"][name]) for name in _KEPT}


def pytest_sessionfinish(session: pytest.Session) -> None:
    """One row a line, now that pytest-benchmark has written the file: smaller, and its diffs can be read."""
    path = session.config.option.benchmark_json
    if path and path.is_file():
        content = json.loads(path.read_text(encoding="utf-8"))
        lines = ",\n".join(json.dumps(row) for row in content.pop("benchmarks"))
        path.write_text(json.dumps(content, indent=1)[:-2] + f',\n "benchmarks": [\n{lines}\n]}}\n', encoding="utf-8")


def _short(value: Any) -> Any:
    return float(f"{value:.5g}") if isinstance(value, float) else value
