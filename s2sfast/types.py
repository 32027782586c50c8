"""The small types that an op and its reference share."""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor


class BeamCandidates(NamedTuple):
    """The k best continuations of each sentence, best first.

    A slot without a candidate has score -inf, parent 0, token 0.
    """

    scores: Tensor
    """``(B, k)`` float32, natural-log probabilities."""
    parents: Tensor
    """``(B, k)`` int64, the beam that each candidate continues."""
    tokens: Tensor
    """``(B, k)`` int64."""


class Pruning(NamedTuple("Pruning", [("relative", "float | None"), ("absolute", "float | None"),
                                     ("relative_local", "float | None"), ("max_per_beam", "int | None")])):  # fmt: skip
    """Which candidates a beam search drops before it ranks them (Freitag & Al-Onaizan 2017, section 3).

    Each rule looks at all candidates of a sentence, those that end it (eos) included, and drops a candidate when

    * ``relative`` in (0, 1]: its probability is below ``relative`` times that of the best candidate;
    * ``absolute`` >= 0, in nats: its score is below that of the best candidate minus ``absolute``;
    * ``relative_local`` in (0, 1]: the probability of its last token is below ``relative_local`` times that of the best
      last token in the sentence. A bias counts as part of the token's log-probability;
    * ``max_per_beam`` >= 1: it is not among the ``max_per_beam`` best of its own beam.

    ``None`` switches a rule off. The settings of the paper: ``Pruning(0.6, 2.5, 0.02, 3)``.

    Raises:
        ValueError: a value outside its range.

    >>> Pruning(absolute=2.5)
    Pruning(relative=None, absolute=2.5, relative_local=None, max_per_beam=None)
    """

    __slots__ = ()

    def __new__(
        cls,
        relative: float | None = None,
        absolute: float | None = None,
        relative_local: float | None = None,
        max_per_beam: int | None = None,
    ) -> Pruning:
        for name, value in (("relative", relative), ("relative_local", relative_local)):
            if value is not None and not 0 < value <= 1:
                raise ValueError(f"Pruning: expected {name} in (0, 1]; got {value}")
        if absolute is not None and not absolute >= 0:
            raise ValueError(f"Pruning: expected absolute >= 0; got {absolute}")
        if max_per_beam is not None and (max_per_beam < 1 or max_per_beam != int(max_per_beam)):
            raise ValueError(f"Pruning: expected an integer max_per_beam >= 1; got {max_per_beam}")
        return super().__new__(cls, relative, absolute, relative_local, max_per_beam)

    @property
    def limits(self) -> tuple[float, float, float, int]:
        """(log relative, absolute, log relative_local, max_per_beam); an absent rule drops nothing."""
        return (
            -math.inf if self.relative is None else math.log(self.relative),
            math.inf if self.absolute is None else float(self.absolute),
            -math.inf if self.relative_local is None else math.log(self.relative_local),
            2**62 if self.max_per_beam is None else int(self.max_per_beam),
        )
