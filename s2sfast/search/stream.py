"""Yields what a search can no longer change, while it runs."""

from __future__ import annotations

import inspect
from collections.abc import Generator
from typing import Any, NamedTuple

import torch

from s2sfast.search.beam import beam_loop, beam_search
from s2sfast.search.loop import Loop
from s2sfast.search.result import BeamResult

_OPTIONS = {
    name: parameter.default
    for name, parameter in inspect.signature(beam_search).parameters.items()
    if parameter.kind is parameter.KEYWORD_ONLY
}


class Chunk(NamedTuple):
    """The next tokens of a sentence's best hypothesis."""

    sentence: int
    tokens: list[int]
    final: bool
    """Nothing follows; every sentence has one such chunk, perhaps without tokens."""


@torch.no_grad()
def stream(step: Any, state: Any, **options: Any) -> Generator[Chunk, None, BeamResult]:
    """Runs :func:`s2sfast.beam_search` and yields tokens as soon as all hypotheses that can still win share them.

    The chunks of a sentence, joined, are ``result.best(b)``; a token once yielded is never taken back, with any number
    of beams: it is the common prefix of the live beams and of the best finished hypothesis.

    Args:
        step, state, options: as for :func:`s2sfast.beam_search`.

    Yields:
        :class:`Chunk`. Sentences of a batch take turns, in the order of the steps.

    Returns:
        The :class:`s2sfast.BeamResult`, as the value of the generator (``result = yield from stream(...)``, or
        ``StopIteration.value``).

    Raises:
        ValueError: as there, on the first ``next``; or an unknown option.

    >>> import torch, s2sfast
    >>> P = torch.tensor([[0.6, 0.4, 0.0], [0.6, 0.3, 0.1], [0.0, 0.1, 0.9]]).log()  # next of 0, 1, 2; 2 is eos
    >>> step = lambda tokens, state, memory: (P[tokens], state)
    >>> for chunk in s2sfast.stream(step, None, start=1, eos=2, beam=2, max_length=4, batch_size=1, length_penalty=0.0):
    ...     print(chunk.tokens, chunk.final)
    [0] False
    [0] False
    [0, 0] True
    """
    unknown = options.keys() - _OPTIONS.keys()
    required = {name for name, default in _OPTIONS.items() if default is inspect.Parameter.empty}
    if unknown or required - options.keys():
        raise ValueError(
            f"stream: expected the options of beam_search, {', '.join(sorted(required))} among them; "
            f"got {', '.join(sorted(options)) or 'none'}"
        )
    loop = beam_loop("stream", step, state, **{**_OPTIONS, **options}, watched=True)
    told = _Told(loop)
    for _ in loop.steps():
        yield from told.news()
    yield from told.news()
    return loop.result()


class _Told:
    """What has been yielded of each sentence."""

    def __init__(self, loop: Loop):
        self._loop = loop
        self._counts = [0] * loop.a.batch
        self._waiting = set(range(loop.a.batch))

    def news(self) -> list[Chunk]:
        chunks, live = [], self._live()
        for b in sorted(self._waiting):
            if b in live:
                known = _common([*live[b], *self._finished(b)])[self._counts[b] :]
                if known:
                    chunks.append(Chunk(b, known, False))
            else:
                self._waiting.discard(b)
                known = next(iter(self._finished(b)), [])[self._counts[b] :]
                chunks.append(Chunk(b, known, True))
            self._counts[b] += len(known)
        return chunks

    def _live(self) -> dict[int, list[list[int]]]:
        """The tokens generated so far by the live beams of each sentence alive."""
        loop = self._loop
        if not loop.S:
            return {}
        assert loop.prefixes is not None
        fed = loop.a.shared_prefix.shape[1]
        late = [0] * loop.S if loop.late is None else loop.late.tolist()
        tokens = loop.prefixes.tokens.view(loop.S, loop.W, -1).tolist()
        runs = (loop.scores > -torch.inf).tolist()
        return {
            b: [row[fed + late[s] :] for row, alive in zip(tokens[s], runs[s], strict=True) if alive]
            for s, b in enumerate(range(loop.S) if loop.alive is None else loop.alive.tolist())
        }

    def _finished(self, b: int) -> list[list[int]]:
        """The hypothesis that is the best so far, if there is one; all that are kept where the ranking comes last."""
        loop = self._loop
        scores, codes = loop.hypotheses.best(loop.hypotheses.ranks.shape[1] if loop.a.rule.stays else 1)
        late = 0 if loop.a.late is None else int(loop.a.late[b])
        found = zip(scores[b].tolist(), codes[b].tolist(), strict=True)
        ends = [divmod(code, loop.C) for score, code in found if score > -torch.inf]
        return [loop.history.sequence(b, last, column, loop.alive)[late:] for last, column in ends]


def _common(sequences: list[list[int]]) -> list[int]:
    """The longest common prefix."""
    if not sequences:
        return []
    low, high = min(sequences), max(sequences)
    same = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high)))
    return low[:same]
