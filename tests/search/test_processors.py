"""s2sfast.processors: against transformers' own inside the same search and inside generate(), and against lists."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from models import PrefillModel, TableModel
from oracles import log_softmax, naive_beam_search
from test_contract import rows_of
from test_exact import NOISE, check
from test_hf import TableLM, hf_generate, same
from torch import Tensor
from transformers import (
    ForcedBOSTokenLogitsProcessor,
    ForcedEOSTokenLogitsProcessor,
    MinNewTokensLengthLogitsProcessor,
    NoBadWordsLogitsProcessor,
    NoRepeatNGramLogitsProcessor,
    PrefixConstrainedLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SuppressTokensAtBeginLogitsProcessor,
    SuppressTokensLogitsProcessor,
)

from s2sfast import beam_search, greedy_search, rules
from s2sfast import processors as p
from s2sfast.search import loop

V, EOS, LENGTH = 9, 0, 10
BAD_WORDS = [[7], [2, 3], [4, 4], [5, 6, 5], [3, 2, 8, 1], [8, 8, 8]]


def no_descent(_: int, tokens: Tensor) -> list[int]:
    """Tokens never fall by more than one, and eos is always allowed."""
    return [EOS, *range(max(1, int(tokens[-1]) - 1), V)]


# What begins with the prefix: theirs sees it as ours does, however long it is.
ON_PREFIXES = {
    "bigram": (p.NoRepeatNGram(2), lambda: NoRepeatNGramLogitsProcessor(2)),
    "trigram": (p.NoRepeatNGram(3), lambda: NoRepeatNGramLogitsProcessor(3)),
    "no token twice": (p.NoRepeatNGram(1), lambda: NoRepeatNGramLogitsProcessor(1)),
    "penalty": (p.RepetitionPenalty(1.7), lambda: RepetitionPenaltyLogitsProcessor(1.7)),
    "reward": (p.RepetitionPenalty(0.6), lambda: RepetitionPenaltyLogitsProcessor(0.6)),
    "suppress": (p.SuppressTokens([3, 5, 3]), lambda: SuppressTokensLogitsProcessor([3, 5])),
    "bad words": (p.BadWords(BAD_WORDS), lambda: NoBadWordsLogitsProcessor(BAD_WORDS)),
    "bad tokens": (p.BadWords([[4], [6]]), lambda: NoBadWordsLogitsProcessor([[4], [6]])),
    "allowed": (p.AllowedTokens(no_descent), lambda: PrefixConstrainedLogitsProcessor(no_descent, 1)),
}
# What counts from the first generated token: theirs needs to be told how long the prefix is.
AT = 2
ON_POSITIONS = {
    "begin": (p.SuppressTokensAtBegin([2, 4]), lambda: SuppressTokensAtBeginLogitsProcessor([2, 4], AT)),
    "last": (p.ForcedTokens(last=0), lambda: ForcedEOSTokenLogitsProcessor(AT + LENGTH, 0)),
    "last of two": (p.ForcedTokens(last=[0, 6]), lambda: ForcedEOSTokenLogitsProcessor(AT + LENGTH, [0, 6])),
    "minimum": (p.MinLength(5), lambda: MinNewTokensLengthLogitsProcessor(AT, 5, 0)),
    "minimum of 3": (p.MinLength(4, eos=3), lambda: MinNewTokensLengthLogitsProcessor(AT, 4, 3)),
}
PREFIXES = torch.tensor([[2, 3, 2, 4], [3, 3, 5, 1], [4, 2, 8, 8], [1, 1, 1, 6], [6, 5, 4, 3]])
RAGGED = torch.tensor([4, 1, 3, 4, 2])


def search(model: Any, processors: list, **options: Any) -> Any:
    defaults = {"start": PREFIXES[:, :AT], "eos": EOS, "beam": 4, "n_best": 3, "max_length": LENGTH}
    return beam_search(model, TableModel.initial(len(PREFIXES)), processors=processors, **(defaults | options))


def assert_same_search(ours: Any, theirs: Any) -> None:
    """The same hypotheses; sums to the rounding of float32, since theirs run after a log-softmax of its own."""
    for name in ("tokens", "lengths", "finished"):
        assert torch.equal(getattr(ours, name), getattr(theirs, name)), name
    for name in ("scores", "log_probs", "token_log_probs"):
        torch.testing.assert_close(getattr(ours, name), getattr(theirs, name), rtol=1e-6, atol=2e-6)


def compare(pair: tuple[Any, Callable], options: dict[str, Any]) -> None:
    changed = 0
    for seed, beam in [(0, 1), (1, 2), (2, 3), (3, 4), (4, 7)]:
        model = TableModel(V, seed, bias={0: -0.5})
        sizes = {"beam": beam, "n_best": min(beam, 3)} | options
        ours = search(model, [pair[0]], **sizes)
        assert_same_search(ours, search(model, [pair[1]()], **sizes))
        changed += ours.tokens.tolist() != search(model, [], **sizes).tokens.tolist()
    assert changed >= 3, "the processor should matter"


@pytest.mark.parametrize("rule", ["hf", "exact"])
@pytest.mark.parametrize("name", ON_PREFIXES | ON_POSITIONS)
def test_gives_what_the_one_of_transformers_gives_in_the_same_search(name: str, rule: str) -> None:
    compare((ON_PREFIXES | ON_POSITIONS)[name], {"rules": rule})


@pytest.mark.parametrize("name", ON_PREFIXES)
def test_and_with_ragged_prefixes_fed_while_others_generate(name: str) -> None:
    compare(ON_PREFIXES[name], {"start": PREFIXES, "prefix_lengths": RAGGED})


def test_the_first_token_is_forced_where_transformers_forces_it() -> None:
    compare((p.ForcedTokens(first=5), lambda: ForcedBOSTokenLogitsProcessor(5)), {"start": PREFIXES[:, 0]})


def test_several_at_once_in_their_order() -> None:
    model = TableModel(V, 6, bias={0: 0.5})
    pairs = [(ON_PREFIXES | ON_POSITIONS)[name] for name in ("penalty", "begin", "bigram", "bad words", "last")]
    ours, theirs = [pair[0] for pair in pairs], [pair[1]() for pair in pairs]
    expected = search(model, theirs)
    assert_same_search(search(model, ours), expected)
    assert_same_search(search(model, [ours[0], theirs[1], ours[2], theirs[3], ours[4]]), expected)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ([p.NoRepeatNGram(2), p.RepetitionPenalty(1.3)], {"no_repeat_ngram_size": 2, "repetition_penalty": 1.3}),
        ([p.BadWords(BAD_WORDS)], {"bad_words_ids": BAD_WORDS}),
        ([p.SuppressTokens([3, 5])], {"suppress_tokens": [3, 5]}),
        ([p.SuppressTokensAtBegin([2, 4])], {"begin_suppress_tokens": [2, 4]}),
        ([p.ForcedTokens(last=0)], {"forced_eos_token_id": 0}),
        ([p.MinLength(6)], {"min_new_tokens": 6}),
    ],
)
def test_gives_what_generate_gives(ours: list, theirs: dict[str, Any]) -> None:
    if "repetition_penalty" in theirs:  # generate applies the penalty first
        ours = ours[::-1]
    for seed, beam in [(0, 2), (1, 3), (2, 4)]:
        table = TableModel(V, seed, bias={0: -0.5})
        start, options = torch.tensor([[2, 3], [3, 3], [4, 8]]), {"eos": [EOS], "beam": beam, "n_best": beam}
        expected = hf_generate(TableLM(table), start, max_new_tokens=LENGTH, use_cache=False, **theirs, **options)
        state = table.initial([0, 0, 0])
        same(beam_search(table, state, start=start, max_length=LENGTH, processors=ours, **options), expected)


# Against a search over lists

History = Sequence[int]
Row = list[float]


def edited(model: TableModel, sentence: int, prefix: int, edit: Callable[[list[int], Row], Row]) -> Callable:
    """The sentence's log-probabilities, edited in sight of the generated tokens."""

    def log_probs(history: History) -> Row:
        return edit(list(history[prefix:]), log_softmax(model.oracle(sentence)(history)))

    return log_probs


