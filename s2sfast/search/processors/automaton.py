"""A finite automaton that says what may come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from s2sfast.search.processors.base import Beginning, Tracker
from s2sfast.search.processors.rows import Position, barrier, check_batch, ids_on, integers_of


@dataclass(frozen=True, eq=False)
class Automaton:
    """Hypotheses are words of a regular language: those that a deterministic finite automaton accepts.

    A token may come where the hypothesis' state has a transition for it; eos, whatever its column says, where the state
    accepts. Prefixes are not read. What max_length cuts off need not be accepted: it is not finished. A step gathers
    R rows of V numbers, whatever the number of states; (Q, V) float32 is kept beside the transitions.

    Args:
        transitions: ``(Q, V)`` integers: the next state for each state and token, -1: forbidden.
        start: the first state, or one per sentence ``(B,)``.
        accepting: the states that may end.

    Raises:
        ValueError: other shapes, a state that does not exist; in the search: another V or B.

    >>> import torch, s2sfast
    >>> P = torch.tensor([[0.6, 0.3, 0.1]] * 3).log()  # whatever came before; 2 is eos
    >>> step = lambda tokens, state, memory: (P[tokens], state)
    >>> words = s2sfast.processors.Automaton([[1, 1, -1], [-1, 2, -1], [-1, -1, -1]], accepting=[2])  # 0 or 1, then 1
    >>> s2sfast.beam_search(step, None, start=[2], eos=2, beam=3, n_best=3, processors=[words]).tokens.tolist()
    [[[0, 1, 2], [1, 1, 2], [-1, -1, -1]]]
    """

    transitions: Tensor | Sequence
    start: int | Sequence[int] | Tensor = 0
    accepting: int | Sequence[int] | Tensor = ()

    def __post_init__(self) -> None:
        transitions = integers_of("Automaton", "transitions", self.transitions)
        if transitions.dim() != 2 or not transitions.numel():
            raise ValueError(f"Automaton: expected transitions (Q, V); got {tuple(transitions.shape)}")
        start = integers_of("Automaton", "start", self.start)
        if start.dim() > 1:
            raise ValueError(f"Automaton: expected start to be a state, or states (B,); got {tuple(start.shape)}")
        accepting = integers_of("Automaton", "accepting", self.accepting).reshape(-1)
        Q = len(transitions)
        for what, states, least in (("transitions", transitions, -1), ("start", start, 0), ("accepting", accepting, 0)):
            wrong = states[(states < least) | (states >= Q)]
            if len(wrong):
                raise ValueError(
                    f"Automaton: expected {what} in [{least}, Q)=[{least}, {Q}); got {int(wrong.flatten()[0])}"
                )
            object.__setattr__(self, what, states)

    def begin(self, beginning: Beginning) -> Tracker:
        transitions, start, accepting = (
            torch.as_tensor(x, device=beginning.prefix.device) for x in (self.transitions, self.start, self.accepting)
        )
        if start.dim():
            check_batch("Automaton", "start", start, beginning)
        return _Walk(transitions, start.expand(len(beginning.prefix)), accepting, beginning)


class _Walk(Tracker):
    """The state of every row; state Q, from which nothing leads on, where nothing runs."""

    edits = True

    def __init__(self, transitions: Tensor, states: Tensor, accepting: Tensor, beginning: Beginning):
        Q, V = transitions.shape
        if (most := max(beginning.eos, default=-1)) >= V:
            raise ValueError(f"Automaton: expected transitions (Q, V) with V above eos {most}; got V={V}")
        self._transitions, self._states, self._position = transitions, states, Position(beginning)
        forbidden = torch.ones((Q + 1, V), dtype=torch.bool, device=states.device)
        forbidden[:Q] = transitions < 0
        forbidden[:, ids_on(beginning, beginning.eos)] = True
        forbidden[accepting[:, None], ids_on(beginning, beginning.eos)] = False
        self._barrier = barrier(forbidden)

    def __call__(self, log_probs: Tensor) -> Tensor:
        V = self._transitions.shape[1]
        if log_probs.shape[1] != V:
            raise ValueError(f"Automaton: expected transitions (Q, V) with V={log_probs.shape[1]}; got V={V}")
        return log_probs.add_(self._barrier.index_select(0, self._states))

    def follow(self, rows: Tensor, tokens: Tensor) -> None:
        Q, V = self._transitions.shape
        before = self._states.index_select(0, rows)
        after = self._transitions[before.clamp(max=Q - 1), tokens.clamp(max=V - 1)]
        after = after.masked_fill((before == Q) | (after < 0), Q)
        generated = self._position.generated
        if isinstance(generated, Tensor):
            after = after.where(generated[rows] >= 0, before)
        self._states = after
        self._position.follow(rows)
