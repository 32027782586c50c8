"""What the tests run on: this CPU, a CUDA device, or one in software that executes the kernels' PTX (tests/ptx).

    pytest --machine cpu | cuda | simulated:ARCH:SCHEDULE[:SEED]     e.g. simulated:90:random:7

The environment variable SIMULATED_OPS names another module than that of `python -m tests.cuda.simulated`: a mutant.

The tests themselves do not know: tensors are made on the default device, and the ops are those that s2sfast loads.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import torch

SCHEDULES = ("forward", "reverse", "random")


def use(name: str) -> None:
    """Raises ValueError for a name that is none."""
    kind, *rest = name.split(":")
    if kind == "cuda" and not rest:
        torch.set_default_device("cuda")
    elif kind == "simulated" and len(rest) in (2, 3) and rest[1] in SCHEDULES:
        _use_simulated(*rest)
    elif name != "cpu":
        raise ValueError(f"--machine: expected cpu, cuda or simulated:ARCH:SCHEDULE[:SEED]; got {name}")


def _use_simulated(arch: str, schedule: str, seed: str | None = None) -> None:
    from tests.cuda import simulated

    os.environ.update(PTX_ARCH=arch, PTX_SCHEDULE=schedule, PTX_SEED=seed or str(random.randrange(10**9)))
    module = Path(os.environ.get("SIMULATED_OPS", simulated.OUT / "_ops.abi3.so"))
    if not module.exists():
        raise ValueError(
            f"--machine: no {module.relative_to(simulated.ROOT)}; make it with python -m tests.cuda.simulated"
        )
    simulated.load(module)


def describe() -> str:
    """A line for the head of the report: a failure must be repeatable."""
    settings = [f"{name}={os.environ[name]}" for name in ("PTX_ARCH", "PTX_SCHEDULE", "PTX_SEED") if name in os.environ]
    return f"machine: {torch.get_default_device()} {' '.join(settings)}".rstrip()