def only(row: Row, keep: Callable[[int], bool], value: float | None = None) -> Row:
    return [(x if value is None else value) if keep(i) else -math.inf for i, x in enumerate(row)]


MASK = torch.rand(5, V, generator=torch.Generator("cpu").manual_seed(3), device="cpu") < 0.6
MASK[:, EOS] = True
LIMITS = torch.tensor([10, 6, 1, 8, 3])
LEAST = torch.tensor([0, 7, 1, 4, 10])
FIRST = torch.tensor([[3, 4, -1], [-1, -1, -1], [7, 0, -1], [1, 2, 3], [5, 5, 5]])
# States: an even or odd number of 3s; what follows 5 must be 6 or 7; only an even number may end.
AUTOMATON = p.Automaton(
    [
        [-1, 0, 0, 1, 0, 2, 0, 0, 0],
        [4, 1, 1, 0, 1, 3, 1, -1, 1],
        [-1, -1, -1, -1, -1, -1, 0, 0, -1],
        [-1, -1, -1, -1, -1, -1, 1, 1, -1],
        [-1, -1, -1, -1, -1, -1, -1, -1, -1],
    ],
    start=torch.tensor([0, 1, 2, 3, 4]),
    accepting=[0],
)


def accepted(b: int, done: list[int]) -> Callable[[int], bool]:
    """What may follow, said in words rather than by a table."""
    whole = [[], [3], [5], [3, 5]][b] + done if b < 4 else []
    odd, after = whole.count(3) % 2 == 1, whole[-1:]

    def may(token: int) -> bool:
        if b == 4 or (after == [5] and token not in (6, 7)):
            return False
        return not odd if token == EOS else not (odd and token == 7 and after != [5])

    return may


