"""Tiny models of every family with seeded random weights, and inputs for them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertLMHeadModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MarianConfig,
    MarianMTModel,
    T5Config,
    T5ForConditionalGeneration,
    VisionEncoderDecoderModel,
    ViTConfig,
    ViTModel,
    WhisperConfig,
    WhisperForConditionalGeneration,
)

from tests.over import integers, normals

VOCAB, WIDTH, START, PAD, EOS = 37, 16, 3, 1, 2
TOKENS = {"vocab_size": VOCAB, "pad_token_id": PAD, "eos_token_id": EOS, "bos_token_id": START}
SEQ2SEQ = {
    "d_model": WIDTH,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    "decoder_start_token_id": START,
    "forced_eos_token_id": None,
    **TOKENS,
}
GPT2 = {"n_embd": WIDTH, "n_layer": 2, "n_head": 2, "n_positions": 64, **TOKENS}


def bart() -> Any:
    return BartForConditionalGeneration(BartConfig(max_position_embeddings=64, **SEQ2SEQ))


def marian() -> Any:
    return MarianMTModel(MarianConfig(max_position_embeddings=64, **SEQ2SEQ))


def t5() -> Any:
    sizes = {"d_model": WIDTH, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2}
    bias = {"relative_attention_num_buckets": 6, "relative_attention_max_distance": 9}
    config = T5Config(**sizes, **bias, **TOKENS, decoder_start_token_id=START, tie_word_embeddings=False)
    return T5ForConditionalGeneration(config)


def whisper() -> Any:
    sizes = {"max_source_positions": 12, "max_target_positions": 64, "num_mel_bins": 5}
    tokens = {"suppress_tokens": None, "begin_suppress_tokens": None}
    model = WhisperForConditionalGeneration(WhisperConfig(**sizes, **SEQ2SEQ, **tokens))
    model.generation_config.update(return_timestamps=False, is_multilingual=False, no_timestamps_token_id=VOCAB - 2)
    return model


def gpt2() -> Any:
    return GPT2LMHeadModel(GPT2Config(**GPT2))


def llama() -> Any:
    sizes = {"hidden_size": WIDTH, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4}
    return LlamaForCausalLM(LlamaConfig(**sizes, **TOKENS, num_key_value_heads=2, max_position_embeddings=64))


def vision(decoder: Any) -> Any:
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    encoder = ViTModel(ViTConfig(**sizes, image_size=8, patch_size=4, num_channels=3))
    model = VisionEncoderDecoderModel(encoder=encoder, decoder=decoder)
    model.generation_config.update(decoder_start_token_id=START, pad_token_id=PAD, eos_token_id=EOS)
    return model


def vision_gpt2() -> Any:
    return vision(GPT2LMHeadModel(GPT2Config(**GPT2, add_cross_attention=True, is_decoder=True)))


def vision_bert() -> Any:
    sizes = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    return vision(BertLMHeadModel(BertConfig(**sizes, **TOKENS, is_decoder=True, add_cross_attention=True)))


ENCODER_DECODERS: dict[str, Callable[[], Any]] = {
    f.__name__: f for f in (bart, marian, t5, whisper, vision_gpt2, vision_bert)
}
DECODERS_ONLY: dict[str, Callable[[], Any]] = {f.__name__: f for f in (gpt2, llama)}
FAMILIES = ENCODER_DECODERS | DECODERS_ONLY


@cache
def model(family: str, implementation: str = "sdpa", dtype: torch.dtype = torch.float64) -> Any:
    """Weights so large that attention matters, and a head that ends sentences now and then.

    In float64 what the two sides round differently stays far below what decides between two tokens.
    """
    torch.manual_seed(len(family))
    made = FAMILIES[family]()
    made.set_attn_implementation(implementation)
    for parameter in made.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.5)
    head = nn.Linear(WIDTH, VOCAB)
    nn.init.normal_(head.weight, std=0.5)
    nn.init.zeros_(head.bias)
    head.bias.data[EOS] += 2.5
    owner = made.decoder if family.startswith("vision") else made
    owner.set_output_embeddings(head)
    return made.to(dtype).eval().requires_grad_(False)


def inputs(family: str, batch: int, seed: int = 9, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """Ragged where the family has masks: padded on the right for an encoder, on the left for a decoder alone."""
    if family == "whisper":
        return {"input_features": normals(seed)(batch, 5, 24).to(dtype)}
    if family.startswith("vision"):
        return {"pixel_values": normals(seed)(batch, 3, 8, 8).to(dtype)}
    length = 7
    ids = integers(seed)(4, VOCAB, (batch, length))
    kept = torch.tensor([length, 3, 5, 1])[torch.arange(batch) % 4]
    mask = (torch.arange(length) < kept[:, None]).long()
    if family in DECODERS_ONLY:
        mask = mask.flip(1)
    return {"input_ids": ids.masked_fill(mask == 0, PAD), "attention_mask": mask}
