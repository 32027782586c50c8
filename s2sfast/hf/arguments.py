"""Turns what transformers has prepared into what the search works with, or says all that stands against it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, GenerationMixin, LogitsProcessorList, PreTrainedModel
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer, EncoderDecoderCache
from transformers.generation.stopping_criteria import EosTokenCriteria, MaxLengthCriteria, StoppingCriteriaList
from transformers.models.whisper.generation_whisper import WhisperGenerationMixin

from s2sfast.hf.attention import NAME as BEAMS
from s2sfast.hf.cache import Pool
from s2sfast.hf.processors import refused
from s2sfast.hf.record import Record
from s2sfast.search import NO_EOS

NAME = "s2sfast.hf.beam_search"
CACHE_NAMES = ("cache", "past_key_values")  # since transformers 5.24, and before
PREPARED = {"encoder_outputs", "attention_mask", "decoder_attention_mask", "position_ids", "decoder_position_ids"}
NOT_SUPPORTED = {  # of a generation configuration, with the values that ask for nothing
    "do_sample": (None, False),
    "num_beam_groups": (None, 1),
    "constraints": (None,),
    "force_words_ids": (None,),
    "penalty_alpha": (None, 0.0),
    "dola_layers": (None,),
    "use_mtp": (None, False),
    "prompt_lookup_num_tokens": (None,),
    "assistant_early_exit": (None,),
    "is_assistant": (None, False),
    "guidance_scale": (None, 1.0),
    "encoder_repetition_penalty": (None, 1.0),
    "output_attentions": (None, False),
    "output_hidden_states": (None, False),
    "low_memory": (None, False),
    "prefill_chunk_size": (None,),
    "cache_implementation": (None, "dynamic"),
    "use_cache": (True,),
}
SEEN_ONLY_BY_GENERATE = ("assistant_model", "streamer", "synced_gpus")


@dataclass
class Settings:
    """A search, checked. B sentences, P tokens of the prompt."""

    model: Any
    config: GenerationConfig
    prompt: Tensor  # (B, P)
    pool: Pool
    cache_name: str
    first_kwargs: dict[str, Any]  # of the model's prepare_inputs_for_generation, for the prompt
    later_kwargs: dict[str, Any]  # of the model, for each token
    criteria: StoppingCriteriaList  # but for max_length and eos
    padded: bool  # the prompts have masks, which models are told so that they do not warn; the pool knows them

    @property
    def encoder_decoder(self) -> bool:
        return bool(self.model.config.is_encoder_decoder)

    @property
    def beams(self) -> int:
        return self.config.num_beams

    @property
    def vocabulary(self) -> int:
        head = getattr(self.model.get_output_embeddings(), "weight", None)
        return self.model.config.get_text_config(decoder=True).vocab_size if head is None else head.shape[0]

    @property
    def eos(self) -> tuple[int, ...]:
        ids = self.config._eos_token_tensor
        return NO_EOS if ids is None else self.possible(ids) or NO_EOS

    def possible(self, ids: Tensor) -> tuple[int, ...]:
        """Those that can come: a configuration may name ids beyond the vocabulary."""
        return tuple(i for i in ids.tolist() if 0 <= i < self.vocabulary)

    def returns(self, what: str) -> bool:
        """Whether the configuration asks for the output of that name."""
        return bool(self.config.return_dict_in_generate and getattr(self.config, what))

    def ends(self, scores: Record | None) -> Callable[[Tensor], Tensor] | None:
        """(N, t) tokens -> (N,) bool: which candidates the stopping criteria end."""
        if not self.criteria:
            return None
        return lambda tokens: self.criteria(tokens, None if scores is None else scores.steps)

    @property
    def ids_name(self) -> str:
        return "decoder_input_ids" if self.encoder_decoder else "input_ids"

    @property
    def positions_name(self) -> str:
        return "decoder_position_ids" if self.encoder_decoder else "position_ids"

    @property
    def mask_name(self) -> str:
        return "decoder_attention_mask" if self.encoder_decoder else "attention_mask"


def prepare(
    model: Any,
    input_ids: Tensor,
    processors: LogitsProcessorList,
    criteria: StoppingCriteriaList,
    config: GenerationConfig,
    kwargs: dict[str, Any],
) -> Settings:
    """Checks everything, then takes back the copies that transformers made for the beams.

    Raises:
        ValueError: naming each argument that is not supported, with what was expected and what was given.
    """
    reasons = [
        *_hidden(sys._getframe(2)),
        *_of_config(config),
        *_of_criteria(criteria, config),
        *(_expected("logits_processor", "one that keeps nothing per row", name) for name in refused(processors)),
        *_of_model(model),
        *_of_kwargs(model, config, kwargs),
    ]
    if reasons:
        raise ValueError(f"{NAME}: not supported:" + "".join(f"\n  {reason}" for reason in reasons))
    K = config.num_beams
    cache_name = next(name for name in CACHE_NAMES if name in kwargs)
    del kwargs[cache_name]
    first = {name: _one_row_each(value, K) for name, value in kwargs.items()}
    prompt = input_ids[::K].contiguous()
    encoder_decoder = model.config.is_encoder_decoder
    mask = first.get("decoder_attention_mask" if encoder_decoder else "attention_mask")
    visible = torch.ones_like(prompt, dtype=torch.bool) if mask is None else mask.bool()
    source = first.get("attention_mask") if encoder_decoder else None
    pool = Pool(visible, None if source is None else source.bool(), model.dtype, config.max_length)
    later = {name: value for name, value in first.items() if name not in PREPARED}
    if encoder_decoder:
        later["encoder_outputs"] = _nothing_to_read(first["encoder_outputs"])
    return Settings(model, config, prompt, pool, cache_name, first, later, _others(criteria), mask is not None)


def _one_row_each(value: Any, K: int) -> Any:
    """Undoes the K-fold copying of rows, in place where that lets go of the copies."""
    if isinstance(value, Tensor):
        return value[::K].contiguous()
    if hasattr(value, "last_hidden_state"):
        for name in value:
            if isinstance(value[name], Tensor):
                value[name] = value[name][::K].contiguous()
    return value


def _nothing_to_read(encoder_outputs: Any) -> Any:
    """Stands for the encoder's output once cross-attention's keys and values are in the cache: one position of it."""
    return type(encoder_outputs)(last_hidden_state=encoder_outputs.last_hidden_state[:, :1])


def _expected(argument: str, expected: str, got: Any) -> str:
    return f"{argument}: expected {expected}; got {got!r}"


def _hidden(caller: FrameType) -> Iterator[str]:
    """generate() tells a callable nothing of these, so the caller's variables are looked at."""
    for name in SEEN_ONLY_BY_GENERATE:
        value = caller.f_locals.get(name)
        if value is not None and value is not False:
            yield _expected(name, "None", type(value).__name__ if name != "synced_gpus" else value)