BY_POSITION: dict[str, tuple[Any, Callable[[int, list[int], Row, int], Row]]] = {
    "begin": (
        p.SuppressTokensAtBegin([2, 4, 0]),
        lambda b, done, row, most: row if done else only(row, lambda t: t not in (2, 4, 0)),
    ),
    "minimum": (
        p.MinLength(LEAST),
        lambda b, done, row, most: row if len(done) >= LEAST[b] else only(row, lambda t: t != EOS),
    ),
    "first and last": (
        p.ForcedTokens(first=3, last=EOS),
        lambda b, done, row, most: (
            only(row, lambda t: t == EOS, 0.0)
            if len(done) == most - 1
            else (row if done else only(row, lambda t: t == 3, 0.0))
        ),
    ),
    "prefix": (
        p.ForcedPrefix(FIRST),
        lambda b, done, row, most: (
            only(row, lambda t: t == FIRST[b, len(done)]) if len(done) < 3 and FIRST[b, len(done)] >= 0 else row
        ),
    ),
    "automaton": (AUTOMATON, lambda b, done, row, most: only(row, accepted(b, done))),
    "mask": (p.AllowedMask(MASK), lambda b, done, row, most: only(row, lambda t: bool(MASK[b, t]))),
}


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("name", BY_POSITION)
def test_counts_from_the_first_generated_token_of_each_sentence(name: str, ragged: bool) -> None:
    processor, edit = BY_POSITION[name]
    limits = LIMITS.clamp(min=3) if name == "prefix" else LIMITS
    lengths = RAGGED if ragged else torch.full((5,), 4)
    judged = 0
    for seed in range(4):
        model = TableModel(V, seed, bias={0: 0.7})
        result = search(
            model, [processor], start=PREFIXES, prefix_lengths=lengths, max_length=limits, beam=3, rules="exact"
        )
        for b in range(5):
            start, most = PREFIXES[b, : lengths[b]].tolist(), int(limits[b])
            oracle = edited(model, b, len(start), lambda done, row, b=b, most=most: edit(b, done, row, most))
            options = {"eos": {EOS}, "beam": 3, "n_best": 3, "max_length": most, "normalized": True}
            expected = naive_beam_search(oracle, start, **options)
            if expected.gap > NOISE:
                check(result, b, expected.hypotheses, n_best=3)
                judged += 1
    assert judged >= 15


EVERY = [pair[0] for pair in (ON_PREFIXES | ON_POSITIONS).values()] + [pair[0] for pair in BY_POSITION.values()]


@pytest.mark.parametrize("processor", EVERY, ids=lambda processor: type(processor).__name__)
def test_a_prefill_of_ragged_prefixes_changes_nothing(processor: Any) -> None:
    model = TableModel(V, 8, bias={0: -0.5})
    options = {"start": PREFIXES.clone(), "prefix_lengths": RAGGED}
    expected = search(model, [processor], **options)
    for b, n in enumerate(RAGGED.tolist()):
        options["start"][b, n:] = 5  # padding, whatever it is
    assert_same_search(search(PrefillModel(model), [processor], **options), expected)


