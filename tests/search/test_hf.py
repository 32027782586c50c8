"""rules="hf" against the installed transformers: the same tokens, the same sequences_scores."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
import transformers
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from models import TableModel
from oracles import naive_hf_search
from test_exact import NOISE, cases, check, many, ours
from torch import Tensor, nn
from transformers import (
    GenerationConfig,
    GenerationMixin,
    GPT2Config,
    GPT2LMHeadModel,
    NoRepeatNGramLogitsProcessor,
    PretrainedConfig,
    PreTrainedModel,
    RepetitionPenaltyLogitsProcessor,
    T5Config,
    T5ForConditionalGeneration,
)
from transformers.modeling_outputs import CausalLMOutput

from s2sfast import beam_search, rules
from tests.over import integers

STOPPING = (False, True, "never")


def hf_generate(model: Any, inputs: Tensor, *, eos: list[int], beam: int, n_best: int, **options: Any) -> list[list]:
    """[[(tokens, score), ...] per sentence] from generate(); the generated tokens only, cut after the first eos."""
    mask = options.pop("attention_mask", torch.ones_like(inputs))
    config = GenerationConfig(
        num_beams=beam,
        num_return_sequences=n_best,
        do_sample=False,
        eos_token_id=eos,
        pad_token_id=model.config.pad_token_id,
        decoder_start_token_id=getattr(model.config, "decoder_start_token_id", None),
        return_dict_in_generate=True,
        output_scores=True,
        **options,
    )
    with torch.no_grad():
        out = model.generate(inputs, attention_mask=mask, generation_config=config)
    prompt = 1 if model.config.is_encoder_decoder else inputs.shape[1]
    found = []
    for sequence, score in zip(out.sequences[:, prompt:].tolist(), out.sequences_scores.tolist(), strict=True):
        end = next((i + 1 for i, token in enumerate(sequence) if token in eos), len(sequence))
        found.append((sequence[:end], score))
    return [found[b * n_best : (b + 1) * n_best] for b in range(len(inputs))]


def same(result: Any, expected: list[list], note: Any = "") -> None:
    for b, hypotheses in enumerate(expected):
        for i, (tokens, score) in enumerate(hypotheses):
            n = int(result.lengths[b, i])
            assert result.tokens[b, i, :n].tolist() == tokens, f"{note}: sentence {b} place {i}"
            assert float(result.scores[b, i]) == pytest.approx(score, abs=1e-5, rel=1e-5), note


# A table model inside generate(): both sides add up exactly the same logits, so hundreds of settings can be compared.


class TableConfig(PretrainedConfig):
    model_type = "s2sfast_table"


class TableLM(PreTrainedModel, GenerationMixin):
    """TableModel as a causal language model; the first token of a prompt is the sentence."""

    config_class = TableConfig

    def __init__(self, table: TableModel) -> None:
        super().__init__(TableConfig(vocab_size=table.vocab, pad_token_id=1, use_cache=False))
        self.table = table
        self.unused = nn.Parameter(torch.zeros(1))  # generate() asks for the device of a parameter

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **kwargs: Any) -> CausalLMOutput:
        state = self.table.initial(1).expand(len(input_ids))
        for t in range(input_ids.shape[1]):
            state = self.table.advance(state, input_ids[:, t])
        return CausalLMOutput(logits=self.table.table[state][:, None])

    def prepare_inputs_for_generation(self, input_ids: Tensor, **kwargs: Any) -> dict[str, Tensor]:
        return {"input_ids": input_ids}


def compare_tables(table: TableModel, *, eos: list[int], beam: int, n_best: int, length: int, **options: Any) -> Any:
    start = torch.tensor([[2], [3], [4], [5]])
    expected = hf_generate(
        TableLM(table),
        start,
        eos=eos,
        beam=beam,
        n_best=n_best,
        max_new_tokens=length,
        min_new_tokens=options.get("minimum"),
        length_penalty=options["alpha"],
        early_stopping=options["stopping"],
        use_cache=False,
    )
    result = beam_search(
        table,
        table.initial([0, 0, 0, 0]),
        start=start,
        eos=eos,
        beam=beam,
        n_best=n_best,
        max_length=length,
        min_length=options.get("minimum") or 0,
        length_penalty=options["alpha"],
        rules=rules.HF(early_stopping=options["stopping"]),
    )
    same(result, expected, options)
    return result


@pytest.mark.parametrize("stopping", STOPPING)
@pytest.mark.parametrize("alpha", [1.0, 0.0, -0.7, 2.5])
def test_table_models_decode_as_generate_does(stopping: Any, alpha: float) -> None:
    lengths = set()
    for seed, (beam, bias, _) in enumerate(itertools.product([2, 3, 5], [-1.0, 0.5, 2.0], range(3))):
        for eos in ([0], [0, 7]):
            table = TableModel(9, seed, bias=dict.fromkeys(eos, bias))
            n_best = beam if seed % 2 else 1
            result = compare_tables(table, eos=eos, beam=beam, n_best=n_best, length=10, alpha=alpha, stopping=stopping)
            lengths |= set(result.lengths.flatten().tolist())
    assert lengths >= ({9, 10} if alpha > 1 else {1, 2, 3, 10}), (
        f"hypotheses of many lengths should be compared, got {lengths}"
    )


@pytest.mark.parametrize("stopping", STOPPING)
@pytest.mark.parametrize("minimum", [1, 4, 10])
def test_min_length_is_min_new_tokens(stopping: Any, minimum: int) -> None:
    for seed in range(4):
        table = TableModel(9, seed, bias={0: 2.0})
        compare_tables(table, eos=[0], beam=3, n_best=3, length=10, alpha=1.0, stopping=stopping, minimum=minimum)


@pytest.mark.parametrize("stopping", STOPPING)
def test_a_limit_of_one_token_and_a_beam_as_wide_as_half_the_vocabulary(stopping: Any) -> None:
    table = TableModel(10, seed=3, bias={0: 1.0})
    for length in (1, 2, 5):
        for beam in (2, 5):
            compare_tables(table, eos=[0], beam=beam, n_best=beam, length=length, alpha=1.0, stopping=stopping)


@pytest.mark.parametrize("stopping", STOPPING)
def test_the_processors_of_transformers_work_as_they_are(stopping: Any) -> None:
    mine = [RepetitionPenaltyLogitsProcessor(1.4), NoRepeatNGramLogitsProcessor(2)]
    theirs = {"repetition_penalty": 1.4, "no_repeat_ngram_size": 2}
    start = torch.tensor([[2, 3, 2], [3, 3, 5], [4, 2, 8]])
    for seed in range(6):
        table, options = TableModel(9, seed, bias={0: 0.5}), {"eos": [0], "beam": 3, "n_best": 3}
        lengths = {"max_new_tokens": 10, "length_penalty": 1.0, "early_stopping": stopping, "use_cache": False}
        expected = hf_generate(TableLM(table), start, **options, **lengths, **theirs)
        rule, state = rules.HF(early_stopping=stopping), table.initial([0, 0, 0])
        result = beam_search(table, state, start=start, max_length=10, rules=rule, processors=mine, **options)
        same(result, expected, seed)


def test_hf_with_early_stopping_false_is_the_default() -> None:
    table = TableModel(9, seed=5, bias={0: 0.5})
    options = {"start": 2, "eos": 0, "beam": 3, "n_best": 3, "max_length": 10}
    default = beam_search(table, table.initial(4), **options)
    for rule in ("hf", rules.HF(), rules.HF(early_stopping=False)):
        again = beam_search(table, table.initial(4), rules=rule, **options)
        assert torch.equal(default.tokens, again.tokens) and torch.equal(default.scores, again.scores)


def test_the_three_stopping_rules_differ_somewhere() -> None:
    found: dict[Any, list] = {stopping: [] for stopping in STOPPING}
    for seed in range(12):
        table = TableModel(9, seed, bias={0: 1.0})
        for stopping in STOPPING:
            result = beam_search(
                table,
                table.initial(4),
                start=2,
                eos=0,
                beam=3,
                max_length=12,
                rules=rules.HF(early_stopping=stopping),
            )
            found[stopping] += [result.best(b) for b in range(4)]
    assert found[True] != found[False] != found["never"] != found[True]


@given(case=cases(), pruned=cases(pruned=True), stopping=st.sampled_from(STOPPING), use=st.booleans())
@settings(many, max_examples=500)
def test_equals_a_naive_search_also_where_generate_cannot_go(case: Any, pruned: Any, stopping: Any, use: bool) -> None:
    """Two beams beyond the vocabulary, pruning, temperature, a limit per sentence."""
    case = pruned if use else case
    case["n_best"] = min(case["n_best"], case["beam"])
    names = ("eos", "beam", "n_best", "min_length", "alpha", "temperature", "pruning")
    shared = {name: case[name] for name in names}
    expected = [
        naive_hf_search(
            case["model"].oracle(sentence), case["start"], max_length=length, early_stopping=stopping, **shared
        )
        for sentence, length in zip(case["sentences"], case["max_length"], strict=True)
    ]
    assume(min(e.gap for e in expected) > NOISE)
    result = ours(case, rules=rules.HF(early_stopping=stopping))
    for b, e in enumerate(expected):
        check(result, b, e.hypotheses, n_best=case["n_best"])
    alone = len(case["sentences"]) == len(case["start"]) == 1
    assert not alone or len(case["model"].rows) == expected[0].steps


# Real architectures with random weights. The step keeps the tokens as its state and recomputes without a cache.

VOCAB = 23


def random_head(hidden: int, eos: list[int], bias: float) -> nn.Linear:
    head = nn.Linear(hidden, VOCAB)
    nn.init.normal_(head.weight, std=1.5 / hidden**0.5)
    nn.init.normal_(head.bias, std=0.3)
    with torch.no_grad():
        head.bias[eos] += bias
    return head.requires_grad_(False)


def tiny_gpt2(eos: list[int]) -> Any:
    torch.manual_seed(0)
    sizes = {"n_positions": 32, "n_embd": 16, "n_layer": 2, "n_head": 2}
    config = GPT2Config(
        vocab_size=VOCAB,
        bos_token_id=1,
        eos_token_id=0,
        pad_token_id=1,
        tie_word_embeddings=False,
        initializer_range=0.5,
        **sizes,
    )
    model = GPT2LMHeadModel(config).eval()
    model.lm_head = random_head(16, eos, 1.5)
    return model


def tiny_t5(eos: list[int]) -> Any:
    torch.manual_seed(1)
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 2}
    config = T5Config(
        vocab_size=VOCAB, decoder_start_token_id=1, pad_token_id=1, tie_word_embeddings=False, dropout_rate=0.0, **sizes
    )
    model = T5ForConditionalGeneration(config).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    model.lm_head = random_head(16, eos, 1.5)
    return model


def gpt2_step(model: Any) -> Any:
    def step(tokens: Tensor, state: dict[str, Tensor], memory: Any) -> tuple[Tensor, dict[str, Tensor]]:
        rows = torch.arange(len(tokens))
        past, length = state["past"].clone(), state["length"]
        past[rows, length] = tokens
        logits = model(input_ids=past[:, : int(length.max()) + 1], use_cache=False).logits[rows, length]
        return logits, {"past": past, "length": length + 1}

    return step


def t5_step(model: Any) -> Any:
    def step(tokens: Tensor, past: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        past = torch.cat([past, tokens[:, None]], dim=1)
        hidden = memory.repeat_interleave(len(tokens) // len(memory), dim=0)
        outputs = transformers.modeling_outputs.BaseModelOutput(last_hidden_state=hidden)
        return model(encoder_outputs=outputs, decoder_input_ids=past, use_cache=False).logits[:, -1], past

    return step


SETTINGS = [
    {"beam": 2, "n_best": 2, "alpha": 1.0, "stopping": False, "minimum": 0, "eos": [0]},
    {"beam": 4, "n_best": 4, "alpha": 1.0, "stopping": True, "minimum": 0, "eos": [0]},
    {"beam": 4, "n_best": 2, "alpha": 2.0, "stopping": "never", "minimum": 3, "eos": [0, 3]},
    {"beam": 3, "n_best": 3, "alpha": -0.5, "stopping": "never", "minimum": 0, "eos": [0, 3]},
    {"beam": 3, "n_best": 1, "alpha": 0.0, "stopping": False, "minimum": 2, "eos": [0]},
    {"beam": 7, "n_best": 7, "alpha": 0.6, "stopping": False, "minimum": 0, "eos": [3]},
]


def both_options(case: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    shared = {name: case[name] for name in ("eos", "beam", "n_best")}
    theirs = {
        "max_new_tokens": 12,
        "min_new_tokens": case["minimum"],
        "length_penalty": case["alpha"],
        "early_stopping": case["stopping"],
    }
    mine = {
        "max_length": 12,
        "min_length": case["minimum"],
        "length_penalty": case["alpha"],
        "rules": rules.HF(early_stopping=case["stopping"]),
    }
    return shared | theirs, shared | mine


@pytest.mark.parametrize("case", SETTINGS)
def test_gpt2_with_prompts_of_three_tokens(case: dict[str, Any]) -> None:
    model = tiny_gpt2(case["eos"])
    prompts = integers(7)(4, VOCAB, (5, 3))
    theirs, mine = both_options(case)
    state = {"past": torch.ones(5, 32, dtype=torch.int64), "length": torch.zeros(5, dtype=torch.int64)}
    same(beam_search(gpt2_step(model), state, start=prompts, **mine), hf_generate(model, prompts, **theirs), case)


@pytest.mark.parametrize("case", SETTINGS[:3])
def test_gpt2_with_ragged_prompts_which_generate_pads_on_the_left(case: dict[str, Any]) -> None:
    model, lengths = tiny_gpt2(case["eos"]), [4, 1, 3]
    prompts = integers(8)(4, VOCAB, (3, 4))
    left, mask = torch.ones(3, 4, dtype=torch.int64), torch.zeros(3, 4, dtype=torch.int64)
    for b, n in enumerate(lengths):
        left[b, 4 - n :], mask[b, 4 - n :] = prompts[b, :n], 1
    theirs, mine = both_options(case)
    state = {"past": torch.ones(3, 32, dtype=torch.int64), "length": torch.zeros(3, dtype=torch.int64)}
    result = beam_search(gpt2_step(model), state, start=prompts, prefix_lengths=torch.tensor(lengths), **mine)
    same(result, hf_generate(model, left, attention_mask=mask, **theirs), case)


@pytest.mark.parametrize("case", SETTINGS)
def test_t5_with_a_shared_encoder_memory(case: dict[str, Any]) -> None:
    model = tiny_t5(case["eos"])
    sources = integers(9)(4, VOCAB, (4, 6))
    theirs, mine = both_options(case)
    with torch.no_grad():
        memory = model.encoder(sources).last_hidden_state
    past = torch.empty(4, 0, dtype=torch.int64)
    result = beam_search(t5_step(model), past, start=1, memory=memory, **mine)
    same(result, hf_generate(model, sources, **theirs), case)
