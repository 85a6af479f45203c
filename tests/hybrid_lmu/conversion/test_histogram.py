"""Percentiles of a stream: those of all numbers at once, zeros included, to one bin."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hybrid_lmu.conversion import StreamingHistogram

numbers = st.lists(st.floats(0, 1e6, width=32), min_size=1, max_size=60)


@settings(deadline=None, max_examples=60)
@given(st.lists(numbers, min_size=1, max_size=5), st.floats(0.5, 100))
def test_is_between_the_neighbouring_numbers(batches, p):
    histogram = StreamingHistogram(1024)
    for batch in batches:
        histogram.update(np.array(batch))
    every = np.sort(np.concatenate([np.array(batch) for batch in batches]))
    rank = p / 100 * len(every)
    low = every[max(int(np.floor(rank)) - 1, 0)]
    high = every[min(int(np.ceil(rank)), len(every) - 1)]
    bin_width = 2 * every[-1] / 1024 * (1 + 1e-6)
    assert histogram.total == len(every) and histogram.largest == every[-1]
    assert low - bin_width <= histogram.percentile(p) <= high + bin_width


def test_many_numbers_in_any_order_agree_with_numpy():
    x = np.random.default_rng(0).exponential(size=200_000)
    x[:100_000] = 0
    for batches in (np.split(x, 10), np.split(np.sort(x)[::-1], 10)):
        histogram = StreamingHistogram()
        for batch in batches:
            histogram.update(batch)
        for p in (20, 60, 90, 99.9, 100):
            assert histogram.percentile(p) == pytest.approx(np.percentile(x, p), abs=0.01)


@pytest.mark.parametrize(
    "wrong, message",
    [
        (lambda h: h.update([1.0, -1.0]), "-1.0"),
        (lambda h: h.update([np.nan]), "finite numbers >= 0"),
        (lambda h: h.percentile(50), "received none"),
        (lambda h: (h.update([1.0]), h.percentile(0)), "received: 0"),
        (lambda h: (h.update([1.0]), h.percentile(101)), "received: 101"),
        (lambda h: StreamingHistogram(3), "received: 3"),
    ],
)
def test_bad_input(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong(StreamingHistogram())
