"""best_first_search, judged by beam search in lists (Meister, Vieira & Cotterell 2020, Algorithm 1) and by hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from models import STATE_KINDS, MemoryModel, PrefillModel, ScriptedModel, TableModel, pack, stateful_step
from oracles import Hypothesis, Outcome, gnmt, log_softmax, power
from torch import Tensor

from s2sfast import LengthPenalty, beam_search, best_first_search, processors
from tests.over import integers

NOISE = 2e-5  # decisions closer than this are float32 rounding's to make
NEVER = -math.inf
NO_PENALTY = power(0.0)
usual = settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def beam_search_that_keeps_the_ended(
    model: Callable[[Sequence[int]], Sequence[float]],
    start: Sequence[int],
    *,
    eos: set[int],
    beam: int,
    max_length: int,
    n_best: int = 1,
    min_length: int = 0,
    norm: Callable[[float, int], float] = NO_PENALTY,
    temperature: float = 1.0,
    normalized: bool = False,
) -> tuple[Outcome, int]:
    """Algorithm 1: at each length the best `beam` of all continuations and of what has ended. And the rows it ran."""
    outcome, rows = Outcome(), 0
    running = [Hypothesis((), (), False, 0.0, 0)]
    for length in range(1, max_length + 1):
        offered = []
        for rank, h in enumerate(running):
            if h.finished:
                offered.append((-h.log_prob, rank, -1, h))
                continue
            rows += 1
            row = model([*start, *h.tokens])
            for token, last in enumerate(row if normalized else log_softmax(row, temperature)):
                if last > NEVER and not (token in eos and length <= min_length):
                    longer = Hypothesis((*h.tokens, token), (*h.parts, last), token in eos, 0.0, 0)
                    offered.append((-longer.log_prob, rank, token, longer))
        offered.sort(key=lambda offer: offer[:3])
        for better, worse in pairwise(offered[: beam + 1]):
            outcome.decide(better[0], worse[0])
        running = [h for *_, h in offered[:beam]]
    ranked = [
        Hypothesis(h.tokens, h.parts, h.finished, norm(h.log_prob, len(h.tokens)), rank)
        for rank, h in enumerate(running)
    ]
    ranked.sort(key=lambda h: (-h.score, h.rank))
    for better, worse in pairwise(ranked[: n_best + 1]):
        outcome.decide(better.score, worse.score)
    outcome.hypotheses = ranked[:n_best]
    return outcome, rows


class Dyadic(TableModel):
    """Scores are small multiples of -1/4, summed as they are: ties are plenty, and exact."""

    normalized = True

    def __init__(self, vocab: int, seed: int) -> None:
        super().__init__(vocab, 0)
        self.table = -integers(seed)(0, 5, (len(self.table), vocab)) / 4
        self.table[self.table == -1.0] = NEVER
        self.table[::7] = NEVER  # dead ends

    def step(self, tokens: Tensor, state: Tensor, memory: Any) -> tuple[Tensor, Tensor]:
        return self(tokens, state, memory)


def check(result: Any, b: int, expected: Sequence[Hypothesis], n_best: int) -> None:
    assert result.tokens.shape[:2] == (len(result.lengths), n_best)
    for i in range(n_best):
        h = expected[i] if i < len(expected) else Hypothesis((), (), False, NEVER, 0)
        length, tokens, parts = int(result.lengths[b, i]), result.tokens[b, i].tolist(), result.token_log_probs[b, i]
        assert (tuple(tokens[:length]), bool(result.finished[b, i])) == (h.tokens, h.finished)
        assert set(tokens[length:]) <= {-1} and parts[length:].eq(0).all()
        assert parts[:length].tolist() == pytest.approx(h.parts, rel=1e-5, abs=1e-5)
        assert float(result.scores[b, i]) == pytest.approx(h.score, rel=1e-5, abs=1e-5)
        assert float(result.log_probs[b, i]) == pytest.approx(h.log_prob if h.tokens else NEVER, rel=1e-5, abs=1e-5)


@st.composite
def cases(draw: Any) -> dict[str, Any]:
    vocab, batch, beam = draw(st.integers(1, 5)), draw(st.integers(1, 3)), draw(st.integers(1, 6))
    lengths = st.integers(1, 7)
    return {
        "vocab": vocab,
        "seed": draw(st.integers(0, 9)),
        "sentences": draw(st.lists(st.integers(0, 4000), min_size=batch, max_size=batch, unique=True)),
        "start": draw(st.lists(st.integers(0, vocab - 1), min_size=1, max_size=3)),
        "max_length": draw(st.lists(lengths, min_size=batch, max_size=batch)),
        "eos": draw(st.sets(st.integers(0, vocab - 1), min_size=1, max_size=min(vocab, 2))),
        "beam": beam,
        "n_best": draw(st.integers(1, beam)),
        "min_length": draw(st.integers(0, 3)),
        "penalty": draw(
            st.sampled_from(
                [
                    (0.0, power(0.0)),
                    (0.5, power(0.5)),
                    (1.0, power(1.0)),
                    (-0.5, power(-0.5)),
                    (LengthPenalty("gnmt", 0.8), gnmt(0.8)),
                ]
            )
        ),
    }


def run_both(case: dict[str, Any], model: Any, **options: Any) -> tuple[Any, list[tuple[Outcome, int]]]:
    shared = {name: case[name] for name in ("beam", "n_best", "min_length")} | options
    normalized, batch = hasattr(model, "normalized"), len(case["sentences"])
    expected = [
        beam_search_that_keeps_the_ended(
            model.oracle(sentence), case["start"], max_length=length, norm=case["penalty"][1], normalized=normalized,
            eos=case["eos"], **shared,
        )
        for sentence, length in zip(case["sentences"], case["max_length"], strict=True)
    ]  # fmt: skip
    found = best_first_search(
        model, TableModel.initial(case["sentences"]), start=torch.tensor([case["start"]] * batch),
        eos=sorted(case["eos"]), max_length=torch.tensor(case["max_length"]), length_penalty=case["penalty"][0],
        **shared,
    )  # fmt: skip
    return found, expected


@given(case=cases(), temperature=st.sampled_from([0.5, 1.0, 2.0]), scale=st.sampled_from([0.4, 1.5, 4.0]))
@usual
def test_is_beam_search_with_no_more_rows(case: dict[str, Any], temperature: float, scale: float) -> None:
    model = TableModel(case["vocab"], case["seed"], scale)
    found, expected = run_both(case, model, temperature=temperature)
    assume(min(outcome.gap for outcome, _ in expected) > NOISE)
    for b, (outcome, _) in enumerate(expected):
        check(found, b, outcome.hypotheses, case["n_best"])
    prefix_rows = (len(case["start"]) - 1) * len(case["sentences"])
    assert found.stats.model_rows == sum(model.rows) <= sum(rows for _, rows in expected) + prefix_rows


@given(case=cases())
@usual
def test_ties_dead_ends_and_certain_tokens(case: dict[str, Any]) -> None:
    case["penalty"] = (0.0, power(0.0))
    found, expected = run_both(case, Dyadic(case["vocab"], case["seed"]))
    for b, (outcome, _) in enumerate(expected):
        check(found, b, outcome.hypotheses, case["n_best"])
    prefix_rows = (len(case["start"]) - 1) * len(case["sentences"])
    assert found.stats.model_rows <= sum(rows for _, rows in expected) + prefix_rows


def test_the_whole_beam_takes_the_rows_of_beam_search_and_the_best_takes_fewer() -> None:
    shared = {"eos": 0, "beam": 5, "max_length": 12}
    sentences, saved = list(range(0, 200, 10)), 0
    for n_best in (1, 5):
        model = TableModel(8, 1, 3.0)
        found = best_first_search(model, TableModel.initial(sentences), start=1, n_best=n_best, **shared)
        rows = sum(
            beam_search_that_keeps_the_ended(model.oracle(s), [1], **(shared | {"eos": {0}}))[1] for s in sentences
        )
        assert found.stats.model_rows <= rows
        saved += (rows - found.stats.model_rows) if n_best == 1 else 0
        assert found.stats.steps == len(model.rows) and found.stats.candidates > 0
    assert saved > rows / 4


@pytest.mark.parametrize("alpha", [0.0, 1.0])
@pytest.mark.parametrize("min_length", [0, 3])
def test_is_the_beam_search_of_rules_allennlp_to_the_bit(alpha: float, min_length: int) -> None:
    sentences = list(range(0, 400, 10))
    for beam in (1, 2, 5):
        options = {
            "start": torch.tensor([[2, 1]] * len(sentences)), "eos": [0, 3], "beam": beam, "n_best": beam,
            "max_length": 10, "min_length": min_length, "length_penalty": alpha,
        }  # fmt: skip
        model = TableModel(7, 1, 2.0)
        ours = best_first_search(model, TableModel.initial(sentences), **options)
        theirs = beam_search(model, TableModel.initial(sentences), rules="allennlp", **options)
        assert results_equal(ours, theirs)
        assert ours.stats.model_rows <= theirs.stats.model_rows


def test_a_certain_chain_costs_one_row_a_token() -> None:
    """0.9 at every step; its beam of 5 is never looked at again: 0.9**6 = 0.53 beats 0.05 after the first step."""
    model = ScriptedModel({(2,) * 5: [0.9, 0.05, 0.05]}, [0.05, 0.05, 0.9])
    found = best_first_search(model, model.initial(), start=1, eos=0, beam=5, max_length=20)
    assert found.best(0) == [2, 2, 2, 2, 2, 0] and found.finished.all()
    assert found.stats.model_rows == 6
    assert float(found.scores) == pytest.approx(6 * math.log(0.9))


def test_of_equals_the_longer_goes_on() -> None:
    """Tokens 1 and 2 are both free: of 2**6 equals, the first of the last beam costs a row a token."""
    logits = torch.tensor([NEVER, 0.0, 0.0])

    class Free:
        normalized = True

        def step(self, tokens: Tensor, state: Any, memory: Any) -> tuple[Tensor, Any]:
            return logits.expand(len(tokens), 3), state

    found = best_first_search(Free(), None, start=1, eos=0, beam=4, max_length=6, batch_size=1)
    assert found.best(0) == [1] * 6 and found.stats.model_rows == 6


def test_what_has_ended_must_hold_its_place_in_the_longer_beams() -> None:
    """The beams of K=2 are {1: 0.7, eos: 0.3}, then {1 1: 0.35, 1 2: 0.35}: the ended one is out, although it is the
    best of the queue when it is first looked at, for 0.35 falls to 0.175 at the next length."""
    model = ScriptedModel({(): [0.3, 0.7, 0.0], (1,): [0.0, 0.5, 0.5]}, [0.0, 0.5, 0.5])
    found = best_first_search(model, model.initial(), start=1, eos=0, beam=2, n_best=2, max_length=3)
    assert found.tokens[0].tolist() == [[1, 1, 1], [1, 1, 2]] and not found.finished.any()
    assert found.scores[0].exp().tolist() == pytest.approx([0.175, 0.175])
    wider = best_first_search(model, model.initial(), start=1, eos=0, beam=3, max_length=3)
    assert wider.best(0) == [0] and float(wider.scores.exp()) == pytest.approx(0.3)


def test_length_penalty_ranks_the_last_beam_and_goes_on_for_as_long_as_it_may_matter() -> None:
    """eos at once: log 0.4 = -0.916. Three tokens: log 0.6 = -0.511, which alpha = 1 divides by 3."""
    model = ScriptedModel({(): [0.4, 0.6], (1,): [0.0, 1.0], (1, 1): [1.0, 0.0]}, [0.5, 0.5])
    options = {"start": 1, "eos": 0, "beam": 2, "n_best": 2, "max_length": 5}
    found = best_first_search(model, model.initial(), length_penalty=1.0, **options)
    assert found.tokens[0].tolist() == [[1, 1, 0], [0, -1, -1]]
    assert found.scores[0].tolist() == pytest.approx([math.log(0.6) / 3, math.log(0.4)])
    assert found.log_probs[0].tolist() == pytest.approx([math.log(0.6), math.log(0.4)])
    flipped = best_first_search(model, model.initial(), length_penalty=-1.0, **options)
    assert flipped.tokens[0].tolist() == [[0, -1, -1], [1, 1, 0]]
    assert flipped.scores[0].tolist() == pytest.approx([math.log(0.4), math.log(0.6) * 3])


def results_equal(a: Any, b: Any) -> bool:
    names = ("tokens", "lengths", "scores", "log_probs", "token_log_probs", "finished")
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in names)


OPTIONS = {"start": 1, "eos": 0, "beam": 4, "n_best": 2, "max_length": 9}
SENTENCES = [3, 14, 159, 26, 5]


@pytest.mark.parametrize("kind", [kind for kind in STATE_KINDS if not kind.startswith("reorder")])
def test_states_of_every_kind_follow_their_hypotheses(kind: str) -> None:
    model = TableModel(6, 2, 2.0)
    plain = best_first_search(model, TableModel.initial(SENTENCES), **OPTIONS)
    state, dims = pack(kind, TableModel.initial(SENTENCES))
    found = best_first_search(stateful_step(model, kind), state, state_dims=dims, **OPTIONS)
    assert results_equal(found, plain)
    assert found.stats.model_rows == plain.stats.model_rows


def test_rows_of_different_lengths_run_together_and_a_sentence_is_the_same_alone() -> None:
    model = TableModel(6, 2, 2.0)
    together = best_first_search(model, TableModel.initial(SENTENCES), **OPTIONS)
    alone = [best_first_search(model, TableModel.initial([s]), **OPTIONS) for s in SENTENCES]
    assert together.stats.steps == max(result.stats.steps for result in alone)
    assert together.stats.model_rows == sum(result.stats.model_rows for result in alone)
    for b, result in enumerate(alone):
        assert [together.tokens[b, i, : together.lengths[b, i]].tolist() for i in range(2)] == [
            result.tokens[0, i, : result.lengths[0, i]].tolist() for i in range(2)
        ]
        assert torch.equal(together.scores[b], result.scores[0])


def with_cache(length: Tensor, state: Tensor) -> tuple[int, Tensor]:
    """(what the state says of the length so far, the next state): one column a token, whose rows are the sentences'."""
    return state.shape[1], torch.cat((state, length[:, None]), 1)


