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


class NTMHead(NamedTuple):
    """What the heads of one kind of a Neural Turing Machine ask for in a step (Graves et al. 2014, section 3)."""

    key: Tensor
    """``(B, H, M)``, what is looked for in the memory."""
    strength: Tensor
    """``(B, H)``, how much the similarity to the key tells (beta)."""
    gate: Tensor | None = None
    """``(B, H)`` in [0, 1], the share of the content weighting (g); None: addressing by content alone."""
    shift: Tensor | None = None
    """``(B, H, S)``, a distribution over the moves of the focus (s); None or S = 0: it does not move."""
    sharpen: Tensor | None = None
    """``(B, H)`` of at least 1, the exponent of the weights (gamma); None: no sharpening."""
    erase: Tensor | None = None
    """``(B, H, M)`` in [0, 1], the share of a slot that a write head erases (e)."""
    add: Tensor | None = None
    """``(B, H, M)``, what a write head adds to a slot (a)."""

    @classmethod
    def split(cls, flat: Tensor, width: int, *, write: bool = False) -> NTMHead:
        """Views of one tensor ``(B, H, P)`` that holds all fields, in their order: with M = `width`, P is M + 3 + S for
        read heads and 3 M + 3 + S for write heads; S = 0: no shift.

        >>> import torch
        >>> head = NTMHead.split(torch.arange(8.0).view(1, 1, 8), 2, write=True)  # M=2, S=-1
        Traceback (most recent call last):
        ValueError: NTMHead: expected flat (B, H, P), P at least 3 M + 3 = 9 for M=2; got (1, 1, 8)
        >>> head = NTMHead.split(torch.arange(8.0).view(1, 1, 8), 2)  # S=3
        >>> head.key, head.gate, head.shift
        (tensor([[[0., 1.]]]), tensor([[3.]]), tensor([[[4., 5., 6.]]]))
        """
        own = (3 if write else 1) * width + 3
        if flat.dim() != 3 or flat.shape[2] < own:
            least = f"{'3 M' if write else 'M'} + 3 = {own} for M={width}"
            raise ValueError(f"NTMHead: expected flat (B, H, P), P at least {least}; got {tuple(flat.shape)}")
        taps = flat.shape[2] - own
        key, strength, gate, shift, sharpen, *written = flat.split(
            [width, 1, 1, taps, 1, *([width, width] if write else [])], -1
        )
        moves = shift if taps else None
        return cls(key, strength.squeeze(-1), gate.squeeze(-1), moves, sharpen.squeeze(-1), *written)


@dataclass(frozen=True)
class NTMActivation:
    """What makes parameters of heads out of a controller's numbers x, which may be any.

    The gate is sigmoid(x), the shift softmax(x), sharpen 1 + softplus(x), erase sigmoid(x), and

    * ``key``: "none" is x, "tanh" is tanh(x);
    * ``strength``: "softplus" is log(1 + exp(x)), "oneplus" is 1 + that;
    * ``add``: "none" is x, "tanh" is tanh(x).

    Raises:
        ValueError: another name.

    >>> NTMActivation(strength="oneplus")
    NTMActivation(key='none', strength='oneplus', add='none')
    """

    key: str = "none"
    strength: str = "softplus"
    add: str = "none"

    def __post_init__(self) -> None:
        for name, known in (
            ("key", ("none", "tanh")),
            ("strength", ("softplus", "oneplus")),
            ("add", ("none", "tanh")),
        ):
            got = getattr(self, name)
            if got not in known:
                raise ValueError(f"NTMActivation: expected {name} to be {' or '.join(known)}; got {got!r}")


class NTMStep(NamedTuple):
    """What a step of a Neural Turing Machine leaves, in the dtype of its memory."""

    memory: Tensor
    """``(B, N, M)``, after the writing."""
    reads: Tensor
    """``(B, R, M)``, what the read heads have read."""
    read_weights: Tensor
    """``(B, R, N)``, where they have read."""
    write_weights: Tensor
    """``(B, W, N)``, where the write heads have written."""


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
