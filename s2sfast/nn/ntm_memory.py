"""The memory of a Neural Turing Machine as a module without hidden state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

import s2sfast
from s2sfast.nn.ntm_heads import NTMHeads
from s2sfast.ops.memory import COMPOSITIONS, EPS_MODES, ORDERS, number_of
from s2sfast.types import NTMActivation, NTMStep

_CONSTANT = 1e-6  # of Collier & Beel 2018
_MEMORIES = ("constant", "random", "learned", "zeros")
_WEIGHTS = ("learned", "first", "uniform", "zeros")
_READS = ("zeros", "learned", "memory")


class NTMMemory(nn.Module):
    r"""N slots of width M, addressed, written and read by heads that a controller steers (Graves et al. 2014,
    arXiv:1410.5401, section 3).

    .. math::
        w^c = \mathrm{softmax}(\beta \cos(k, M_i)), \quad w^g = g w^c + (1 - g) w_{t-1}, \quad
        w \propto (w^g * s)^\gamma, \quad M \leftarrow M (1 - w e^\top) + w a^\top, \quad r = w^\top M

    The module has parameters only. What is written is in the state, which you hold: a tuple of tensors, sentences in
    dimension 0. So a search may reorder it, detached it truncates backpropagation, and an old state is still good.

    Args:
        controller_dim: C, the width of the controller's output.
        slots, width:   N and M.
        read_heads, write_heads, shifts, content_only, shared, clip: of :class:`NTMHeads`.
        shift_offsets:  where the taps of a shift move the focus to, in place of ``shifts``; by default (-1, 0, 1).
        order, composition, eps, eps_mode: of :func:`s2sfast.ntm_step`. "sqrt" with eps 1e-6 has bounded gradients.
        key, strength, add: of :class:`s2sfast.NTMActivation`: how numbers become keys, strengths and what is added.
        memory_init:    "constant": 1e-6 everywhere, the fastest to learn in Collier & Beel 2018, arXiv:1807.08518;
                        "random": drawn once from U(-b, b), b = 1/sqrt(N + M), a buffer; "learned": a parameter that
                        begins so; "zeros".
        weights_init:   each head's weights before the first step. "learned": a softmax of a parameter that begins
                        normally distributed; "first": all on slot 0; "uniform"; "zeros", which is no distribution.
                        "uniform" with a memory of equal slots cannot learn: nothing tells one slot from another. With
                        ``content_only`` nobody looks at them, and there is no parameter.
        reads_init:     what has been read before the first step. "zeros"; "learned": a parameter that begins at 0;
                        "memory": what the first weights read from the first memory, as in the lecture.

    ``memory.initial(B)`` gives the first state, ``memory(controller_output, state)`` the next one; controller_output is
    ``(B, C)``. A state is a :class:`s2sfast.NTMStep` of ``memory (B, N, M)``, ``reads (B, R, M)``, ``read_weights
    (B, R, N)`` and ``write_weights (B, W, N)``; with ``shared`` R is W. docs/ntm.md says whose implementation has which
    options.

    Raises:
        ValueError: a word that is none of the above, fewer than one head or slot.

    >>> import torch, s2sfast
    >>> memory = s2sfast.nn.NTMMemory(controller_dim=100, slots=128, width=20)
    >>> state = memory.initial(2)
    >>> for controller_output in torch.randn(5, 2, 100):
    ...     state = memory(controller_output, state)
    >>> state.reads.shape, state.read_weights.shape
    (torch.Size([2, 1, 20]), torch.Size([2, 1, 128]))
    """

    initial_memory: Tensor | None

    def __init__(
        self,
        controller_dim: int,
        slots: int,
        width: int,
        *,
        read_heads: int = 1,
        write_heads: int = 1,
        shifts: int = 3,
        shift_offsets: Sequence[int] | None = None,
        content_only: bool = False,
        shared: bool = False,
        clip: float | None = None,
        order: str = "write_read",
        composition: str = "sequential",
        eps: float = 1e-8,
        eps_mode: str = "clamp",
        key: str = "none",
        strength: str = "softplus",
        add: str = "none",
        memory_init: str = "constant",
        weights_init: str = "learned",
        reads_init: str = "zeros",
    ) -> None:
        super().__init__()
        for name, words, got in (
            ("order", ORDERS, order), ("composition", COMPOSITIONS, composition), ("eps_mode", EPS_MODES, eps_mode),
            ("memory_init", _MEMORIES, memory_init), ("weights_init", _WEIGHTS, weights_init),
            ("reads_init", _READS, reads_init),
        ):  # fmt: skip
            number_of("NTMMemory", name, dict.fromkeys(words, 0), got)
        if slots < 1 or width < 1:
            raise ValueError(f"NTMMemory: expected slots and width of at least 1; got {slots} and {width}")
        if shared and order != "write_read":
            raise ValueError(f"NTMMemory: expected order='write_read' with shared=True; got {order!r}")
        if shift_offsets is not None:
            shifts = len(shift_offsets)
        elif shifts > 0 and shifts % 2 == 0:
            raise ValueError(f"NTMMemory: expected shift_offsets where shifts is even; got None for {shifts}")
        self.heads = NTMHeads(
            controller_dim, width, read_heads=read_heads, write_heads=write_heads, shifts=shifts,
            content_only=content_only, shared=shared, clip=clip,
        )  # fmt: skip
        self.slots, self.width = slots, width
        self.options: dict[str, Any] = {
            "order": order, "composition": composition, "shift_offsets": shift_offsets,
            "eps": eps, "eps_mode": eps_mode, "activation": NTMActivation(key, strength, add),
        }  # fmt: skip
        self.memory_init, self.weights_init, self.reads_init = memory_init, weights_init, reads_init
        self._make_initial()

    @property
    def readers(self) -> int:
        """R: how many rows are read in a step."""
        return self.heads.write_heads if self.heads.shared else self.heads.read_heads

    def _make_initial(self) -> None:
        def parameter(wanted: bool, value: Tensor) -> nn.Parameter | None:
            return nn.Parameter(value) if wanted else None

        N, M, W = self.slots, self.width, self.heads.write_heads
        bound = (N + M) ** -0.5
        drawn = torch.empty(N, M).uniform_(-bound, bound)
        if self.memory_init == "random":
            self.register_buffer("initial_memory", drawn)
        else:
            self.initial_memory = parameter(self.memory_init == "learned", drawn)
        learned, shared, located = self.weights_init == "learned", self.heads.shared, not self.heads.content_only
        read = located or self.reads_init == "memory"  # otherwise nobody looks at the first weights
        self.initial_read_weights = parameter(learned and not shared and read, torch.randn(self.readers, N))
        self.initial_write_weights = parameter(learned and (read if shared else located), torch.randn(W, N))
        self.initial_reads = parameter(self.reads_init == "learned", torch.zeros(self.readers, M))

    def initial(self, batch: int) -> NTMStep:
        """The state before the first step, for so many sentences, in dtype and on the device of the parameters."""
        like = self.heads.linear.weight
        if self.initial_memory is not None:
            memory: Tensor = self.initial_memory
        else:
            memory = like.new_full((self.slots, self.width), _CONSTANT if self.memory_init == "constant" else 0.0)
        write_weights = self._weights(self.initial_write_weights, self.heads.write_heads)
        read_weights = write_weights if self.heads.shared else self._weights(self.initial_read_weights, self.readers)
        if self.initial_reads is not None:
            reads: Tensor = self.initial_reads
        else:
            reads = read_weights @ memory if self.reads_init == "memory" else like.new_zeros(self.readers, self.width)
        return NTMStep(*(x.expand(batch, -1, -1) for x in (memory, reads, read_weights, write_weights)))

    def _weights(self, learned: Tensor | None, heads: int) -> Tensor:
        """(heads, N)."""
        if learned is not None:
            return learned.softmax(-1)
        like = self.heads.linear.weight
        weights = like.new_full((heads, self.slots), 1 / self.slots if self.weights_init == "uniform" else 0.0)
        if self.weights_init == "first":
            weights[:, 0] = 1
        return weights

    def forward(self, controller_output: Tensor, state: NTMStep) -> NTMStep:
        return s2sfast.ntm_step(
            state.memory,
            state.read_weights,
            state.write_weights,
            *self.heads(controller_output),
            **self.options,
        )

    def extra_repr(self) -> str:
        return (
            f"slots={self.slots}, width={self.width}, "
            + "".join(f"{name}={value!r}, " for name, value in self.options.items())
            + f"memory_init={self.memory_init!r}, weights_init={self.weights_init!r}, reads_init={self.reads_init!r}"
        )
