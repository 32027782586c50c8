"""A Neural Turing Machine over a whole sequence, as one node of the graph.

Between two steps of the memory stand a few small products. Recorded one by one they cost autograd more time than the
steps themselves. Here a sequence runs unrecorded and is differentiated by hand, backwards in time; the gradient of a
weight, which takes part in each step, is one product per sequence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from s2sfast.models.controllers import WeightGradients
from s2sfast.ops.attention import first_derivative_of
from s2sfast.ops.ntm_step import heads_in, options_of, step_backward, step_forward, tensors_of
from s2sfast.types import NTMStep

if TYPE_CHECKING:
    from s2sfast.models.ntm import NTM, NTMState


def run(model: NTM, projected: Tensor, state: NTMState) -> tuple[Tensor, Tensor, NTMState]:
    """Projected inputs ``(L, B, P)``, state -> controller's outputs ``(L, B, H)``, reads ``(L, B, R M)``, state."""
    flat = [x for pair in state.controller for x in pair]
    weights = [x for layer in _linears(model) for x in (layer.weight, layer.bias)]
    hidden, reads, memory, read_weights, write_weights, *pairs = _Sequence.apply(
        model, projected, *state.memory, *flat, *weights
    )
    last = NTMStep(memory, reads[-1].unflatten(1, state.memory.reads.shape[1:]), read_weights, write_weights)
    if model.memory.heads.shared:
        last = last._replace(read_weights=write_weights)
    return hidden, reads, state._replace(memory=last, controller=_paired(pairs))


def _linears(model: NTM) -> list[torch.nn.Linear]:
    return [*model.controller.linears(), model.memory.heads.linear]


def _paired(flat: Any) -> Any:
    return tuple(zip(flat[::2], flat[1::2], strict=True))


class _Sequence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, model: NTM, projected: Tensor, *tensors: Any) -> Any:
        states = 2 * len(model.controller.initial(0))
        memory, controller = NTMStep(*tensors[:4]), _paired(tensors[4 : 4 + states])
        options, heads = options_of(**model.memory.options), model.memory.heads
        hidden, reads, steps = [], [], []
        for x in projected:
            out, controller, by_controller = model.controller(x, memory.reads.flatten(1), controller)
            given = tensors_of(memory.memory, memory.read_weights, memory.write_weights, *heads(out))
            found, by_memory = step_forward(given, options)
            memory = NTMStep(*found) if not heads.shared else NTMStep(found[0], found[1], found[3], found[3])
            steps.append((given, by_memory, by_controller))
            hidden.append(out)
            reads.append(memory.reads.flatten(1))
        ctx.save_for_backward(projected, *tensors)  # so that a change of them in place is noticed
        ctx.model, ctx.steps, ctx.options, ctx.hidden = model, steps, options, hidden
        ctx.set_materialize_grads(False)
        last = (memory.read_weights, memory.write_weights, *(x for pair in controller for x in pair))
        return torch.stack(hidden), torch.stack(reads), memory.memory, *(x.clone() for x in last)  # others are kept

    @staticmethod
    @first_derivative_of("NTM")
    def backward(ctx: Any, grad_hidden: Tensor | None, grad_reads: Tensor | None, *given: Any) -> Any:
        projected, *tensors = ctx.saved_tensors
        model, heads = ctx.model, ctx.model.memory.heads
        matrix, shape = heads.linear.weight, tensors[1].shape  # of reads: (B, R, M)
        L, B = projected.shape[:2]
        of_hidden = _or_zeros(grad_hidden, projected, L, B, matrix.shape[1])
        of_reads = _or_zeros(grad_reads, projected, L, B, shape[1] * shape[2])
        memory, read_weights, write_weights, *of_controller = given
        of_controller = [
            x if x is not None else torch.zeros_like(h) for x, h in zip(of_controller, tensors[4:], strict=False)
        ]
        reads, controller = torch.zeros_like(of_reads[0]), _paired(of_controller)
        weights, of_projected = WeightGradients(), []
        for step, out, grad, more in zip(
            ctx.steps[::-1], ctx.hidden[::-1], of_hidden.flip(0), of_reads.flip(0), strict=True
        ):
            given, by_memory, by_controller = step
            wanted = (memory, (reads + more).view(shape), read_weights, write_weights)
            found = step_backward(wanted, given, ctx.options, by_memory)
            memory, read_weights, write_weights = found[:3]
            flat = heads.join(*heads_in(found))
            if heads.clip is not None:
                flat = flat * (heads.join(*heads_in(given)).abs() < heads.clip)
            weights.add(heads.linear, flat, out)
            grad = torch.addmm(grad, flat, matrix)
            grad, reads, controller = model.controller.backward(grad, controller, by_controller, weights)
            of_projected.append(grad)
        of_state = memory, reads.view(shape), read_weights, write_weights, *(x for pair in controller for x in pair)
        of_weights = (x for layer in _linears(model) for x in weights.of(layer))
        return None, torch.stack(of_projected[::-1]), *of_state, *of_weights


def _or_zeros(gradient: Tensor | None, like: Tensor, *shape: int) -> Tensor:
    return like.new_zeros(shape) if gradient is None else gradient
