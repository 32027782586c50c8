"""Turns the result of a search into what transformers returns."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.generation import (
    GenerateBeamDecoderOnlyOutput,
    GenerateBeamEncoderDecoderOutput,
    GenerateDecoderOnlyOutput,
    GenerateEncoderDecoderOutput,
)

from s2sfast.hf.arguments import Settings
from s2sfast.hf.record import Record
from s2sfast.search.result import BeamResult

_NO_SCORE = -1e9  # transformers' score of a place that no hypothesis fills


def output(settings: Settings, found: BeamResult, scores: Record | None, logits: Record | None) -> Any:
    """(B * n, P + L) sequences, or with return_dict_in_generate all that the configuration asks for."""
    config = settings.config
    sequences = _sequences(settings, found.tokens)
    if not config.return_dict_in_generate:
        return sequences
    steps = {
        "sequences": sequences,
        "scores": None if scores is None else scores.steps,
        "logits": None if logits is None else logits.steps,
    }
    if settings.beams == 1:
        return (GenerateEncoderDecoderOutput if settings.encoder_decoder else GenerateDecoderOnlyOutput)(**steps)
    kind = GenerateBeamEncoderDecoderOutput if settings.encoder_decoder else GenerateBeamDecoderOnlyOutput
    ranked = found.scores.masked_fill(found.scores == -torch.inf, _NO_SCORE).reshape(-1)
    return kind(
        **steps,
        sequences_scores=ranked if config.output_scores else None,
        beam_indices=_beam_indices(found),
    )


def _sequences(settings: Settings, tokens: Tensor) -> Tensor:
    B, n, L = tokens.shape
    generated = torch.where(tokens < 0, _fill(settings), tokens).reshape(B * n, L)
    return torch.cat((settings.prompt.repeat_interleave(n, 0), generated), 1)


def _fill(settings: Settings) -> Any:
    """As there: without an eos -1, and a beam search's pad of 0 counts as none."""
    pad, eos = settings.config._pad_token_tensor, settings.config._eos_token_tensor
    if eos is None:
        return -1
    return pad if settings.beams == 1 else pad or eos[0]


def _beam_indices(found: BeamResult) -> Tensor:
    """(B * n, L) int32: the row, among B * K, that each token was chosen from; -1 beyond the end."""
    assert found.attention is not None
    rows = found.attention[..., 0].masked_fill(found.tokens < 0, -1)
    return rows.flatten(0, 1).to(torch.int32)
