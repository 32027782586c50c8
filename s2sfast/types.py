"""The small types that an op and its reference share."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

_NO_LIMIT = 2**62  # candidates per beam


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


class AttentionOutput(NamedTuple):
    """What an attention found; a 2-D query's has no dimension Q."""

    context: Tensor
    """``(B, Q, E)``, the weighted sums of the values, in the dtype of the query."""
    weights: Tensor | None
    """``(B, Q, T)``, each row sums to 1, or is 0 where everything is masked; None with ``need_weights=False``."""


@dataclass(frozen=True)
class Pruning:
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

    relative: float | None = None
    absolute: float | None = None
    relative_local: float | None = None
    max_per_beam: int | None = None

    def __post_init__(self) -> None:
        for name, value in (("relative", self.relative), ("relative_local", self.relative_local)):
            if value is not None and not (isinstance(value, numbers.Real) and 0 < float(value) <= 1):
                raise ValueError(f"Pruning: expected {name} in (0, 1]; got {value!r}")
        if self.absolute is not None and not (isinstance(self.absolute, numbers.Real) and float(self.absolute) >= 0):
            raise ValueError(f"Pruning: expected absolute >= 0; got {self.absolute!r}")
        most = self.max_per_beam
        if most is not None and not (isinstance(most, numbers.Integral) and 1 <= int(most) <= _NO_LIMIT):
            raise ValueError(f"Pruning: expected an integer max_per_beam in [1, 2**62]; got {most!r}")

    @property
    def limits(self) -> tuple[float, float, float, int]:
        """(log relative, absolute, log relative_local, max_per_beam); an absent rule drops nothing."""
        return (
            -math.inf if self.relative is None else math.log(self.relative),
            math.inf if self.absolute is None else float(self.absolute),
            -math.inf if self.relative_local is None else math.log(self.relative_local),
            _NO_LIMIT if self.max_per_beam is None else int(self.max_per_beam),
        )
