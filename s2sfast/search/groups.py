"""Several searches for each sentence, as sentences of one loop: group g of sentence b is row b * G + g."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from s2sfast.search import state as trees
from s2sfast.search.arguments import Arguments
from s2sfast.search.processors.base import Beginning, Processor, Tracker, reads_prefixes
from s2sfast.search.result import BeamResult


def grouped(a: Arguments, groups: int) -> Arguments:
    """The search with every sentence G times; only its memory stays one."""
    if groups == 1:
        return a

    def times(x: Any) -> Any:
        return x.repeat_interleave(groups, 0) if isinstance(x, Tensor) else x

    function, prefill = a.step, a.prefill
    each = torch.arange(a.batch, device=a.device).repeat_interleave(groups)

    def step(tokens: Tensor, state: Any, memory: Shared) -> Any:
        return function(tokens, state, memory.tree)

    def prefill_once(prefix: Tensor, lengths: Tensor, state: Any, memory: Shared) -> Any:
        assert prefill is not None
        output = prefill(prefix[::groups], lengths[::groups], state, memory.tree)
        if not isinstance(output, tuple) or len(output) not in (2, 3):
            return output  # the loop says what is wrong with it
        state = trees.select_rows(output[1], a.state_dims, each, a.batch, "state")
        return (times(output[0]), state, *map(times, output[2:]))

    return replace(
        a, step=step, prefill=None if prefill is None else prefill_once, memory=Shared(a.memory, a.batch, groups),
        state=a.state if prefill is not None else trees.select_rows(a.state, a.state_dims, each, a.batch, "state"),
        processors=tuple(p if reads_prefixes(p) else _Grouped(p, groups) for p in a.processors), prefix=times(a.prefix),
        prefix_lengths=times(a.prefix_lengths), max_length=times(a.max_length), groups=groups,
    )  # fmt: skip


class Shared:
    """A memory of one row a sentence, in a loop that counts G."""

    def __init__(self, tree: Any, sentences: int, groups: int):
        self.tree, self._sentences, self._groups = tree, sentences, groups

    def reorder(self, index: Tensor) -> Shared:
        at = index[:: self._groups].div(self._groups, rounding_mode="floor")
        return Shared(trees.select_rows(self.tree, 0, at, self._sentences, "memory"), len(at), self._groups)


class _Grouped:
    """A processor that knows of B sentences, in a loop that counts G times as many."""

    def __init__(self, processor: Any, groups: int):
        self._processor: Processor = processor
        self._groups = groups

    def begin(self, beginning: Beginning) -> Tracker:
        def once(x: Any) -> Any:
            return x[:: self._groups] if isinstance(x, Tensor) else x

        fields = (beginning.prefix, beginning.eos, beginning.max_length, beginning.lengths, beginning.late)
        return _Tracked(self._processor.begin(Beginning(*map(once, fields))), self._groups)


class _Tracked(Tracker):
    """Its tracker has one row a sentence until the first tokens are chosen. Till then the groups' rows are equal."""

    def __init__(self, tracker: Tracker, groups: int):
        self._tracker, self._groups = tracker, groups
        self.edits, self.alike = getattr(tracker, "edits", False), getattr(tracker, "alike", False)

    @property
    def idle(self) -> bool:
        return self._tracker.idle

    def __call__(self, log_probs: Tensor) -> Tensor:
        return self._tracker(log_probs[:: self._groups]).repeat_interleave(self._groups, 0)

    def edit(self, logits: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        if len(bias) < len(logits):  # one row for all
            return self._tracker.edit(logits, bias)
        edited = self._tracker.edit(logits[:: self._groups], bias[:: self._groups])
        return edited[0].repeat_interleave(self._groups, 0), edited[1].repeat_interleave(self._groups, 0)

    def follow(self, rows: Tensor, tokens: Tensor) -> None:
        self._tracker.follow(rows.div(self._groups, rounding_mode="floor"), tokens)
        self._groups = 1


def merged(result: BeamResult, groups: int, n_best: int) -> BeamResult:
    """The n best of each sentence's groups."""
    if groups == 1:
        return result

    def together(x: Tensor) -> Tensor:
        return x.reshape(x.shape[0] // groups, groups * x.shape[1], *x.shape[2:])

    order = together(result.scores).sort(dim=1, descending=True, stable=True).indices[:, :n_best]
    sentence = torch.arange(len(order), device=order.device)[:, None]
    lengths = together(result.lengths)[sentence, order]
    L = int(lengths.max()) if lengths.numel() else 0

    def best(x: Tensor) -> Tensor:
        return together(x)[sentence, order]

    return BeamResult(
        tokens=best(result.tokens)[:, :, :L],
        lengths=lengths,
        scores=best(result.scores),
        log_probs=best(result.log_probs),
        token_log_probs=best(result.token_log_probs)[:, :, :L],
        finished=best(result.finished),
        attention=None if result.attention is None else best(result.attention)[:, :, :L],
        stats=result.stats,
    )
