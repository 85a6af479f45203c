"""Sums over batches of what a recording gives, and the rows of the report made from them."""

import warnings

import keras
import numpy as np

from hybrid_lmu.accounting._items import ActivityItem, GatesItem, OutputItem, ProductItem
from hybrid_lmu.accounting._statistics import CountStatistics, signed_digits
from hybrid_lmu.codes import EPSILON

_TOLERANCE = 1e-3
_LARGEST_RAW_CODE = 15


class ProductTotals:
    """Sums of one signal that meets one weight tensor; `row` gives the row of the report."""

    def __init__(self, item):
        self.item = item
        self.sums = {}
        self.low = self.high = self.error = 0.0
        self.resolution = None
        self.one_resolution = True  # for all entries of the input

    def update(self, arrays):
        for key, value in arrays.items():
            if key in ("high", "error"):
                setattr(self, key, float(np.maximum(getattr(self, key), value)))
            elif key == "low":
                self.low = float(np.minimum(self.low, value))
            elif key == "resolution":
                self.one_resolution &= bool(np.ptp(value) == 0)
                value = float(np.mean(value))
                self.resolution = max(value, self.resolution or 0.0)  # grows with the sequence
            else:
                total = np.asarray(value, dtype="float64")
                total = total.sum() if self._convolution(arrays) else total
                self.sums[key] = self.sums.get(key, 0) + total

    @staticmethod
    def _convolution(arrays):
        return "dense" in arrays

    def integer(self):
        """Whether all inputs are integer codes; raw inputs are, if they are small integers.

        Raises:
            ValueError: if the input has a resolution, but is off its grid.
        """
        if self.resolution is not None:
            check_grid(self.item, self.error, self.resolution)
            return True
        small = max(-self.low, self.high) <= _LARGEST_RAW_CODE
        return self.item.raw and self.error == 0.0 and small

    def row(self, samples):
        """Return the row of the report, per sample."""
        item = self.item
        if isinstance(item, GatesItem):
            dense = float(self.sums["positions"]) * item.count
            counts = [dense, dense, 0.0, 0.0, 0.0]
            return self._row("elementwise", 0, 0, 0, 8, counts, samples)
        weight = stored(item.weight)
        if "dense" in self.sums:
            size, outputs = weight.size, weight.shape[-1]
            keys = ("dense", "effective", "strict", "graded")
            counts = [float(self.sums[key]) for key in keys]
            additions = float(self.sums.get("additions", 0.0))
        else:
            weight = item.block(weight)
            size, outputs = weight.size, weight.shape[1]
            fan_out = np.count_nonzero(weight, axis=1)
            counts = [float(self.sums["positions"]) * size]
            for key in ("events", "units", "graded"):  # of a real signal, only its events
                counts.append(float(self.sums[key] @ fan_out) if key in self.sums else 0.0)
            additions = float(self.sums["events"] @ signed_digits(weight).sum(axis=1))
        nonzero = np.count_nonzero(weight)
        bits = int(np.ceil(np.log2(self.high - self.low + 1))) if self.integer() else 8
        low_bit = item.weight_bits is not None and self.integer() and self.one_resolution
        counts.append(additions if low_bit else 0.0)
        return self._row(item.kind, size, nonzero, outputs, bits, counts, samples)

    def _row(self, kind, size, nonzero, outputs, bits, counts, samples):
        dense, effective, strict, graded, additions = (count / samples for count in counts)
        integer = kind != "elementwise" and self.integer()
        resolution = None
        if integer:
            value = 1.0 if self.resolution is None else self.resolution
            resolution = value
        structured = getattr(self.item, "structured", None)
        if structured is not None:
            structured *= float(self.sums["positions"]) / samples
        weight_bits = getattr(self.item, "weight_bits", None) or 32
        return {
            "name": self.item.name,
            "layer": self.item.layer,
            "kind": kind,
            "weights": int(size),
            "nonzero_weights": int(nonzero),
            "outputs": int(outputs),
            "dense_macs": dense,
            "effective_macs": 0.0 if integer else effective,
            "effective_acs": effective if integer else 0.0,
            "strict_acs": strict if integer else 0.0,
            "graded_acs": graded if integer else 0.0,
            "additions": additions,
            "input_resolution": resolution,
            "input_bits": bits,
            "weight_bits": weight_bits,
            "bit_operations": effective * weight_bits * (bits if integer else 32),
            "structured_operations": structured,
            "ternary_input": bool(integer and self.low >= -1 and self.high <= 1),
        }