@pytest.mark.parametrize("processor", EVERY, ids=lambda processor: type(processor).__name__)
def test_a_sentence_among_others_is_the_sentence_alone(processor: Any) -> None:
    model = TableModel(V, 9, bias={0: 0.7})
    names = {p.AllowedMask: "mask", p.ForcedPrefix: "tokens", p.MinLength: "n", p.Automaton: "start"}
    name = names.get(type(processor), "")
    value = getattr(processor, name, None)
    together = search(model, [processor], start=PREFIXES, prefix_lengths=RAGGED)
    for b in range(5):
        mine = processor
        if isinstance(value, Tensor) and len(value) == 5:
            mine = replace(processor, **{name: value[b : b + 1]})
        start = PREFIXES[b : b + 1, : RAGGED[b]]
        alone = beam_search(
            model, model.initial([b]), start=start, eos=EOS, beam=4, n_best=3, max_length=LENGTH, processors=[mine]
        )
        assert rows_of(together, [b]) == rows_of(alone, [0])


def test_no_prefixes_are_built_for_the_built_in_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(prefix: Tensor) -> None:
        raise AssertionError("somebody wants prefixes")

    monkeypatch.setattr(loop, "Prefixes", refuse)
    model = TableModel(V, 1)
    search(model, EVERY)
    with pytest.raises(AssertionError, match="somebody"):
        search(model, [lambda tokens, log_probs: log_probs])


def test_allowed_tokens_asks_by_sentence_and_only_about_what_it_has_allowed() -> None:
    asked: list[tuple[int, tuple[int, ...]]] = []
    tries = [{(): [3], (3,): [4, EOS], (3, 4): [EOS]}, {(): [5], (5,): [5], (5, 5): [6], (5, 5, 6): [EOS]}]

    def allowed(sentence: int, tokens: Tensor) -> Sequence[int] | Tensor:
        asked.append((sentence, tuple(tokens.tolist())))
        answer = tries[sentence][tuple(tokens[1:].tolist())]  # a KeyError for anything else
        return torch.tensor(answer) if sentence else answer

    model = TableModel(V, 2)
    result = beam_search(
        model, model.initial(2), start=1, eos=EOS, beam=5, n_best=3, processors=[p.AllowedTokens(allowed)]
    )
    ours = {b: {tuple(result.tokens[b, i, :n].tolist()) for i, n in enumerate(result.lengths[b])} for b in (0, 1)}
    assert ours == {0: {(3, EOS), (3, 4, EOS), ()}, 1: {(5, 5, 6, EOS), ()}}
    assert {(b, (1, *history)) for b, histories in enumerate(tries) for history in histories} == set(asked)


@pytest.mark.parametrize(
    "processors",
    [
        [p.SuppressTokens(range(V))],
        [p.AllowedMask(torch.zeros(V, dtype=torch.bool))],
        [p.AllowedTokens(lambda sentence, tokens: [])],
        [p.ForcedPrefix([4, 5]), p.SuppressTokens([5])],
        [p.Automaton([[-1] * V])],
        [p.ForcedTokens(first=4), p.SuppressTokensAtBegin([4])],
    ],
    ids=lambda processors: "+".join(type(processor).__name__ for processor in processors),
)
@pytest.mark.parametrize("rule", ["hf", "exact", "fairseq", "opennmt", "ctranslate2", "allennlp"])
def test_where_nothing_may_come_the_places_are_empty_and_nothing_hangs(processors: list, rule: str) -> None:
    result = search(TableModel(V, 3, bias={0: -9.0}), processors, rules=rule, max_length=100_000)
    assert result.stats.steps <= 4 and not result.lengths.any() and not result.finished.any()
    assert bool((result.scores == -math.inf).all()) and result.best(0) == []


def test_ids_of_a_prefix_that_the_model_cannot_generate_are_let_be() -> None:
    """The encoder's vocabulary may be larger than the head's."""

    def step(tokens: Tensor, state: Tensor, memory: Any) -> tuple[Tensor, Tensor]:
        state = TableModel.advance(state, tokens)
        return table.table[state], state

    table = TableModel(V, 4)
    pairs = [ON_PREFIXES[name] for name in ("bigram", "no token twice", "penalty")]
    options = {"start": torch.tensor([[30, 40, 30], [2, 2, 50]]), "eos": EOS, "beam": 3, "max_length": 6}
    for ours, theirs in pairs:
        found = [beam_search(step, table.initial(2), processors=[one], **options) for one in (ours, theirs())]
        assert_same_search(*found)


