"""Random encoder-decoders of usual sizes, each twice: transformers' module, and CTranslate2's of the same weights.

Weights are drawn wider than training starts them, so that the beams of a search differ; eos is kept out of reach by the
searches themselves, so that every system decodes the same number of tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

SOURCE_LENGTH = 24


@dataclass
class Twins:
    """One set of weights in two systems."""

    name: str
    model: Any  # transformers' module
    inputs: Callable[[int], dict[str, Tensor]]  # of so many sentences
    translate: Callable[[dict[str, Tensor], int, int, int], list[list[int]]] | None
    """CTranslate2: (inputs, beam, tokens, threads) -> the best hypothesis of each sentence; None: has no such model."""


def make(family: str, folder: Path) -> Twins:
    """The twins of a family; CTranslate2's files are written below `folder`."""
    return {"marian": _marian, "bart": _bart, "t5": _t5, "whisper": _whisper}[family](folder)


def _spread(model: Any) -> Any:
    """Wider weights, in inference mode."""
    torch.manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.dim() > 1 and "embed_positions" not in name and "shared" not in name and "embed" not in name:
                weight.normal_(0.0, 0.8 / weight[0].numel() ** 0.5)
    return model.eval()


def _ids(vocabulary: int) -> Callable[[int], dict[str, Tensor]]:
    def inputs(batch: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(batch)
        ids = torch.randint(10, vocabulary - 10, (batch, SOURCE_LENGTH), generator=generator)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    return inputs


def _marian(folder: Path) -> Twins:
    import transformers

    V = 32_000
    config = transformers.MarianConfig(
        vocab_size=V, d_model=512, encoder_layers=6, decoder_layers=6, encoder_attention_heads=8,
        decoder_attention_heads=8, encoder_ffn_dim=2048, decoder_ffn_dim=2048, activation_function="swish",
        scale_embedding=True, pad_token_id=V - 1, eos_token_id=0, decoder_start_token_id=V - 1,
        forced_eos_token_id=None, static_position_embeddings=True,
    )  # fmt: skip
    model = _spread(transformers.MarianMTModel(config))
    model.final_logits_bias[0, V - 1] = -torch.inf  # as in trained ones: the start is never generated
    return Twins("marian", model, _ids(V), _translator(model, "MarianConfig", folder, V - 1, "0"))


def _bart(folder: Path) -> Twins:
    import transformers

    V = 50_265
    config = transformers.BartConfig(vocab_size=V, forced_eos_token_id=None, forced_bos_token_id=None)
    config.encoder_layers = config.decoder_layers = 6
    config.d_model, config.encoder_attention_heads, config.decoder_attention_heads = 768, 12, 12
    config.encoder_ffn_dim = config.decoder_ffn_dim = 3072
    config.normalize_before, config.normalize_embedding = False, True  # CTranslate2's loader asks for them
    model = _spread(transformers.BartForConditionalGeneration(config))
    return Twins("bart", model, _ids(V), _translator(model, "BartConfig", folder, V, "2"))


def _t5(folder: Path) -> Twins:
    import transformers

    V = 32_128
    config = transformers.T5Config(vocab_size=V, decoder_start_token_id=0)  # t5-small
    model = _spread(transformers.T5ForConditionalGeneration(config))
    return Twins("t5", model, _ids(V), _translator(model, "T5Config", folder, V, "0"))


def _translator(model: Any, config: str, folder: Path, vocabulary: int, start: str) -> Callable[..., list[list[int]]]:
    """The same weights in CTranslate2; token i is spelt str(i)."""
    _convert(model, config, folder, [str(i) for i in range(vocabulary)], start=start)
    open_translator = _opener("Translator", folder)

    def translate(inputs: dict[str, Tensor], beam: int, tokens: int, threads: int) -> list[list[int]]:
        source = [[str(i) for i in row] for row in inputs["input_ids"].tolist()]
        found = open_translator(threads).translate_batch(
            source, beam_size=beam, min_decoding_length=tokens, max_decoding_length=tokens, max_input_length=0
        )
        return [[int(token) for token in result.hypotheses[0]] for result in found]

    return translate


def _convert(model: Any, config: str, folder: Path, vocabulary: list[str], start: str | None) -> None:
    from ctranslate2.converters import transformers as loaders

    loader = loaders._MODEL_LOADERS[config]  # its public door wants a tokenizer's files beside the weights
    with torch.no_grad():
        spec = loader.get_model_spec(model)
    loader.set_vocabulary(spec, vocabulary)
    if start is not None:
        spec.config.decoder_start_token = start
        spec.config.eos_token = str(model.config.eos_token_id)
        spec.config.unk_token = vocabulary[3]
        spec.config.bos_token = vocabulary[0]
    spec.validate()
    spec.optimize()
    folder.mkdir(parents=True, exist_ok=True)
    spec.save(str(folder))


def _opener(kind: str, folder: Path) -> Callable[[int], Any]:
    """Opens the model once for each number of threads."""
    import ctranslate2

    opened: dict[int, Any] = {}

    def at(threads: int) -> Any:
        if threads not in opened:
            make = ctranslate2.Translator if kind == "Translator" else ctranslate2.models.Whisper
            opened[threads] = make(
                str(folder), device="cpu", compute_type="float32", inter_threads=1, intra_threads=threads
            )
        return opened[threads]

    return at


_WHISPER = {  # the ids of the English models that CTranslate2 looks for by name
    50_256: "<|endoftext|>", 50_257: "<|startoftranscript|>", 50_357: "<|translate|>", 50_358: "<|transcribe|>",
    50_359: "<|startoflm|>", 50_360: "<|startofprev|>", 50_361: "<|nospeech|>", 50_362: "<|notimestamps|>",
}  # fmt: skip


def _whisper(folder: Path) -> Twins:
    import transformers

    config = transformers.WhisperConfig(  # tiny.en
        vocab_size=51_864, d_model=384, encoder_layers=4, decoder_layers=4, encoder_attention_heads=6,
        decoder_attention_heads=6, encoder_ffn_dim=1536, decoder_ffn_dim=1536, begin_suppress_tokens=None,
        suppress_tokens=None, pad_token_id=50_256, eos_token_id=50_256, bos_token_id=50_256,
        decoder_start_token_id=50_257,
    )  # fmt: skip
    model = _spread(transformers.WhisperForConditionalGeneration(config))
    model.generation_config.suppress_tokens = model.generation_config.begin_suppress_tokens = None
    vocabulary = [_WHISPER.get(i, f"<{i}>") for i in range(config.vocab_size)]
    _convert(model, "WhisperConfig", folder, vocabulary, start=None)
    opened = _opener("Whisper", folder)
    prompt = [50_257, 50_362]  # no timestamps

    def inputs(batch: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(batch)
        features = torch.randn(batch, 80, 3000, generator=generator)
        return {"input_features": features, "decoder_input_ids": torch.tensor([prompt] * batch)}

    def translate(given: dict[str, Tensor], beam: int, tokens: int, threads: int) -> list[list[int]]:
        import ctranslate2

        features = ctranslate2.StorageView.from_array(np.ascontiguousarray(given["input_features"].numpy()))
        found = opened(threads).generate(
            features, [prompt] * features.shape[0], beam_size=beam, suppress_tokens=[config.eos_token_id],
            suppress_blank=False, length_penalty=1.0, max_length=2 * tokens,  # it takes half of it for generation
        )  # fmt: skip
        return [result.sequences_ids[0] for result in found]

    return Twins("whisper", model, inputs, translate)
