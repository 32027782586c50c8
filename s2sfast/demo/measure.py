"""Runs the decoders on the same words and times them, taking turns so that a busy moment of the machine hits all."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from s2sfast.demo.decoders import Decoded, Decoder

BATCH = 250  # words; only throughput depends on it

Progress = Callable[[int], object]  # told the number of words just decoded


class Run:
    """What one decoder did: its answers in the order of the words, its work, and its times."""

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder
        self.answers: list[list[str]] = []
        self.model_rows = 0
        self.candidates = 0
        self.pruned = 0
        self.rates: list[float] = []  # words per second of each batch
        self.latencies: NDArray[np.float64] = np.zeros(0)  # seconds per word, decoded one by one

    def add(self, decoded: Decoded, seconds: float) -> None:
        self.answers += decoded.answers
        self.model_rows += decoded.model_rows
        self.candidates += decoded.candidates
        self.pruned += decoded.pruned
        self.rates.append(len(decoded.answers) / seconds)

    @property
    def words_per_second(self) -> float:
        """Of the median batch: a sum of times would keep every disturbance of a shared machine."""
        return float(np.median(self.rates))

    def latency_ms(self, percentile: float) -> float:
        """Milliseconds for a single word, at this percentile of the words timed."""
        return 1e3 * float(np.percentile(self.latencies, percentile))


def work(decoders: Sequence[Decoder], words: int, timed_alone: int) -> int:
    """How many words :func:`measure` will report to its ``progress``."""
    return len(decoders) * (words + timed_alone)


def measure(decoders: Sequence[Decoder], words: Sequence[str], timed_alone: int, progress: Progress) -> list[Run]:
    """Decodes all words in batches, then the first ``timed_alone`` of them one by one.

    The decoders take turns batch by batch, then word by word, each round in another order: who comes second finds
    caches that the first has filled or emptied.
    """
    order = random.Random(0)
    for decoder in decoders:
        decoder.decode(words[:2])  # warms caches and allocators up
    runs = [Run(decoder) for decoder in decoders]
    for begin in range(0, len(words), BATCH):
        batch = words[begin : begin + BATCH]
        for run in order.sample(runs, len(runs)):
            run.add(*_timed(run.decoder, batch))
            progress(len(batch))
    latencies = np.empty((len(runs), min(timed_alone, len(words))))
    for column, word in enumerate(words[:timed_alone]):
        for row, run in order.sample(list(enumerate(runs)), len(runs)):
            _, latencies[row, column] = _timed(run.decoder, [word])
            progress(1)
    for row, run in enumerate(runs):
        run.latencies = latencies[row]
    return runs


def _timed(decoder: Decoder, words: Sequence[str]) -> tuple[Decoded, float]:
    begin = time.perf_counter()
    decoded = decoder.decode(words)
    return decoded, time.perf_counter() - begin
