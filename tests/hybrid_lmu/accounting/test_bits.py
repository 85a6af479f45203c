import warnings

import keras
import numpy as np
import pytest

from hybrid_lmu import SigmaDelta, activity_report, record_activity
from hybrid_lmu.accounting import CountStatistics, count_ranges
from hybrid_lmu.accounting._statistics import bit_length


def brute_force(counts):
    """The definitions of the vocabulary, written out for counts [steps, neurons]."""
    span = counts.max(axis=0) - counts.min(axis=0) + 1
    entropies = []
    for neuron in counts.T:
        _, events = np.unique(neuron, return_counts=True)
        share = events / len(neuron)
        entropies.append(-np.sum(share * np.log2(share)))
    lengths = [int(n).bit_length() for n in np.abs(counts).ravel()]
    return {
        "neurons": counts.shape[1],
        "activity_bits": np.mean(np.log2(span)),
        "provisioned_bits": int(np.ceil(np.log2(counts.max() - counts.min() + 1))),
        "significant_bits": np.mean(lengths),
        "significant_bits_nonzero": np.sum(lengths) / np.sum(counts != 0),
        "entropy_bits": np.mean(entropies),
        "share_of_zeros": np.mean(counts == 0),
        "mean_abs_count": np.mean(np.abs(counts)),
        "count_min": counts.min(),
        "count_max": counts.max(),
    }


def streamed(counts, pieces, **kwargs):
    statistics = CountStatistics(counts.shape[1], **kwargs)
    for piece in np.array_split(counts, pieces):
        statistics.update(piece)
    return statistics.summary()


@pytest.mark.parametrize("pieces", [1, 7, 50])
@pytest.mark.parametrize("low, high", [(-5, 9), (3, 4), (-200, -100), (0, 2)])
def test_streaming_equals_the_definitions(pieces, low, high):
    counts = np.random.default_rng(0).integers(low, high, (50, 6))
    expected = brute_force(counts)
    if not counts.any():
        expected["significant_bits_nonzero"] = 0.0
    assert streamed(counts, pieces) == pytest.approx(expected, rel=1e-12)


def test_a_small_example_by_hand():
    counts = np.array([[0, 0], [1, 0], [-2, 0], [7, 0]])
    result = streamed(counts, 2)
    assert result["activity_bits"] == pytest.approx((np.log2(10) + 0) / 2)
    assert result["provisioned_bits"] == 4
    assert result["significant_bits"] == pytest.approx((0 + 1 + 2 + 3) / 8)
    assert result["significant_bits_nonzero"] == pytest.approx(2.0)
    assert result["entropy_bits"] == pytest.approx(1.0)  # 2 bits and 0 bits
    assert result["share_of_zeros"] == pytest.approx(5 / 8)
    assert result["mean_abs_count"] == pytest.approx(10 / 8)


def test_without_a_histogram_only_the_entropy_is_lost():
    counts = np.random.default_rng(1).integers(-1000, 1000, (90, 5))
    expected = brute_force(counts)
    result = streamed(counts, 9, largest_histogram=5 * 1900)
    assert result.pop("entropy_bits") is None
    del expected["entropy_bits"]
    assert result == pytest.approx(expected, rel=1e-12)


def test_memory_does_not_grow_with_the_number_of_steps():
    statistics = CountStatistics(4)
    rng = np.random.default_rng(2)
    statistics.update(rng.integers(-3, 4, (1000, 4)))
    size = statistics.histogram.nbytes
    for _ in range(20):
        statistics.update(rng.integers(-3, 4, (1000, 4)))
    assert statistics.histogram.nbytes == size == 4 * 7 * 8


def test_bit_length_of_large_integers():
    values = [0, 1, 2, 3, 4, 2**20 - 1, 2**20, -(2**40), 2**52]
    assert bit_length(values).tolist() == [int(v).bit_length() for v in values]


def test_wrong_width():
    with pytest.raises(ValueError, match=r"\[steps, 3\]; received \(5, 2\)"):
        CountStatistics(3).update(np.zeros((5, 2)))


@pytest.mark.parametrize("policy, exact", [("mixed_float16", 1024), ("mixed_bfloat16", 128)])
def test_counts_that_half_precision_rounds_are_named(policy, exact):
    x = np.array([[[exact / 1000.0]], [[-exact / 1000.0]]], "float32")
    options = dict(resolution=1000.0, initial_error="half", dtype=policy)
    model = keras.Sequential([keras.Input((1, 1)), SigmaDelta(**options)])
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        activity_report(model, x)
    with pytest.warns(UserWarning, match=f"counts up to {exact} apart"):
        activity_report(model, 1.1 * x)


@pytest.mark.parametrize("measure", [activity_report, record_activity, count_ranges])
@pytest.mark.parametrize("size", [1e16, 1e30])
def test_counts_too_large_to_tell_apart_are_an_error(measure, size):
    model = keras.Sequential(
        [keras.Input((4, 1)), SigmaDelta(resolution=4.0), keras.layers.Dense(2)]
    )
    with pytest.raises(ValueError, match=r"has counts up to .*e\+.*expected less than 2\*\*53"):
        measure(model, np.full((2, 4, 1), size, "float32"))


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "uint16", "int32"])
def test_integer_data_are_counted_as_they_are(dtype):
    model = keras.Sequential(
        [keras.Input((4, 1)), SigmaDelta(resolution=1.0), keras.layers.Dense(2)]
    )
    largest = 1 if dtype == "bool" else min(np.iinfo(dtype).max, 2**23)
    report = activity_report(model, np.full((2, 4, 1), largest).astype(dtype))
    assert report.activities[0]["count_max"] == largest
