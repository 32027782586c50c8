"""The Neural Turing Machine."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from s2sfast.models import controllers, ntm_sequence
from s2sfast.nn import NTMMemory
from s2sfast.types import NTMStep

Controller = controllers.FeedForward | controllers.LSTM

_CONTROLLERS: dict[str, type[Controller]] = {"feedforward": controllers.FeedForward, "lstm": controllers.LSTM}


class NTMState(NamedTuple):
    """All that a Neural Turing Machine knows between two steps; sentences are in dimension 0."""

    memory: NTMStep
    """The memory, what was read, and where it was read and written."""
    controller: controllers.State
    """(h, c) of each LSTM layer, each ``(B, H)``; empty with a feed-forward controller."""


class NTMTrace(NamedTuple):
    """What a Neural Turing Machine did in L steps."""

    logits: Tensor
    """``(B, L, outputs)``."""
    state: NTMState
    """After the last step."""
    reads: Tensor
    """``(B, L, R, M)``."""
    read_weights: Tensor
    """``(B, L, R, N)``."""
    write_weights: Tensor
    """``(B, L, W, N)``."""


class NTM(nn.Module):
    r"""A controller and its memory (Graves, Wayne & Danihelka 2014, arXiv:1410.5401).

    .. math:: h_t = \mathrm{controller}([x_t; r_{t-1}]), \quad M_t, r_t = \mathrm{step}(M_{t-1}, h_t), \quad
              y_t = W [h_t; r_t] + b

    Args:
        inputs, outputs: widths of x and of the logits y.
        controller:  "feedforward": tanh(W x + b); "lstm": the equations of ``torch.nn.LSTMCell``.
        hidden:      H, the width of the controller; the paper's is 100.
        layers:      of the controller.
        slots, width, **memory: of :class:`s2sfast.nn.NTMMemory`, which is ``model.memory``.

    Called with ``(x, state=None)``, x ``(B, L, inputs)``: returns logits ``(B, L, outputs)`` and the :class:`NTMState`
    after the last step, from which another call goes on; detached, it truncates backpropagation. :meth:`step` is one
    step, for x that depends on y; :meth:`trace` also returns the weights of all steps.

    A call is one node of the graph with a derivative by hand, so its cost is the memory's and not autograd's. Under
    autocast and torch.compile, and with a memory or controller of another class, it goes step by step.

    Raises:
        ValueError: another controller, no layer, an x of another shape; and as :class:`s2sfast.nn.NTMMemory`.

    >>> import torch, s2sfast
    >>> model = s2sfast.models.NTM(inputs=9, outputs=8, controller="feedforward")
    >>> logits, state = model(torch.randn(2, 5, 9))
    >>> logits.shape, state.memory.memory.shape
    (torch.Size([2, 5, 8]), torch.Size([2, 128, 20]))
    >>> y, state = model.step(torch.randn(2, 9), state)
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        controller: str = "feedforward",
        hidden: int = 100,
        layers: int = 1,
        slots: int = 128,
        width: int = 20,
        **memory: Any,
    ) -> None:
        super().__init__()
        if controller not in _CONTROLLERS:
            raise ValueError(f"NTM: expected controller to be {' or '.join(_CONTROLLERS)}; got {controller!r}")
        if layers < 1:
            raise ValueError(f"NTM: expected layers of at least 1; got {layers}")
        self.memory: NTMMemory = NTMMemory(hidden, slots, width, **memory)
        reads = self.memory.readers * width
        self.controller: Controller = _CONTROLLERS[controller](inputs, reads, hidden, layers)
        self.output = nn.Linear(hidden + reads, outputs)

    def initial(self, batch: int) -> NTMState:
        """The state before the first step."""
        return NTMState(self.memory.initial(batch), self.controller.initial(batch))

    def forward(self, x: Tensor, state: NTMState | None = None) -> tuple[Tensor, NTMState]:
        projected, state = self._begin(x, state)
        if self._as_one(x):
            hidden, reads, state = ntm_sequence.run(self, projected, state)
            return self.output(torch.cat((hidden, reads), 2)).transpose(0, 1), state
        outputs, states = self._run(projected, state)
        return self._logits(outputs, states), states[-1]

    def step(self, x: Tensor, state: NTMState | None = None) -> tuple[Tensor, NTMState]:
        """One step: x ``(B, inputs)`` and a state give logits ``(B, outputs)`` and the next state."""
        state = self.initial(x.shape[0]) if state is None else state
        hidden, state = self._step(self.controller.project(x), state)
        return self.output(torch.cat((hidden, state.memory.reads.flatten(1)), 1)), state

    def trace(self, x: Tensor, state: NTMState | None = None) -> NTMTrace:
        """As a call, with what was read and where, in all steps."""
        hidden, states = self._run(*self._begin(x, state))
        memories = [state.memory for state in states]
        return NTMTrace(
            self._logits(hidden, states),
            states[-1],
            torch.stack([memory.reads for memory in memories], 1),
            torch.stack([memory.read_weights for memory in memories], 1),
            torch.stack([memory.write_weights for memory in memories], 1),
        )

    def _begin(self, x: Tensor, state: NTMState | None) -> tuple[Tensor, NTMState]:
        """Projected inputs, time first, and the state to begin with."""
        inputs = self.controller.project.in_features
        if x.dim() != 3 or x.shape[1] < 1 or x.shape[2] != inputs:
            raise ValueError(f"NTM: expected x (B, L, inputs)=(B, L, {inputs}), L at least 1; got {tuple(x.shape)}")
        return self.controller.project(x.transpose(0, 1)), self.initial(x.shape[0]) if state is None else state

    def _as_one(self, x: Tensor) -> bool:
        """Whether the sequence may be one node of the graph."""
        return (
            torch.is_grad_enabled()
            and type(self.memory) is NTMMemory
            and type(self.controller) in _CONTROLLERS.values()
            and not torch.compiler.is_compiling()
            and not torch.is_autocast_enabled(x.device.type)
        )

    def _run(self, projected: Tensor, state: NTMState) -> tuple[list[Tensor], list[NTMState]]:
        """The controller's output and the state after each step."""
        hidden, states = [], []
        for x in projected:
            output, state = self._step(x, state)
            hidden.append(output)
            states.append(state)
        return hidden, states

    def _step(self, projected: Tensor, state: NTMState) -> tuple[Tensor, NTMState]:
        hidden, controller, _ = self.controller(projected, state.memory.reads.flatten(1), state.controller)
        return hidden, NTMState(self.memory(hidden, state.memory), controller)

    def _logits(self, hidden: list[Tensor], states: list[NTMState]) -> Tensor:
        """Of all steps by one product."""
        reads = torch.stack([state.memory.reads for state in states], 1).flatten(2)
        return self.output(torch.cat((torch.stack(hidden, 1), reads), 2))
