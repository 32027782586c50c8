"""Trained weights on recorded speech: Whisper tiny.en reads what speakers of LibriVox and of a card game said."""

from __future__ import annotations

import copy
import json
import os
import re
import sys
from dataclasses import dataclass
from functools import cache
from inspect import signature
from pathlib import Path
from typing import Any, TypeAlias

import ctranslate2
import numpy as np
import pytest
import torch
from transformers import DynamicCache, EncoderDecoderCache, GenerationMixin
from transformers.modeling_outputs import BaseModelOutput

import s2sfast
from examples import whisper_ct2
from s2sfast import rules
from s2sfast.hf.arguments import CACHE_NAMES
from tests.hf.both import assert_same, assert_same_greedy, both

pytestmark = pytest.mark.real

SPEECH = Path(os.environ.get("S2SFAST_SPEECH", Path(sys.prefix) / "share" / "speech"))
MOST = 40  # tokens of a transcript
PROMPT = [whisper_ct2.START, whisper_ct2.NO_TIMESTAMPS]
AUSTEN, CARDS = "librivox/transcription", "cards/cards.transcription"


@cache
def whisper() -> tuple[Any, Any]:
    return whisper_ct2.load(whisper_ct2.model_folder())


@cache
def recordings(name: str) -> list[tuple[Path, list[str]]]:
    """(file, words) of each line: <s> words </s> (file)."""
    file = SPEECH / name
    if not file.exists():
        message = f"{file} is missing: make speech fetches it"
        pytest.fail(message) if os.environ.get("S2SFAST_REAL") == "1" else pytest.skip(message)
    lines = re.findall(r"<s> (.*?) +</s> \((.*)\)", file.read_text())
    return [(file.parent / f"{stem}.wav", words.split()) for words, stem in lines]


@cache
def encoded(path: Path) -> torch.Tensor:
    """(1, 1500, 384). The encoder is the slowest part, and not what is tested."""
    with torch.no_grad():
        features = whisper_ct2.features([whisper_ct2.read_wav(path)])
        return whisper()[0].get_encoder()(features).last_hidden_state


def sources(paths: list[Path]) -> BaseModelOutput:
    """A new one each time: generate() expands what it is given in place."""
    return BaseModelOutput(last_hidden_state=torch.cat([encoded(path) for path in paths]))


def transcribe(paths: list[Path], **options: Any) -> tuple[Any, Any]:
    """(theirs, ours)."""
    prompt = torch.tensor([PROMPT] * len(paths))
    options = {"max_new_tokens": MOST, "output_logits": False, **options}
    return both(whisper()[0], lambda: {"encoder_outputs": sources(paths)}, decoder_input_ids=prompt, **options)


def search_only(paths: list[Path]) -> list[list[int]]:
    prompt = torch.tensor([PROMPT] * len(paths))
    return GenerationMixin.generate(
        whisper()[0], encoder_outputs=sources(paths), decoder_input_ids=prompt, num_beams=5, max_new_tokens=MOST,
        custom_generate=s2sfast.hf.beam_search,
    ).tolist()  # fmt: skip


Read: TypeAlias = list[list[tuple[list[int], float]]]
"""(tokens without eos, score) of the hypotheses of each sentence."""


@cache
def wanted(name: str) -> list[int]:
    return json.loads((whisper_ct2.model_folder() / "config.json").read_text())[name]


def reader() -> ctranslate2.models.Whisper:
    folder = str(whisper_ct2.model_folder())
    return ctranslate2.models.Whisper(folder, compute_type="float32", inter_threads=1, intra_threads=1)


def ctranslate2_reads(paths: list[Path], beam: int, **options: Any) -> Read:
    """The package itself, from the file as it is."""
    hidden = ctranslate2.StorageView.from_array(sources(paths).last_hidden_state.numpy())
    found = reader().generate(
        hidden, [PROMPT] * len(paths), beam_size=beam, num_hypotheses=beam, max_length=2 * MOST, return_scores=True,
        **options,
    )  # fmt: skip
    return [list(zip(one.sequences_ids, one.scores, strict=True)) for one in found]


