"""What s2sfast.hf.beam_search takes from a generation configuration, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    DynamicCache,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    MaxLengthCriteria,
    MistralConfig,
    MistralForCausalLM,
    StoppingCriteria,
    StoppingCriteriaList,
    TrOCRConfig,
    TrOCRForCausalLM,
    VisionEncoderDecoderModel,
    ViTConfig,
    ViTModel,
)

import s2sfast
from tests.hf.both import assert_same, assert_same_greedy, both
from tests.hf.models import EOS, FAMILIES, inputs, model

ONE_OF_EACH = ["bart", "gpt2"]  # an encoder-decoder and a decoder alone


class EndsAfter(StoppingCriteria):
    """At a token that is none of the eos."""

    def __init__(self, token: int):
        self.token = token

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        return input_ids[:, -1] == self.token


class LikesEvenTokensAfterOdd(LogitsProcessor):
    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        even = torch.arange(scores.shape[1]) % 2 == 0
        return torch.where((input_ids[:, -1:] % 2 == 1) & even, scores + 1.0, scores)


def allowed(sentence: int, tokens: Tensor) -> list[int]:
    """Each sentence has its own words, and may not say one twice in a row."""
    return [t for t in range(EOS, 37) if (t + sentence) % 3 and t != int(tokens[-1])] + [EOS]


OPTIONS: dict[str, dict[str, Any]] = {
    "stopping-criteria": {"stopping_criteria": StoppingCriteriaList([EndsAfter(11)])},
    "a-processor-of-ones-own": {"logits_processor": LogitsProcessorList([LikesEvenTokensAfterOdd()])},
    "allowed-tokens-by-sentence": {"prefix_allowed_tokens_fn": allowed},
    "not-what-the-source-says": {"encoder_no_repeat_ngram_size": 1},
    "ends-better-when-late": {"exponential_decay_length_penalty": (3, 1.4)},
    "biased": {"sequence_bias": [[[5], 2.0], [[6, 7], -3.0]]},
    "not-begun-with": {"begin_suppress_tokens": [EOS, 9]},
    "ids-beyond-the-vocabulary": {"suppress_tokens": [5, 99]},
    "at-least-so-long-in-all": {"min_length": 10},
    "no-pad": {"pad_token_id": None},
    "pad-zero": {"pad_token_id": 0},
    "penalised": {"repetition_penalty": 1.7},
    "many-beams": {"num_beams": 12, "num_return_sequences": 12},
}


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("family", ONE_OF_EACH)
def test_options_mean_what_they_mean_there(family: str, option: str) -> None:
    options = {"num_beams": 3, "max_new_tokens": 10, "num_return_sequences": 2, **OPTIONS[option]}
    theirs, ours = both(model(family), **inputs(family, 4), **options)
    assert_same(theirs, ours)


@pytest.mark.parametrize("option", sorted(set(OPTIONS) - {"many-beams"}))
@pytest.mark.parametrize("family", ONE_OF_EACH)
def test_options_mean_the_same_to_one_beam(family: str, option: str) -> None:
    theirs, ours = both(model(family), **inputs(family, 4), num_beams=1, max_new_tokens=10, **OPTIONS[option])
    assert_same_greedy(theirs, ours)


def test_a_beam_search_without_eos_may_be_ended_by_criteria() -> None:
    options: dict[str, Any] = {"num_beams": 3, "max_new_tokens": 10, "eos_token_id": None}
    options["stopping_criteria"] = StoppingCriteriaList([EndsAfter(11), EndsAfter(12)])
    theirs, ours = both(model("gpt2"), **inputs("gpt2", 4), **options)
    assert_same(theirs, ours)


def test_options_of_the_models_own_configuration() -> None:
    config = GenerationConfig(num_beams=3, max_new_tokens=7, eos_token_id=[EOS, 4], pad_token_id=1)
    theirs, ours = both(model("gpt2"), **inputs("gpt2", 3), generation_config=config)
    assert_same(theirs, ours)


def test_time_that_is_over_ends_everything() -> None:
    theirs, ours = both(model("bart"), **inputs("bart", 2), num_beams=3, max_new_tokens=10, max_time=0.0)
    assert_same(theirs, ours)
    assert ours.sequences.shape[1] == 2


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "sampling": ({"do_sample": True}, "do_sample: expected None or False; got True"),
    "groups": (
        {"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 0.5},
        "num_beam_groups: expected None or 1; got 2",
    ),
    "words": ({"force_words_ids": [[5]]}, "force_words_ids: expected None; got [[5]]"),
    "contrastive": ({"penalty_alpha": 0.6}, "penalty_alpha: expected None or 0.0; got 0.6"),
    "dola": ({"dola_layers": "low"}, "dola_layers: expected None; got 'low'"),
    "lookup": ({"prompt_lookup_num_tokens": 3}, "prompt_lookup_num_tokens: expected None; got 3"),
    "early-exit": ({"assistant_early_exit": 1}, "assistant_early_exit: expected None; got 1"),
    "assistant": ({"assistant_model": object()}, "assistant_model: expected None; got 'object'"),
    "guidance": ({"guidance_scale": 2.0}, "guidance_scale: expected None or 1.0; got 2.0"),
    "attentions": ({"output_attentions": True}, "output_attentions: expected None or False; got True"),
    "hidden": ({"output_hidden_states": True}, "output_hidden_states: expected None or False; got True"),
    "chunks": ({"prefill_chunk_size": 2}, "prefill_chunk_size: expected None; got 2"),
    "static": ({"cache_implementation": "static"}, "cache_implementation: expected None or 'dynamic'; got 'static'"),
    "no-cache": ({"use_cache": False}, "use_cache: expected True; got False"),
    "other-length": (
        {"stopping_criteria": StoppingCriteriaList([MaxLengthCriteria(9)])},
        "stopping_criteria: expected max_length=17; got 9",
    ),
    "ends-that-do-not-pad": (
        {"num_beams": 1, "eos_token_id": None, "stopping_criteria": StoppingCriteriaList([EndsAfter(11)])},
        "stopping_criteria: expected an eos_token_id beside them, with num_beams=1; got 'EndsAfter'",
    ),
    "tensors-unknown": (
        {"token_type_ids": torch.zeros(2, 7, dtype=torch.int64)},
        "token_type_ids: expected None; got 'a tensor (6, 7)'",
    ),
}


def generate(family: str, **options: Any) -> Any:
    options = {"num_beams": 3, "max_new_tokens": 10, "trust_remote_code": True, **options}
    return model(family).generate(**inputs(family, 2), **options, custom_generate=s2sfast.hf.beam_search)


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_supported_is_named(case: str) -> None:
    options, message = REFUSED[case]
    with pytest.raises(ValueError, match=r"^s2sfast\.hf\.beam_search: not supported:") as error:
        generate("gpt2", **options)
    assert f"\n  {message}" in str(error.value)


def test_all_reasons_come_at_once() -> None:
    with pytest.raises(ValueError) as error:
        generate("gpt2", do_sample=True, output_attentions=True, guidance_scale=1.5)
    reasons = str(error.value).splitlines()[1:]
    assert [reason.split(":")[0].strip() for reason in reasons] == [
        "do_sample", "guidance_scale", "output_attentions", "logits_processor",
    ]  # fmt: skip


@pytest.mark.filterwarnings("ignore:`past_key_values` is deprecated")
def test_a_cache_that_is_filled_is_refused() -> None:
    cache = DynamicCache()
    cache.update(torch.zeros(1, 2, 2, 8), torch.zeros(1, 2, 2, 8), 0)
    options = {"num_beams": 2, "max_new_tokens": 2, "past_key_values": cache}  # the name that all versions know
    with pytest.raises(ValueError, match=r"cache: expected none that is filled; got '2 tokens'"):
        model("gpt2").generate(torch.tensor([[3, 4, 5]]), **options, custom_generate=s2sfast.hf.beam_search)


def test_embeddings_as_a_prompt_are_refused() -> None:
    embeds = torch.zeros(1, 3, 16, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"inputs_embeds: expected None; got 'a tensor"):
        model("gpt2").generate(
            inputs_embeds=embeds, max_new_tokens=2, num_beams=2, custom_generate=s2sfast.hf.beam_search
        )


def test_a_model_in_training_is_refused() -> None:
    made = model("gpt2")
    made.train()
    try:
        with pytest.raises(ValueError, match=r"model: expected model.eval\(\); got 'training mode'"):
            generate("gpt2")
    finally:
        made.eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_model_is_left_as_it_was(family: str) -> None:
    made = model(family)
    configs = {id(m.config): m.config for m in made.modules() if hasattr(m, "config")}.values()
    before = [config._attn_implementation for config in configs]
    made.generate(**inputs(family, 2), num_beams=2, max_new_tokens=3, custom_generate=s2sfast.hf.beam_search)
    assert [config._attn_implementation for config in configs] == before


def test_the_model_is_left_as_it_was_by_a_processor_that_raises() -> None:
    def raises(sentence: int, tokens: Tensor) -> list[int]:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match=r"^no$"):
        generate("bart", prefix_allowed_tokens_fn=raises)
    assert model("bart").config._attn_implementation == "sdpa"
    assert generate("bart").tolist() == generate("bart").tolist()


def test_two_threads_may_share_a_model() -> None:
    """One searches with s2sfast, the other with transformers: attention outside a search's own steps is as before."""
    options = {"num_beams": 3, "max_new_tokens": 10}
    expected = model("bart").generate(**inputs("bart", 3), **options).tolist()
    found: list[Any] = []

    def run(search: Any) -> None:
        for _ in range(6):
            found.append(model("bart").generate(**inputs("bart", 3), **options, custom_generate=search).tolist())

    threads = [threading.Thread(target=run, args=(search,)) for search in (s2sfast.hf.beam_search, None) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 24
    assert model("bart").config._attn_implementation == "sdpa"


def test_the_users_encoder_output_is_not_used_up() -> None:
    """generate() expands it in place; the search takes that back."""
    made, given = model("bart"), inputs("bart", 2)
    outputs = made.get_encoder()(**given)
    whole = outputs.last_hidden_state.clone()
    options = {"attention_mask": given["attention_mask"], "num_beams": 3, "max_new_tokens": 5}
    for _ in range(2):
        made.generate(encoder_outputs=outputs, **options, custom_generate=s2sfast.hf.beam_search)
        assert torch.equal(outputs.last_hidden_state, whole)


def test_transformers_is_not_imported_before_it_is_needed() -> None:
    code = "import sys, s2sfast; s2sfast.hf.beam_search; print('transformers' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_version_that_is_not_tested_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.__version__", "5.99.1")
    with pytest.warns(UserWarning, match=r"tested with transformers 5\.23, 5\.24; this is 5\.99\.1"):
        generate("gpt2")


