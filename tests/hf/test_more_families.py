"""Other models that are written like those of tests/hf/models.py: one search each, padded prompts among them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from torch import nn

from tests.hf.both import assert_same, assert_same_greedy, both
from tests.hf.models import EOS, PAD, SEQ2SEQ, TOKENS, VOCAB, vision
from tests.over import integers, normals

DECODER = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4} | TOKENS
GROUPED = {**DECODER, "num_key_value_heads": 2}
NARROW = {**GROUPED, "head_dim": 8}
GPT = {"n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 64, **TOKENS}
T5 = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 3, **TOKENS}
OPT = {"hidden_size": 16, "ffn_dim": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "word_embed_proj_dim": 16}

DECODERS: dict[str, dict[str, Any]] = {
    "BioGpt": DECODER,
    "CodeGen": {**GPT, "n_ctx": 64, "rotary_dim": 4},
    "Cohere": GROUPED,
    "Gemma": NARROW,
    "Glm": {**GROUPED, "head_dim": 4},
    "GPTBigCode": GPT,
    "GPTJ": {**GPT, "rotary_dim": 4},
    "GPTNeoX": DECODER,
    "Granite": GROUPED,
    "Helium": {**GROUPED, "head_dim": 4},
    "Mistral": GROUPED,  # a sliding window of 4,096
    "Olmo2": GROUPED,
    "OPT": {**OPT, **TOKENS},
    "Phi": GROUPED,
    "Qwen2": GROUPED,
    "Qwen3": NARROW,
    "SmolLM3": GROUPED,
    "StableLm": GROUPED,
    "Starcoder2": GROUPED,
}
ENCODER_DECODERS: dict[str, dict[str, Any]] = {
    "Blenderbot": SEQ2SEQ,
    "BlenderbotSmall": SEQ2SEQ,
    "M2M100": SEQ2SEQ,
    "MBart": SEQ2SEQ,
    "MT5": T5,
    "Pegasus": SEQ2SEQ,
    "PLBart": SEQ2SEQ,
    "UMT5": T5,
}
FAMILIES = DECODERS | ENCODER_DECODERS


def model(family: str) -> Any:
    torch.manual_seed(len(family))
    config = getattr(transformers, f"{family}Config")(max_position_embeddings=64, **FAMILIES[family])
    kinds = ("ForConditionalGeneration",) if family in ENCODER_DECODERS else ("ForCausalLM", "LMHeadModel")
    made = next(getattr(transformers, family + kind) for kind in kinds if hasattr(transformers, family + kind))(config)
    return prepared(made)


def prepared(made: Any) -> Any:
    for parameter in made.parameters():
        if parameter.dim() > 1:
            nn.init.normal_(parameter, std=0.5)
    return made.double().eval().requires_grad_(False)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_tokens_and_scores(family: str) -> None:
    ids = integers(5)(4, VOCAB, (3, 7))
    mask = (torch.arange(7) < torch.tensor([[7], [3], [5]])).long()
    mask = mask if family in ENCODER_DECODERS else mask.flip(1)
    given = {"input_ids": ids.masked_fill(mask == 0, PAD), "attention_mask": mask, "eos_token_id": [EOS, 8, 9]}
    made = model(family)
    theirs, ours = both(made, **given, num_beams=3, num_return_sequences=2, max_new_tokens=20)
    assert_same(theirs, ours)
    theirs, ours = both(made, **given, num_beams=1, max_new_tokens=20)
    assert_same_greedy(theirs, ours)


def test_bart_describes_pictures() -> None:
    torch.manual_seed(0)
    config = transformers.BartConfig(**(SEQ2SEQ | {"encoder_layers": 2}), is_decoder=True, add_cross_attention=True)
    made = prepared(vision(transformers.BartForCausalLM(config)))
    pictures = {"pixel_values": normals(5)(3, 3, 8, 8).double(), "eos_token_id": [EOS, 8, 9]}
    assert_same(*both(made, **pictures, num_beams=3, num_return_sequences=2, max_new_tokens=20))
