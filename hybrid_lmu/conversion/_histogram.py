"""Percentiles of any amount of numbers, in the memory of one histogram."""

from numbers import Real

import numpy as np


class StreamingHistogram:
    """Counts numbers >= 0 in equal bins whose range doubles when a larger number comes.

    A percentile is off by at most one bin, ``2 / bins`` of the largest number. Zeros have a count
    of their own, so that the share of silent units in a layer stays exact.

    Args:
        bins: number of bins, even and >= 2. Default 16,384: an error of 0.012 % of the largest
            number.

    Attributes:
        counts: numbers > 0 in each bin.
        zeros: number of zeros.
        largest: the largest number so far.

    Example:

    >>> histogram = StreamingHistogram()
    >>> histogram.update(np.arange(101.0))
    >>> histogram.largest, round(histogram.percentile(90), 1)
    (100.0, 90.0)
    """

    def __init__(self, bins: int = 16_384):
        if isinstance(bins, bool) or not isinstance(bins, int) or bins < 2 or bins % 2:
            raise ValueError(f"`bins` must be an even integer >= 2; received: {bins!r}")
        self.counts = np.zeros(bins, "int64")
        self.zeros, self.largest, self._top = 0, 0.0, 0.0

    @property
    def total(self) -> int:
        """Number of numbers so far."""
        return self.zeros + int(self.counts.sum())

    def update(self, values) -> None:
        """Count an array of any shape.

        Raises:
            ValueError: if a value is negative, NaN or infinite.
        """
        values = np.asarray(values, "float64").ravel()
        if not values.size:
            return
        if not (np.isfinite(values).all() and values.min() >= 0):
            raise ValueError(
                f"A histogram counts finite numbers >= 0; received a range of {values.min()} to "
                f"{values.max()}."
            )
        positive = values[values > 0]
        self.zeros += values.size - positive.size
        if not positive.size:
            return
        self.largest = max(self.largest, float(positive.max()))
        self._top = self._top or self.largest
        while self._top < self.largest:
            pairs = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.concatenate([pairs, np.zeros_like(pairs)])
            self._top *= 2
        place = (positive * (len(self.counts) / self._top)).astype("int64")
        place = np.minimum(place, len(self.counts) - 1)
        self.counts += np.bincount(place, minlength=len(self.counts))

    def percentile(self, p: float) -> float:
        """Return the number that p percent of all numbers, zeros included, do not exceed.

        Args:
            p: in (0, 100]; 100 gives the largest number.

        Raises:
            ValueError: if p is not a number in (0, 100], or nothing has been counted.
        """
        if isinstance(p, bool) or not isinstance(p, Real) or not 0 < p <= 100:
            raise ValueError(f"A percentile must be in (0, 100]; received: {p!r}")
        if not self.total:
            raise ValueError("A percentile needs numbers; received none.")
        rank = p / 100 * self.total - self.zeros
        if rank <= 0:
            return 0.0
        if p == 100:
            return self.largest
        reached = np.cumsum(self.counts)
        index = int(np.searchsorted(reached, rank))
        before = reached[index] - self.counts[index]
        share = (rank - before) / self.counts[index]
        return float(min((index + share) * self._top / len(self.counts), self.largest))
