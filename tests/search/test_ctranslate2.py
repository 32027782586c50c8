"""rules="ctranslate2" against the installed package: random BARTs, the same weights on both sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import ctranslate2
import elsewhere
import pytest
import torch
from ctranslate2.converters.transformers import BartLoader
from oracles import Outcome, power
from torch import Tensor, nn
from transformers import BartConfig, BartForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput

from s2sfast import CoveragePenalty, beam_search, rules

PAD, EOS, START, OTHER = 1, 2, 3, 5
WORDS = [f"w{i}" for i in range(11)]
SOURCES = ((4, 5, 6, EOS), (7, 8, 4, EOS), (9, 9, 10, EOS), (6, 4, EOS), (10, 5, 8, 7, 6, EOS))
SEEDS = (3, 16, 58)  # models whose hypotheses have many lengths, and whose searches decide nothing by a hair:
CLEAR = 1e-4  # two float32 implementations must agree on all decisions that are no closer than this


def random_bart(seed: int) -> BartForConditionalGeneration:
    torch.manual_seed(seed)
    config = BartConfig(
        vocab_size=len(WORDS),
        max_position_embeddings=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        d_model=16,
        pad_token_id=PAD,
        bos_token_id=0,
        eos_token_id=EOS,
        decoder_start_token_id=START,
        activation_function="relu",
        normalize_before=False,
        tie_word_embeddings=False,
        attn_implementation="eager",  # it returns the attention
    )
    model = BartForConditionalGeneration(config).eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        nn.init.normal_(parameter, mean=float("norm.weight" in name), std=0.7)
    nn.init.normal_(model.lm_head.weight, std=0.5)
    model.final_logits_bias[0, EOS] = 1.0
    return model


class Pair:
    """One model, in torch and in CTranslate2."""

    def __init__(self, seed: int, folder: Any) -> None:
        self.model = random_bart(seed)
        spec = BartLoader().get_model_spec(self.model)
        spec.register_source_vocabulary(WORDS)
        spec.register_target_vocabulary(WORDS)
        special = {"bos_token": 0, "unk_token": PAD, "eos_token": EOS, "decoder_start_token": START}
        for name, token in special.items():
            setattr(spec.config, name, WORDS[token])
        spec.validate()
        spec.optimize()
        spec.save(str(folder))
        self.translator = ctranslate2.Translator(str(folder), compute_type="float32", inter_threads=1, intra_threads=1)
        lengths = torch.tensor([len(source) for source in SOURCES])
        self.mask = (torch.arange(int(lengths.max())) < lengths[:, None]).long()
        padded = torch.full(self.mask.shape, PAD)
        padded[self.mask.bool()] = torch.tensor([token for source in SOURCES for token in source])
        self.hidden = self.model.model.encoder(padded, attention_mask=self.mask).last_hidden_state
        self.after = cache(self._after)

    def step(self, tokens: Tensor, past: Tensor, memory: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        past = torch.cat([past, tokens[:, None]], dim=1)
        hidden, mask = (x.repeat_interleave(len(tokens) // len(x), dim=0) for x in memory)
        found = self.model(
            encoder_outputs=BaseModelOutput(last_hidden_state=hidden),
            attention_mask=mask,
            decoder_input_ids=past,
            use_cache=False,
            output_attentions=True,
        )
        return found.logits[:, -1], past, found.cross_attentions[-1][:, 0, -1]  # the first head, as the spec says

    def _after(self, sentence: int, history: tuple[int, ...]) -> tuple[list[float], list[float]]:
        """(logits, attention) that follow these tokens."""
        past, at = torch.tensor([history[:-1]], dtype=torch.int64), slice(sentence, sentence + 1)
        logits, _, attention = self.step(torch.tensor(history[-1:]), past, (self.hidden[at], self.mask[at]))
        return logits[0].tolist(), attention[0].tolist()


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> list[Pair]:
    return [Pair(seed, tmp_path_factory.mktemp("ctranslate2")) for seed in SEEDS]


@dataclass(frozen=True)
class Options:
    beam: int
    n_best: int = 1
    max_length: int = 8
    min_length: int = 0
    alpha: float = 1.0
    beta: float = 0.0
    patience: float = 1.0
    eos: tuple[int, ...] = (EOS,)


def theirs(pair: Pair, o: Options) -> list[list[tuple[list[int], float]]]:
    results = pair.translator.translate_batch(
        [[WORDS[token] for token in source] for source in SOURCES],
        beam_size=o.beam,
        num_hypotheses=o.n_best,
        max_decoding_length=o.max_length,
        min_decoding_length=o.min_length,
        length_penalty=o.alpha,
        coverage_penalty=o.beta,
        patience=o.patience,
        end_token=[WORDS[token] for token in o.eos],
        return_end_token=True,
        return_scores=True,
        # In a batch its first token gets the attention of sentence number i // beam: seen in 4.8.5, on the CPU.
        max_batch_size=1 if o.beta else 0,
    )
    return [
        [([WORDS.index(word) for word in words], score) for words, score in zip(r.hypotheses, r.scores, strict=True)]
        for r in results
    ]


def ours(pair: Pair, o: Options) -> list[list[tuple[list[int], float]]]:
    found = beam_search(
        pair.step,
        torch.empty(len(SOURCES), 0, dtype=torch.int64),
        start=START,
        eos=list(o.eos),
        memory=(pair.hidden, pair.mask),
        beam=o.beam,
        n_best=o.n_best,
        max_length=o.max_length,
        min_length=o.min_length,
        length_penalty=o.alpha,
        coverage_penalty=CoveragePenalty("gnmt", o.beta),
        rules=rules.CTranslate2(patience=o.patience),
    )
    return [
        [
            (found.tokens[b, i, : found.lengths[b, i]].tolist(), float(found.scores[b, i]))
            for i in range(o.n_best)
            if found.lengths[b, i]
        ]
        for b in range(len(SOURCES))
    ]


def naive(pair: Pair, o: Options) -> list[Outcome]:
    def search(b: int) -> Outcome:
        def attend(tokens: Sequence[int]) -> list[float]:
            return pair.after(b, (START, *tokens))[1]

        return elsewhere.ctranslate2(
            lambda history: pair.after(b, tuple(history))[0],
            [START],
            eos=set(o.eos),
            beam=o.beam,
            n_best=o.n_best,
            max_length=o.max_length,
            min_length=o.min_length,
            norm=power(o.alpha) if o.alpha else None,
            extra=elsewhere.coverage(attend, "gnmt", o.beta) if o.beta else None,
            patience=o.patience,
        )

    return [search(b) for b in range(len(SOURCES))]


def same(found: list[list[tuple[list[int], float]]], expected: list[list[tuple[list[int], float]]]) -> None:
    for b, (mine, wanted) in enumerate(zip(found, expected, strict=True)):
        assert [tokens for tokens, _ in mine] == [tokens for tokens, _ in wanted], f"sentence {b}"
        assert [score for _, score in mine] == pytest.approx([score for _, score in wanted], abs=1e-5, rel=1e-5)


CASES = [
    Options(beam=1),  # there it is greedy search
    Options(beam=1, alpha=0.0, max_length=3),
    Options(beam=2),
    Options(beam=2, n_best=2, alpha=0.0),
    Options(beam=2, n_best=2, max_length=1),
    Options(beam=3, n_best=1, alpha=0.0),
    Options(beam=3, n_best=3),
    Options(beam=3, n_best=3, alpha=2.0),
    Options(beam=4, n_best=4, alpha=0.6, max_length=5),
    Options(beam=4, n_best=4, alpha=-0.5),
    Options(beam=5, n_best=5, max_length=4),
    Options(beam=5, n_best=3, alpha=0.0, max_length=12),
    Options(beam=6, n_best=6, max_length=12),  # 2 * 6 > 11: it begins on another road there
    Options(beam=3, n_best=3, beta=0.4),
    Options(beam=3, n_best=3, beta=2.0, alpha=0.0),
    Options(beam=4, n_best=4, beta=1.0, alpha=0.6, max_length=12),
    Options(beam=3, n_best=3, patience=2.0),
    Options(beam=4, n_best=2, patience=0.5),
    Options(beam=5, n_best=3, patience=0.5),  # 2.5 is rounded to 3
    Options(beam=3, n_best=2, patience=2.0, alpha=0.0),  # patience counts for nothing without a penalty
    Options(beam=3, n_best=3, eos=(EOS, OTHER)),
    Options(beam=2, n_best=2, eos=(EOS, OTHER), alpha=0.0, max_length=12),
    # eos leaves the softmax, not only the ranking: the log-probabilities of the others grow
    Options(beam=1, min_length=2),
    Options(beam=3, n_best=3, min_length=1),
    Options(beam=4, n_best=4, min_length=2, max_length=6),
    Options(beam=3, n_best=2, min_length=2, beta=0.5),
    Options(beam=2, n_best=4, patience=2.0),  # as many as it waits for
]


@pytest.mark.parametrize("o", CASES, ids=str)
def test_the_same_tokens_and_scores(pairs: list[Pair], o: Options) -> None:
    for pair in pairs:
        expected = theirs(pair, o)
        outcomes = naive(pair, o)
        assert min(outcome.gap for outcome in outcomes) > CLEAR
        same([[(list(h.tokens), h.score) for h in outcome.hypotheses] for outcome in outcomes], expected)
        same(ours(pair, o), expected)
