"""Trained weights on recorded speech: Whisper tiny.en reads what speakers of LibriVox and of a card game said."""

from __future__ import annotations

import os
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GenerationMixin
from transformers.modeling_outputs import BaseModelOutput

import s2sfast
from examples import whisper_ct2
from tests.hf.both import assert_same, both

pytestmark = pytest.mark.real

SPEECH = Path(os.environ.get("S2SFAST_SPEECH", Path(sys.prefix) / "share" / "speech"))
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
    prompt = torch.tensor([[whisper_ct2.START, whisper_ct2.NO_TIMESTAMPS]] * len(paths))
    options = {"max_new_tokens": 40, "output_logits": False, **options}
    return both(whisper()[0], lambda: {"encoder_outputs": sources(paths)}, decoder_input_ids=prompt, **options)


def search_only(paths: list[Path]) -> list[list[int]]:
    prompt = torch.tensor([[whisper_ct2.START, whisper_ct2.NO_TIMESTAMPS]] * len(paths))
    return GenerationMixin.generate(
        whisper()[0], encoder_outputs=sources(paths), decoder_input_ids=prompt, num_beams=5, max_new_tokens=40,
        custom_generate=s2sfast.hf.beam_search,
    ).tolist()  # fmt: skip


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