def test_a_version_that_is_too_old_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.__version__", "4.57.0")
    with pytest.raises(ImportError, match=r"expected transformers 5\.23 or newer; got 4\.57\.0: pip install"):
        generate("gpt2")


def test_a_decoder_that_attends_in_its_own_way_is_refused() -> None:
    sizes = {"d_model": 16, "decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 16, "vocab_size": 37}
    decoder = TrOCRForCausalLM(TrOCRConfig(**sizes, cross_attention_hidden_size=16))
    vision = ViTConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=8, patch_size=4)
    made = VisionEncoderDecoderModel(encoder=ViTModel(vision), decoder=decoder).eval()
    made.generation_config.update(decoder_start_token_id=3, pad_token_id=1, eos_token_id=EOS)
    expected = "model: expected a decoder whose attention is transformers' AttentionInterface; got 'TrOCRForCausalLM'"
    with pytest.raises(ValueError, match=expected):
        made.generate(torch.zeros(1, 3, 8, 8), num_beams=2, max_new_tokens=2, custom_generate=s2sfast.hf.beam_search)


def mistral(window: int) -> MistralForCausalLM:
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = MistralConfig(**sizes, num_key_value_heads=1, vocab_size=37, sliding_window=window, eos_token_id=EOS)
    torch.manual_seed(0)
    return MistralForCausalLM(config).double().eval()


def test_a_window_that_no_sequence_fills_slides_nowhere() -> None:
    given = {**inputs("gpt2", 3), "num_beams": 3, "max_new_tokens": 9, "pad_token_id": 1}  # of prompts of 7
    assert_same(*both(mistral(16), **given))


def test_a_sliding_window_is_refused() -> None:
    expected = (
        "cache: expected DynamicCache of full attention, or of windows of max_length=6; got 'DynamicSlidingWindowL"
    )
    with pytest.raises(ValueError, match=expected):
        mistral(5).generate(
            torch.tensor([[3, 4]]), num_beams=2, max_new_tokens=4, custom_generate=s2sfast.hf.beam_search
        )
