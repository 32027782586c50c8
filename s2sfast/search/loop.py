"""The loop that every search runs: step, rank, finish, gather; sentences leave when they are done."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from s2sfast.faults import raise_arrived
from s2sfast.search import state as trees
from s2sfast.search.arguments import Arguments
from s2sfast.search.history import History, Step
from s2sfast.search.hypotheses import Hypotheses
from s2sfast.search.outcome import outcome
from s2sfast.search.penalties import Length
from s2sfast.search.result import BeamResult, SearchStats
from s2sfast.search.rules import Progress
from s2sfast.search.stepper import Stepper
from s2sfast.search.tree import BeamTree, TreeStep, tree_step
from s2sfast.types import BeamCandidates


class Loop:
    """One search. S sentences alive, W beams each at present (1 at the first step), K wanted, C candidates ranked."""

    def __init__(self, arguments: Arguments):
        a = self.a = arguments
        self.state, self.memory = a.state, a.memory
        self.alive: Tensor | None = None  # (S,) which sentences of the batch; None: all
        self.S, self.W = a.batch, 1
        self.scores = torch.zeros((a.batch, 1), dtype=torch.float32, device=a.device)
        self.C = a.rule.candidates(a.beam, len(a.eos))
        self.hypotheses = Hypotheses(a.batch, a.rule.places(a.beam, a.n_best), self.C, a.device)
        self.history = History()
        self.stats = SearchStats()
        self.model = Stepper(a, self.stats)
        self.tree: list[TreeStep] = []
        self.ranked = (self.scores[:, :, None], self.scores)  # (logits (S, W, V), scores (S, W)) of the present step
        self.unpruned = BeamCandidates(self.scores, a.prefix, a.prefix)  # of the present step, for the tree
        self.t = 0  # steps that chose a token
        self.some_full = False  # some sentence has all the hypotheses it keeps: the stopping rule is worth asking
        self.rows_base: Tensor | None = None
        self.rows_key = (0, 0)
        self.forced_tokens = a.prefix[:, :0]  # (B, F) of longer prefixes, still to be fed
        self.late = a.late  # (S,) how many of them each sentence has
        self.tokens = a.prefix[:, 0]
        self.so_far = a.prefix

    # --- from beginning to end -------------------------------------------------------------------

    def run(self) -> BeamResult:
        raise_arrived()  # of calls before this search: they are not its own
        if self.S:
            self._advance(*self._feed_prefix())
        while self.S:
            self._advance(*self._step())
        return self._result()

    def _feed_prefix(self) -> tuple[Tensor, Tensor | None]:
        """Feeds what all sentences share of their prefixes and returns the logits that follow it."""
        a = self.a
        if a.prefill is not None:
            lengths = a.prefix_lengths
            if lengths is None:
                lengths = torch.full((self.S,), a.prefix.shape[1], device=a.device)
            logits, self.state, attention = self.model.prefill(lengths)
            return logits, attention
        shared = a.prefix.shape[1]
        if a.prefix_lengths is not None:
            shared = int(a.prefix_lengths.min())
            self.forced_tokens = a.prefix[:, shared:]
            self.so_far = a.prefix[:, :shared]
        for i in range(shared - 1):
            self.tokens = a.prefix[:, i]
            self._step()
        self.tokens = a.prefix[:, shared - 1]
        return self._step()

    def _step(self) -> tuple[Tensor, Tensor | None]:
        logits, self.state, attention = self.model.step(self.tokens, self.state, self.memory)
        return logits, attention

    # --- one step --------------------------------------------------------------------------------

    def _advance(self, logits: Tensor, attention: Tensor | None) -> None:
        a = self.a
        forced = self.late > self.t if self.late is not None else None  # (S,)
        if forced is not None and not forced.any():
            forced = None
        found = self._rank(logits, forced)
        ends = a.is_eos(found.tokens)
        if forced is not None:
            found = self._force(found, forced)
            ends &= ~forced[:, None]
        last, length = self._lengths()
        is_last = last if isinstance(last, bool) else bool(last.any())
        some_end = bool(ends.narrow(1, 0, a.beam).any())  # further down an eos neither counts nor takes a beam
        self._raise_late()  # the line above has waited for the device
        finishing = self._finish(found, ends, last, length) if some_end or is_last else None
        slots = self._slots(ends) if some_end else None
        running = self._running(found, ends, slots)
        self._remember(found, running, slots, finishing, attention)
        self.t += 1
        if last is True:
            self._close()
            self.S = 0
            return
        keep = self._still_running(running.scores, last, length)
        self._move_on(running, keep)

    def _rank(self, logits: Tensor, forced: Tensor | None) -> BeamCandidates:
        """The C best candidates of each sentence."""
        a = self.a
        if a.temperature != 1.0:
            logits = logits.to(_wide(logits)) / a.temperature
        if a.processors:
            dead = (logits == -math.inf).all(-1, keepdim=True)  # their log-softmax would be NaN
            log_probs = torch.log_softmax(logits, dim=-1, dtype=_wide(logits)).masked_fill(dead, -math.inf)
            logits = self._process(log_probs)
        scores = self.scores if forced is None else self.scores.masked_fill(forced[:, None], -math.inf)
        planes = logits.reshape(self.S, self.W, -1)
        self.ranked = planes, scores
        options = {"bias": self._forbidden_eos(logits), "normalized": bool(a.processors)}
        try:
            found = a.topk(planes, scores, self.C, pruning=a.pruning, **options)
        except ValueError as error:
            raise self._explained(error) from error
        if a.pruning is not None:
            offered = ((scores > -math.inf).sum(1) * self.model.vocabulary).clamp(max=self.C).sum()
            self.stats.pruned += int(offered - (found.scores > -math.inf).sum())
        if a.return_tree:
            self.unpruned = found if a.pruning is None else a.topk(planes, scores, self.C, **options)
        return found

    def _process(self, log_probs: Tensor) -> Tensor:
        shape = log_probs.shape
        for number, processor in enumerate(self.a.processors):
            log_probs = processor(self.so_far, log_probs)
            if not isinstance(log_probs, Tensor) or log_probs.shape != shape or not log_probs.is_floating_point():
                got = tuple(log_probs.shape) if isinstance(log_probs, Tensor) else type(log_probs).__name__
                raise ValueError(
                    f"{self.model.where()}: expected floating log_probs (R, V)={tuple(shape)} "
                    f"from processor {number}; got {got}"
                )
        return log_probs

    def _forbidden_eos(self, logits: Tensor) -> Tensor | None:
        """-inf at eos where a sentence has not generated min_length tokens."""
        if self.a.min_length == 0:
            return None
        young = self.t < self.a.min_length if self.late is None else (self.t - self.late) < self.a.min_length
        if young is False or (young is not True and not young.any()):
            return None
        bias = logits.new_zeros(self.model.vocabulary, dtype=_wide(logits)).index_fill_(
            0, torch.tensor(self.a.eos, device=self.a.device), -math.inf
        )
        return bias if young is True else torch.where(young[:, None, None], bias, 0.0)

    def _force(self, found: BeamCandidates, forced: Tensor) -> BeamCandidates:
        """Sentences inside their prefix go on with its next token, for free."""
        forced = forced[:, None]
        first = forced & (torch.arange(self.C, device=forced.device) == 0)
        tokens = self.forced_tokens[self._alive_index(), self.t][:, None]
        return BeamCandidates(
            found.scores.masked_fill(forced, -math.inf).masked_fill(first, 0.0),
            found.parents.masked_fill(forced, 0),
            torch.where(first, tokens, found.tokens.masked_fill(forced, 0)),
        )

    def _lengths(self) -> tuple[bool | Tensor, Length]:
        """(this token is the last allowed, how many tokens there are with it); (S,) where sentences differ."""
        length = self.t + 1 if self.late is None else self.t + 1 - self.late
        return length >= self._most(), length

    def _most(self) -> Length:
        most = self.a.max_length
        return most if isinstance(most, int) else most[self._alive_index()]

    def _finish(self, found: BeamCandidates, ends: Tensor, last: bool | Tensor, length: Length) -> Tensor:
        """Adds what ends here to the hypotheses; (S, C) which."""
        finishing = self.a.rule.finishes(ends, last if isinstance(last, bool) else last[:, None], self.a.beam)
        scores = self.a.penalty(found.scores, length if isinstance(length, int) else length.clamp(min=1)[:, None])
        self.hypotheses.add(self.alive, scores.where(finishing & (found.scores > -math.inf), -math.inf), self.t)
        self.some_full = bool((self.hypotheses.scores[:, -1] > -math.inf).any())
        return finishing

    def _slots(self, ends: Tensor) -> Tensor:
        """(S, K) the candidates that run on: the best that do not end, then, to fill up, some that do."""
        return ends.to(torch.uint8).sort(dim=1, stable=True).indices.narrow(1, 0, self.a.beam)

    def _running(self, found: BeamCandidates, ends: Tensor, slots: Tensor | None) -> BeamCandidates:
        scores, parents, tokens = found
        if slots is None:
            K = self.a.beam
            return BeamCandidates(scores.narrow(1, 0, K), parents.narrow(1, 0, K), tokens.narrow(1, 0, K))
        alive = scores.masked_fill(ends, -math.inf).gather(1, slots)
        return BeamCandidates(alive, parents.gather(1, slots), tokens.gather(1, slots))

    def _still_running(self, scores: Tensor, last: bool | Tensor, length: Length) -> Tensor | None:
        """(S',) which of the sentences alive stay; None: all."""
        done = scores[:, 0] == -math.inf  # no beam is left
        if self.some_full:
            stops = self.a.rule.stops(self._progress(scores, length))
            done = done | stops
        if isinstance(last, Tensor):
            done = done | last
        if not done.any():
            return None
        return done.logical_not().nonzero().flatten()

    def _progress(self, scores: Tensor, length: Length) -> Progress:
        worst = self.hypotheses.scores[:, -1]
        worst = worst if self.alive is None else worst[self.alive]
        generated = length if isinstance(length, int) else length.clamp(min=1)  # some are still inside their prefix
        return Progress(scores[:, 0], worst, generated, self._most(), self.a.penalty)

    def _move_on(self, running: BeamCandidates, keep: Tensor | None) -> None:
        """Sentences leave, beams that are dead everywhere leave, and state follows the survivors."""
        if keep is not None and not len(keep):
            self._close()
            self.S = 0
            return
        base, total = self._base(), self.S * self.W
        scores, parents, tokens = running
        if keep is not None:
            self._close()
            scores, parents, tokens = (x.index_select(0, keep) for x in running)
            base = base.index_select(0, keep)
            self.alive = keep if self.alive is None else self.alive.index_select(0, keep)
            self.memory = trees.select_rows(self.memory, 0, keep, self.S, "memory")
            self.late = None if self.late is None else self.late.index_select(0, keep)
            self.S = keep.shape[0]
        width = self._width(scores)
        if width < scores.shape[1]:
            scores, parents, tokens = scores[:, :width], parents[:, :width], tokens[:, :width]
        rows = (base + parents).reshape(-1)
        try:
            self.state = trees.select_rows(self.state, self.a.state_dims, rows, total, "state")
        except trees.RowsError as error:
            raise ValueError(f"{self.model.where()}: {error}") from error
        self.scores, self.tokens, self.W = scores, tokens.reshape(-1), width
        if self.a.processors:
            self.so_far = torch.cat((self.so_far.index_select(0, rows), self.tokens[:, None]), 1)

    def _width(self, scores: Tensor) -> int:
        """How many beams still run in the sentence that has the most; they stand first."""
        if not (self.a.pruning is not None or self.late is not None or self.model.vocabulary < self.C):
            return scores.shape[1]
        return max(1, int((scores > -math.inf).sum(1).max()))

    def _base(self) -> Tensor:
        """(S, 1) the first row of each sentence alive."""
        if self.rows_base is None or self.rows_key != (self.S, self.W):
            self.rows_key = (self.S, self.W)
            self.rows_base = torch.arange(0, self.S * self.W, self.W, device=self.a.device)[:, None]
        return self.rows_base

    def _alive_index(self) -> Tensor:
        return torch.arange(self.S, device=self.a.device) if self.alive is None else self.alive

    # --- what is kept ----------------------------------------------------------------------------

    def _remember(
        self,
        found: BeamCandidates,
        running: BeamCandidates,
        slots: Tensor | None,
        finishing: Tensor | None,
        attention: Tensor | None,
    ) -> None:
        if attention is not None and self.a.return_attention:
            attention = attention.reshape(self.S, self.W, -1).clone()  # the step may use its buffer again
        self.history.append(Step(found.scores, found.parents, found.tokens, slots, attention))
        if self.a.return_tree:
            sentences, V = self._alive_index(), self.model.vocabulary
            forced = torch.zeros_like(sentences, dtype=torch.bool) if self.late is None else self.late > self.t
            self.tree.append(tree_step(sentences, forced, V, found, self.unpruned, running, finishing))

    def _close(self) -> None:
        self.history.close(self.alive)

    def _result(self) -> BeamResult:
        result = outcome(self.a, self.hypotheses, self.history, self.stats)
        result.tree = BeamTree(self.tree) if self.a.return_tree else None
        return result

    def _raise_late(self) -> None:
        """Raises what a device has found in this step's logits."""
        try:
            raise_arrived()
        except ValueError as error:
            raise self._explained(error, late=True) from error

    def _explained(self, error: ValueError, late: bool = False) -> ValueError:
        """The op's error, with the step and the sentence as the user counts them; a late one may be of another call."""
        where, (planes, scores) = self.model.where(), self.ranked
        bad = ((planes.isnan() | (planes == math.inf)).any(-1) & (scores > -math.inf)).nonzero()
        if not len(bad):
            return error if late else ValueError(f"{where}: {error}")
        row, beam = bad[0].tolist()
        sentence = int(self._alive_index()[row])
        what = "log_probs from the processors" if self.a.processors else "logits"
        return ValueError(
            f"{where}: expected finite {what} or -inf; got a NaN or +inf for sentence {sentence}, beam {beam}"
        )


def _wide(logits: Tensor) -> torch.dtype:
    return torch.float64 if logits.dtype == torch.float64 else torch.float32