def test_neither_the_models_buffer_nor_a_users_tensor_is_written_into() -> None:
    class Normalized:
        normalized = True
        buffer = torch.log_softmax(TableModel(V, 5).table[:1], -1)

        def step(self, tokens: Tensor, state: Any, memory: Any) -> tuple[Tensor, Any]:
            return self.buffer.expand(len(tokens), -1), state

    model, kept = Normalized(), torch.zeros(1, V)
    before, options = model.buffer.clone(), {"start": [1, 1], "eos": EOS, "max_length": 4}
    greedy_search(model, None, processors=[p.SuppressTokens([3]), p.RepetitionPenalty(2.0)], **options)
    assert torch.equal(model.buffer, before)
    users = [lambda tokens, log_probs: kept.expand_as(log_probs), p.NoRepeatNGram(1), p.SuppressTokens([2])]
    result = greedy_search(model, None, processors=users, **options)
    assert not kept.any() and result.best(0) == [0]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_works_on_every_dtype_of_logits(dtype: torch.dtype) -> None:
    class Typed(TableModel):
        def __call__(self, *args: Any) -> tuple[Tensor, Tensor]:
            logits, state = super().__call__(*args)
            return logits.to(dtype), state

    names = ("penalty", "bigram", "bad words", "begin")
    ours, theirs = [], []
    for pair in ((ON_PREFIXES | ON_POSITIONS)[name] for name in names):
        ours.append(pair[0])
        theirs.append(pair[1]())
    model = Typed(V, 7)
    assert_same_search(search(model, ours), search(model, theirs))
    model.normalized = True
    model.table = torch.log_softmax(model.table, -1)
    assert_same_search(search(model, ours), search(model, theirs))


BAD_CONFIGURATIONS = [
    (lambda: p.NoRepeatNGram(0), "NoRepeatNGram: expected n to be an integer >= 1; got 0"),
    (lambda: p.NoRepeatNGram(2.0), "NoRepeatNGram: .*got 2.0"),
    (lambda: p.RepetitionPenalty(0.0), "RepetitionPenalty: expected a finite theta > 0; got 0.0"),
    (lambda: p.RepetitionPenalty(math.nan), "RepetitionPenalty: .*got nan"),
    (lambda: p.RepetitionPenalty("2"), "RepetitionPenalty: .*got '2'"),
    (lambda: p.SuppressTokens([]), "SuppressTokens: expected ids to be token ids, at least one"),
    (lambda: p.SuppressTokens([-1]), "SuppressTokens: expected ids to be an integer >= 0; got -1"),
    (lambda: p.SuppressTokensAtBegin("a"), "SuppressTokensAtBegin: .*got 'a'"),
    (lambda: p.BadWords([]), "BadWords: expected sequences"),
    (lambda: p.BadWords([[3], []]), "BadWords: expected every sequence"),
    (lambda: p.ForcedTokens(), "ForcedTokens: expected first, last or both"),
    (lambda: p.ForcedTokens(first=-2), "ForcedTokens: expected first .*got -2"),
    (lambda: p.ForcedPrefix([[1, -1, 2]]), "ForcedPrefix: expected token ids, then -1"),
    (lambda: p.ForcedPrefix([[1], [1, 2]]), "ForcedPrefix: expected tokens to be integers, in a regular array"),
    (lambda: p.ForcedPrefix([0.5]), "ForcedPrefix: expected integer tokens"),
    (lambda: p.ForcedPrefix([]), "ForcedPrefix: expected .*tokens"),
    (lambda: p.MinLength(-1), "MinLength: expected n to be an integer >= 0"),
    (lambda: p.MinLength([[1]]), r"MinLength: .*\(B,\)"),
    (lambda: p.MinLength(1, eos=[]), "MinLength: expected eos"),
    (lambda: p.Automaton([0, 1]), r"Automaton: expected transitions \(Q, V\)"),
    (lambda: p.Automaton([[0, 1]]), r"Automaton: expected transitions in \[-1, Q\)=\[-1, 1\); got 1"),
    (lambda: p.Automaton([[0, -2]]), "Automaton: expected transitions .*got -2"),
    (lambda: p.Automaton([[0, -1]], start=1), "Automaton: expected start .*got 1"),
    (lambda: p.Automaton([[0, -1]], start=-1), "Automaton: expected start .*got -1"),
    (lambda: p.Automaton([[0, -1]], accepting=[0, 1]), "Automaton: expected accepting .*got 1"),
    (lambda: p.Automaton([[0.0, 1.0]]), "Automaton: expected integer transitions"),
    (lambda: p.AllowedTokens([1, 2]), "AllowedTokens: expected function to be callable"),
    (lambda: p.AllowedMask(torch.ones(4)), "AllowedMask: expected mask .*float32"),
    (lambda: p.AllowedMask([True]), "AllowedMask: .*got list"),
]


