"""What a hypothesis must contain."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from s2sfast.search.banks import Banks
from s2sfast.search.checks import token_ids


def _phrase(name: str, phrase: Sequence[int]) -> tuple[int, ...]:
    if isinstance(phrase, (int, str)):
        raise ValueError(f"{name}: expected phrases, sequences of token ids; got {phrase!r}")
    return token_ids(name, "a phrase", phrase)


@dataclass(frozen=True)
class AnyOf:
    """Met by any one of its phrases.

    Raises:
        ValueError: no phrases, or something else than token ids in them.

    >>> AnyOf([[7], [8, 9]])
    AnyOf(phrases=((7,), (8, 9)))
    """

    phrases: Sequence[Sequence[int]]

    def __post_init__(self) -> None:
        if not isinstance(self.phrases, Iterable) or isinstance(self.phrases, str):
            raise ValueError(f"AnyOf: expected a sequence of phrases; got {self.phrases!r}")
        phrases = tuple(_phrase("AnyOf", phrase) for phrase in self.phrases)
        if not phrases:
            raise ValueError("AnyOf: expected at least one phrase; got none")
        object.__setattr__(self, "phrases", phrases)


@dataclass(frozen=True)
class Constraints:
    """What the hypotheses of a sentence must contain: phrases of token ids, and :class:`AnyOf` some phrases.

    A phrase is met once its tokens have been generated one after another, wherever; prefixes do not count, phrases may
    overlap, and the same phrase twice is met by one occurrence. The order is free.

    ``beam_search(..., constraints=)`` takes one for all sentences, or a list with one per sentence. Only what meets all
    may end with eos. The beam is divided evenly among the banks of hypotheses that have as many of the constraints'
    tokens (Post & Vilar 2018, arXiv:1804.06609, section 3; what a bank cannot use goes to the others), so it should be
    wider than there are tokens. Every hypothesis offers its best continuations and those that a constraint waits for.
    All of it is tensors, without a loop over hypotheses (as in Hu et al. 2019, aclanthology.org/N19-1090).

    What max_length cuts off, and what could only end, is returned as well, ranked by the number of constraints met,
    then by score (as in Sockeye); ``result.constraints_met`` and ``result.satisfied`` say so. The beams that
    ``on_step`` sees stand in the order in which the banks gave them, not by score.

    Raises:
        ValueError: something else than phrases and AnyOf; in the search: eos in a phrase, an id beyond V, a list of
            other than B, together with pruning, ends, regularizer, sibling_penalty or rules.AllenNLP.

    >>> import torch, s2sfast
    >>> P = torch.tensor([[0.6, 0.2, 0.1, 0.1]] * 4).log()  # whatever came before; 0 is eos
    >>> step = lambda tokens, state, memory: (P[tokens], state)
    >>> must = s2sfast.Constraints([[2, 1], s2sfast.AnyOf([[3], [1, 1]])])
    >>> found = s2sfast.beam_search(step, None, start=[0], eos=0, beam=8, constraints=must, length_penalty=0.0)
    >>> found.best(0), found.constraints_met.item(), found.satisfied.item()
    ([2, 1, 1, 0], 2, True)
    """

    items: Sequence[Sequence[int] | AnyOf]

    def __post_init__(self) -> None:
        if not isinstance(self.items, Iterable) or isinstance(self.items, str):
            raise ValueError(f"Constraints: expected a sequence of phrases and AnyOf; got {self.items!r}")
        items = tuple(item if isinstance(item, AnyOf) else _phrase("Constraints", item) for item in self.items)
        object.__setattr__(self, "items", items)

    @property
    def alternatives(self) -> list[Sequence[Sequence[int]]]:
        """The phrases of each constraint, any one of which meets it."""
        return [item.phrases if isinstance(item, AnyOf) else (item,) for item in self.items]


def as_constraints(constraints: Constraints | Sequence[Constraints] | None) -> Banks | None:
    """The ranking that a user's argument names.

    Raises:
        ValueError: neither Constraints nor a sequence of them.
    """
    if constraints is None:
        return None
    if isinstance(constraints, Constraints):
        return Banks([constraints.alternatives], shared=True)
    if not isinstance(constraints, (list, tuple)) or not all(isinstance(c, Constraints) for c in constraints):
        raise ValueError(
            f"beam_search: expected constraints to be Constraints, or a list with those of each sentence; "
            f"got {constraints!r}"
        )
    return Banks([c.alternatives for c in constraints], shared=False)