def with_counter(length: Tensor, state: Tensor) -> tuple[int, Tensor]:
    before = int(state)
    return before, state.add_(1)  # in place: the search must have kept a copy


def with_number(length: Tensor, state: int) -> tuple[int, int]:
    return state, state + 1


@pytest.mark.parametrize(
    ("advance", "first"),
    [(with_cache, torch.empty((5, 0), dtype=torch.int64)), (with_counter, torch.tensor(0)), (with_number, 0)],
    ids=["growing_cache", "shared_counter", "number"],
)
def test_rows_stand_with_rows_of_their_own_length_where_the_state_tells_it(advance: Callable, first: Any) -> None:
    model = MemoryModel(6, 3, 2)
    memory = model.make_memory(5)

    def step(tokens: Tensor, state: tuple, memory: Any) -> tuple[Tensor, tuple, Tensor]:
        code, length, told = state
        said, told = advance(length, told)
        assert bool((length == said).all())
        logits, code, attention = model(tokens, code, memory)
        return logits, (code, length + 1, told), attention

    state = (TableModel.initial(SENTENCES), torch.zeros(5, dtype=torch.int64), first)
    found = best_first_search(step, state, memory=memory, **OPTIONS)
    plain = best_first_search(model, TableModel.initial(SENTENCES), memory=memory, **OPTIONS)
    assert results_equal(found, plain) and found.stats.model_rows == plain.stats.model_rows
    assert found.stats.steps > plain.stats.steps