@dataclass(frozen=True)
class WithoutEos(rules.CTranslate2):
    """As CTranslate2 counts for its Whisper, where eos is no part of a hypothesis; all of them must have one."""

    def counted(self, generated: Any) -> Any:
        return generated - 1


class Past:
    """What the decoder has computed, of every row."""

    def __init__(self) -> None:
        self.cache, self.tokens = EncoderDecoderCache(DynamicCache(), DynamicCache()), 0

    def reorder(self, rows: torch.Tensor) -> None:
        self.cache.reorder_cache(rows)


def suppressed(logits: torch.Tensor, generated: int) -> torch.Tensor:
    """As CTranslate2 does it: they leave the softmax too."""
    logits[:, wanted("suppress_ids")] = -torch.inf
    if not generated:
        logits[:, wanted("suppress_ids_begin")] = -torch.inf
    return logits


def step(tokens: torch.Tensor, past: Past, hidden: torch.Tensor) -> tuple[torch.Tensor, Past]:
    encoder = BaseModelOutput(last_hidden_state=hidden.repeat_interleave(len(tokens) // len(hidden), 0))
    model = whisper()[0]
    name = next(name for name in CACHE_NAMES if name in signature(model.forward).parameters)
    found = model(encoder_outputs=encoder, decoder_input_ids=tokens[:, None], **{name: past.cache})
    past.tokens += 1
    return suppressed(found.logits[:, -1], past.tokens - len(PROMPT)), past


def ctranslate2_rules_read(paths: list[Path], beam: int, length_penalty: float = 1.0, **options: Any) -> Read:
    """s2sfast.beam_search over transformers' model."""
    found = s2sfast.beam_search(
        step, Past(), memory=sources(paths).last_hidden_state, start=torch.tensor([PROMPT] * len(paths)),
        eos=whisper_ct2.END_OF_TEXT, beam=beam, n_best=beam, max_length=MOST, length_penalty=length_penalty,
        rules=WithoutEos(**options),
    )  # fmt: skip
    assert (found.tokens == whisper_ct2.END_OF_TEXT).any(-1).all()
    return [
        [(found.tokens[b, i, : n - 1].tolist(), float(found.scores[b, i])) for i, n in enumerate(lengths)]
        for b, lengths in enumerate(found.lengths.tolist())
    ]


def exact_score(path: Path, tokens: list[int], length_penalty: float = 1.0) -> float:
    """Of a hypothesis, in float64."""
    ids = torch.tensor([[*PROMPT, *tokens, whisper_ct2.END_OF_TEXT]])
    hidden = BaseModelOutput(last_hidden_state=encoded(path).double())
    logits = exact_whisper()(encoder_outputs=hidden, decoder_input_ids=ids[:, :-1]).logits[0, len(PROMPT) - 1 :]
    log_probs = torch.cat([suppressed(row[None], t) for t, row in enumerate(logits)]).log_softmax(-1)
    generated = ids[0, len(PROMPT) :, None]
    return float(log_probs.gather(1, generated).sum()) / len(tokens) ** length_penalty


@cache
def exact_whisper() -> Any:
    return copy.deepcopy(whisper()[0]).double()


def words(tokens: list[int]) -> list[str]:
    """In small letters without punctuation; a hyphen parts words, as in the transcripts."""
    return re.findall(r"[a-z0-9']+", whisper()[1].decode(tokens).lower().replace("mr.", "mister"))


def word_errors(reference: list[str], heard: list[str]) -> int:
    """Insertions, deletions and substitutions that lead from one to the other."""
    row = list(range(len(heard) + 1))
    for i, word in enumerate(reference, 1):
        before, row = row, [i]
        for j, other in enumerate(heard, 1):
            row.append(min(before[j - 1] + (word != other), before[j] + 1, row[j - 1] + 1))
    return row[-1]


@pytest.mark.parametrize(
    "count", [(["a", "b"], ["a", "b"], 0), (["a", "b"], ["b"], 1), ([], ["x"], 1), (["q"], ["r"], 1)]
)
def test_word_errors_are_counted(count: tuple[list[str], list[str], int]) -> None:
    assert word_errors(count[0], count[1]) == count[2]


def test_the_same_tokens_as_transformers_for_several_sentences() -> None:
    short = [path for path, said in recordings(AUSTEN) if len(said) < 10]
    theirs, ours = transcribe(short, num_beams=3, num_return_sequences=2)
    assert len(short) == 2
    assert_same(theirs, ours, 1e-4)


def test_one_beam_reads_as_transformers_greedy_search() -> None:
    theirs, ours = transcribe([path for path, said in recordings(AUSTEN) if len(said) < 10], num_beams=1)
    assert_same_greedy(theirs, ours, 1e-4)


def test_the_same_tokens_as_transformers_for_one_sentence() -> None:
    theirs, ours = transcribe([recordings(AUSTEN)[0][0]], num_beams=5)
    assert_same(theirs, ours, 1e-4)


def test_what_was_said_is_what_is_read() -> None:
    """18 of 19 words at least: of 77, it may get four wrong."""
    paths = [path for path, _ in recordings(AUSTEN)]
    found = search_only(paths)
    wrong = [word_errors(said, words(tokens)) for (_, said), tokens in zip(recordings(AUSTEN), found, strict=True)]
    assert sum(wrong) <= 4, wrong


def test_the_way_that_users_go() -> None:
    """WhisperForConditionalGeneration.generate, which wraps GenerationMixin's, with the sound itself."""
    path = recordings(CARDS)[0][0]
    features = whisper_ct2.features([whisper_ct2.read_wav(path)])
    options = {"num_beams": 3, "max_new_tokens": 10}
    ours = whisper()[0].generate(features, **options, custom_generate=s2sfast.hf.beam_search)
    assert ours.tolist() == whisper()[0].generate(features, **options).tolist()
    assert words(ours[0].tolist()) == ["10", "of", "clubs"]


@pytest.mark.parametrize(
    ("beam", "options"),
    [(1, {}), (2, {"length_penalty": 0.6}), (3, {"patience": 2.0}), (3, {"length_penalty": 0.0}), (5, {})],
    ids=str,
)
def test_ctranslate2_reads_the_same(beam: int, options: dict[str, float]) -> None:
    """All hypotheses, where it decodes the same encoder's output from its own file.

    Its log-softmax over 51,864 tokens is off by 2e-5 a token (4.8.5; from the logits that it returns, in float64, comes
    the exact score). So its scores are held to that, and s2sfast's to the exact ones.
    """
    paths = [path for path, said in recordings(AUSTEN) if len(said) < 16]
    theirs, ours = ctranslate2_reads(paths, beam, **options), ctranslate2_rules_read(paths, beam, **options)
    alpha = options.get("length_penalty", 1.0)
    assert len(paths) >= 2
    for path, expected, found in zip(paths, theirs, ours, strict=True):
        assert [tokens for tokens, _ in found] == [tokens for tokens, _ in expected]
        for (tokens, score), (_, their_score) in zip(found, expected, strict=True):
            assert score == pytest.approx(exact_score(path, tokens, alpha), rel=1e-5, abs=1e-5)
            assert score == pytest.approx(their_score, abs=4e-5 * (len(tokens) + 1) / len(tokens) ** alpha)


def test_ctranslate2s_own_logits_give_the_same_score() -> None:
    """Of its greedy search: it returns no logits of several beams."""
    path = recordings(AUSTEN)[0][0]
    hidden = ctranslate2.StorageView.from_array(encoded(path).numpy())
    theirs = reader().generate(hidden, [PROMPT], beam_size=1, max_length=2 * MOST, return_logits_vocab=True)[0]
    tokens = theirs.sequences_ids[0]
    log_probs = [torch.tensor(np.array(logits)).double().log_softmax(-1) for logits in theirs.logits[0]]
    total = sum(float(row[token]) for row, token in zip(log_probs, [*tokens, whisper_ct2.END_OF_TEXT], strict=True))
    ((mine, score),) = ctranslate2_rules_read([path], 1)[0]
    assert mine == tokens
    assert score == pytest.approx(total / len(tokens), abs=1e-5)
