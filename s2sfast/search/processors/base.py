"""How a processor takes part in a search.

A processor is any callable ``(tokens_so_far (R, t), log_probs (R, V)) -> log_probs``; such a one needs the prefixes of
all rows. One that has a method `begin` does without: it starts a tracker for the search, and the tracker keeps for
every row what it needs, told by `follow` which rows run on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from s2sfast.search.prefixes import Prefixes


@dataclass(frozen=True)
class Beginning:
    """What a tracker may know of its search. Its rows are the B sentences at first."""

    prefix: Tensor
    """(B, P) int64, the tokens fed before the first choice; with ragged prefixes, those that all sentences share, or
    all of them where a prefill consumes them."""
    eos: tuple[int, ...]
    max_length: int | Tensor
    """How many tokens may be generated; (B,) where sentences differ."""
    lengths: Tensor | None = None
    """(B,) how many tokens of `prefix` count, where sentences differ: what follows is padding."""
    late: Tensor | None = None
    """(B,) how many more tokens of its prefix each sentence is fed, by `follow`, before it generates; None: none."""


class Tracker:
    """A processor at work in one search."""

    edits = False
    """It can do without log-probabilities, by :meth:`edit`. Where all trackers of a search can, a step needs no
    log-softmax beside the fused op's own. A matter of the class: bits must not depend on the step or on neighbours."""
    alike = False
    """It edits, and writes the same into every row of every step."""

    @property
    def idle(self) -> bool:
        """This step it would change nothing."""
        return False

    def __call__(self, log_probs: Tensor) -> Tensor:
        """(R, V) -> (R, V); may write into what it gets."""
        raise NotImplementedError

    def edit(self, logits: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """(R, V) logits, not to be written into, and the bias that is added to their log-softmax, which may be.

        As it stands, for those that write nothing but -inf, whatever stands there.
        """
        return logits, self(bias)

    def follow(self, rows: Tensor, tokens: Tensor) -> None:
        """Row r of the next step (R',) continues row `rows[r]` of this one with `tokens[r]`."""
        raise NotImplementedError


class Processor(Protocol):
    """A processor that builds no prefixes."""

    def begin(self, beginning: Beginning) -> Tracker: ...


class _OnPrefixes(Tracker):
    """A callable of tokens and log-probabilities, as a tracker."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor], prefixes: Prefixes, copies: bool):
        self._function, self._prefixes = function, prefixes
        self._copies = copies  # a tracker comes later, and may write into what the user's function still holds

    def __call__(self, log_probs: Tensor) -> Tensor:
        result = self._function(self._prefixes.tokens, log_probs)
        return result.clone() if self._copies and isinstance(result, Tensor) else result

    def follow(self, rows: Tensor, tokens: Tensor) -> None:
        pass


def reads_prefixes(processor: Callable | Processor) -> bool:
    return not hasattr(processor, "begin")


def begun(
    processors: tuple[Callable | Processor, ...], beginning: Beginning, prefixes: Prefixes | None
) -> list[Tracker]:
    """The trackers of one search."""
    trackers: list[Tracker] = []
    for number, processor in enumerate(processors):
        if reads_prefixes(processor):
            assert prefixes is not None and callable(processor)
            copies = not all(map(reads_prefixes, processors[number + 1 :]))
            trackers.append(_OnPrefixes(processor, prefixes, copies))
        else:
            trackers.append(processor.begin(beginning))  # type: ignore[union-attr]
    return trackers
