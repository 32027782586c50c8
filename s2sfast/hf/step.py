"""The model as a step that :func:`s2sfast.beam_search` runs: one row a sentence first, then its beams."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from s2sfast.hf.arguments import Settings
from s2sfast.hf.attention import stepping
from s2sfast.hf.cache import make_cache
from s2sfast.hf.record import Record


class Decoder:
    """A transformers model at work. S sentences alive, W beams each, R = S * W rows, P tokens of the prompt."""

    def __init__(self, settings: Settings, logits: Record | None = None):
        """`logits` takes down what the model says."""
        self._settings, self._record = settings, logits
        self._model = settings.model
        self._pool = settings.pool
        self._cache = make_cache(settings.pool, settings.encoder_decoder)
        self._length = settings.prompt.shape[1]
        self._positions: Tensor | None = None
        """(S, 1) of the next token, where the model wants to be told."""
        self.ids = torch.arange(settings.prompt.shape[0], device=settings.prompt.device)
        """(S,) which sentences of the batch are alive."""
        self.state = _Follower(self._pool.follow)
        self.memory = _Follower(self._keep_sentences)
        self.prompt_length, self.max_length = self._length, settings.config.max_length
        self.eos, self.vocabulary, self.possible = settings.eos, settings.vocabulary, settings.possible
        self.normalized = settings.beams == 1
        """Greedy search is over what the processors make of the logits, without a log-softmax."""

    def rows(self) -> Tensor:
        """(R, 1) the row that each would have if no sentence had left and each had all its beams."""
        beams = torch.arange(self._pool.width, device=self.ids.device)
        return (self.ids[:, None] * self._settings.beams + beams).reshape(-1, 1)

    def prefill(self, prefix: Tensor, lengths: Tensor, state: Any, memory: Any) -> tuple[Any, ...]:
        """The prompt (S, P), as transformers prepares it."""
        kwargs = self._settings.first_kwargs | {self._settings.cache_name: self._cache}
        inputs = self._model.prepare_inputs_for_generation(prefix, is_first_iteration=True, **kwargs)
        positions = inputs.get(self._settings.positions_name)
        if positions is not None:
            self._positions = positions[:, -1:] + 1
        return self._answer(self._logits(inputs), state)

    def step(self, tokens: Tensor, state: Any, memory: Any) -> tuple[Any, ...]:
        """One token of each row (R,)."""
        s = self._settings
        self._pool.advance(self._length)
        inputs = s.later_kwargs | {s.ids_name: tokens.unsqueeze(1), s.cache_name: self._cache}
        if s.padded:
            inputs[s.mask_name] = tokens.new_ones((len(tokens), self._length + 1))
        if self._positions is not None:
            inputs[s.positions_name] = self._positions.repeat_interleave(self._pool.width, 0)
            self._positions += 1
        with stepping(self._pool):
            logits = self._logits(inputs)
        self._length += 1
        return self._answer(logits, state)

    def _answer(self, logits: Tensor, state: Any) -> tuple[Any, ...]:
        """With the rows in the place of attention: so the search finds the row that each token was chosen from."""
        return (logits, state, self.rows()) if self._settings.config.return_dict_in_generate else (logits, state)

    def _logits(self, inputs: dict[str, Any]) -> Tensor:
        """(R, V) float32, of the last token."""
        logits: Tensor = self._model(**inputs, return_dict=True).logits.select(1, -1).float()
        if self._record is not None:
            self._record.add(self.ids, logits)
        return logits

    def _keep_sentences(self, keep: Tensor) -> None:
        self.ids = self.ids.index_select(0, keep)
        self._pool.keep_sentences(keep)
        if self._positions is not None:
            self._positions = self._positions.index_select(0, keep)


class _Follower:
    """State of a search that is told which rows go on."""

    def __init__(self, reorder: Any):
        self.reorder = reorder
