"""Controllers of a Neural Turing Machine. Their input is what comes from outside and what was read a step ago.

The first layer is cut in two: what comes from outside is known for all steps, and ``project`` multiplies it once; a
step adds the part of what was read. A controller knows its derivative, ``backward``, since a sequence is
differentiated as a whole (:mod:`s2sfast.models.ntm_sequence`).
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

State = tuple[tuple[Tensor, Tensor], ...]
"""(h, c) of each layer, each ``(B, H)``; empty where a controller has no state."""

_through_tanh = torch.ops.aten.tanh_backward.default
_through_sigmoid = torch.ops.aten.sigmoid_backward.default


class WeightGradients:
    """Of linear layers that take part in every step: one product per sequence, over all of its rows."""

    def __init__(self) -> None:
        self._rows: dict[nn.Linear, list[tuple[Tensor, Tensor]]] = {}

    def add(self, layer: nn.Linear, gradient: Tensor, input: Tensor) -> None:
        """A step in which the layer's output had this gradient."""
        self._rows.setdefault(layer, []).append((gradient, input))

    def of(self, layer: nn.Linear) -> tuple[Tensor, Tensor | None]:
        """Those of weight and bias."""
        gradients, inputs = (torch.cat(rows) for rows in zip(*self._rows[layer], strict=True))
        return gradients.mT @ inputs, None if layer.bias is None else gradients.sum(0)


class FeedForward(nn.Module):
    """Layers of tanh(W x + b); the state is empty."""

    def __init__(self, inputs: int, reads: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.project = nn.Linear(inputs, hidden)
        self.layers = nn.ModuleList(_inward(reads, hidden, layers, hidden))

    def initial(self, batch: int) -> State:
        return ()

    def linears(self) -> list[nn.Linear]:
        """All that take part in a step."""
        return _list(self.layers)

    def forward(self, projected: Tensor, reads: Tensor, state: State) -> tuple[Tensor, State, Any]:
        """``project`` of the input ``(B, H)``, reads ``(B, R M)``, state -> output ``(B, H)``, state, and what
        ``backward`` wants to know."""
        kept = [reads]
        for layer in _list(self.layers):
            bias = projected if layer.bias is None else layer.bias
            kept.append(torch.addmm(bias, kept[-1], layer.weight.t()).tanh())
        return kept[-1], state, kept

    def backward(self, grad: Tensor, state: State, kept: Any, weights: WeightGradients) -> tuple[Tensor, Tensor, State]:
        """Gradients of output and next state -> of projected, reads and state."""
        below = grad
        for layer, x, out in zip(reversed(_list(self.layers)), reversed(kept[:-1]), reversed(kept[1:]), strict=True):
            grad = _through_tanh(below, out)
            weights.add(layer, grad, x)
            below = grad @ layer.weight
        return grad, below, ()


class LSTM(nn.Module):
    """Layers of the equations of torch.nn.LSTMCell, with its order of the gates."""

    def __init__(self, inputs: int, reads: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.project = nn.Linear(inputs, 4 * hidden)
        self.layers = nn.ModuleList(_inward(reads, hidden, layers, 4 * hidden))
        self.again = nn.ModuleList(nn.Linear(hidden, 4 * hidden, bias=False) for _ in range(layers))

    def initial(self, batch: int) -> State:
        zeros = self.project.weight.new_zeros(batch, self.hidden)
        return ((zeros, zeros),) * len(self.layers)

    def linears(self) -> list[nn.Linear]:
        """All that take part in a step."""
        return _list(self.layers) + _list(self.again)

    def forward(self, projected: Tensor, reads: Tensor, state: State) -> tuple[Tensor, State, Any]:
        """``project`` of the input ``(B, 4 H)``, reads ``(B, R M)``, state -> output ``(B, H)``, state, and what
        ``backward`` wants to know."""
        x, states, kept = reads, [], []
        for layer, again, (h, c) in zip(_list(self.layers), _list(self.again), state, strict=True):
            bias = projected if layer.bias is None else layer.bias
            gates = torch.addmm(torch.addmm(bias, x, layer.weight.t()), h, again.weight.t())
            both, new, show = gates.split([2 * self.hidden, self.hidden, self.hidden], 1)
            both, new, show = both.sigmoid(), new.tanh(), show.sigmoid()
            take, keep = both.chunk(2, 1)
            held = torch.addcmul(keep * c, take, new)
            shown = held.tanh()
            kept.append((x, h, c, both, new, show, shown))
            x = show * shown
            states.append((x, held))
        return x, tuple(states), kept

    def backward(self, grad: Tensor, state: State, kept: Any, weights: WeightGradients) -> tuple[Tensor, Tensor, State]:
        """Gradients of output and next state -> of projected, reads and state."""
        below, states = grad, []
        for layer, again, of_state, found in zip(
            reversed(_list(self.layers)), reversed(_list(self.again)), reversed(state), reversed(kept), strict=True
        ):
            x, h, c, both, new, show, shown = found
            take, keep = both.chunk(2, 1)
            grad_h, grad_c = below + of_state[0], of_state[1]
            grad_c = grad_c + _through_tanh(grad_h * show, shown)
            grad = torch.cat(
                (
                    _through_sigmoid(torch.cat((grad_c * new, grad_c * c), 1), both),
                    _through_tanh(grad_c * take, new),
                    _through_sigmoid(grad_h * shown, show),
                ),
                1,
            )
            weights.add(layer, grad, x)
            weights.add(again, grad, h)
            below = grad @ layer.weight
            states.append((grad @ again.weight, grad_c * keep))
        return grad, below, tuple(reversed(states))


def _list(layers: nn.ModuleList) -> list[nn.Linear]:
    return cast(list[nn.Linear], list(layers))


def _inward(reads: int, hidden: int, layers: int, width: int) -> list[nn.Linear]:
    """The layers' weights of what comes from below; the first one's bias is in ``project``."""
    return [nn.Linear(hidden if i else reads, width, bias=i > 0) for i in range(layers)]