def _of_config(config: GenerationConfig) -> Iterator[str]:
    if config.num_beams is None or config.num_beams < 1:
        yield _expected("num_beams", "at least 1", config.num_beams)
    for name, fine in NOT_SUPPORTED.items():
        value = getattr(config, name, fine[0])
        if not any(value is f or value == f for f in fine):
            yield _expected(name, " or ".join(map(repr, fine)), value)


def _of_criteria(criteria: StoppingCriteriaList, config: GenerationConfig) -> Iterator[str]:
    for criterion in criteria:
        if isinstance(criterion, MaxLengthCriteria):
            if criterion.max_length != config.max_length:
                yield _expected("stopping_criteria", f"max_length={config.max_length}", criterion.max_length)
        elif isinstance(criterion, EosTokenCriteria):
            ends = [] if config._eos_token_tensor is None else config._eos_token_tensor.tolist()
            if set(criterion.eos_token_id.tolist()) != set(ends):
                yield _expected("stopping_criteria", f"eos_token_id={ends}", criterion.eos_token_id.tolist())
        elif config.num_beams == 1 and config._eos_token_tensor is None:  # there, what has ended would not be padded
            yield _expected(
                "stopping_criteria", "an eos_token_id beside them, with num_beams=1", type(criterion).__name__
            )


def _others(criteria: StoppingCriteriaList) -> StoppingCriteriaList:
    return StoppingCriteriaList(c for c in criteria if not isinstance(c, (MaxLengthCriteria, EosTokenCriteria)))


def _of_model(model: Any) -> Iterator[str]:
    decoder = model.get_decoder() if model.config.is_encoder_decoder else model
    of = type(model).__name__
    if model.training:
        yield _expected("model", "model.eval()", "training mode")
    if (
        not isinstance(decoder, PreTrainedModel)
        or not decoder._supports_sdpa
        or not decoder._can_set_attn_implementation()
    ):
        yield _expected(
            "model", "a decoder whose attention is transformers' AttentionInterface", type(decoder).__name__
        )
    elif decoder.config._attn_implementation not in ("sdpa", "eager", BEAMS):  # BEAMS: another thread searches
        yield _expected("attn_implementation", "'sdpa' or 'eager'", decoder.config._attn_implementation)
    if hasattr(model, "_reorder_cache"):
        yield _expected("model", "a cache that transformers reorders", f"{of}._reorder_cache")
    known = GenerationMixin.prepare_inputs_for_generation
    if not isinstance(model, WhisperGenerationMixin) and type(model).prepare_inputs_for_generation is not known:
        yield _expected("model", "inputs as GenerationMixin prepares them", f"{of}.prepare_inputs_for_generation")
    if type(model)._update_model_kwargs_for_generation is not GenerationMixin._update_model_kwargs_for_generation:
        yield _expected("model", "inputs as GenerationMixin goes on", f"{of}._update_model_kwargs_for_generation")


def _sees_all(layer: Any, length: int) -> bool:
    if type(layer) is DynamicSlidingWindowLayer:
        return bool(layer.sliding_window >= length)
    return type(layer) is DynamicLayer


def _of_kwargs(model: Any, config: GenerationConfig, kwargs: dict[str, Any]) -> Iterator[str]:
    cache: Any = next((kwargs[name] for name in CACHE_NAMES if kwargs.get(name) is not None), None)
    parts = (
        [cache.self_attention_cache, cache.cross_attention_cache] if isinstance(cache, EncoderDecoderCache) else [cache]
    )
    layers = [layer for part in parts if part is not None for layer in part.layers]
    kinds = {type(layer).__name__ for layer in layers if not _sees_all(layer, config.max_length)}
    if not all(type(part) is DynamicCache for part in parts) or kinds:
        full = f"DynamicCache of full attention, or of windows of max_length={config.max_length}"
        yield _expected("cache", full, ", ".join(sorted(kinds)) or type(cache).__name__)
    elif any(part.get_seq_length() for part in parts):
        yield _expected("cache", "none that is filled", f"{cache.get_seq_length()} tokens")
    for name, value in kwargs.items():
        if isinstance(value, Tensor) and name not in PREPARED:
            yield _expected(name, "None", f"a tensor {tuple(value.shape)}")
    mask = kwargs.get("attention_mask")
    if not model.config.is_encoder_decoder and mask is not None and kwargs.get("position_ids") is None:
        yield _expected("attention_mask", "no padding, for a model without position_ids", tuple(mask.shape))
