"""Best-first beam search: what beam search finds, with fewer rows of the model."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from s2sfast.faults import raise_arrived
from s2sfast.search import arguments as check
from s2sfast.search import state as trees
from s2sfast.search.offer import Offers
from s2sfast.search.penalties import LengthPenalty, as_penalty
from s2sfast.search.pool import Snapshot, joined
from s2sfast.search.prefixes import Prefixes
from s2sfast.search.processors.base import Processor, reads_prefixes
from s2sfast.search.ranking import ByLogProb, Offer
from s2sfast.search.result import BeamResult, SearchStats
from s2sfast.search.rules import Exact
from s2sfast.search.stepper import Output, Stepper
from s2sfast.search.waiting import Call, Hypothesis, Sentence, Waiting


@torch.no_grad()
def best_first_search(
    step: Any,
    state: Any,
    *,
    start: int | Sequence | Tensor,
    eos: int | Sequence[int] | Tensor,
    beam: int = 5,
    n_best: int = 1,
    max_length: int | Tensor = 200,
    min_length: int = 0,
    memory: Any = None,
    batch_size: int | None = None,
    state_dims: Any = 0,
    length_penalty: float | LengthPenalty = 0.0,
    processors: Sequence[Callable[[Tensor, Tensor], Tensor] | Processor] = (),
    temperature: float = 1.0,
    return_attention: bool = False,
    backend: Literal["fast", "reference"] = "fast",
) -> BeamResult:
    r"""Beam search that asks the model about the most probable hypothesis first (Meister, Vieira & Cotterell 2020,
    "Best-First Beam Search", TACL, arXiv:2007.03909).

    The result is that of the beam search in which finished hypotheses stay in the beam and compete by log-probability,
    ``beam_search(rules="allennlp")``: at each length the K best of

    .. math:: \{ y \circ v : y \in B_{t-1} \text{ unfinished}, v \in V \}
        \cup \{ y : y \in B_{t-1} \text{ finished} \}

    make up the beam :math:`B_t`, and the last beam is ranked. Since a continuation is never more probable than what it
    continues, taking hypotheses best first, at most K of each length, takes each length's beam in its order. The search
    ends when no other can enter the n best, so the model sees at most the rows of that beam search, often far fewer.

    Each call of the model has at most one row a sentence: the best hypothesis of each that the model has not seen yet.
    Hypotheses of different lengths stand side by side, as far as their states have the same shapes and share the same
    values. What a growing cache or a 0-d step counter holds differs from length to length: such states run in one call
    for each length. So do all where there are processors. The step must therefore be a function of its arguments: a
    counter that it keeps to itself would count calls, not tokens.

    It saves rows of the model, not calls: a call has S rows where beam search has S K, and there are more calls. It
    pays where a row is what costs, and where sentences are many.

    Args:
        state: a pytree of tensors, as in :func:`s2sfast.beam_search`, without objects that ``reorder``.
        n_best: at most K.
        length_penalty: ranks the last beam only; a finite number or an "average" or "gnmt" LengthPenalty. With 0
            the first n that are found are the n best. With alpha > 0 the search goes on while the best waiting
            log-probability, divided at max_length, could still enter; with alpha < 0, at length 1.
        processors: as in :func:`s2sfast.beam_search`; what they return must not be above 0. Those that follow rows are
            told each hypothesis anew, from its beginning, and for that called with zeros: a call takes time in
            proportion to its length. What they keep may depend on tokens, not on log-probabilities.
        step, start, eos, beam, max_length, min_length, memory, batch_size, state_dims, temperature, return_attention,
            backend: as in :func:`s2sfast.beam_search`. A step with an attribute ``normalized = True`` returns scores
            that are summed as they are, none above 0.

    Returns:
        :class:`s2sfast.BeamResult`. Hypotheses that reach max_length without eos are flagged unfinished. Ties: at each
        length the lower rank of what is continued, then the lower token; in the result, the lower rank in the last
        beam.

    Raises:
        ValueError: an argument out of its range; another length penalty, whose bound is not known; scores above 0, with
            which best first would not be beam search; a state that cannot be joined; what the step returns, as in
            :func:`s2sfast.beam_search`.

    The best hypothesis, 1 2, is found with the first row; beam search with K=2 would go on to max_length:

    >>> import torch, s2sfast
    >>> P = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8], [0.0, 0.0, 1.0]]).log()  # next of 0, 1, 2; 2 is eos
    >>> step = lambda tokens, state, memory: (P[tokens], state)
    >>> found = s2sfast.best_first_search(step, None, start=1, eos=2, beam=2, max_length=4, batch_size=1)
    >>> found.best(0), found.stats.model_rows
    ([2], 1)
    """
    name = "best_first_search"
    kind = length_penalty.kind if isinstance(length_penalty, LengthPenalty) else "average"
    number = isinstance(length_penalty, numbers.Real) and math.isfinite(length_penalty)
    if not (number or isinstance(length_penalty, LengthPenalty)) or kind not in ("average", "gnmt"):
        raise ValueError(
            f'{name}: expected length_penalty to be a finite number or an "average" or "gnmt" LengthPenalty, for which '
            f"it is known what a hypothesis can still become; got {length_penalty!r}"
        )
    a = check.prepare(
        name, step, state, start=start, memory=memory, batch_size=batch_size, prefix_lengths=None,
        state_dims=state_dims, backend=backend, max_length=max_length, eos=eos, min_length=min_length,
        processors=processors, temperature=temperature, return_attention=return_attention, beam=beam, n_best=n_best,
        penalty=as_penalty(length_penalty), rule=Exact(), ranking=ByLogProb(), pruning=None,
    )  # fmt: skip
    if a.n_best > a.beam:
        raise ValueError(f"{name}: expected n_best <= beam={a.beam}; got {a.n_best}")
    return _Search(a).run()


class _Search:
    """One search over B sentences."""

    def __init__(self, a: check.Arguments):
        self.a = a
        self.stats = SearchStats()
        self.model = Stepper(a, self.stats)
        most = a.max_length.tolist() if isinstance(a.max_length, Tensor) else [a.max_length] * a.batch
        self.sentences = [Sentence(b, n, a) for b, n in enumerate(most)]
        self.memory_of: tuple[list[int], Any] = (list(range(a.batch)), a.memory)  # what the last call was given
        self.ranking = a.ranking.begin(a)

    def run(self) -> BeamResult:
        raise_arrived()  # of calls before this search: they are not its own
        if self.sentences:
            roots = [(sentence, Hypothesis(None, -1, 0.0, False)) for sentence in self.sentences]
            self._expand(roots, self._feed_prefix())
        while going := [(s, h) for s in self.sentences if (h := s.next()) is not None]:
            for batch in self._alike(going):
                self._expand(batch, self._call(batch))
        return _result(self.a, [sentence.found() for sentence in self.sentences], self.stats)

    def _feed_prefix(self) -> Output:
        a = self.a
        if a.prefill is not None:
            return self.model.prefill(torch.full((a.batch,), a.prefix.shape[1], device=a.device))
        *early, tokens = a.prefix.unbind(1)
        state = a.state
        for earlier in early:
            state = self.model.step(earlier, state, a.memory).state
        return self.model.step(tokens, state, a.memory)

    def _alike(self, going: list) -> list[list[tuple[Sentence, Hypothesis]]]:
        """Batches whose rows may stand together."""
        batches: dict[Any, list] = {}
        for sentence, hypothesis in going:
            length = hypothesis.length if self.a.processors else 0
            batches.setdefault((length, hypothesis.source()[0].snapshot.kind), []).append((sentence, hypothesis))
        return list(batches.values())

    def _call(self, batch: list[tuple[Sentence, Hypothesis]]) -> Output:
        tokens = torch.tensor([h.token for _, h in batch], device=self.a.device)
        sources = [h.source() for _, h in batch]
        state = joined([(call.snapshot, row) for call, row in sources], self.a.device)
        return self.model.step(tokens, state, self._memory([s.index for s, _ in batch]))

    def _memory(self, sentences: list[int]) -> Any:
        if sentences != self.memory_of[0]:
            index = torch.tensor(sentences, device=self.a.device)
            self.memory_of = sentences, trees.select_rows(self.a.memory, 0, index, self.a.batch, "memory")
        return self.memory_of[1]

    def _expand(self, batch: list[tuple[Sentence, Hypothesis]], output: Output) -> None:
        """Puts the K best continuations of each row into the queues: no others can enter a beam."""
        a, device = self.a, self.a.device
        attention = output.attention.clone() if a.return_attention and output.attention is not None else None
        call = Call(self._checked(Snapshot, output.state, a.state_dims, len(batch), device), attention)
        offers, offer = self._offer(batch, output.logits)
        sentences = torch.tensor([s.index for s, _ in batch], device=device)
        try:
            found = self.ranking.rank(offer)
        except ValueError as error:
            raise offers.explained(error, offer, sentences) from error
        scores, tokens = found.scores.tolist(), found.tokens.tolist()
        try:
            raise_arrived()  # the line above has waited for the device
        except ValueError as error:
            raise offers.explained(error, offer, sentences, late=True) from error
        for row, (sentence, parent) in enumerate(batch):
            parent.call, parent.row = call, row
            for score, token in zip(scores[row], tokens[row], strict=True):
                if score > parent.score:
                    raise self._rising(sentence, score - parent.score)
                if score == -math.inf:
                    break
                self.stats.candidates += 1
                child = Hypothesis(parent, token, score, token in a.eos)
                sentence.offer(child.length, Waiting(-score, parent.rank, token, child))

    def _offer(self, batch: list[tuple[Sentence, Hypothesis]], logits: Tensor) -> tuple[Offers, Offer]:
        a = self.a
        offers = self._told(batch, logits) if a.processors else Offers(a, self.model, None)
        young = torch.tensor([h.length < a.min_length for _, h in batch], device=a.device)
        logits, normalized, bias = offers.prepare(logits, len(batch), young if a.min_length else False, False)
        before = torch.tensor([[h.score] for _, h in batch], device=a.device)
        generated = torch.tensor([h.length for _, h in batch], device=a.device)
        return offers, Offer(logits[:, None], normalized, bias, before, before, a.beam, None, generated)

    def _told(self, batch: list[tuple[Sentence, Hypothesis]], logits: Tensor) -> Offers:
        """With processors that have been told these hypotheses, all of one length, from their beginnings.

        As in the loop they begin with a row for each of the B sentences, and are called before they follow.
        """
        a, prefixes = self.a, Prefixes(self.a.prefix)
        offers = Offers(a, self.model, prefixes)
        keep = [t for p, t in zip(a.processors, offers.trackers, strict=True) if not reads_prefixes(p)]
        rows = torch.tensor([s.index for s, _ in batch], device=a.device)
        for column in zip(*([step.token for step in h.path()] for _, h in batch), strict=True):
            tokens, before = torch.tensor(column, device=a.device), len(prefixes.tokens)
            for tracker in keep:
                tracker(torch.zeros((before, logits.shape[1]), device=a.device))  # the true ones are long gone
                tracker.follow(rows, tokens)
            prefixes.follow(rows, tokens)
            rows = torch.arange(len(batch), device=a.device)
        return offers

    def _checked(self, function: Callable, *args: Any) -> Any:
        try:
            return function(*args)
        except trees.RowsError as error:
            raise ValueError(f"{self.model.where()}: {error}") from error

    def _rising(self, sentence: Sentence, gain: float) -> ValueError:
        return ValueError(
            f"{self.model.where()}: expected log-probabilities of at most 0, or best first is not beam search; "
            f"got {gain:g} for sentence {sentence.index}"
        )


def _result(a: check.Arguments, found: list[list[tuple[float, Hypothesis]]], stats: SearchStats) -> BeamResult:
    L = max((h.length for hypotheses in found for _, h in hypotheses), default=0)
    shape, device = (a.batch, a.n_best), a.device
    result = BeamResult(
        tokens=torch.full((*shape, L), -1, device=device),
        lengths=torch.zeros(shape, dtype=torch.int64, device=device),
        scores=torch.full(shape, -math.inf, device=device),
        log_probs=torch.full(shape, -math.inf, device=device),
        token_log_probs=torch.zeros((*shape, L), device=device),
        finished=torch.zeros(shape, dtype=torch.bool, device=device),
        stats=stats,
    )
    for b, hypotheses in enumerate(found):
        for i, (score, h) in enumerate(hypotheses):
            path = h.path()
            result.tokens[b, i, : h.length] = torch.tensor([step.token for step in path], device=device)
            sums = torch.tensor([0.0, *(step.score for step in path)], device=device)
            result.token_log_probs[b, i, : h.length] = sums.diff()
            result.lengths[b, i], result.finished[b, i] = h.length, h.ended
            result.scores[b, i], result.log_probs[b, i] = score, h.score
    if a.return_attention:
        result.attention = _attention(a, found, L)
    return result


def _attention(a: check.Arguments, found: list[list[tuple[float, Hypothesis]]], L: int) -> Tensor:
    """(B, n, L, T)"""
    read = {
        (b, i): torch.stack([step.attention() for step in h.path()])
        for b, hypotheses in enumerate(found)
        for i, (_, h) in enumerate(hypotheses)
    }
    like = next(iter(read.values()), torch.zeros((0, 0), device=a.device))
    attention = like.new_zeros((a.batch, a.n_best, L, like.shape[1]))
    for (b, i), rows in read.items():
        attention[b, i, : len(rows)] = rows
    return attention
