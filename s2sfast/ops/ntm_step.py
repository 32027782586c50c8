"""A whole step of a Neural Turing Machine's memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from s2sfast import _native  # noqa: F401  registers torch.ops.s2sfast
from s2sfast.ops import memory as machine
from s2sfast.ops.attention import diagnosis, first_derivative_of, promoted, real_of, wants_gradient
from s2sfast.types import NTMActivation, NTMHead, NTMStep

_raw = torch.ops.s2sfast.ntm_step.default
_raw_backward = torch.ops.s2sfast.ntm_step_backward.default

# Where each argument of the registered op stands: memory, the two previous weightings, then the heads' fields.
_READ_PREVIOUS, _WRITE_PREVIOUS, _READ, _WRITE, _TENSORS = 1, 2, 3, 8, 15
_STRENGTH, _GATE = 1, 2  # within a head's fields


def ntm_step(
    memory: Tensor,
    read_previous: Tensor | None,
    write_previous: Tensor | None,
    read_head: NTMHead | Tensor | None,
    write_head: NTMHead | Tensor,
    *,
    order: str = "write_read",
    composition: str = "sequential",
    shift_offsets: Sequence[int] | None = None,
    eps: float = 1e-8,
    eps_mode: str = "clamp",
    activation: NTMActivation | None = None,
) -> NTMStep:
    r"""Addresses a memory, writes to it and reads from it, with all heads, in one call and one autograd node.

    A head's weights are :func:`s2sfast.location_address` of :func:`s2sfast.content_address`; what it does with them is
    :func:`s2sfast.memory_write` or :func:`s2sfast.memory_read`.

    Args:
        memory: ``(B, N, M)`` float32, float64, bfloat16 or float16; sums are in float32, or float64 for float64.
        read_previous: ``(B, R, N)`` in the same dtype, the read weights of the step before. Needed with a gate, else
            not looked at.
        write_previous: ``(B, W, N)`` likewise, the write weights.
        read_head: what the R read heads ask for: an :class:`~s2sfast.NTMHead`, whose erase and add are not looked at;
            or one tensor ``(B, R, M + 3 + S)`` of all its fields in their order (:meth:`s2sfast.NTMHead.split`; S = 0:
            no shift). None: the weights that were written with are read with, from the new memory.
        write_head: what the W write heads ask for: an :class:`~s2sfast.NTMHead` with erase and add, or one tensor
            ``(B, W, 3 M + 3 + S)``.
        order: "write_read": the write heads address the old memory and write; then the read heads address the new one
            and read from it. "read_write": all heads address the old memory, and the reads are from it.
        composition: of several writes, "sequential" or "product", as in :func:`s2sfast.memory_write`.
        shift_offsets: where the S taps of a shift move the focus to, as in :func:`s2sfast.location_address`.
        eps, eps_mode: of the cosine, as in :func:`s2sfast.content_address`.
        activation: the heads are a controller's numbers, which may be any: this makes parameters of them.

    Returns:
        :class:`~s2sfast.NTMStep` of ``memory (B, N, M)``, ``reads (B, R, M)``, ``read_weights (B, R, N)`` and
        ``write_weights (B, W, N)``, in the dtype of the memory. The old memory is left as it is.

    Raises:
        ValueError: shapes, dtypes or devices disagree, a field that is needed is None, an even S without offsets, a
            word that is none of the above, or a sharpen below 1 (on CUDA found late: :func:`s2sfast.synchronize`).

    Differentiable once in all tensors; numerics as of the single ops. A step keeps for its gradient the old memory, the
    heads' numbers, 3 numbers for each head and slot, and norms of the slots. The old memory is read for addressing,
    then read and written; in "write_read" order the new one is read once more. Same bits for any number of threads. The
    meaning: :func:`s2sfast.reference.ntm_step`. Sources: Graves, Wayne & Danihelka 2014, arXiv:1410.5401, section 3;
    product: Graves et al. 2016, Nature 538:471.

    >>> import torch, s2sfast
    >>> memory = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])  # B=1, N=2, M=2
    >>> here = torch.tensor([[[0.0, 5.0]]])  # the key of the slot (0, 1)
    >>> add = torch.tensor([[[7.0, 8.0]]])
    >>> write = s2sfast.NTMHead(here, torch.tensor([[90.0]]), erase=torch.ones(1, 1, 2), add=add)
    >>> s2sfast.ntm_step(memory, None, None, None, write).memory
    tensor([[[1., 0.],
             [7., 8.]]])
    """
    try:
        tensors = tensors_of(memory, read_previous, write_previous, read_head, write_head)
        if torch.is_autocast_enabled("cpu" if memory.is_cpu else memory.device.type):
            tensors = promoted(*tensors)
        options = options_of(order, composition, shift_offsets, eps, eps_mode, activation)
        if wants_gradient(*tensors):
            step = _NTMStep.apply(*tensors, *options)
        else:
            step = _raw(*tensors, *options, False)[:4]
            if step[0].dtype != tensors[0].dtype:
                step = tuple(machine.like(tensors[0], x) for x in step)
        if read_head is None:
            return NTMStep(step[0], step[1], step[3], step[3])
        return NTMStep._make(step)
    except (RuntimeError, AttributeError, TypeError, ValueError) as error:
        machine.check_eps("ntm_step", eps)
        previous = {"read_previous": read_previous, "write_previous": write_previous}
        needed, optional = _named(read_head, write_head)
        raise diagnosis("ntm_step", error, {"memory": memory, **needed}, {**previous, **optional}) from None


def tensors_of(
    memory: Tensor,
    read_previous: Tensor | None,
    write_previous: Tensor | None,
    read_head: NTMHead | Tensor | None,
    write_head: NTMHead | Tensor,
) -> tuple[Any, ...]:
    """As the registered op takes them."""
    read, write = _fields(read_head, _WRITE - _READ), _fields(write_head, _TENSORS - _WRITE)
    return memory, read_previous, write_previous, *read, *write


def options_of(
    order: str,
    composition: str,
    shift_offsets: Sequence[int] | None,
    eps: float,
    eps_mode: str,
    activation: NTMActivation | None,
) -> tuple[Any, ...]:
    """As the registered op takes them."""
    return (
        None if shift_offsets is None else machine.offsets("ntm_step", shift_offsets),
        machine.number_of("ntm_step", "order", machine.ORDERS, order),
        machine.number_of("ntm_step", "composition", machine.COMPOSITIONS, composition),
        eps,
        machine.number_of("ntm_step", "eps_mode", machine.EPS_MODES, eps_mode),
        0 if activation is None else activation_code(activation),
    )


def _fields(head: NTMHead | Tensor | None, count: int) -> tuple[Tensor | None, ...]:
    """As the registered op wants them: one tensor for all fields stands in the place of the first."""
    if isinstance(head, Tensor):
        return head, *(None,) * (count - 1)
    if head is None:
        return (None,) * count
    if head.key is None or head.strength is None:
        raise ValueError("ntm_step: expected a head with key and strength; got None")  # _named says which
    if head.shift is not None and head.shift.dim() == 3 and head.shift.shape[2] == 0:
        head = head._replace(shift=None)
    return head[:count]


def _named(read_head: Any, write_head: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """(tensors that must be there, tensors that may be)."""
    needed: dict[str, Any] = {}
    optional: dict[str, Any] = {}
    for name, head in (("read_head", read_head), ("write_head", write_head)):
        if not isinstance(head, NTMHead):
            (optional if name == "read_head" else needed)[name] = head
            continue
        for field, value in zip(head._fields, head, strict=True):
            (needed if field in ("key", "strength") else optional)[f"{name}.{field}"] = value
    return needed, optional


def activation_code(activation: NTMActivation) -> int:
    if not isinstance(activation, NTMActivation):
        raise ValueError(f"ntm_step: expected activation to be an NTMActivation; got {activation!r}")
    return 1 + 2 * (activation.key == "tanh") + 4 * (activation.strength == "oneplus") + 8 * (activation.add == "tanh")


_KINDS = ((_READ_PREVIOUS, _READ, _WRITE), (_WRITE_PREVIOUS, _WRITE, _TENSORS))


def _located(tensors: Sequence[Tensor | None], first: int) -> bool:
    """Whether the heads whose fields begin there go on from their content weighting."""
    return tensors[first] is not None and (tensors[first + _STRENGTH] is None or tensors[first + _GATE] is not None)


def _have_gradients(tensors: Sequence[Tensor | None]) -> list[int]:
    """The places of those that are looked at."""
    found = [0, *(previous for previous, first, _ in _KINDS if _located(tensors, first))]
    for _, first, end in _KINDS:
        ignored = () if _located(tensors, first) else range(first + _GATE, first + _WRITE - _READ)
        found += [at for at in range(first, end) if tensors[at] is not None and at not in ignored]
    return found


def step_forward(tensors: Sequence[Any], options: tuple[Any, ...]) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """The fields of a step in the dtype of its memory, and what its gradient wants to know of it."""
    *step, saved = _raw(*tensors, *options, True)
    return tuple(machine.like(tensors[0], x) for x in step), (step[2], step[3], saved)


def step_backward(
    given: Sequence[Tensor | None], tensors: Sequence[Any], options: tuple[Any, ...], kept: Sequence[Tensor]
) -> list[Any]:
    """The gradients of all tensors, of those given for the fields of the step."""
    found = _raw_backward(*given, *tensors, *options, *kept)
    if kept[2].dtype != tensors[0].dtype:
        found = [machine.like(tensors[0], x) for x in found]
    gradients: list[Any] = [None] * _TENSORS
    for at, gradient in zip(_have_gradients(tensors), found, strict=True):
        gradients[at] = gradient
    return gradients


def heads_in(tensors: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any]]:
    """The fields of the read heads and those of the write heads, among all tensors or their gradients."""
    return tensors[_READ:_WRITE], tensors[_WRITE:]


class _NTMStep(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Any:
        tensors, options = arguments[:_TENSORS], arguments[_TENSORS:]
        step, kept = step_forward(tensors, options)
        ctx.save_for_backward(*tensors, *kept)
        ctx.options = options
        ctx.set_materialize_grads(False)
        return step

    @staticmethod
    @first_derivative_of("ntm_step")
    def backward(ctx: Any, *given: Any) -> Any:
        saved = ctx.saved_tensors
        gradients = step_backward(given, saved[:_TENSORS], ctx.options, saved[_TENSORS:])
        return *gradients, *(None,) * len(ctx.options)


@torch.library.register_fake("s2sfast::ntm_step")
def _(*arguments):
    tensors, save = arguments[:_TENSORS], arguments[-1]
    memory, read_key, write_key = tensors[0], tensors[_READ], tensors[_WRITE]
    B, N, M = memory.shape
    W = write_key.shape[1]
    R, lecture = (W, True) if read_key is None else (read_key.shape[1], False)
    rows = 0
    for first, heads in ((_READ, 0 if lecture else R), (_WRITE, W)):
        rows += heads * (2 if _located(tensors, first) else 1) + min(heads, 1)
    sizes = ((B, N, M), (B, R, M), (B, 0 if lecture else R, N), (B, W, N), (B * N * rows if save else 0,))
    return tuple(memory.new_empty(size, dtype=real_of(memory.dtype)) for size in sizes)


@torch.library.register_fake("s2sfast::ntm_step_backward")
def _(grad_memory, grad_reads, grad_read_weights, grad_write_weights, *rest):
    tensors, saved = rest[:_TENSORS], rest[-1]
    return [saved.new_empty(tensors[at].shape) for at in _have_gradients(tensors)]
