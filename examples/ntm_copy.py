"""A Neural Turing Machine learns to copy (Graves, Wayne & Danihelka 2014, arXiv:1410.5401, section 4.1).

    python examples/ntm_copy.py [--out FOLDER]

It sees up to 20 vectors of 8 random bits and has to write them down again. A machine that has found the algorithm
(write slot after slot, go back, read slot after slot) copies longer ones too. It is trained on the CPU, in minutes. The
script says how many sequences that took, tests longer ones, draws the loss curve and where the heads wrote and read,
and times the same training with eager ops.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, softplus
from torch.nn.utils import clip_grad_norm_
from tqdm import tqdm

import s2sfast
from s2sfast import plot
from s2sfast.cases import location_address, memory_read, memory_write

BITS = 8
START, ANSWER = BITS, BITS + 1  # channels of the input beside the bits
LONGER = (20, 30, 50, 80, 120)
WINDOW = 250  # training steps between two looks at the held-out sequences
MEMORY: dict[str, Any] = {"weights_init": "first", "eps": 1e-6, "eps_mode": "sqrt"}


class Task(NamedTuple):
    """Sequences to copy, all of one length."""

    x: Tensor
    """``(B, 2 L + 2, 10)``: a start mark, the vectors, an end mark, and then nothing while the copy is due."""
    bits: Tensor
    """``(B, L, 8)``."""


def draw(batch: int, length: int, random: torch.Generator) -> Task:
    bits = torch.randint(2, (batch, length, BITS), generator=random).float()
    x = torch.zeros(batch, 2 * length + 2, BITS + 2)
    x[:, 0, START] = x[:, length + 1, ANSWER] = 1
    x[:, 1 : length + 1, :BITS] = bits
    return Task(x, bits)


def cost(logits: Tensor, task: Task) -> Tensor:
    """``(B,)``, bits per sequence: the paper's measure, the cross entropy of all outputs to base 2."""
    answer = logits[:, -task.bits.shape[1] :]
    return binary_cross_entropy_with_logits(answer, task.bits, reduction="none").sum((1, 2)) / math.log(2)


# --- training --------------------------------------------------------------------------------------------


class Trainer:
    """Adam on the cost per bit, gradients clipped."""

    def __init__(self, model: s2sfast.models.NTM, learning_rate: float, clip: float) -> None:
        self.model, self.clip = model, clip
        self.optimizer = torch.optim.Adam(model.parameters(), learning_rate, fused=True)

    def step(self, task: Task) -> float:
        """Returns the mean bits per sequence before the step."""
        found = cost(self.model(task.x)[0], task).mean()
        self.optimizer.zero_grad()
        (found / task.bits[0].numel()).backward()
        clip_grad_norm_(self.model.parameters(), self.clip)
        self.optimizer.step()
        return found.item()


class Curve(NamedTuple):
    """How training went: after so many sequences, bits per sequence in training and of the held-out ones."""

    sequences: list[int]
    training: list[float]
    held_out: list[float]


@torch.no_grad()
def average_cost(model: s2sfast.models.NTM, tasks: list[Task]) -> float:
    return torch.cat([cost(model(task.x)[0], task) for task in tasks]).mean().item()


