"""What the search's own Python costs per step, against HuggingFace's loop, with a model that costs nothing.

The model replays ready logits; both searches see the same ones and must find the same tokens before they are timed.
HuggingFace runs `generate` with use_cache=False, so that neither side has a state to reorder.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import s2sfast
from benchmarks.environment import RESULTS, write
from benchmarks.rounds import Timing, interleave

BEAM, VOCABULARY, STEPS = 5, 1000, 200
BATCHES = (1, 8)
EOS, START = 0, 1
PERIOD = 32  # steps after which the logits repeat
ENDS = {"never": 0, "every 8th step": 8}
"""How often eos is among the best candidates."""

HF = s2sfast.rules.HF(early_stopping="never")
"""So that a search with early ends runs to the last step too."""


@dataclass
class Replay:
    """A model that answers with ready logits, each row its own; `step` is what s2sfast calls."""

    batch: int
    ends: int
    calls: int = 0
    logits: list[Tensor] = field(default_factory=list)  # PERIOD times (B*K, V)
    first: list[Tensor] = field(default_factory=list)  # likewise (B, V): a first step has one row a sentence

    def __post_init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        for t in range(PERIOD):
            logits = torch.randn(self.batch * BEAM, VOCABULARY, generator=generator)
            logits[:, EOS] = 4.0 if self.ends and t % self.ends == self.ends - 1 else -30.0
            self.logits.append(logits)
            self.first.append(logits[::BEAM].contiguous())

    def next(self, rows: int) -> Tensor:
        at = self.calls % PERIOD
        self.calls += 1
        return (self.logits if rows == self.batch * BEAM else self.first)[at]

    def step(self, tokens: Tensor, state: Any, memory: Tensor) -> tuple[Tensor, Any]:
        rows = tokens.shape[0]
        if rows in (self.batch, self.batch * BEAM):
            return self.next(rows), state
        alive = (memory[:, None] * BEAM + torch.arange(BEAM)).flatten()  # some sentences have left
        return self.next(self.batch * BEAM)[alive], state


def our_search(model: Replay, rules: Any, backend: str, steps: int = STEPS) -> s2sfast.BeamResult:
    model.calls = 0
    return s2sfast.beam_search(
        model.step, None, start=START, eos=EOS, beam=BEAM, max_length=steps, batch_size=model.batch,
        memory=torch.arange(model.batch), rules=rules, backend=backend,
    )  # fmt: skip


def our_model(model: Replay, steps: int) -> None:
    """The calls of the model that a search makes, alone."""
    model.calls = 0
    tokens, memory = torch.zeros(model.batch * BEAM, dtype=torch.int64), torch.arange(model.batch)
    for _ in range(steps):
        model.step(tokens, None, memory)


def hugging_face(model: Replay) -> tuple[Callable[..., Tensor], Callable[[int], None]]:
    """(generate, its model's calls alone); a PreTrainedModel around the same replay."""
    import transformers  # slow to import, so not on collection
    from transformers.modeling_outputs import CausalLMOutput

    transformers.logging.set_verbosity_error()

    class Config(transformers.PretrainedConfig):
        model_type = "s2sfast_replay"

    class Replayed(transformers.PreTrainedModel, transformers.GenerationMixin):
        config_class = Config

        def __init__(self) -> None:
            super().__init__(Config(vocab_size=VOCABULARY, pad_token_id=EOS, use_cache=False))
            self.unused = torch.nn.Parameter(torch.zeros(1))  # generate() asks for the device of a parameter

        def forward(self, input_ids: Tensor, attention_mask: Any = None, **kwargs: Any) -> CausalLMOutput:
            return CausalLMOutput(logits=model.next(input_ids.shape[0])[:, None])

        def prepare_inputs_for_generation(self, input_ids: Tensor, **kwargs: Any) -> dict[str, Tensor]:
            return {"input_ids": input_ids}  # the least there is: a real model's own costs more

    network = Replayed().eval()
    start = torch.full((model.batch, 1), START)
    mask = torch.ones_like(start)

    @torch.no_grad()
    def generate(steps: int = STEPS) -> Tensor:
        model.calls = 0
        config = transformers.GenerationConfig(
            num_beams=BEAM, max_new_tokens=steps, do_sample=False, early_stopping="never", length_penalty=1.0,
            eos_token_id=EOS, pad_token_id=EOS, use_cache=False,
        )  # fmt: skip
        return network.generate(start, attention_mask=mask, generation_config=config)

    @torch.no_grad()
    def alone(steps: int) -> None:
        model.calls = 0
        ids = torch.zeros((model.batch * BEAM, 1), dtype=torch.int64)
        for _ in range(steps):
            network(input_ids=ids, return_dict=True)

    return generate, alone


def same_answer(result: s2sfast.BeamResult, sequences: Tensor) -> None:
    for b in range(sequences.shape[0]):
        expected = sequences[b, 1 : 1 + int(result.lengths[b, 0])].tolist()
        assert result.best(b) == expected, f"sentence {b}: s2sfast and transformers disagree"


def race(batch: int, ends: str, quick: bool) -> list[dict[str, Any]]:
    """Rows of one batch size, one frequency of ends; every contestant at one thread."""
    model = Replay(batch, ENDS[ends])
    generate, theirs_alone = hugging_face(model)
    searches: dict[str, Callable[[], Any]] = {"transformers": generate}
    expected = generate()
    steps = {"transformers": model.calls}
    for rules, rule in {"hf": HF, "exact": "exact"}.items():
        for backend in ("fast", "reference"):
            name = f"s2sfast, {rules}" + (", reference ops" if backend == "reference" else "")
            searches[name] = partial(our_search, model, rule, backend)
            result = searches[name]()
            steps[name] = result.stats.steps
            if rules == "hf":
                same_answer(result, expected)
    extra = {
        "s2sfast, model alone": partial(our_model, model, STEPS),
        "transformers, model alone": partial(theirs_alone, STEPS),
        "s2sfast, a search of one step": partial(our_search, model, HF, "fast", 1),
        "transformers, a search of one step": partial(generate, 1),
    }
    effort: dict[str, Any] = {"rounds": 3, "budget": 0.0} if quick else {"rounds": 15, "budget": 30.0}
    timings = interleave({**searches, **extra}, threads=1, **effort)
    ours, theirs = (per_step(timings[f"{who}, model alone"], STEPS)["median"] for who in ("s2sfast", "transformers"))
    rows = []
    for name, timing in timings.items():
        many = 1 if "one step" in name else steps.get(name, STEPS)
        model_share = 0.0 if name in extra else theirs if name == "transformers" else ours
        row = {"batch": batch, "beam": BEAM, "vocabulary": VOCABULARY, "ends": ends, "threads": 1, "provider": name}
        rows.append({**row, "steps": many, **per_step(timing, many), "model": model_share})
        print(f"B={batch}, ends {ends}: {name:36s} {rows[-1]['median'] * 1e6:8.1f} us per step", flush=True)
    return rows


def per_step(timing: Timing, steps: int) -> dict[str, Any]:
    return Timing([seconds / steps for seconds in timing.seconds], timing.calls, timing.clock).as_dict()


def main() -> None:
    about = (__doc__ or "").splitlines()[0]
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search_overhead", description=about)
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of results")
    parser.add_argument("--quick", action="store_true", help="three rounds, one sentence: does it run?")
    options = parser.parse_args()
    if importlib.util.find_spec("transformers") is None:
        parser.exit(1, "benchmarks: the search is compared with transformers, which is not installed\n")
    torch.set_num_threads(1)
    batches = BATCHES[:1] if options.quick else BATCHES
    rows = [row for batch in batches for ends in ENDS for row in race(batch, ends, options.quick)]
    write(options.out / "search_overhead.json", "search_overhead", rows, "transformers", quick=options.quick)


if __name__ == "__main__":
    main()
