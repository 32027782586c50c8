"""generate() as it is and with s2sfast's search in it, side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import GenerationMixin

import s2sfast


def both(model: Any, anew: Callable[[], dict[str, Any]] = dict, **options: Any) -> tuple[Any, Any]:
    """(theirs, ours) with everything that can be compared. `anew` makes options that generate() changes in place."""
    options = {"return_dict_in_generate": True, "output_scores": True, "output_logits": True, **options}
    generate = GenerationMixin.generate  # Whisper's own cuts what it returns to pieces
    theirs = generate(model, **options, **anew())
    return theirs, generate(model, **options, **anew(), custom_generate=s2sfast.hf.beam_search)


def assert_same(theirs: Any, ours: Any, tolerance: float = 2e-6) -> None:
    """Tokens and the beams they came from are equal; scores to float32's rounding, or what a float32 model leaves."""
    assert ours.sequences.tolist() == theirs.sequences.tolist()
    close(ours.sequences_scores, theirs.sequences_scores, tolerance)
    assert ours.beam_indices.tolist() == theirs.beam_indices.tolist()
    assert ours.beam_indices.dtype == theirs.beam_indices.dtype
    assert type(ours) is type(theirs)
    for mine, other in ((ours.scores, theirs.scores), (ours.logits or (), theirs.logits or ())):
        assert len(mine) == len(other)
        if mine:  # one row a sentence stands for all
            close(mine[0], other[0], tolerance)
        for step, (a, b) in enumerate(zip(mine, other, strict=True)):
            assert a.shape == b.shape and a.dtype == b.dtype
            used = ours.beam_indices[:, step : step + 1].flatten()
            close(a[used[used >= 0]], b[used[used >= 0]], tolerance)


def assert_same_greedy(theirs: Any, ours: Any, tolerance: float = 2e-6) -> None:
    """Tokens are equal; so are logits and scores, as long as a sentence runs."""
    assert ours.sequences.tolist() == theirs.sequences.tolist()
    assert type(ours) is type(theirs)
    for mine, other in ((ours.scores, theirs.scores), (ours.logits or (), theirs.logits or ())):
        assert len(mine) == len(other)
        for a, b in zip(mine, other, strict=True):
            assert a.shape == b.shape and a.dtype == b.dtype
            runs = (a > -torch.inf).any(1)
            assert runs.any()
            close(a[runs], b[runs], tolerance)


def close(a: torch.Tensor, b: torch.Tensor, tolerance: float) -> None:
    torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)