def test_values_that_rows_share_follow_the_call_that_made_them() -> None:
    """An object of unknown meaning, new at every call: rows are joined with rows of the same call only."""

    class Mark:
        def __init__(self, length: int) -> None:
            self.length = length

    model = TableModel(6, 2, 2.0)

    def step(tokens: Tensor, state: tuple, memory: Any) -> tuple[Tensor, tuple]:
        code, length, mark = state
        assert bool((length == mark.length).all())
        logits, code = model(tokens, code, memory)
        return logits, (code, length + 1, Mark(mark.length + 1))

    state = (TableModel.initial(SENTENCES), torch.zeros(5), Mark(0))
    plain = best_first_search(model, TableModel.initial(SENTENCES), **OPTIONS)
    assert results_equal(best_first_search(step, state, **OPTIONS), plain)


def test_a_step_may_use_its_buffers_again() -> None:
    model, logits_of, codes_of, attention_of = MemoryModel(6, 3, 2), {}, {}, {}
    memory = model.make_memory(5)

    def step(tokens: Tensor, state: Tensor, memory: Any) -> tuple[Tensor, Tensor, Tensor]:
        logits, code, attention = model(tokens, state, memory)
        rows = len(tokens)
        for buffers, value in ((logits_of, logits), (codes_of, code), (attention_of, attention)):
            buffers.setdefault(rows, torch.empty_like(value)).copy_(value)
        return logits_of[rows], codes_of[rows], attention_of[rows]

    options = OPTIONS | {"memory": memory, "return_attention": True}
    plain = best_first_search(model, TableModel.initial(SENTENCES), **options)
    found = best_first_search(step, TableModel.initial(SENTENCES), **options)
    assert results_equal(found, plain)
    assert torch.equal(found.attention, plain.attention)


