"""Faults in the data of CUDA tensors, which the device finds when the call has long returned."""

from __future__ import annotations

import torch

from s2sfast import _native


def synchronize(device: torch.device | str | int | None = None) -> None:
    """Waits for a CUDA device and raises what the ops have found in their data by then.

    On the CPU a NaN in the logits, or a beam that does not exist, raises at once. On a CUDA device nobody can know
    before the kernels have run, and no op waits for them: the first fault of each op and device is kept, and raised
    once, by the next call of an op on a CUDA device, by a search, or here. It is the process's: of several threads or
    streams, whoever looks first gets it. The outputs of the faulty sentence are empty (``beam_topk``) or end at the
    fault (``backtrace``).

    Args:
        device: a CUDA device; None: the current one. Faults are raised from any device.

    Raises:
        ValueError: the op's own message, with sentence and beam.

    Without a CUDA device there is nothing to wait for:

    >>> import s2sfast
    >>> s2sfast.synchronize()
    """
    if torch.cuda.is_available():
        torch.cuda.synchronize(device)
    raise_arrived()


def raise_arrived() -> None:
    """Raises a fault that has already arrived; does not wait for one."""
    _native.raise_faults()
