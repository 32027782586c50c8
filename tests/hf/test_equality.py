"""s2sfast.hf.beam_search against transformers' own beam search: every family, every setting that both have."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import s2sfast
from tests.hf.both import assert_same, assert_same_greedy, both
from tests.hf.models import DECODERS_ONLY, EOS, FAMILIES, inputs, model

SETTINGS: dict[str, dict[str, Any]] = {
    "stops-by-the-heuristic": {"num_beams": 3},
    "stops-at-the-first-three": {"num_beams": 3, "early_stopping": True, "num_return_sequences": 2},
    "never-stops-early": {"num_beams": 4, "early_stopping": "never", "length_penalty": 1.5, "num_return_sequences": 4},
    "likes-it-short": {"num_beams": 3, "length_penalty": -1.0, "min_new_tokens": 3},
    "does-not-repeat": {"num_beams": 5, "no_repeat_ngram_size": 2, "repetition_penalty": 1.3},
    "forced-at-both-ends": {"num_beams": 3, "forced_bos_token_id": 7, "forced_eos_token_id": EOS},
    "not-too-short": {"num_beams": 3, "min_new_tokens": 6, "suppress_tokens": [9, 11], "bad_words_ids": [[4], [5, 6]]},
    "two-ends": {"num_beams": 3, "eos_token_id": [EOS, 8], "num_return_sequences": 3},
    "sums-to-one-again": {"num_beams": 3, "suppress_tokens": [5], "renormalize_logits": True},
}


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_tokens_and_scores(family: str, setting: str, batch: int) -> None:
    options = {"max_new_tokens": 12, **SETTINGS[setting]}
    theirs, ours = both(model(family), **inputs(family, batch), **options)
    assert_same(theirs, ours)


ONE_BEAM: dict[str, dict[str, Any]] = {
    "plain": {},
    "does-not-repeat": {"no_repeat_ngram_size": 2, "repetition_penalty": 1.3},
    "forced-at-both-ends": {"forced_bos_token_id": 7, "forced_eos_token_id": EOS},
    "not-too-short": {"min_new_tokens": 6, "suppress_tokens": [9, 11], "bad_words_ids": [[4], [5, 6]]},
    "two-ends": {"eos_token_id": [EOS, 8], "pad_token_id": 0},
    "late-ends-are-better": {"exponential_decay_length_penalty": (3, 1.4)},
    "sums-to-one-again": {"suppress_tokens": [5], "renormalize_logits": True},
    "endless": {"eos_token_id": None},
}


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("setting", ONE_BEAM)
@pytest.mark.parametrize("family", FAMILIES)
def test_one_beam_is_greedy_search(family: str, setting: str, batch: int) -> None:
    """There the processors see logits: a repetition penalty, say, does something else to them."""
    options = {"num_beams": 1, "max_new_tokens": 12, **ONE_BEAM[setting]}
    theirs, ours = both(model(family), **inputs(family, batch), **options)
    assert_same_greedy(theirs, ours)


ENDLESS = {"none": None, "beyond-the-vocabulary": 99, "negative": -1, "one-of-two-beyond": [EOS, 99]}


@pytest.mark.parametrize("num_beams", [1, 3])
@pytest.mark.parametrize("eos", ENDLESS)
@pytest.mark.parametrize("family", ["bart", "gpt2"])
def test_an_eos_that_cannot_come(family: str, eos: str, num_beams: int) -> None:
    options = {"num_beams": num_beams, "eos_token_id": ENDLESS[eos], "max_new_tokens": 9, "min_new_tokens": 3}
    theirs, ours = both(model(family), **inputs(family, 3), **options)
    (assert_same_greedy if num_beams == 1 else assert_same)(theirs, ours)


@pytest.mark.parametrize("family", FAMILIES)
def test_sentences_end_at_different_times(family: str) -> None:
    """Otherwise nothing of the above shows that finished sentences leave."""
    _, ours = both(model(family), **inputs(family, 4), max_new_tokens=12, **SETTINGS["likes-it-short"])
    assert len({int(n) for n in (ours.beam_indices >= 0).sum(1)}) > 1


@pytest.mark.parametrize("family", FAMILIES)
def test_long_enough_for_the_pools_to_grow(family: str) -> None:
    theirs, ours = both(model(family), **inputs(family, 2), num_beams=3, max_new_tokens=45, min_new_tokens=45)
    assert_same(theirs, ours)


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("family", FAMILIES)
def test_in_float32(family: str, implementation: str) -> None:
    dtype = torch.float32
    made = model(family, implementation, dtype)
    theirs, ours = both(made, **inputs(family, 3, dtype=dtype), num_beams=3, max_new_tokens=8)
    assert ours.sequences.tolist() == theirs.sequences.tolist()
    torch.testing.assert_close(ours.sequences_scores, theirs.sequences_scores, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_transition_scores_are_those_of_transformers(family: str) -> None:
    theirs, ours = both(model(family), **inputs(family, 3), num_beams=3, max_new_tokens=9, num_return_sequences=2)
    expected, got = (
        model(family).compute_transition_scores(out.sequences, out.scores, out.beam_indices, normalize_logits=False)
        for out in (theirs, ours)
    )
    torch.testing.assert_close(got, expected, atol=2e-6, rtol=1e-6)


@pytest.mark.parametrize("family", DECODERS_ONLY)
def test_prompts_without_padding(family: str) -> None:
    ids = inputs(family, 4)["input_ids"].clamp(min=4)
    theirs, ours = both(model(family), input_ids=ids, num_beams=3, max_new_tokens=12)
    assert_same(theirs, ours)


@pytest.mark.parametrize("family", [f for f in FAMILIES if f not in DECODERS_ONLY])
def test_decoder_prompts_with_padding_on_the_left(family: str) -> None:
    ids = torch.tensor([[1, 1, 3, 9], [3, 4, 5, 6], [1, 3, 20, 21]])
    theirs, ours = both(
        model(family), **inputs(family, 3), decoder_input_ids=ids, decoder_attention_mask=(ids != 1).long(),
        num_beams=3, max_new_tokens=36, min_new_tokens=20,
    )  # fmt: skip
    assert_same(theirs, ours)


@pytest.mark.parametrize("family", FAMILIES)
def test_plain_tokens_without_a_dictionary(family: str) -> None:
    options = {**inputs(family, 3), "num_beams": 3, "num_return_sequences": 2, "max_new_tokens": 9}
    found = model(family).generate(**options, custom_generate=s2sfast.hf.beam_search)
    assert found.tolist() == model(family).generate(**options).tolist()
