"""What a search shows of itself while it runs."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from s2sfast.search.candidates import Candidates
from s2sfast.search.prefixes import Prefixes


class LiveBeams:
    """The beams that run on after a step: of S' sentences K each, best first.

    Sentences that have just finished are not among them.
    """

    def __init__(
        self, step: int, sentences: Tensor, at: Tensor, running: Candidates, prefixes: Prefixes, beams: int
    ) -> None:
        self.step = step
        """0-based, among the steps that choose a token."""
        self.sentences = sentences[at]
        """(S',) int64, which sentences of the batch."""
        self.scores = running.scores[at]
        """(S', K) float32, what they are ranked by; -inf: an empty place."""
        self.log_probs = running.log_probs[at]
        """(S', K) float32, sums."""
        self.last_tokens = running.tokens[at]
        """(S', K) int64, what the step chose."""
        self._all, self._at = sentences, at
        self._running, self._prefixes, self._beams = running, prefixes, beams
        self._stopped: list[int] = []

    @property
    def tokens(self) -> Tensor:
        """(S', K, t) int64: prefix and generated tokens, the last step's among them."""
        return self._prefixes.continued(self._running, self._beams)[self._at]

    def stop(self, sentences: int | Iterable[int] | None = None) -> None:
        """These sentences (None: all) take no further step; what runs joins their hypotheses, flagged unfinished."""
        chosen = self.sentences.tolist() if sentences is None else sentences
        chosen = [int(chosen)] if isinstance(chosen, int) else [int(b) for b in chosen]
        running = set(self.sentences.tolist())
        for b in chosen:
            if b not in running:
                raise ValueError(f"LiveBeams.stop: expected sentences among {sorted(running)}; got {b}")
        self._stopped.extend(chosen)

    def stopped(self) -> Tensor | None:
        """(S,) bool of all the step's sentences; None: the search goes on with all."""
        if not self._stopped:
            return None
        return torch.isin(self._all, torch.tensor(self._stopped, device=self._all.device))
