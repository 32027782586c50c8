"""Builds the kernels of these tests once; without nvcc they are skipped."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ptx.build import build, find_nvcc, link

HERE = Path(__file__).parent
BUILD = HERE.parent.parent / "build" / "ptx"
EXPORTED = ["-Xcompiler=-fvisibility=default"]  # launchers; the runtime stays hidden
needs_nvcc = pytest.mark.skipif(find_nvcc() is None, reason="skipped: no nvcc")

SCHEDULES = ("forward", "reverse", "random")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(str(item.fspath)).parent == HERE:
            item.add_marker(needs_nvcc)


@pytest.fixture(scope="session")
def library() -> Callable[..., ctypes.CDLL]:
    """The library made of kernels/NAME.cu, for sm_80, sm_90 and sm_100, or for `archs`."""
    made: dict[str, ctypes.CDLL] = {}

    def get(name: str, archs: tuple[int, ...] = (80, 90, 100)) -> ctypes.CDLL:
        if name not in made:
            objects = build([HERE / "kernels" / f"{name}.cu"], BUILD, archs=archs, nvcc_flags=EXPORTED)
            made[name] = ctypes.CDLL(str(link(objects, BUILD / f"lib{name}.so")))
            made[name].last_report.restype = ctypes.c_char_p
        return made[name]

    return get


@pytest.fixture(params=SCHEDULES)
def schedule(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("PTX_SCHEDULE", request.param)
    monkeypatch.setenv("PTX_SEED", "1")
    return request.param


@pytest.fixture(params=(80, 90, 100), ids=lambda arch: f"sm_{arch}")
def arch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("PTX_ARCH", str(request.param))
    return request.param


@pytest.fixture(autouse=True)
def default_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PTX_")]:
        monkeypatch.delenv(name)
