"""Times rivals against each other, round by round, so that a noisy minute on a shared machine hits all of them.

One thread is timed by the CPU time of the process, which other processes cannot stretch (they still share caches and
memory with us); several threads by the wall clock, which they can. A device brings a timer of its own (gpu.py).
"""

from __future__ import annotations

import gc
import math
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

SAMPLE = 0.005
"""Seconds that one sample should last at least; short calls are repeated until it does."""

ENDLESS = 5.0
"""Seconds of a call after which one round has to do."""


@dataclass
class Timing:
    """What one contestant needed: seconds per call, one entry a round."""

    seconds: list[float]
    calls: int
    """How many calls one entry is the mean of."""
    clock: str

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def quartiles(self) -> tuple[float, float]:
        if len(self.seconds) == 1:
            return self.seconds[0], self.seconds[0]
        q1, _, q3 = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return q1, q3

    def as_dict(self) -> dict[str, Any]:
        q1, q3 = self.quartiles
        times = {"median": self.median, "q1": q1, "q3": q3}
        return {
            **{name: float(f"{value:.5g}") for name, value in times.items()},
            "rounds": len(self.seconds),
            "iterations": self.calls,
            "clock": self.clock,
        }


Timer = Callable[[Callable[[], Any], int], float]
"""Calls a function so many times; the seconds that all of it took."""


def clock_for(threads: int) -> tuple[str, Callable[[], float]]:
    return ("process CPU time", time.process_time) if threads == 1 else ("wall clock", time.perf_counter)


def interleave(
    contestants: Mapping[str, Callable[[], Any]],
    *,
    threads: int,
    budget: float = 4.0,
    rounds: int = 25,
    least: Mapping[str, int] | None = None,
    timer: tuple[str, Timer] | None = None,
    sample: float = SAMPLE,
) -> dict[str, Timing]:
    """Times all contestants in alternation.

    Args:
        contestants: functions without arguments, by name; each must have run before (compiled, checked).
        threads: how many threads they use; chooses the clock.
        budget: seconds for everything. Slow contestants get fewer rounds, spread evenly over the whole run.
        rounds: how many rounds the fast ones get.
        least: the fewest rounds of a contestant, whatever the budget says; where not given 3, or 1 if a call takes
            longer than `ENDLESS`.
        timer: its name and what takes the time, instead of the clock.
        sample: seconds that one sample should last at least.
    """
    name_of_clock, time_calls = timer or _host_timer(threads)
    with collector_off():
        calibrated = {name: _calibrate(function, time_calls, sample) for name, function in contestants.items()}
        costs = {name: (calls + (calls > 1)) * seconds for name, (calls, seconds) in calibrated.items()}
        plan = share_out(costs, budget, rounds, least or {})
        samples: dict[str, list[float]] = {name: [] for name in contestants}
        order, chance = list(contestants), random.Random(0)
        for i in range(rounds):
            chance.shuffle(order)  # who comes after whom changes: caches and spinning threads remember
            for name in order:
                if (i + 1) * plan[name] // rounds > i * plan[name] // rounds:
                    samples[name].append(_sample(contestants[name], calibrated[name][0], time_calls))
    return {name: Timing(samples[name], calibrated[name][0], name_of_clock) for name in contestants}


@contextmanager
def collector_off() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def share_out(costs: Mapping[str, float], budget: float, rounds: int, least: Mapping[str, int]) -> dict[str, int]:
    """Rounds for each: all of them where an even share of the budget pays, the rest share what is left.

    >>> share_out({"quick": 0.01, "slow": 0.5, "endless": 9.0}, budget=4.0, rounds=20, least={})
    {'quick': 20, 'slow': 3, 'endless': 1}
    >>> share_out({"quick": 0.01, "slow": 0.2}, budget=4.0, rounds=20, least={"slow": 19})
    {'quick': 20, 'slow': 19}
    """
    plan: dict[str, int] = {}
    left = dict(costs)
    while left:
        share = budget / len(left)
        paid = [name for name, cost in left.items() if cost * rounds <= share]
        if not paid:
            break
        for name in paid:
            budget -= left.pop(name) * rounds
            plan[name] = rounds
    for name, cost in left.items():
        plan[name] = min(rounds, max(least.get(name, 3 if cost < ENDLESS else 1), int(budget / len(left) / cost)))
    return {name: plan[name] for name in costs}


def _calibrate(function: Callable[[], Any], time_calls: Timer, sample: float) -> tuple[int, float]:
    """(calls per sample, seconds per call). A hiccup must not pass for a slow call: the better of two tries counts."""
    calls = 1
    while True:
        total = time_calls(function, calls)
        if total < 10 * sample:
            total = min(total, time_calls(function, calls))
        if total >= sample / 4:
            return max(1, math.ceil(sample * calls / total)), total / calls
        calls *= 4


def _sample(function: Callable[[], Any], calls: int, time_calls: Timer) -> float:
    if calls > 1:
        function()  # its data and code were thrown out of the caches by the contestant before
    return time_calls(function, calls) / calls


def _host_timer(threads: int) -> tuple[str, Timer]:
    name, clock = clock_for(threads)

    def time_calls(function: Callable[[], Any], calls: int) -> float:
        repeat = range(calls)
        start = clock()
        for _ in repeat:
            function()
        return clock() - start

    return name, time_calls
