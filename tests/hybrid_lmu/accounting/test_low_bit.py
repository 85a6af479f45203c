"""Low-bit weights in the activity report: their codes, additions, bits, bytes."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hybrid_lmu import HybridLMU, SigmaDelta, SigmaDeltaQuantizer
from hybrid_lmu.accounting import activity_report, digit_planes, signed_digits
from hybrid_lmu.weights import QuantizedWeights, SumOfSigmoids, packed_weights, uniform_levels

x = np.random.default_rng(0).normal(size=(3, 10, 4)).astype("float32")


def counted(*layers, resolution=2.0):
    quantizer = SigmaDelta(resolution=resolution, initial_error="half")
    return keras.Sequential([keras.Input((10, 4)), quantizer, *layers])


def low_bit(layer, levels="ternary", **kwargs):
    return QuantizedWeights(layer, SumOfSigmoids(levels), SumOfSigmoids(levels), **kwargs)


def counts_of(model, x):
    quantizer = model.layers[0]
    resolution = keras.ops.convert_to_numpy(quantizer.quantizer.resolution)
    return np.rint(keras.ops.convert_to_numpy(quantizer(x)) * resolution)


@given(st.integers(-300, 300))
def test_signed_digits_are_as_few_as_can_be(code):
    def fewest(n):  # 2 n or n +- 1
        if n in (0, 1):
            return n
        if n % 2 == 0:
            return fewest(n // 2)
        return 1 + min(fewest((n - 1) // 2), fewest((n + 1) // 2))

    assert signed_digits(code) == fewest(abs(code))


@given(hnp.arrays("int64", (3, 4), elements=st.integers(-127, 127)))
def test_digits_make_up_the_codes(codes):
    planes = digit_planes(codes)
    total = sum((plane.astype("int64") << shift for shift, plane in planes), np.zeros_like(codes))
    np.testing.assert_array_equal(total, codes)
    for (shift, plane), (next_shift, following) in zip(planes, planes[1:], strict=False):
        assert not np.any((plane != 0) & (following != 0) & (next_shift == shift + 1))


@pytest.mark.parametrize("levels", ["binary", "ternary", uniform_levels(3)])
def test_additions_of_a_dense_layer(levels):
    model = counted(low_bit(keras.layers.Dense(5), levels))
    (row,) = activity_report(model, x).products
    (packed,) = packed_weights(model).values()
    counts = counts_of(model, x)
    events = (counts != 0).sum((0, 1))
    assert row["weight_bits"] == packed.bits
    assert row["nonzero_weights"] == np.count_nonzero(packed.codes)
    assert row["effective_acs"] == pytest.approx(
        events @ np.count_nonzero(packed.codes, axis=1) / 3
    )
    assert row["additions"] == pytest.approx(events @ signed_digits(packed.codes).sum(1) / 3)
    bits = np.ceil(np.log2(counts.max() - counts.min() + 1))
    assert row["bit_operations"] == pytest.approx(row["effective_acs"] * packed.bits * bits)


def test_additions_of_a_convolution_with_ternary_weights_are_its_effective_products():
    model = counted(low_bit(keras.layers.Conv1D(5, 3)))
    (row,) = activity_report(model, x).products
    assert row["additions"] == row["effective_acs"] > 0
    assert row["weight_bits"] == 2


def test_additions_of_a_convolution_are_the_digits_of_its_codes():
    model = counted(low_bit(keras.layers.Conv1D(5, 3), uniform_levels(4)))
    (row,) = activity_report(model, x).products
    (packed,) = packed_weights(model).values()
    events, digits = counts_of(model, x) != 0, signed_digits(packed.codes)
    expected = sum(events[:, t + k] @ digits[k].sum(1) for t in range(8) for k in range(3))
    assert row["additions"] == pytest.approx(expected.sum() / 3)


def test_real_inputs_and_several_resolutions_need_multiplications():
    real = keras.Sequential([keras.Input((10, 4)), low_bit(keras.layers.Dense(5))])
    (row,) = activity_report(real, x).products
    assert row["additions"] == 0 and row["effective_macs"] > 0
    assert row["bit_operations"] == pytest.approx(row["effective_macs"] * 32 * 2)
    several = counted(low_bit(keras.layers.Dense(5)), resolution=[1.0, 2.0, 3.0, 4.0])
    (row,) = activity_report(several, x).products
    assert row["additions"] == 0 and row["effective_acs"] > 0


def test_weights_of_full_precision_count_32_bits():
    (row,) = activity_report(counted(keras.layers.Dense(5)), x).products
    assert row["weight_bits"] == 32 and row["additions"] == 0
    assert row["bit_operations"] == pytest.approx(row["effective_acs"] * 32 * row["input_bits"])


@pytest.mark.parametrize("return_sequences", [True, False])
@pytest.mark.parametrize("hidden", ["dense", "rnn"])
@pytest.mark.broad(2)
def test_a_hybrid_lmu_with_low_bit_kernels_needs_additions_only_but_for_its_memory(
    hidden, return_sequences
):
    cell = keras.layers.Dense(6, "relu")
    if hidden == "rnn":
        cell = keras.layers.SimpleRNNCell(6)
    layer = HybridLMU(
        1, 4, 10, cell, kernel_initializer=None, hidden_resolution=2.0,
        memory_quantizer=SigmaDeltaQuantizer(resolution=2.0, gain=[1.0, 2.0, 3.0, 4.0]),
        return_sequences=return_sequences,
    )  # fmt: skip
    model = keras.Sequential([keras.Input((10, 1)), low_bit(layer), low_bit(keras.layers.Dense(3))])
    report = activity_report(model, x[..., :1])
    by_name = {row["name"].split("/")[-1]: row for row in report.products}
    assert {name for name, row in by_name.items() if not row["additions"]} == {
        "memory A",
        "memory B",
    }
    assert report.totals["additions"] > 0
    summary = report.summary()
    assert "are additions and shifts" in summary and "memory A" in summary
    tensors = 2 if hidden == "dense" else 3
    assert f"All products of {tensors} low-bit weight tensors" in summary


def test_the_footprint_packs_codes_and_leaves_out_what_only_training_needs():
    model = counted(*(low_bit(keras.layers.Dense(n, use_bias=False)) for n in (5, 8)))
    packed = activity_report(model, x).footprint["packed_bytes"]
    codes = (-(-4 * 5 * 2 // 8)) + (-(-5 * 8 * 2 // 8))
    assert packed == codes + 2 * 4 + 4  # two scales, a resolution


def test_the_layer_is_left_out_by_its_name():
    model = counted(low_bit(keras.layers.Dense(5), name="readout"))
    assert activity_report(model, x, skip=("readout",)).products == []


def test_a_report_says_that_resolutions_for_each_neuron_are_no_plain_additions():
    def summary(resolution):
        quantized = SigmaDelta(quantizer=SigmaDeltaQuantizer(resolution=resolution))
        return activity_report(
            keras.Sequential([keras.Input(x.shape[1:]), quantized, low_bit(keras.layers.Dense(3))]),
            x,
        ).summary()

    neurons = x.shape[-1]
    assert "not plain additions" not in summary(2.0)
    text = " ".join(summary([1.0 + 0.3 * i for i in range(neurons)]).split())
    assert "are not plain additions: the counts have a resolution for each neuron" in text