def test_memory_and_attention_belong_to_the_sentence() -> None:
    model = MemoryModel(5, 4, 3)
    memory = model.make_memory(3)
    found = best_first_search(
        model, TableModel.initial(3), start=1, eos=0, beam=3, n_best=2, max_length=6, memory=memory,
        return_attention=True,
    )  # fmt: skip
    assert len(set(model.sentences)) > 1  # some finished before others: their memory left
    for b in range(3):
        oracle = model.oracle_with(b, memory)
        outcome, _ = beam_search_that_keeps_the_ended(oracle, [1], eos={0}, beam=3, n_best=2, max_length=6)
        assert outcome.gap > NOISE
        check(found, b, outcome.hypotheses, 2)
        for i, h in enumerate(outcome.hypotheses):
            read = [model.attention[model.after(b, [1, *h.tokens[:t]])] for t in range(len(h.tokens))]
            assert torch.equal(found.attention[b, i, : len(read)], torch.stack(read))
            assert found.attention[b, i, len(read) :].eq(0).all()


def test_prefill_takes_the_prefix() -> None:
    model = PrefillModel(TableModel(5, 4))
    start = torch.tensor([[1, 2, 3], [3, 1, 1]])
    found = best_first_search(model, TableModel.initial(2), start=start, eos=0, beam=3, max_length=6)
    fed = best_first_search(TableModel(5, 4), TableModel.initial(2), start=start, eos=0, beam=3, max_length=6)
    assert results_equal(found, fed)
    assert model.prefilled == [([[1, 2, 3], [3, 1, 1]], [3, 3])]
    assert found.stats.steps == fed.stats.steps - 2


