"""Paired timing: candidates take turns, so that a slow moment of the machine hits all of them.

A round calls every candidate once, in order (A B C, A B C, ...). The ratio of two candidates is
formed inside each round and summarized over the rounds by its median and interquartile range.
"""

import dataclasses
import time

import numpy as np


@dataclasses.dataclass(frozen=True)
class Spread:
    """Median and quartiles of some values."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values):
        low, median, high = np.percentile(np.asarray(values, dtype="float64"), [25, 50, 75])
        return cls(float(median), float(low), float(high))

    @property
    def iqr(self):
        return self.high - self.low


def alternate(functions, repeats, warmup=2, progress=None, clock=time.perf_counter):
    """Times callables in alternation.

    functions: dict of name -> callable without arguments. A callable must return only when its
        result exists (an asynchronous backend has to be waited for inside it).
    repeats: number of timed rounds. warmup: calls of each one before the first round, not timed.
    progress: called with the number of rounds done, after each round.

    Returns a dict of name -> float64 array [repeats], seconds a call.
    """
    if repeats < 1:
        raise ValueError(f"`repeats` must be an integer >= 1; received: {repeats!r}")
    for function in functions.values():
        for _ in range(warmup):
            function()
    seconds = {name: np.zeros(repeats) for name in functions}
    for i in range(repeats):
        for name, function in functions.items():
            start = clock()
            function()
            seconds[name][i] = clock() - start
        if progress:
            progress(i + 1)
    return seconds


def paired_ratio(seconds, reference):
    """Spread of seconds / reference, divided round by round (both from one `alternate` call)."""
    seconds, reference = np.asarray(seconds), np.asarray(reference)
    if seconds.shape != reference.shape:
        raise ValueError(
            f"paired timings must have one shape; received: {seconds.shape} and {reference.shape}"
        )
    return Spread.of(seconds / reference)
