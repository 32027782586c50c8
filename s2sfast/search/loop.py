"""The loop that every search runs: step, rank, finish, gather; sentences leave when they are done."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

import torch
from torch import Tensor

from s2sfast.faults import raise_arrived
from s2sfast.search import state as trees
from s2sfast.search.arguments import Arguments
from s2sfast.search.candidates import Candidates
from s2sfast.search.coverage import Coverage
from s2sfast.search.history import History, Step
from s2sfast.search.hypotheses import Hypotheses
from s2sfast.search.offer import Offers
from s2sfast.search.outcome import outcome
from s2sfast.search.penalties import Length
from s2sfast.search.prefixes import Prefixes
from s2sfast.search.ranking import Follower, Offer
from s2sfast.search.result import BeamResult, SearchStats
from s2sfast.search.rules import Progress, Ranked
from s2sfast.search.stepper import Stepper
from s2sfast.search.tree import BeamTree, TreeStep, tree_step
from s2sfast.search.view import LiveBeams

_FEW = 512  # candidates that Python looks through sooner than torch


class Loop:
    """One search. S sentences alive, W beams each at present (1 at the first step), K wanted, C candidates ranked."""

    def __init__(self, arguments: Arguments):
        a = self.a = arguments
        self.state, self.memory = a.state, a.memory
        self.alive: Tensor | None = None  # (S,) which sentences of the batch; None: all
        self.S, self.W = a.batch, 1
        self.scores = torch.zeros((a.batch, 1), dtype=torch.float32, device=a.device)
        self.log_probs = self.scores  # the very same where they rank
        self.C = a.rule.candidates(a.beam, len(a.eos))
        self.history = History()
        self.stats = SearchStats()
        self.model = Stepper(a, self.stats)
        self.ranking = a.ranking.begin(a)
        places = a.rule.places(a.beam, a.n_best)
        self.hypotheses = Hypotheses(a.batch, places, self.C, a.device, a.rule.stays, self.ranking.goals)
        self.prefixes = Prefixes(a.shared_prefix) if a.reads_prefixes else None
        self.offers = Offers(a, self.model, self.prefixes)
        self.coverage = None if a.coverage is None else Coverage(a.coverage)
        kept = (self.ranking, *self.offers.trackers, self.coverage, self.prefixes)
        self.followers: list[Follower] = [follower for follower in kept if follower is not None]
        self.tree: list[TreeStep] = []
        self.t = 0  # steps that chose a token
        self.asked = False  # some sentence has hypotheses enough: the stopping rule is worth asking
        self.forced_tokens = a.prefix[:, a.shared_prefix.shape[1] :]  # (B, F) of longer prefixes, still to be fed
        self.late = a.late  # (S,) how many of them each sentence has
        self.tokens = a.prefix[:, 0]

    # --- from beginning to end -------------------------------------------------------------------

    def run(self) -> BeamResult:
        for _ in self.steps():
            pass
        return self.result()

    def steps(self) -> Iterator[None]:
        """Takes one step that chooses tokens, each time."""
        raise_arrived()  # of calls before this search: they are not its own
        if self.S:
            self._advance(*self._feed_prefix())
            yield
        while self.S:
            self._advance(*self._step())
            yield

    def result(self) -> BeamResult:
        result = outcome(self.a, self.hypotheses, self.history, self.stats)
        result.constraints_met, result.satisfied = self.hypotheses.reached(self.a.n_best)
        result.tree = BeamTree(self.tree) if self.a.return_tree else None
        return result

    def _feed_prefix(self) -> tuple[Tensor, Tensor | None]:
        """Feeds what all sentences share of their prefixes and returns the logits that follow it."""
        a = self.a
        if a.prefill is not None:
            lengths = a.prefix_lengths
            if lengths is None:
                lengths = torch.full((self.S,), a.prefix.shape[1], device=a.device)
            logits, self.state, attention = self.model.prefill(lengths)
            return logits, attention
        *early, self.tokens = a.shared_prefix.unbind(1)
        for tokens in early:
            _, self.state, _ = self.model.step(tokens, self.state, self.memory)
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
        if self.coverage is not None:
            assert attention is not None
            self.coverage.spend(attention)
        last, length = self._lengths()
        offer = self._offer(logits, forced, last)
        found = self._rank(offer)
        if forced is not None:
            found = self._force(found, forced)
        is_last = last if isinstance(last, bool) else bool(last.any())
        eventful = is_last or self.asked or forced is not None or a.ends is not None or self._something_ends(found)
        ends = self._ends(found, forced) if eventful else _none(*found.scores.shape, a.device)
        some_end = eventful and bool(ends.narrow(1, 0, a.beam).any())  # further down an eos counts nowhere
        self._raise_late(offer)  # the lines above have waited for the device
        ranked = found
        if a.rule.stays and self.asked:
            found = found.without(~self.hypotheses.compete(self.alive, found.scores, a.beam))
        finishing = self._finish(found, ends, last, length) if some_end or is_last else None
        slots = self._slots(ends) if some_end else None
        running = self._running(found, ends, slots)
        self._remember(offer, ranked, ends, running, slots, finishing, attention)
        keep = None
        if eventful:
            done = self._done(running, last, length)
            if a.groups > 1:
                running = running.without(done[:, None])
                done = done.view(-1, a.groups).all(1).repeat_interleave(a.groups)
            keep = done.logical_not() if done.any() else None
        if a.on_step is not None:
            keep = self._watched(found, running, ends, length, keep)
        self.t += 1
        self._move_on(running, keep)

    def _offer(self, logits: Tensor, forced: Tensor | None, last: bool | Tensor) -> Offer:
        a = self.a
        young = a.min_length > 0 and self.t < a.min_length + (0 if self.late is None else self.late)
        logits, normalized, bias = self.offers.prepare(logits, self.S, young, last)
        scores = self.scores if forced is None else self.scores.masked_fill(forced[:, None], -math.inf)
        log_probs = scores if self.log_probs is self.scores else self.log_probs
        pruning = a.pruning_at(self.t)
        generated = self.t if self.late is None else self.t - self.late
        logits = logits.reshape(self.S, self.W, -1)
        return Offer(logits, normalized, bias, scores, log_probs, self.C, pruning, generated)

    def _rank(self, offer: Offer) -> Candidates:
        """The C best candidates of each sentence."""
        try:
            found = self.ranking.rank(offer)
        except ValueError as error:
            raise self.offers.explained(error, offer, self._alive_index()) from error
        if offer.pruning is not None:
            offered = ((offer.scores > -math.inf).sum(1) * self.model.vocabulary).clamp(max=self.C).sum()
            self.stats.pruned += int(offered - (found.scores > -math.inf).sum())
        return found

    def _force(self, found: Candidates, forced: Tensor) -> Candidates:
        """Sentences inside their prefix go on with its next token, for free."""
        forced = forced[:, None]
        first = forced & (torch.arange(self.C, device=forced.device) == 0)
        tokens = self.forced_tokens[self._alive_index(), self.t][:, None]
        free = found.each(lambda x: x.masked_fill(forced, 0))
        none = forced & ~first
        return free._replace(tokens=torch.where(first, tokens, free.tokens)).without(none)

    def _something_ends(self, found: Candidates) -> bool:
        """A candidate that may run on is eos, or no beam is left to a sentence. One wait for the device."""
        beam, eos = self.a.beam, self.a.eos
        if found.tokens.is_cpu and found.tokens.numel() <= _FEW:
            tokens, scores = found.tokens.tolist(), found.scores.tolist()
            return any(token in eos for row in tokens for token in row[:beam]) or any(
                row[0] == -math.inf for row in scores
            )
        ends = self.a.is_eos(found.tokens.narrow(1, 0, beam))
        return bool((ends | (found.scores.narrow(1, 0, 1) == -math.inf)).any())

    def _ends(self, found: Candidates, forced: Tensor | None) -> Tensor:
        """(S, C) bool: which candidates end here; none inside a prefix."""
        ends = self.a.is_eos(found.tokens)
        if self.a.ends is not None:
            assert self.prefixes is not None
            ends = ends | self.prefixes.ask(self.a.ends, found, self.W)
        return ends if forced is None else ends & ~forced[:, None]

    def _lengths(self) -> tuple[bool | Tensor, Length]:
        """(this token is the last allowed, how many tokens there are with it); (S,) where sentences differ."""
        length = self.t + 1 if self.late is None else self.t + 1 - self.late
        return length >= self._most(), length

    def _most(self) -> Length:
        most = self.a.max_length
        return most if isinstance(most, int) else most[self._alive_index()]

    def _finish(self, found: Candidates, ends: Tensor, last: bool | Tensor, length: Length) -> Tensor:
        """Adds what ends here to the hypotheses; (S, C) which."""
        every = slice(None) if self.alive is None else self.alive
        ranked = Ranked(
            ends, last if isinstance(last, bool) else last[:, None], self.a.beam, self.hypotheses.found[every]
        )
        finishing = self.a.rule.finishes(ranked)
        self._add(found, finishing, length)
        return finishing

    def _add(self, found: Candidates, finishing: Tensor, length: Length) -> None:
        counted = self.a.rule.counted(length if isinstance(length, int) else length.clamp(min=1)[:, None])
        scores = self.a.penalty(found.scores, counted)
        if self.coverage is not None:
            scores = scores + self.coverage.of(found.parents)
        ranks = found.scores if self.a.rule.stays else scores
        ranks = ranks.where(found.scores > -math.inf, -math.inf)
        self.hypotheses.add(self.alive, finishing, ranks, scores, self.t, found.tiers)
        enough = self.hypotheses.ranks[:, -1 if self.a.rule.waits_until_full else 0]
        self.asked = bool((enough > -math.inf).any())

    def _slots(self, ends: Tensor) -> Tensor:
        """(S, K) the candidates that run on: the best that do not end, then, to fill up, some that do."""
        return ends.to(torch.uint8).sort(dim=1, stable=True).indices.narrow(1, 0, self.a.beam)

    def _running(self, found: Candidates, ends: Tensor, slots: Tensor | None) -> Candidates:
        if slots is None:
            return found.each(lambda x: x.narrow(1, 0, self.a.beam))
        return found.without(ends).each(lambda x: x.gather(1, slots))

    def _done(self, running: Candidates, last: bool | Tensor, length: Length) -> Tensor:
        """(S,) bool: which of the sentences alive need no further step."""
        done = running.scores[:, 0] == -math.inf  # no beam is left
        if last is True:
            return torch.ones_like(done)
        if self.asked:
            done = done | self.a.rule.stops(self._progress(running, length))
        return done | last if isinstance(last, Tensor) else done

    def _progress(self, running: Candidates, length: Length) -> Progress:
        every = slice(None) if self.alive is None else self.alive
        best = running.scores[:, 0] if self.ranking.falls else running.sums.amax(1)
        generated = length if isinstance(length, int) else length.clamp(min=1)  # some are still inside their prefix
        kept = self.hypotheses
        return Progress(
            best, kept.ranks[every][:, -1], kept.found[every], kept.led[every], generated, self._most(),
            self.a.penalty, self.coverage is not None, self.a.beam, self.a.n_best,
        )  # fmt: skip

    def _watched(
        self, found: Candidates, running: Candidates, ends: Tensor, length: Length, keep: Tensor | None
    ) -> Tensor | None:
        """Shows the user what runs on; what he stops joins the hypotheses as at max_length. (S,) bool or None: all."""
        assert self.a.on_step is not None and self.prefixes is not None
        live = torch.ones(self.S, dtype=torch.bool, device=self.a.device) if keep is None else keep
        at = live.nonzero().flatten()
        view = LiveBeams(self.t, self._alive_index(), at, running, self.prefixes, self.W)
        self.a.on_step(view)
        stopped = view.stopped()
        if stopped is None:
            return keep
        runs = ~ends & ((~ends).cumsum(1) <= self.a.beam) & (found.scores > -math.inf)
        self._add(found, runs & stopped[:, None], length)
        return live & ~stopped

    def _move_on(self, running: Candidates, keep: Tensor | None) -> None:
        """Sentences leave, beams that are dead everywhere leave, and state follows the survivors."""
        total = self.S * self.W
        base = _first_rows(self.S, self.W, self.a.device) if self.S > 1 else None  # of one sentence it is row 0
        if keep is not None:
            self.history.close(self.alive)
            at = keep.nonzero().flatten()
            if not len(at):
                self.S = 0
                return
            running = running.each(lambda x: x.index_select(0, at))
            base = None if base is None else base.index_select(0, at)
            self.alive = at if self.alive is None else self.alive.index_select(0, at)
            self.memory = trees.select_rows(self.memory, 0, at, self.S, "memory")
            self.late = None if self.late is None else self.late.index_select(0, at)
            self.S = at.shape[0]
        running = self._narrowed(running)
        rows = (running.parents if base is None else base + running.parents).reshape(-1)
        self.tokens = running.tokens.reshape(-1)
        try:
            self.state = trees.select_rows(self.state, self.a.state_dims, rows, total, "state")
        except trees.RowsError as error:
            raise ValueError(f"{self.model.where()}: {error}") from error
        self.scores, self.log_probs, self.W = running.scores, running.log_probs, running.scores.shape[1]
        for follower in self.followers:
            follower.follow(rows, self.tokens)

    def _narrowed(self, running: Candidates) -> Candidates:
        """Without the beam slots that are empty in every sentence."""
        if not self.a.narrows(self.model.vocabulary, self.C):
            return running
        width = max(1, int((running.scores > -math.inf).sum(1).max()))  # they stand first
        return running.each(lambda x: x.narrow(1, 0, width))

    def _alive_index(self) -> Tensor:
        return torch.arange(self.S, device=self.a.device) if self.alive is None else self.alive

    # --- what is kept ----------------------------------------------------------------------------

    def _remember(
        self,
        offer: Offer,
        found: Candidates,
        ends: Tensor,
        running: Candidates,
        slots: Tensor | None,
        finishing: Tensor | None,
        attention: Tensor | None,
    ) -> None:
        if attention is not None and self.a.return_attention:
            attention = attention.reshape(self.S, self.W, -1).clone()  # the step may use its buffer again
        told = None if self.a.ends is None else ends  # eos speaks for itself
        self.history.append(Step(found.sums, found.parents, found.tokens, slots, attention, told))
        if self.a.return_tree:
            sentences = self._alive_index()
            forced = torch.zeros_like(sentences, dtype=torch.bool) if self.late is None else self.late > self.t
            self.tree.append(tree_step(sentences, forced, self.ranking, offer, found, running, finishing))

    def _raise_late(self, offer: Offer) -> None:
        """Raises what a device has found in this step's logits."""
        try:
            raise_arrived()
        except ValueError as error:
            raise self.offers.explained(error, offer, self._alive_index(), late=True) from error


@lru_cache(maxsize=64)
def _first_rows(sentences: int, beams: int, device: torch.device) -> Tensor:
    """(S, 1) the first row of each sentence."""
    return torch.arange(0, sentences * beams, beams, device=device)[:, None]


@lru_cache(maxsize=64)
def _none(sentences: int, candidates: int, device: torch.device) -> Tensor:
    """(S, C) bool: no candidate ends."""
    return torch.zeros(sentences, candidates, dtype=torch.bool, device=device)
