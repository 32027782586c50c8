"""One sentence searched as other systems search it: lists, floats and loops, each oracle shaped like its system.

Read in fairseq 0.12 (fairseq/sequence_generator.py, fairseq/search.py), OpenNMT-py 2 (onmt/translate/beam_search.py,
decode_strategy.py, penalties.py), CTranslate2 4.8 (src/decoding.cc) and AllenNLP 2.10 (allennlp/nn/beam_search.py).
Where the vocabulary is so small that a step has fewer candidates than beams, those systems go on with candidates of
probability zero; callers keep beam <= V - 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

from oracles import NEVER, Candidate, Hypothesis, Model, Outcome, Running, candidates_of, log_softmax, ranking

Norm = Callable[[float, int], float]  # (log_prob, length) -> score
Extra = Callable[[Sequence[int]], float]  # generated tokens -> what coverage adds to the score

START: Running = ((), ())


def none(tokens: Sequence[int]) -> float:
    return 0.0


def coverage(attend: Callable[[Sequence[int]], Sequence[float]], kind: str, beta: float) -> Extra:
    """`attend`: generated tokens -> the attention of the step that follows them, over T positions.

    Wu et al. 2016 adds beta * sum_s log(min(c_s, 1)); OpenNMT's "summary" takes beta * (sum_s max(c_s, 1) - T) away.
    """

    def extra(tokens: Sequence[int]) -> float:
        rows = [attend(tokens[:t]) for t in range(len(tokens))]
        spent = [math.fsum(column) for column in zip(*rows, strict=True)]
        if kind == "summary":
            return -beta * (math.fsum(max(c, 1.0) for c in spent) - len(spent))
        return beta * math.fsum(math.log(min(c, 1.0)) for c in spent if c > 0)

    return extra


def longer(running: list[Running], c: Candidate) -> Running:
    tokens, parts = running[c.parent]
    return (*tokens, c.token), (*parts, c.last)


def decided(candidates: list[Candidate], outcome: Outcome, places: int) -> list[Candidate]:
    """The first so many, noting how close the order was up to the first that did not make it."""
    for better, worse in pairwise(candidates[: places + 1]):
        outcome.decide(better.total, worse.total)
    return candidates[:places]


def finish(pool: list[Hypothesis], found: Running, eos: set[int], score: float, rank: int) -> None:
    tokens, parts = found
    pool.append(Hypothesis(tokens, parts, tokens[-1] in eos, score, rank))


def settled(pool: list[Hypothesis], outcome: Outcome, n_best: int) -> Outcome:
    ranked = ranking(pool)
    for better, worse in pairwise(ranked[: n_best + 1]):
        outcome.decide(better.score, worse.score)
    outcome.hypotheses = ranked[:n_best]
    return outcome


def fairseq(
    model: Model, start: Sequence[int], *, eos: set[int], beam: int, max_length: int, norm: Norm,
    n_best: int = 1, min_length: int = 0,
) -> Outcome:  # fmt: skip
    """--max-len-b = max_length - 1 and --min-len = min_length: neither counts eos."""
    outcome, pool, running = Outcome(), list[Hypothesis](), [START]
    for step in range(max_length):
        offered = candidates_of(
            model, start, running, outcome, eos=eos, min_length=min_length, temperature=1.0, pruning=None
        )
        if step == max_length - 1:
            offered = [c for c in offered if c.token in eos]  # scored by what the model gives eos there
        found = decided(offered, outcome, 2 * beam)
        for rank, c in enumerate(found[:beam]):
            if c.token in eos and len(pool) < beam:
                tokens, parts = longer(running, c)
                finish(pool, (tokens, parts), eos, norm(math.fsum(parts), step + 1), rank)
        if len(pool) == beam:
            break
        running = [longer(running, c) for c in found if c.token not in eos][:beam]
    return settled(pool, outcome, n_best)


def opennmt(
    model: Model, start: Sequence[int], *, eos: set[int], beam: int, max_length: int, norm: Norm,
    n_best: int = 1, min_length: int = 0, extra: Extra = none,
) -> Outcome:  # fmt: skip
    """The lengths are OpenNMT-py's own. `norm` is given the length of its alive_seq: the start symbol counts."""
    outcome, pool, running = Outcome(), list[Hypothesis](), [START]
    top_beam_finished = False
    for step in range(1, max_length + 1):
        offered = candidates_of(
            model, start, running, outcome, eos=eos, min_length=min_length, temperature=1.0, pruning=None
        )
        slots = [longer(running, c) for c in decided(offered, outcome, beam)]
        running = []
        for slot, (tokens, parts) in enumerate(slots):
            if tokens[-1] in eos or step == max_length:
                finish(pool, (tokens, parts), eos, norm(math.fsum(parts), step + 1) + extra(tokens), slot)
                top_beam_finished = top_beam_finished or slot == 0
            else:
                running.append((tokens, parts))
        if top_beam_finished and len(pool) >= n_best:
            break
    return settled(pool, outcome, n_best)


