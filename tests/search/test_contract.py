"""What API.md section 4 promises besides the best hypotheses: batching, states, memory, prefixes, attention, edges."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from models import (
    STATE_KINDS,
    CountdownModel,
    MemoryModel,
    PrefillModel,
    ScriptedModel,
    TableModel,
    pack,
    stateful_step,
)
from oracles import naive_beam_search
from test_exact import check
from torch import Tensor

from s2sfast import Pruning, beam_search, greedy_search

RULES = ("exact", "hf")


def rows_of(result: Any, sentences: list[int], places: int | None = None) -> list[tuple]:
    """Everything said about these sentences, bit for bit, without the padding."""
    rows = []
    for b in sentences:
        for i in range(result.lengths.shape[1] if places is None else places):
            n = int(result.lengths[b, i])
            tokens, parts = result.tokens[b, i, :n].tolist(), result.token_log_probs[b, i, :n].tolist()
            rows.append((tokens, parts, float(result.scores[b, i]), float(result.log_probs[b, i]), n))
            rows.append((bool(result.finished[b, i]),))
    return rows


def run(model: Any, state: Any, **options: Any) -> Any:
    defaults = {"start": 1, "eos": 0, "beam": 3, "n_best": 2, "max_length": 8}
    return beam_search(model, state, **(defaults | options))


# Batching


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("pruning", [None, Pruning(absolute=1.5, max_per_beam=2)])
def test_a_batch_is_its_sentences_one_by_one_bit_for_bit_in_any_order(rule: str, pruning: Pruning | None) -> None:
    model, options = TableModel(6, seed=1, bias={0: 1.0}), {"rules": rule, "pruning": pruning}
    batch = 9
    together = run(model, model.initial(batch), **options)
    order = torch.randperm(batch, generator=torch.Generator("cpu").manual_seed(0), device="cpu").tolist()
    shuffled = run(model, model.initial(order), **options)
    assert len({int(n) for n in together.lengths[:, 0]}) > 1, "the sentences should end at different steps"
    for b in range(batch):
        alone = run(model, model.initial([b]), **options)
        assert rows_of(together, [b]) == rows_of(alone, [0]) == rows_of(shuffled, [order.index(b)])


@pytest.mark.parametrize("rule", ["exact", "hf", "fairseq", "opennmt", "ctranslate2", "allennlp"])
@pytest.mark.parametrize("eos", [0, [0, 4]])
def test_few_candidates_looked_at_in_python_and_many_in_torch_say_the_same(
    rule: str, eos: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, found = TableModel(6, seed=3, bias={0: 0.5, 5: -2.0}), []
    for few in (0, 10**6):
        monkeypatch.setattr("s2sfast.search.loop._FEW", few)
        model.rows.clear()
        result = run(model, model.initial(7), eos=eos, rules=rule, n_best=3, pruning=Pruning(absolute=2.0))
        found.append((rows_of(result, list(range(7))), list(model.rows)))
    assert found[0] == found[1]
    assert len(result.lengths.unique()) > 2, "hypotheses should end at different steps"


@pytest.mark.parametrize("rule", RULES)
def test_the_number_of_threads_does_not_matter(rule: str) -> None:
    answers = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        model = TableModel(3000, seed=4)  # wide enough for the step to be worth two threads
        result = run(model, model.initial(4), rules=rule, beam=5, max_length=5)
        answers.append(rows_of(result, list(range(4))))
    assert answers[0] == answers[1]


@pytest.mark.parametrize("rule", RULES)
def test_the_first_step_runs_one_row_per_sentence_and_finished_sentences_leave(rule: str) -> None:
    model, ends = CountdownModel(), [2, 7, 4]
    memory = {"keys": torch.zeros(3, 5, 2), "pair": (torch.zeros(3), torch.zeros(3, 1))}
    seen = []

    def step(tokens: Tensor, state: Any, shared: Any) -> Any:
        seen.append(shared["keys"].shape[0])
        assert shared["pair"][0].shape == (seen[-1],) and shared["pair"][1].shape == (seen[-1], 1)
        return model(tokens, state, shared["keys"])

    result = run(step, model.initial(ends), memory=memory, rules=rule, max_length=20)
    assert result.lengths[:, 0].tolist() == ends and bool(result.finished[:, 0].all())
    assert seen == [sum(end > step for end in ends) for step in range(7)], "sentences in memory at each step"
    rows = [r for r, _ in model.calls]
    assert rows[0] == 3
    assert all(r % s == 0 and r // s <= 3 for r, s in zip(rows, seen, strict=True))
    assert (result.stats.steps, result.stats.model_rows) == (7, sum(rows))


@pytest.mark.parametrize("rule", RULES)
def test_memory_lines_up_with_its_sentence_and_is_never_expanded(rule: str) -> None:
    model = MemoryModel(5, positions=4)
    memory = model.make_memory(4)
    result = run(model, model.initial(4), memory=memory, rules=rule)
    assert max(model.sentences) == 4 and model.sentences == sorted(model.sentences, reverse=True)
    for b in range(4):
        alone = run(model, model.initial([b]), memory=memory[b : b + 1], rules=rule)
        assert rows_of(result, [b]) == rows_of(alone, [0])
        if rule == "exact":
            oracle = naive_beam_search(model.oracle_with(b, memory), [1], eos={0}, beam=3, n_best=2, max_length=8)
            check(result, b, oracle.hypotheses, n_best=2)


def test_an_empty_batch_gives_an_empty_result() -> None:
    model = TableModel(4)
    for rule in RULES:
        result = run(model, model.initial(0), rules=rule)
        assert result.tokens.shape[:2] == (0, 2) and result.scores.shape == (0, 2)
        assert result.tokens.dtype == torch.int64 and result.finished.dtype == torch.bool
    assert greedy_search(model, model.initial(0), start=1, eos=0).lengths.shape == (0, 1)


# States


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", STATE_KINDS)
def test_every_kind_of_state_follows_its_hypothesis(kind: str, rule: str) -> None:
    model = TableModel(5, seed=3, bias={0: 0.7})
    plain = run(model, model.initial(4), rules=rule)
    state, dims = pack(kind, model.initial(4))
    opaque = {"batch_size": 4} if kind.startswith("reorder") else {}  # such an object does not tell how many
    packed = run(stateful_step(model, kind), state, state_dims=dims, rules=rule, **opaque)
    assert rows_of(packed, [0, 1, 2, 3]) == rows_of(plain, [0, 1, 2, 3])


def test_the_reorder_index_points_into_the_rows_that_were_run_and_may_be_longer() -> None:
    model = TableModel(5, seed=3)
    state, _ = pack("reorder_new", model.initial(2))
    run(stateful_step(model, "reorder_new"), state, batch_size=2)
    assert len(state.indices[0]) > model.rows[0] == 2
    for index, before, after in zip(state.indices, model.rows, model.rows[1:], strict=False):
        assert len(index) == after and max(index) < before


def test_the_callers_state_and_memory_are_left_as_they_were() -> None:
    model = MemoryModel(5, positions=4)
    memory, state = model.make_memory(3), model.initial(3)
    copies = memory.clone(), state.clone()
    run(model, state, memory=memory)
    assert torch.equal(memory, copies[0]) and torch.equal(state, copies[1])


def test_the_search_runs_without_gradients_and_restores_the_mode() -> None:
    model, modes = TableModel(4), []
    weight = torch.ones((), requires_grad=True)

    def step(tokens: Tensor, state: Tensor, memory: Any) -> tuple[Tensor, Tensor]:
        modes.append(torch.is_grad_enabled())
        logits, state = model(tokens, state, memory)
        return logits * weight, state

    result = run(step, model.initial(2))
    assert modes and not any(modes) and torch.is_grad_enabled() and not result.scores.requires_grad


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_logits_of_any_floating_dtype_mean_their_float32_values(dtype: torch.dtype) -> None:
    model = TableModel(7, seed=6)
    model.table = model.table.bfloat16().to(torch.float16).float()  # the same numbers in every dtype

    def step(tokens: Tensor, state: Tensor, memory: Any) -> tuple[Tensor, Tensor]:
        logits, state = model(tokens, state, memory)
        return logits.to(dtype), state

    plain, other = run(model, model.initial(3)), run(step, model.initial(3))
    assert torch.equal(plain.tokens, other.tokens) and other.scores.dtype in (torch.float32, torch.float64)
    torch.testing.assert_close(plain.scores.double(), other.scores.double(), rtol=1e-5, atol=1e-5)


def test_non_contiguous_logits_and_states_are_fine() -> None:
    model = TableModel(5, seed=8)

    def step(tokens: Tensor, state: Tensor, memory: Any) -> tuple[Tensor, Tensor]:
        logits, code = model(tokens, state[:, 0], memory)
        return logits.t().contiguous().t(), torch.stack([code, code]).t()

    state = torch.stack([model.initial(3)] * 2).t()
    assert rows_of(run(step, state), [0, 1, 2]) == rows_of(run(model, model.initial(3)), [0, 1, 2])


# Start and prefix


def test_a_start_id_a_row_of_ids_and_a_prefix_of_one_are_the_same() -> None:
    model = TableModel(5, seed=2)
    answers = [
        rows_of(run(model, model.initial(3), start=start), [0, 1, 2])
        for start in (1, torch.tensor([1, 1, 1]), torch.tensor([[1], [1], [1]]))
    ]
    assert answers[0] == answers[1] == answers[2]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("padding", [0, 3, -1])
@pytest.mark.parametrize("prefill", [False, True])
def test_ragged_prefixes_equal_each_sentence_alone_whatever_the_padding(rule: str, padding: int, prefill: bool) -> None:
    table = TableModel(5, seed=11, bias={0: 0.5})
    prefixes = [[1, 2, 0, 4], [3], [2, 2], [4, 0, 1]]  # two of them contain the eos, which is just fed
    lengths = torch.tensor([len(p) for p in prefixes])
    start = torch.tensor([p + [padding] * (4 - len(p)) for p in prefixes])
    model = PrefillModel(table) if prefill else table
    together = run(model, table.initial(4), start=start, prefix_lengths=lengths, rules=rule)
    for b, prefix in enumerate(prefixes):
        alone = run(table, table.initial([b]), start=torch.tensor([prefix]), rules=rule)
        assert rows_of(together, [b]) == rows_of(alone, [0])
        if rule == "exact":
            oracle = naive_beam_search(table.oracle(b), prefix, eos={0}, beam=3, n_best=2, max_length=8)
            check(together, b, oracle.hypotheses, n_best=2)


def test_prefill_gets_the_whole_prefix_once_and_step_only_generated_tokens() -> None:
    table = TableModel(5, seed=11)
    model, start = PrefillModel(table), torch.tensor([[1, 2, 3], [4, 3, 2]])
    result = run(model, table.initial(2), start=start, prefix_lengths=torch.tensor([3, 2]))
    ((prefix, lengths),) = model.prefilled
    assert (prefix, lengths) == (start.tolist(), [3, 2])
    generated = {int(t) for t in result.tokens[:, 0, 0]}
    assert generated <= set(table.fed[0]), "the first call of step continues from the first generated tokens"


def test_a_start_that_is_also_the_eos_just_starts() -> None:
    model = TableModel(5, seed=2)
    result = run(model, model.initial(1), start=0, rules="exact")
    oracle = naive_beam_search(model.oracle(0), [0], eos={0}, beam=3, n_best=2, max_length=8)
    check(result, 0, oracle.hypotheses, n_best=2)


# Lengths and ends


@pytest.mark.parametrize("rule", RULES)
def test_max_length_per_sentence_equals_each_alone(rule: str) -> None:
    model, limits = TableModel(5, seed=9, bias={0: -1.0}), [1, 6, 3, 8]
    together = run(model, model.initial(4), max_length=torch.tensor(limits), rules=rule)
    assert all(int(together.lengths[b].max()) <= limit for b, limit in enumerate(limits))
    for b, limit in enumerate(limits):
        assert rows_of(together, [b]) == rows_of(run(model, model.initial([b]), max_length=limit, rules=rule), [0])


@pytest.mark.parametrize("rule", RULES)
def test_eos_is_forbidden_before_min_length_tokens(rule: str) -> None:
    model = TableModel(5, seed=9, bias={0: 3.0, 4: 1.0})
    for minimum in (0, 1, 3, 8):
        result = run(model, model.initial(5), eos=[0, 4], min_length=minimum, rules=rule)
        tokens = result.tokens[:, :, :minimum]
        assert not bool(((tokens == 0) | (tokens == 4)).any())
        if minimum < 8:
            assert int(result.lengths[:, 0].min()) == minimum + 1
        else:
            assert not bool(result.finished.any()) and bool((result.lengths == 8).all())


@pytest.mark.parametrize("rule", RULES)
def test_when_every_first_token_is_eos_there_is_one_hypothesis_and_one_step(rule: str) -> None:
    model = ScriptedModel({}, default=[1.0, 0.0, 0.0])
    result = run(model, model.initial(2), n_best=3, rules=rule)
    assert result.lengths.tolist() == [[1, 0, 0]] * 2 and result.finished.tolist() == [[True, False, False]] * 2
    assert result.tokens[:, 0, 0].tolist() == [0, 0] and bool((result.tokens[:, 1:] == -1).all())
    assert result.scores[:, 0].tolist() == [0.0, 0.0] and bool(torch.isneginf(result.scores[:, 1:]).all())
    assert result.stats.steps == 1 and result.best(1) == [0]
    assert not bool(result.token_log_probs.any()) and not bool(result.token_log_probs.isnan().any())


@pytest.mark.parametrize("rule", RULES)
def test_sentences_that_never_end_come_back_unfinished_at_max_length(rule: str) -> None:
    model = TableModel(6, seed=1, bias={0: -torch.inf})
    result = run(model, model.initial(3), rules=rule, n_best=3)
    assert bool((result.lengths == 8).all()) and not bool(result.finished.any())
    assert bool((result.scores[:, :-1] >= result.scores[:, 1:]).all()) and bool(result.scores.isfinite().all())
    assert result.stats.steps == 8


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("vocab", [1, 2, 3])
def test_a_vocabulary_smaller_than_two_beams_leaves_places_unfilled_or_fills_them_rightly(
    vocab: int, rule: str
) -> None:
    model, eos = TableModel(vocab, seed=5), vocab - 1
    options = {"start": 0, "eos": eos, "beam": 5, "n_best": 5, "max_length": 3, "rules": rule}
    result = run(model, model.initial(2), **options)
    for b in range(2):
        filled = int((result.lengths[b] > 0).sum())
        found = {tuple(row[0]) for row in rows_of(result, [b], filled)[::2]}
        assert len(found) == filled >= min(5, 2 * vocab - 1)  # V = 1: only (eos); V = 2: (1), (0 1), (0 0 1), (0 0 0)
        assert all(eos not in tokens[:-1] for tokens in found)
        assert bool(torch.isneginf(result.scores[b, filled:]).all())
        assert bool((result.tokens[b, filled:] == -1).all()) and not bool(result.finished[b, filled:].any())
        assert rows_of(result, [b]) == rows_of(run(model, model.initial([b]), **options), [0])


@pytest.mark.parametrize("rule", RULES)
def test_a_dead_end_leaves_the_places_unfilled_and_the_neighbours_alone(rule: str) -> None:
    model = TableModel(4, seed=1)

    def nothing_after_two_tokens(tokens_so_far: Tensor, log_probs: Tensor) -> Tensor:
        stuck = tokens_so_far[:, 0] == 3  # the sentence that starts with 3
        return log_probs.masked_fill((stuck & (tokens_so_far.shape[1] > 2))[:, None], -torch.inf)

    model.table[:, 0] = -torch.inf  # no eos either
    start = torch.tensor([3, 1])
    result = run(model, model.initial(2), start=start, processors=[nothing_after_two_tokens], rules=rule)
    assert result.lengths.tolist() == [[0, 0], [8, 8]] and result.best(0) == []
    assert bool(torch.isneginf(result.scores[0]).all()) and bool(result.scores[1].isfinite().all())


# What comes back


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.5])
def test_token_log_probs_sum_to_log_probs_and_scores_are_sorted_and_normalised(rule: str, alpha: float) -> None:
    model = TableModel(6, seed=12, bias={0: 1.0})
    result = run(model, model.initial(4), beam=4, n_best=4, rules=rule, length_penalty=alpha)
    torch.testing.assert_close(result.token_log_probs.sum(-1), result.log_probs, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(result.scores, result.log_probs / result.lengths**alpha, rtol=1e-5, atol=1e-5)
    assert bool((result.scores[:, :-1] >= result.scores[:, 1:]).all())
    at = torch.arange(result.tokens.shape[-1])
    beyond = at >= result.lengths[..., None]
    assert bool((result.tokens[beyond] == -1).all()) and not bool(result.token_log_probs[beyond].any())
    assert result.attention is None and result.tree is None
    assert run(model, model.initial(2), rules=rule, return_tree=True).tree is not None


def test_attention_rows_follow_the_hypothesis_not_the_beam_slot() -> None:
    model = MemoryModel(5, positions=4, seed=2)
    memory = model.make_memory(3)
    for rule in RULES:
        result = run(model, model.initial(3), memory=memory, rules=rule, n_best=3, return_attention=True)
        assert result.attention.shape == (*result.tokens.shape, 4)
        for b in range(3):
            for i in range(3):
                n = int(result.lengths[b, i])
                history = [1, *result.tokens[b, i, :n].tolist()]
                expected = torch.stack([model.attention[model.after(b, history[: t + 1])] for t in range(n)])
                assert torch.equal(result.attention[b, i, :n], expected)
                assert not bool(result.attention[b, i, n:].any())
    assert run(model, model.initial(3), memory=memory).attention is None


@pytest.mark.parametrize("rule", RULES)
def test_a_step_may_hand_out_the_same_buffers_every_time_and_keep_the_tokens_it_gets(rule: str) -> None:
    model = MemoryModel(5, positions=4, seed=2)
    memory, logits_buffer, attention_buffer = model.make_memory(3), torch.zeros(9, 5), torch.zeros(9, 4)

    def step(tokens: Tensor, history: list[Tensor], shared: Tensor) -> Any:
        history = [*history, tokens]  # a state that grows by one tensor per step
        code = history[0]
        for past in history[1:-1]:
            code = model.advance(code, past)
        logits, _, attention = model(tokens, code, shared)
        n = len(tokens)
        logits_buffer[:n], attention_buffer[:n] = logits, attention
        return logits_buffer[:n], history, attention_buffer[:n]

    options = {"memory": memory, "rules": rule, "return_attention": True}
    plain, buffered = run(model, model.initial(3), **options), run(step, [model.initial(3)], **options)
    assert rows_of(plain, [0, 1, 2]) == rows_of(buffered, [0, 1, 2])
    assert torch.equal(plain.attention, buffered.attention)


def test_processors_see_start_prefix_and_generated_tokens_and_their_result_is_used_as_it_is() -> None:
    model, seen = TableModel(5, seed=4), []

    def shift(tokens_so_far: Tensor, log_probs: Tensor) -> Tensor:
        seen.append(tokens_so_far.tolist())
        torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(len(log_probs)))
        return log_probs - 1.0  # not renormalised: every token costs one more

    start, options = torch.tensor([[1, 2], [3, 4]]), {"n_best": 3, "length_penalty": 0.0, "rules": "exact"}
    result = run(model, model.initial(2), start=start, processors=[shift, lambda _, lp: lp], **options)
    assert seen[0] == [[1, 2], [3, 4]] and all(len(row) == 2 + t for t, rows in enumerate(seen) for row in rows)
    followed = [1, 2, *result.tokens[0, 0, :-1].tolist()]
    assert all(followed[: 2 + t] in rows for t, rows in enumerate(seen[: int(result.lengths[0, 0])]))
    parts = [result.token_log_probs[0, 0, t].item() for t in range(int(result.lengths[0, 0]))]
    for t, part in enumerate(parts):
        row = model.table[model.after(0, followed[: 2 + t])].log_softmax(-1)
        assert part == pytest.approx(float(row[result.tokens[0, 0, t]]) - 1.0, abs=1e-5)


def test_stats_count_steps_rows_candidates_and_what_pruning_removed() -> None:
    model = TableModel(8, seed=7)
    full = run(model, model.initial(3), rules="exact")
    assert (full.stats.steps, full.stats.model_rows) == (len(model.rows), sum(model.rows))
    assert full.stats.pruned == 0 < full.stats.candidates
    model = TableModel(8, seed=7)
    pruned = run(model, model.initial(3), rules="exact", pruning=Pruning(relative=0.5, max_per_beam=2))
    assert pruned.stats.pruned > 0 and pruned.stats.candidates > 0
    assert pruned.stats.steps == len(model.rows) and pruned.stats.model_rows == sum(model.rows)
