"""Options drawn together, as users combine them: what one of them does may depend on another."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

import s2sfast
from tests.hf.both import assert_same, assert_same_greedy, both
from tests.hf.models import EOS, FAMILIES, START, VOCAB, inputs, model

NO_SCORE = -1e8  # below it: a place that no hypothesis fills; what stands there is not compared
WORDS = st.integers(4, VOCAB - 1)
LENGTHS = st.sampled_from([1, 2, 5, 9, 20, 33])


def allowed(sentence: int, tokens: Tensor) -> list[int]:
    return [t for t in range(VOCAB) if (7 * t + sentence + len(tokens)) % 3 or t == EOS]


SOMETIMES: dict[str, st.SearchStrategy] = {
    "min_new_tokens": st.integers(1, 9),
    "min_length": st.integers(1, 12),
    "no_repeat_ngram_size": st.integers(1, 3),
    "repetition_penalty": st.sampled_from([0.8, 1.2, 2.0]),
    "bad_words_ids": st.lists(st.lists(WORDS, min_size=1, max_size=2), min_size=1, max_size=3),
    "suppress_tokens": st.lists(WORDS, min_size=1, max_size=3),
    "begin_suppress_tokens": st.lists(st.integers(2, VOCAB - 1), min_size=1, max_size=3),
    "forced_bos_token_id": WORDS,
    "forced_eos_token_id": st.just(EOS),
    "eos_token_id": st.sampled_from([[EOS, 8], [EOS, 8, 9], [EOS, 99], [4]]),
    "pad_token_id": st.sampled_from([0, 1, None, EOS]),
    "sequence_bias": st.just([[[5], 2.0], [[6, 7], -3.0]]),
    "exponential_decay_length_penalty": st.tuples(st.integers(0, 4), st.sampled_from([0.8, 1.3])),
    "renormalize_logits": st.just(True),
    "prefix_allowed_tokens_fn": st.just(allowed),
}
OF_BEAMS: dict[str, st.SearchStrategy] = {
    "early_stopping": st.sampled_from([True, False, "never"]),
    "length_penalty": st.sampled_from([-1.5, -0.5, 0.0, 0.3, 1.0, 2.0]),
}


@st.composite
def options(draw: Any) -> dict[str, Any]:
    K = draw(st.integers(1, 7))
    drawn = {"num_beams": K, "max_new_tokens": draw(LENGTHS)}
    if K > 1:
        drawn["num_return_sequences"] = draw(st.integers(1, K))
    pool = SOMETIMES | (OF_BEAMS if K > 1 else {})
    names = draw(st.lists(st.sampled_from(sorted(pool)), max_size=6, unique=True))
    drawn |= {name: draw(pool[name]) for name in names}
    for name in ("min_new_tokens", "min_length"):
        if name in drawn:
            drawn[name] = min(drawn[name], drawn["max_new_tokens"])
    if drawn.get("forced_bos_token_id") in drawn.get("suppress_tokens", ()):  # there an error
        drawn.pop("suppress_tokens")
    if "prefix_allowed_tokens_fn" in drawn:  # a forced token that is not allowed leaves nothing, and there NaN
        drawn.pop("forced_bos_token_id", None)
    return drawn


@settings(max_examples=250, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(sorted(FAMILIES)), st.sampled_from([1, 2, 3, 5]), options(), st.integers(0, 99))
def test_combined_options_mean_what_they_mean_there(family: str, batch: int, drawn: dict[str, Any], seed: int) -> None:
    theirs, ours = both(model(family), **inputs(family, batch, seed), **drawn)
    if drawn["num_beams"] == 1:
        assert_same_greedy(theirs, ours)
        return
    filled = theirs.sequences_scores > NO_SCORE
    assert (ours.sequences_scores > NO_SCORE).tolist() == filled.tolist()
    assert ours.sequences[filled].tolist() == theirs.sequences[filled].tolist()
    if filled.all():
        assert_same(theirs, ours, 5e-6)


def test_where_nothing_at_all_is_allowed_nothing_is_said() -> None:
    """There it would be any tokens. Of (B, n_best, L) results this is the one whose L is 0."""
    found = model("bart").generate(
        **inputs("bart", 2), num_beams=3, max_new_tokens=5, return_dict_in_generate=True, output_scores=True,
        logits_processor=[lambda tokens, scores: torch.full_like(scores, -torch.inf)],
        custom_generate=s2sfast.hf.beam_search,
    )  # fmt: skip
    assert found.sequences.tolist() == [[START], [START]] and found.beam_indices.shape == (2, 0)
    assert (found.sequences_scores < NO_SCORE).all()