class ActivityTotals:
    """Count statistics of one quantized activity."""

    def __init__(self, item):
        self.item = item
        self.statistics = None
        self.error = 0.0
        self.resolution = None

    def update(self, arrays):
        self.resolution = arrays["resolution"]
        self.error = float(np.maximum(self.error, arrays["error"]))
        check_grid(self.item, self.error, self.resolution)
        counts = arrays["counts"]
        if self.statistics is None:
            self.statistics = CountStatistics(counts.shape[-1])
        self.statistics.update(check_countable(self.item, valid_steps(arrays)))

    @property
    def zeros(self):
        return self.statistics.summary()["share_of_zeros"] * self.entries

    @property
    def entries(self):
        return self.statistics.steps * self.statistics.neurons

    def row(self):
        """Return the row of the report; warn if it is of counts that the outputs do not hold."""
        summary = self.statistics.summary()
        warn_of_rounded_counts(self.item, max(-summary["count_min"], summary["count_max"]))
        return {
            "name": self.item.name,
            "layer": self.item.layer,
            "resolution": float(np.mean(self.resolution)),
            **summary,
        }


class OutputTotals:
    """Zeros of one real activity."""

    def __init__(self, item):
        self.item = item
        self.zeros = self.entries = 0

    def update(self, arrays):
        self.zeros += int(arrays["zeros"])
        self.entries += int(arrays["entries"])


TOTALS = {
    ProductItem: ProductTotals,
    GatesItem: ProductTotals,
    ActivityItem: ActivityTotals,
    OutputItem: OutputTotals,
}


def valid_steps(arrays):
    """Return the counts of the steps that are not masked, [steps, neurons]."""
    counts = arrays["counts"]
    if "mask" in arrays:
        return counts[np.asarray(arrays["mask"], dtype=bool)]
    return counts.reshape(-1, counts.shape[-1])


def check_grid(item, error, resolution):
    """Raise ValueError if counts are off the integers by more than rounding."""
    if not error <= _TOLERANCE:
        raise ValueError(
            f"The activity that enters {item.name!r} is not an integer times 1 / resolution, "
            f"with resolution {np.mean(resolution):g}: it is off by {error:.3g} levels; expected "
            f"at most {_TOLERANCE:g}."
        )


def check_countable(item, counts):
    """Return the counts; raise ValueError if float64 does not tell them all apart."""
    largest = float(np.abs(counts).max(initial=0.0))
    if not largest < 2.0**53:
        raise ValueError(
            f"Activity {item.name!r} has counts up to {largest:.3g}; expected less than 2**53. Use "
            "a smaller resolution, or scale the data."
        )
    return counts


def warn_of_rounded_counts(item, largest):
    """Warn if counts so large do not fit the dtype of the output, which rounds ``n / w``."""
    exact = 1.0 / EPSILON.get(item.dtype, EPSILON["float32"])
    if largest > exact:
        warnings.warn(
            f"Activity {item.name!r} has counts up to {largest:.0f} in {item.dtype}, which tells "
            f"counts up to {exact:.0f} apart: the larger ones are rounded, in the output and in "
            "this report. Use a smaller resolution, or dtype='float32' for this layer.",
            stacklevel=2,
        )


def stored(weight):
    """Return a weight tensor as an array."""
    if callable(weight) and not hasattr(weight, "shape"):
        weight = weight()
    return weight if isinstance(weight, np.ndarray) else keras.ops.convert_to_numpy(weight)