@pytest.mark.parametrize(("make", "message"), BAD_CONFIGURATIONS)
def test_a_bad_configuration_says_what_is_wrong(make: Callable, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


BAD_FOR_THIS_SEARCH = [
    (p.SuppressTokens([V]), "SuppressTokens: expected ids below V=9; got 9"),
    (p.SuppressTokensAtBegin([2, 11]), "SuppressTokensAtBegin: expected ids below V=9; got 11"),
    (p.BadWords([[1, V]]), "BadWords: expected ids below V=9; got 9"),
    (p.BadWords([[1, 2], [EOS]]), r"BadWords: expected no sequence that is eos alone; got \[0\]"),
    (p.ForcedTokens(last=V), "ForcedTokens: expected ids below V=9; got 9"),
    (p.ForcedPrefix([3] * (LENGTH + 1)), "ForcedPrefix: expected at most max_length tokens; got 11 .* max_length 10"),
    (p.ForcedPrefix([3, EOS, 3]), r"ForcedPrefix: expected eos nowhere .*got \[3, 0, 3\]"),
    (p.ForcedPrefix([[3], [4]]), "ForcedPrefix: expected tokens for B=5"),
    (p.ForcedPrefix([V]), "ForcedPrefix: expected tokens below V=9; got 9"),
    (p.MinLength([1, 2]), "MinLength: expected n for B=5"),
    (p.MinLength(1, eos=V), "MinLength: expected eos below V=9"),
    (p.Automaton([[0] * (V + 1)]), r"Automaton: expected transitions \(Q, V\) with V=9; got V=10"),
    (p.Automaton([[0]], start=[0, 0, 0, 0, 0]), r"Automaton: expected transitions \(Q, V\) with V=9; got V=1"),
    (p.Automaton([[0] * V], start=[0, 0]), "Automaton: expected start for B=5"),
    (p.AllowedMask(torch.ones(4, dtype=torch.bool)), "AllowedMask: expected a mask for V=9"),
    (p.AllowedMask(torch.ones(2, V, dtype=torch.bool)), "AllowedMask: expected mask for B=5"),
    (p.AllowedTokens(lambda b, tokens: [V]), r"AllowedTokens: expected ids in \[0, V\)=\[0, 9\) for sentence 0"),
    (p.AllowedTokens(lambda b, tokens: [0.5]), "AllowedTokens: .*got"),
]


@pytest.mark.parametrize(("processor", "message"), BAD_FOR_THIS_SEARCH)
def test_what_does_not_fit_the_search_says_so(processor: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        search(TableModel(V, 0), [processor])


def test_a_forced_prefix_must_fit_the_limit_of_its_own_sentence() -> None:
    tokens = torch.tensor([[1, 2], [1, -1], [1, 2], [1, 2], [-1, -1]])
    limits = torch.tensor([2, 1, 2, 2, 1])
    search(TableModel(V, 0), [p.ForcedPrefix(tokens)], max_length=limits)
    limits[3] = 1
    with pytest.raises(ValueError, match="2 tokens for sentence 3, max_length 1"):
        search(TableModel(V, 0), [p.ForcedPrefix(tokens)], max_length=limits)


def test_a_minimum_is_the_searchs_own() -> None:
    model = TableModel(V, 11, bias={0: 1.5})
    mine = search(model, [p.MinLength(6)], rules=rules.HF(early_stopping=True))
    assert mine.tokens.tolist() == search(model, [], min_length=6, rules=rules.HF(early_stopping=True)).tokens.tolist()
