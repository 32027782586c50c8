"""What this installation is made of."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy
import torch

from s2sfast import _engine, _ops


def info() -> dict[str, Any]:
    """Versions, the instruction sets found and in use, threads, and the CUDA architectures built in.

    ``cuda_toolkit`` is the release that compiled the CUDA kernels; its runtime is inside, so the driver must be as new
    (13.x: 580 or newer, 12.x: 525).


    >>> import s2sfast
    >>> s2sfast.info()["isa"] in s2sfast.info()["isas_found"]
    True
    """
    try:
        own = version("s2sfast")
    except PackageNotFoundError:
        own = "not installed (run from a checkout)"
    return {
        "s2sfast": own,
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "isa": _engine.isa(),
        "isas_found": list(_engine.isas()),
        "torch_threads": torch.get_num_threads(),
        "processor_threads": _engine.threads(),
        "cuda_archs": _ops.cuda_archs().split(),
        "cuda_toolkit": _ops.cuda_toolkit(),
    }
