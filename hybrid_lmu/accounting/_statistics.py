"""Streaming statistics of counts: how many bits an activity needs. NumPy only.

For one neuron with counts ``n`` over all samples and steps of a data set, and ``len(k)`` the bit
length of an integer (``len(0) = 0``, ``len(1) = 1``, ``len(2) = len(3) = 2``, ...)::

    activity bits             log2(n_max - n_min + 1)
    provisioned bits          ceil(log2(n_max - n_min + 1)) of the whole activity
    entropy bits              -sum_k p(k) log2 p(k), p the neuron's own histogram
    significant bits          mean of len(|n|)
    significant bits, n != 0  mean of len(|n|) over the events only
    share of zeros            mean of [n = 0];    mean count    mean of |n|

The first and the third are computed per neuron and averaged over neurons, the last four are means
over neurons and steps. Provisioned bits take the range over all neurons of the activity, since they
are the width of the wire; a negative count widens the range, so the sign is included.
"""

import numpy as np

_LARGEST_HISTOGRAM = 2**22
_BLOCK = 2**15


def bit_length(counts):
    """Return ``len(|n|)`` of each integer, as int64; exact for ``|n| < 2**53``."""
    return np.frexp(np.abs(np.asarray(counts, dtype="float64")))[1].astype("int64")


class CountStatistics:
    """Statistics of the counts of one activity, in memory that does not grow with the data.

    Args:
        neurons: number of neurons.
        largest_histogram: largest number of cells (neurons x levels) of the histogram; beyond it
            the entropy is given up and reported as None, the rest is exact all the same.

    Raises:
        ValueError: if `update` receives counts of another width.
    """

    def __init__(self, neurons, largest_histogram=_LARGEST_HISTOGRAM):
        self.neurons = neurons
        self.largest_histogram = largest_histogram
        self.steps = self.zeros = self.length_sum = self.count_sum = 0
        self.low = np.zeros(neurons, dtype="int64")
        self.high = np.zeros(neurons, dtype="int64")
        self.histogram = np.zeros((neurons, 0), dtype="int64")
        self.origin = 0

    def update(self, counts):
        """Add counts of shape [steps, neurons]; the steps of all samples, in any order."""
        counts = np.asarray(counts)
        if counts.ndim != 2 or counts.shape[1] != self.neurons:
            raise ValueError(
                f"`counts` must have shape [steps, {self.neurons}]; received {counts.shape}"
            )
        if not len(counts):
            return
        low, high = (x.astype("int64") for x in (counts.min(axis=0), counts.max(axis=0)))
        self.low = low if not self.steps else np.minimum(self.low, low)
        self.high = high if not self.steps else np.maximum(self.high, high)
        self.steps += len(counts)
        self._widen_histogram()
        cells = 0 if self.histogram is None else self.histogram.size
        # Blocks that stay in the cache, but are not smaller than the histogram.
        rows = max(1, max(_BLOCK, cells) // self.neurons)
        for start in range(0, len(counts), rows):
            self._add(counts[start : start + rows].astype("int64"))

    def _add(self, counts):
        if self.histogram is None:
            size = np.abs(counts)
            self.zeros += int(np.sum(size == 0))
            self.length_sum += int(np.sum(bit_length(size)))
            self.count_sum += int(np.sum(size))
            return
        shape = self.histogram.shape
        counts += np.arange(shape[0]) * shape[1] - self.origin
        added = np.bincount(counts.ravel(), minlength=self.histogram.size)
        self.histogram += added.reshape(shape)

    def _widen_histogram(self):
        """Make room for all counts from the lowest to the highest."""
        if self.histogram is None:
            return
        old = self.histogram.shape[1]
        start = min(int(self.low.min()), self.origin) if old else int(self.low.min())
        stop = max(int(self.high.max()) + 1, self.origin + old if old else start)
        levels = stop - start
        if levels * self.neurons > self.largest_histogram:
            self._spill()
            return
        if old:
            before = self.origin - start
            self.histogram = np.pad(self.histogram, [(0, 0), (before, levels - old - before)])
        else:
            self.histogram = np.zeros((self.neurons, levels), dtype="int64")
        self.origin = start

    def _spill(self):
        """Replace the histogram by its sums."""
        self.zeros, self.length_sum, self.count_sum = self._sums()
        self.histogram = None

    def _sums(self):
        if self.histogram is None:
            return self.zeros, self.length_sum, self.count_sum
        size = np.abs(self.origin + np.arange(self.histogram.shape[1]))
        events = self.histogram.sum(axis=0)
        return (
            int(events[size == 0].sum()),
            int(events @ bit_length(size)),
            int(events @ size),
        )

    def entropy(self):
        """Return bits per neuron per step, averaged over neurons; None without a histogram."""
        if self.histogram is None or not self.steps:
            return None
        share = self.histogram / self.steps
        logs = np.log2(share, out=np.zeros_like(share), where=share > 0)
        return float(-(share * logs).sum(axis=1).mean()) + 0.0

    def summary(self):
        """Return the statistics as a dictionary of numbers (see the module's table)."""
        zeros, length_sum, count_sum = self._sums()
        total = self.steps * self.neurons
        low, high = int(self.low.min()), int(self.high.max())
        return {
            "neurons": self.neurons,
            "activity_bits": float(np.mean(np.log2(self.high - self.low + 1.0))),
            "provisioned_bits": int(np.ceil(np.log2(high - low + 1.0))),
            "significant_bits": length_sum / max(total, 1),
            "significant_bits_nonzero": length_sum / max(total - zeros, 1),
            "entropy_bits": self.entropy(),
            "share_of_zeros": zeros / max(total, 1),
            "mean_abs_count": count_sum / max(total, 1),
            "count_min": low,
            "count_max": high,
        }


def digit_planes(codes):
    """Return ``[(shift, plane)]`` with planes of -1, 0, +1 and ``codes = sum(plane << shift)``.

    With as few nonzero digits as there can be (no two neighbours): 7 = 8 - 1. Reitwiesner 1960.

    >>> [(shift, plane.tolist()) for shift, plane in digit_planes(np.array([7, -2]))]
    [(0, [-1, 0]), (1, [0, -1]), (3, [1, 0])]
    """
    left, shift, planes = np.asarray(codes, "int64"), 0, []
    while np.any(left):
        # An odd number ends in +1, or in -1 where that leaves a multiple of 4.
        digit = np.where(left % 2 == 0, 0, np.where(left % 4 == 3, -1, 1))
        if np.any(digit):
            planes.append((shift, digit.astype("int8")))
        left = (left - digit) >> 1
        shift += 1
    return planes


def signed_digits(codes):
    """Number of nonzero digits of each integer, in the digits of `digit_planes`, as int64.

    >>> signed_digits(np.array([0, 1, -3, 7, 11])).tolist()  # 3 = 4 - 1, 11 = 8 + 4 - 1
    [0, 1, 2, 2, 3]
    """
    digits = np.zeros(np.shape(codes), "int64")
    for _, plane in digit_planes(codes):
        digits += plane != 0
    return digits
