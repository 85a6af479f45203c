import numpy as np
import pytest

from evaluation.speed.timing import Spread, alternate, paired_ratio


class Clock:
    """A clock that only the timed functions move."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def takes(self, name, calls, *seconds):
        queue = list(seconds)

        def function():
            calls.append(name)
            self.now += queue.pop(0)

        return function


def test_candidates_take_turns_and_warm_up_is_not_timed():
    clock, calls = Clock(), []
    functions = {
        "a": clock.takes("a", calls, 9, 1, 2),
        "b": clock.takes("b", calls, 9, 10, 20),
    }
    seconds = alternate(functions, repeats=2, warmup=1, clock=clock)
    assert calls == ["a", "b", "a", "b", "a", "b"]
    np.testing.assert_array_equal(seconds["a"], [1, 2])
    np.testing.assert_array_equal(seconds["b"], [10, 20])


def test_ratio_is_formed_round_by_round():
    # A machine that slows down tenfold in the second round must not widen the spread.
    ratio = paired_ratio([1, 10, 3], [2, 20, 6])
    assert ratio == Spread(0.5, 0.5, 0.5)
    assert ratio.iqr == 0
    assert paired_ratio([1, 2, 3, 4, 5], [1, 1, 1, 1, 1]) == Spread(3, 2, 4)


def test_unpaired_timings_and_no_rounds_are_refused():
    with pytest.raises(ValueError, match=r"\(2,\) and \(3,\)"):
        paired_ratio([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="received: 0"):
        alternate({"a": lambda: None}, repeats=0)