def train(model: s2sfast.models.NTM, options: argparse.Namespace, random: torch.Generator) -> tuple[Curve, int | None]:
    """Returns the curve, and after how many sequences the held-out cost first fell below the target."""
    trainer = Trainer(model, options.learning_rate, options.clip)
    held_out = [draw(16, length, random) for length in range(1, options.length + 1)]
    curve, reached, recent = Curve([], [], []), None, []
    steps = -(-options.sequences // options.batch)
    with tqdm(total=steps * options.batch, unit="seq", leave=False, disable=None) as bar:
        for step in range(1, steps + 1):
            if step == steps * 3 // 4:  # small steps at the end settle what it has found
                trainer.optimizer.param_groups[0]["lr"] = options.learning_rate / 10
            length = int(torch.randint(1, options.length + 1, (), generator=random))
            recent.append(trainer.step(draw(options.batch, length, random)))
            bar.update(options.batch)
            if step % WINDOW == 0 or step == steps:
                curve.sequences.append(step * options.batch)
                curve.training.append(sum(recent) / len(recent))
                curve.held_out.append(average_cost(model, held_out))
                recent = []
                bar.set_postfix_str(f"{curve.held_out[-1]:.3f} bits per sequence")
                if reached is None and curve.held_out[-1] <= options.target:
                    reached = step * options.batch
    return curve, reached


@torch.no_grad()
def test(model: s2sfast.models.NTM, length: int, random: torch.Generator) -> dict[str, float]:
    """Of 100 sequences: bits per sequence, the share of wrong bits, and of sequences with a wrong bit."""
    task = draw(100, length, random)
    logits, _ = model(task.x)
    wrong = (logits[:, -length:] > 0) != task.bits.bool()
    return {
        "length": length,
        "bits_per_sequence": cost(logits, task).mean().item(),
        "wrong_bits": wrong.float().mean().item(),
        "wrong_sequences": wrong.flatten(1).any(1).float().mean().item(),
    }


# --- the same with eager ops -----------------------------------------------------------------------------


class EagerMemory(s2sfast.nn.NTMMemory):
    """The same memory in plain PyTorch, in its best spelling: torch.bmm for likeness and reading, no loop."""

    def forward(self, controller_output: Tensor, state: s2sfast.NTMStep) -> s2sfast.NTMStep:
        read, write = (
            self._activated(head, write)
            for head, write in zip(self.heads(controller_output), (False, True), strict=True)
        )
        write_weights = self._address(state.memory, state.write_weights, write)
        memory = memory_write.eager(state.memory, write_weights, write.erase, write.add)
        read_weights = self._address(memory, state.read_weights, read)
        return s2sfast.NTMStep(memory, memory_read.eager(memory, read_weights), read_weights, write_weights)

    def _activated(self, flat: Tensor, write: bool) -> s2sfast.NTMHead:
        head = s2sfast.NTMHead.split(flat, self.width, write=write)
        return s2sfast.NTMHead(
            head.key, softplus(head.strength), head.gate.sigmoid(), head.shift.softmax(-1), 1 + softplus(head.sharpen),
            head.erase.sigmoid() if write else None, head.add,
        )  # fmt: skip

    def _address(self, memory: Tensor, previous: Tensor, head: s2sfast.NTMHead) -> Tensor:
        slots, keys = ((x.square().sum(-1) + MEMORY["eps"]).sqrt() for x in (memory, head.key))
        cosines = torch.bmm(head.key, memory.mT) / (keys[..., None] * slots[:, None])
        content = (head.strength[..., None] * cosines).softmax(-1)
        return location_address.eager(content, previous, head.gate, head.shift, head.sharpen)


def time_both(options: argparse.Namespace, random: torch.Generator) -> dict[str, float]:
    """CPU seconds per training step, fast and eager: the same steps, taken in turns, ten at a time."""
    fast, eager = new_model(options), new_model(options)
    eager.memory = EagerMemory(options.hidden, options.slots, options.width, **MEMORY)
    eager.load_state_dict(fast.state_dict())
    task = draw(options.batch, options.length, random)
    torch.testing.assert_close(fast(task.x)[0], eager(task.x)[0], rtol=1e-3, atol=1e-4)  # no time for a wrong answer
    trainers = {"fast": Trainer(fast, options.learning_rate, options.clip)}
    trainers["eager"] = Trainer(eager, options.learning_rate, options.clip)
    seconds = dict.fromkeys(trainers, 0.0)
    for _ in range(max(1, options.timed // 10)):
        tasks = [
            draw(options.batch, int(torch.randint(1, options.length + 1, (), generator=random)), random)
            for _ in range(10)
        ]
        for name, trainer in trainers.items():
            start = time.process_time()
            for task in tasks:
                trainer.step(task)
            seconds[name] += time.process_time() - start
    return seconds


# --- pictures --------------------------------------------------------------------------------------------


def draw_curve(curve: Curve, target: float, path: Path) -> None:
    figure = plot.new_figure(6, 3.2)
    axes = figure.subplots()
    thousands = [n / 1000 for n in curve.sequences]
    axes.semilogy(thousands, curve.training, color="#b3b3b3", label="training")
    axes.semilogy(thousands, curve.held_out, color="#D55E00", label="held out")
    axes.axhline(target, color="black", linewidth=0.8, linestyle="dashed")
    axes.set_xlabel("thousands of sequences")
    axes.set_ylabel("bits per sequence")
    axes.legend(frameon=False)
    plot.save_figure(figure, path)


@torch.no_grad()
def draw_weights(model: s2sfast.models.NTM, length: int, random: torch.Generator, path: Path) -> None:
    """The paper's figure 6: inputs and outputs, and where the heads wrote and read, time to the right."""
    task = draw(1, length, random)
    trace = model.trace(task.x)
    written, read = trace.write_weights[0, :, 0], trace.read_weights[0, :, 0]
    busy = torch.where(torch.maximum(written, read).amax(0) > 0.1)[0]
    slots = slice(int(busy.min()), int(busy.max()) + 1) if len(busy) else slice(0, model.memory.slots)
    figure = plot.new_figure(7, 5.5)
    rows = {
        "input": task.x[0].T,
        "output": trace.logits[0].sigmoid().T,
        "write weights\nby slot": written[:, slots].T,
        "read weights\nby slot": read[:, slots].T,
    }
    heights = [min(len(row), 24) for row in rows.values()]
    for axes, (name, row) in zip(figure.subplots(4, sharex=True, height_ratios=heights), rows.items(), strict=True):
        axes.imshow(row, cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        axes.set_ylabel(name, rotation=0, ha="right", va="center")
        axes.set_yticks([])
    axes.set_xlabel("time")
    plot.save_figure(figure, path)


# --- the command -----------------------------------------------------------------------------------------


def new_model(options: argparse.Namespace) -> s2sfast.models.NTM:
    return s2sfast.models.NTM(
        BITS + 2, BITS, controller=options.controller, hidden=options.hidden, slots=options.slots, width=options.width,
        **MEMORY,
    )  # fmt: skip


def run(options: argparse.Namespace) -> dict[str, Any]:
    plot.new_figure(1, 1)  # that matplotlib is missing is said before the work, not after it
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    random = torch.Generator().manual_seed(options.seed)
    options.out.mkdir(parents=True, exist_ok=True)
    model = new_model(options)
    wall, cpu = time.perf_counter(), time.process_time()
    curve, reached = train(model, options, random)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    files = [options.out / "ntm_copy_curve.svg", options.out / "ntm_copy_weights.png"]
    draw_curve(curve, options.target, files[0])
    draw_weights(model, options.length, random, files[1])
    return {
        "sequences": curve.sequences[-1],
        "sequences_to_target": reached,
        "target": options.target,
        "wall_seconds": wall,
        "cpu_seconds": cpu,
        "held_out_bits_per_sequence": {"first": curve.held_out[0], "last": curve.held_out[-1]},
        "tests": [test(model, length, random) for length in options.test],
        "timed": time_both(options, random) if options.timed else None,
        "parameters": sum(p.numel() for p in model.parameters()),
        "machine": platform.processor() or platform.machine(),
        "threads": options.threads,
        "torch": torch.__version__,
        "files": [str(file) for file in files],
    }


def report(found: dict[str, Any]) -> str:
    reached, held_out = found["sequences_to_target"], found["held_out_bits_per_sequence"]["last"]
    lines = [
        f"{found['parameters']:,} parameters, {found['sequences']:,} sequences in {found['wall_seconds']:.0f} s "
        f"({found['cpu_seconds']:.0f} s of CPU, {found['threads']} threads)",
        f"held-out sequences: {held_out:.3f} bits per sequence; {found['target']:g} "
        + (f"reached after {reached:,} sequences" if reached else "not reached"),
        "",
        "length  bits per sequence  wrong bits  sequences with a wrong bit",
    ]
    for row in found["tests"]:
        lines.append(
            f"{row['length']:6}  {row['bits_per_sequence']:17.3f}  {row['wrong_bits']:10.3%}  "
            f"{row['wrong_sequences']:26.0%}"
        )
    if found["timed"]:
        fast, eager = found["timed"]["fast"], found["timed"]["eager"]
        lines += [
            "",
            f"the same training steps: {fast:.1f} s of CPU, with eager ops {eager:.1f} s: {eager / fast:.1f} times",
        ]
    return "\n".join([*lines, "", *found["files"]])


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    def positive(kind: Callable[[str], Any]) -> Callable[[str], Any]:
        def parse(text: str) -> Any:
            if not (value := kind(text)) > 0:
                raise argparse.ArgumentTypeError(f"expected a number above 0; got {text}")
            return value

        return parse

    whole, real = positive(int), positive(float)
    first, *rest = (__doc__ or "").split("\n\n")
    parser = argparse.ArgumentParser(
        description=first, epilog="\n\n".join(rest[1:]), formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path(), help="folder of the pictures")
    parser.add_argument("--sequences", type=whole, default=32000, help="how many to train on")
    parser.add_argument("--batch", type=whole, default=8, help="sequences per training step, all of one length")
    parser.add_argument("--length", type=whole, default=20, help="longest sequence to train on")
    parser.add_argument("--test", type=whole, nargs="+", default=LONGER, help="lengths to test")
    parser.add_argument(
        "--controller", choices=("feedforward", "lstm"), default="feedforward", help="kind of controller"
    )
    parser.add_argument("--hidden", type=whole, default=100, help="width of the controller")
    parser.add_argument("--slots", type=whole, default=128, help="of the memory")
    parser.add_argument("--width", type=whole, default=20, help="of a slot")
    parser.add_argument("--learning-rate", type=real, default=1e-3, help="of Adam; a tenth of it in the last quarter")
    parser.add_argument("--clip", type=real, default=0.1, help="longest gradient, of the cost per bit")
    parser.add_argument("--target", type=real, default=0.1, help="bits per sequence to reach on held-out sequences")
    parser.add_argument("--timed", type=int, default=100, help="training steps to time with eager ops too; 0: none")
    parser.add_argument("--seed", type=int, default=0, help="of weights and sequences")
    parser.add_argument("--threads", type=whole, default=1, help="of torch; the tensors are small, more do not help")
    parser.add_argument("--json", action="store_true", help="print the results as one JSON object")
    return parser.parse_args(argv)


def main() -> int:
    options = arguments()
    try:
        found = run(options)
    except KeyboardInterrupt:
        print("ntm_copy: interrupted", file=sys.stderr)
        return 130
    print(json.dumps(found) if options.json else report(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