def test_processors_see_the_whole_hypothesis() -> None:
    """No token twice, prefix included; the sums are not normalised again."""
    model, seen = TableModel(7, 5), set()

    def no_repeats(so_far: Tensor, log_probs: Tensor) -> Tensor:
        seen.add(tuple(so_far[0].tolist()))
        return log_probs.scatter(1, so_far, NEVER)

    def oracle(sentence: int) -> Callable[[Sequence[int]], list[float]]:
        logits = model.oracle(sentence)
        return lambda h: [NEVER if token in h else x for token, x in enumerate(log_softmax(logits(h)))]

    start = torch.tensor([[2, 3], [3, 4], [5, 2]])
    found = best_first_search(
        model, TableModel.initial(3), start=start, eos=0, beam=3, n_best=3, max_length=5, processors=[no_repeats]
    )
    for b in range(3):
        outcome, _ = beam_search_that_keeps_the_ended(
            oracle(b), start[b].tolist(), eos={0}, beam=3, n_best=3, max_length=5, normalized=True
        )
        assert outcome.gap > NOISE
        check(found, b, outcome.hypotheses, 3)
    assert max(len(tokens) for tokens in seen) > 4


def no_two_alike(so_far: Tensor, log_probs: Tensor) -> Tensor:
    return log_probs.scatter(1, so_far[:, -1:], NEVER)


def all_but_one(sentence: int, tokens: Tensor) -> list[int]:
    """Another choice for each sentence and last token."""
    return [0, *(t for t in range(7) if t != (sentence + int(tokens[-1])) % 7)]


PROCESSORS = {
    "prefixes": [no_two_alike],
    "ngrams": [processors.NoRepeatNGram(2)],
    "tokens": [processors.NoRepeatNGram(1)],
    "repetition": [processors.RepetitionPenalty(1.7)],
    "forced_prefix": [processors.ForcedPrefix(torch.tensor([[5, 4], [6, -1], [3, 3], [1, 2]]))],
    "forced_tokens": [processors.ForcedTokens(first=[4, 5], last=0)],
    "min_length": [processors.MinLength([1, 4, 2, 0])],
    "bad_words": [processors.BadWords([[1, 2], [3]])],
    "begin": [processors.SuppressTokensAtBegin([0, 1])],
    "mask": [processors.AllowedMask(torch.ones(4, 7, dtype=torch.bool).tril(3))],
    "allowed": [processors.AllowedTokens(all_but_one)],
    "several": [processors.NoRepeatNGram(2), no_two_alike, processors.AllowedTokens(all_but_one)],
}


