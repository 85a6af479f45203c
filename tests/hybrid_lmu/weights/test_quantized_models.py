"""Whole models with quantized weights: exempt layers, footprint, inference, bad input."""

import keras
import numpy as np
import pytest
from keras import ops

from hybrid_lmu.weights import (
    Bernoulli,
    SumOfSigmoids,
    packed_weights,
    quantize_weights,
    uniform_levels,
    weight_footprint,
    with_inference,
)

to_numpy = ops.convert_to_numpy
random = np.random.default_rng(0)
x = random.normal(size=(8, 12, 3)).astype("float32")


def network():
    return keras.Sequential(
        [
            keras.Input((12, 3)),
            keras.layers.Conv1D(8, 3, name="first"),
            keras.layers.GRU(8, name="middle"),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(4, name="last"),
        ]
    )


def test_first_and_last_layers_are_exempt_by_rule():
    model = network()
    low = quantize_weights(
        model, SumOfSigmoids(), SumOfSigmoids(), exempt_first=True, exempt_last=True
    )
    assert [path.split("/")[-2:] for path in packed_weights(low)] == [
        ["gru_cell", "kernel"],
        ["gru_cell", "recurrent_kernel"],
    ]
    np.testing.assert_array_equal(low.get_layer("first").get_weights()[0], model.get_weights()[0])
    every = quantize_weights(model, SumOfSigmoids(), SumOfSigmoids())
    assert len(packed_weights(every)) == 4
    assert len(packed_weights(quantize_weights(model, SumOfSigmoids(), exempt="first"))) == 2
    assert len(packed_weights(quantize_weights(model, SumOfSigmoids(), exempt="fir*"))) == 2
    some = quantize_weights(model, SumOfSigmoids(), SumOfSigmoids(), exempt="gru_cell/kernel")
    assert len(packed_weights(some)) == 3


def test_the_footprint_counts_what_is_exempt():
    model = network()
    parameters = model.count_params()
    low = quantize_weights(model, SumOfSigmoids(), SumOfSigmoids(), exempt_first=True)
    found = weight_footprint(low)
    quantized = 8 * 24 + 8 * 24 + 8 * 4
    assert found["quantized"] == quantized
    assert found["full_precision"] == parameters - quantized
    expected = quantized // 8 + 3 * 4 + 4 * (parameters - quantized)
    assert found["packed_bytes"] == expected
    assert found["saving"] == 4 * parameters / expected
    assert weight_footprint(model)["saving"] == 1.0


def test_a_trained_kernel_sets_the_scales():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(40)])
    model.layers[0].kernel.assign(5.0 * random.normal(size=(3, 40)))
    low = quantize_weights(model, SumOfSigmoids(uniform_levels(4)))
    (packed,) = packed_weights(low).values()
    kernel = to_numpy(model.layers[0].kernel)
    assert np.corrcoef(packed.values.ravel(), kernel.ravel())[0, 1] > 0.95


def test_soft_and_hard_are_both_measurable():
    low = quantize_weights(network(), SumOfSigmoids(temperature=3.0))
    config = low.get_config()
    soft = with_inference(low, "soft")
    assert low.get_config() == config
    hard = with_inference(soft, "hard")
    assert np.any(low.predict(x, verbose=0) != soft.predict(x, verbose=0))
    np.testing.assert_array_equal(low.predict(x, verbose=0), hard.predict(x, verbose=0))


@pytest.mark.slow
def test_samples_of_the_posterior():
    low = quantize_weights(network(), Bernoulli(seed=1))
    sampled = with_inference(low, "sample")
    first, second = (sampled.predict(x, verbose=0) for _ in range(2))
    assert np.any(first != second)
    np.testing.assert_array_equal(low.predict(x, verbose=0), low.predict(x, verbose=0))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: quantize_weights(network(), SumOfSigmoids(), exempt=("first", "middle", "last")),
         "Nothing to quantize"),
        (lambda: with_inference(network(), "soft"), "No weight rule"),
        (lambda: quantize_weights(network(), SumOfSigmoids(), exempt="typo"), "received: .'typo'"),
        (lambda: with_inference(quantize_weights(network(), SumOfSigmoids()), "mode"), "inference"),
    ],
)  # fmt: skip
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