def ctranslate2(
    model: Model, start: Sequence[int], *, eos: set[int], beam: int, max_length: int, norm: Norm | None,
    n_best: int = 1, min_length: int = 0, patience: float = 1.0, extra: Extra | None = None,
) -> Outcome:  # fmt: skip
    """`norm` None: length_penalty 0; `extra` None: coverage_penalty 0. With neither it may leave early."""
    outcome, pool, running = Outcome(), list[Hypothesis](), [START]
    top_beam_finished, wanted = False, math.floor(beam * patience + 0.5)  # std::round

    def disabled(history: Sequence[int]) -> list[float]:
        """Eos is taken from the logits, not from the log-probabilities: those of the others grow."""
        young = len(history) - len(start) < min_length
        return [NEVER if young and token in eos else x for token, x in enumerate(model(history))]

    for step in range(max_length):
        offered = candidates_of(disabled, start, running, outcome, eos=eos, min_length=0, temperature=1.0, pruning=None)
        found = decided(offered, outcome, 2 * beam)
        spare = [c for c in found[beam:] if c.token not in eos]
        slots: list[Running] = []
        for k, c in enumerate(found[:beam]):
            if c.token in eos or step == max_length - 1:
                tokens, parts = longer(running, c)
                score = math.fsum(parts) if norm is None else norm(math.fsum(parts), len(tokens))
                finish(pool, (tokens, parts), eos, score + (extra(tokens) if extra else 0.0), k)
                top_beam_finished = top_beam_finished or k == 0
                if not spare:
                    continue
                c = spare.pop(0)
            slots.append(longer(running, c))
        if norm is None and extra is None:
            if top_beam_finished and len(pool) >= n_best:
                break
        elif len(pool) >= wanted:
            break
        if step < max_length - 1 and len(slots) < beam and len(found) == 2 * beam:
            outcome.gap = (
                0.0  # several eos filled the candidates: CTranslate2 goes on behind an end, which is not wanted
            )
        running = slots
    return settled(pool, outcome, n_best)


def allennlp(
    model: Model, start: Sequence[int], *, eos: set[int], beam: int, max_length: int, norm: Norm,
    n_best: int = 1, min_length: int = 0, per_node: int | None = None,
) -> Outcome:  # fmt: skip
    """min_steps = min_length and max_steps = max_length. After its end a beam offers one more end, for certain."""
    outcome = Outcome()
    beams: list[tuple[Running, float]] = [(START, 0.0)]
    for step in range(max_length):
        outcome.steps += 1
        if all(tokens and tokens[-1] in eos for (tokens, _), _ in beams):
            break
        offered: list[tuple[Running, float]] = []
        for (tokens, parts), total in beams:
            if tokens and tokens[-1] in eos:
                offered.append(((tokens, parts), total))
                continue
            row = log_softmax(model([*start, *tokens]))
            nodes = [
                ((*tokens, token), (*parts, last))
                for token, last in enumerate(row)
                if last > NEVER and not (token in eos and step < min_length)
            ]
            nodes.sort(key=lambda node: -node[1][-1])
            limit = len(nodes) if step == 0 or per_node is None else per_node
            for better, worse in pairwise(nodes[: limit + 1]):
                outcome.decide(better[1][-1], worse[1][-1])
            offered += [(node, math.fsum(node[1])) for node in nodes[:limit]]
        offered.sort(key=lambda kept: -kept[1])
        for better, worse in pairwise(offered[: beam + 1]):
            outcome.decide(better[1], worse[1])
        beams = offered[:beam]
    pool: list[Hypothesis] = []
    for rank, ((tokens, parts), total) in enumerate(beams):
        finish(pool, (tokens, parts), eos, norm(total, len(tokens)), rank)
    return settled(pool, outcome, n_best)
