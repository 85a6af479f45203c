"""Low-bit products by additions: equal to products, and to what the network computes."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import hybrid_lmu
from evaluation.committed.integer_matmul import products_by_addition
from evaluation.committed.multiplication_free import NotLowBit, rerun
from hybrid_lmu.weights import QuantizedWeights, SumOfSigmoids, uniform_levels

small = st.integers(-127, 127)


@settings(deadline=None, max_examples=30)
@given(hnp.arrays("int32", (7, 3), elements=small), hnp.arrays("int8", (3, 4), elements=small))
def test_additions_are_products(counts, codes):
    expected = counts.astype("int64") @ codes.astype("int64")
    np.testing.assert_array_equal(products_by_addition(counts, codes), expected)


def test_more_positions_than_fit_at_once():
    counts = np.random.default_rng(0).integers(-9, 9, (1300, 3))
    codes = np.array([[1, -1], [0, 1], [-1, 3]])
    np.testing.assert_array_equal(products_by_addition(counts, codes), counts @ codes)


def network(levels, hidden=None, **rule):
    rule = SumOfSigmoids(levels, **rule)
    lmu = hybrid_lmu.HybridLMU(
        1, 6, 20, hidden or keras.layers.Dense(7, "relu"), kernel_initializer=None,
        memory_quantizer=hybrid_lmu.SigmaDeltaQuantizer(resolution=2.0, gain=np.arange(1.0, 7.0)),
        hidden_resolution=4.0, return_last=4, simulation="full",
    )  # fmt: skip
    return keras.Sequential(
        [
            keras.Input((30, 1)),
            QuantizedWeights(lmu, rule, rule),
            keras.layers.GlobalAveragePooling1D(),
            QuantizedWeights(keras.layers.Dense(3), rule),
        ]
    )


x = np.random.default_rng(1).normal(size=(5, 30, 1)).astype("float32")


@pytest.mark.parametrize("levels", ["binary", "ternary", uniform_levels(3)])
def test_the_network_in_integers_has_the_same_counts(levels):
    found = rerun(network(levels, power_of_two=True), x)
    assert found["counts"] == 5 * 30 * 7 and found["decisions"] == 5
    assert found["different"] == found["changed"] == 0
    assert found["logits_error"] < 1e-6


def test_a_wrong_kernel_is_found_out():
    model = network("ternary", power_of_two=True)
    layer = model.layers[0]
    packed = layer.packed

    def other():
        ((path, one),) = packed().items()
        return {path: type(one)(-one.codes, one.scale, one.bits, one.levels)}

    layer.packed = other
    assert rerun(model, x)["different"] > 0


def test_other_networks_are_refused():
    with pytest.raises(NotLowBit, match="feed-forward"):
        rerun(network("binary", keras.layers.SimpleRNNCell(7)), x)
    with pytest.raises(NotLowBit, match="one HybridLMU"):
        rerun(keras.Sequential([keras.Input((30, 1)), keras.layers.LSTM(3)]), x)