@pytest.mark.parametrize("these", PROCESSORS.values(), ids=PROCESSORS)
@pytest.mark.parametrize("max_length", [8, torch.tensor([8, 3, 7, 6])], ids=["one_length", "lengths"])
def test_processors_that_follow_rows_are_told_each_hypothesis(these: list, max_length: Any) -> None:
    start = torch.tensor([[2, 3], [3, 4], [5, 2], [1, 1]])
    options: dict[str, Any] = {"start": start, "eos": 0, "beam": 3, "n_best": 3, "max_length": max_length}
    options |= {"processors": these, "length_penalty": 0.0}
    ours = best_first_search(TableModel(7, 5), TableModel.initial(4), **options)
    theirs = beam_search(TableModel(7, 5), TableModel.initial(4), rules="allennlp", **options)
    free = beam_search(TableModel(7, 5), TableModel.initial(4), rules="allennlp", **(options | {"processors": ()}))
    assert results_equal(ours, theirs) and not results_equal(ours, free)


def test_the_reference_backend_and_an_empty_batch() -> None:
    plain = best_first_search(TableModel(6, 2), TableModel.initial(SENTENCES), **OPTIONS)
    reference = best_first_search(TableModel(6, 2), TableModel.initial(SENTENCES), backend="reference", **OPTIONS)
    assert torch.equal(plain.tokens, reference.tokens)
    torch.testing.assert_close(plain.scores, reference.scores)
    empty = best_first_search(TableModel(6, 2), TableModel.initial(0), **OPTIONS)
    assert empty.tokens.shape == (0, 2, 0) and empty.scores.shape == (0, 2) and empty.stats.model_rows == 0


def test_no_gradient_is_kept() -> None:
    weight = torch.randn(4, 4, requires_grad=True)
    found = best_first_search(lambda t, s, m: (weight[t], s), None, start=1, eos=0, batch_size=1, max_length=3)
    assert not found.scores.requires_grad


def uniform(tokens: Tensor, state: Any, memory: Any) -> tuple[Tensor, Any]:
    return torch.zeros(len(tokens), 3), state


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_best": 3}, r"expected n_best <= beam=2; got 3"),
        ({"length_penalty": LengthPenalty("marian", 1.0, 0.1)}, r"expected length_penalty to be a finite .*marian"),
        ({"length_penalty": lambda log_prob, length: log_prob}, r"expected length_penalty to be a finite"),
        ({"length_penalty": math.nan}, r"expected length_penalty"),
        ({"beam": 0}, r"expected beam to be an integer >= 1; got 0"),
        ({"backend": "slow"}, r"expected backend"),
        ({"processors": [lambda so_far, log_probs: log_probs + 1.5]}, r"step 0: .*at most 0.*for sentence 0"),
        (
            {"processors": [lambda so_far, log_probs: log_probs[:1]]},
            r"step 0: .*\(2, 3\) from processor 0; got \(1, 3\)",
        ),
        ({"processors": [lambda so_far, log_probs: None]}, r"from processor 0; got NoneType"),
        ({"eos": 7}, r"step 0: expected eos below V=3"),
    ],
)
def test_errors_say_what_was_expected(options: dict[str, Any], message: str) -> None:
    arguments = {"start": 1, "eos": 0, "beam": 2, "max_length": 3, "batch_size": 2} | options
    with pytest.raises(ValueError, match=f"best_first_search: .*{message}" if "step" not in message else message):
        best_first_search(uniform, None, **arguments)


def test_a_nan_is_found_where_it_is() -> None:
    def step(tokens: Tensor, state: Tensor, memory: Any) -> tuple[Tensor, Tensor]:
        logits = torch.tensor([0.0, 1.0, 2.0]).repeat(len(tokens), 1)
        logits[(state[:, 0] == 1) & (state[:, 1] == 2), 1] = math.nan
        return logits, state + torch.tensor([0, 1])

    state = torch.tensor([[0, 0], [1, 0]])
    with pytest.raises(ValueError, match=r"best_first_search: step 2: .*NaN or \+inf for sentence 1"):
        best_first_search(step, state, start=1, eos=0, max_length=5)


def test_a_state_that_reorders_itself_cannot_be_joined() -> None:
    state, _ = pack("reorder_new", TableModel.initial(2))
    step = stateful_step(TableModel(4), "reorder_new")
    with pytest.raises(ValueError, match=r"best_first_search: step 0: expected state to be made of tensors.*Reordered"):
        best_first_search(step, state, start=1, eos=0, batch_size=2)


def test_a_state_that_loses_rows_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"step 0: expected state with 2 rows in dimension 0; got \(1,\)"):
        best_first_search(lambda t, s, m: (torch.zeros(2, 3), s[:1]), torch.zeros(2), start=1, eos=0)
