"""EachStep is keras.layers.TimeDistributed, in one call of the layer."""

import keras
import numpy as np
import pytest

from hybrid_lmu import EachStep, activity_report
from hybrid_lmu.neurons import IF
from hybrid_lmu.weights import StraightThroughSign, quantize_weights

X = np.random.default_rng(0).normal(size=(3, 5, 6, 6, 2)).astype("float32")


def of(x):
    return keras.ops.convert_to_numpy(x)


@pytest.mark.parametrize(
    "make",
    [
        lambda: keras.layers.Conv2D(4, 3),
        lambda: keras.layers.AveragePooling2D(2),
        lambda: keras.layers.Flatten(),
        lambda: keras.layers.Dense(3, "relu"),
    ],
)
def test_is_time_distributed(make):
    layer = make()
    each, every = EachStep(layer), keras.layers.TimeDistributed(layer)
    expected = of(every(X))
    np.testing.assert_allclose(of(each(X)), expected, rtol=0, atol=1e-6)
    assert each.compute_output_shape(X.shape) == expected.shape


def test_unknown_length_and_training_in_a_model(tmp_path):
    model = keras.Sequential(
        [
            keras.Input((None, 6, 6, 2)),
            EachStep(keras.layers.Conv2D(4, 3)),
            EachStep(keras.layers.Dropout(0.5, seed=0)),
            EachStep(keras.layers.Flatten()),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(2),
        ]
    )
    model.compile("adam", "mse")
    before = of(model.layers[0].layer.kernel)
    model.fit(X, np.ones((3, 2)), verbose=0)
    assert (of(model.layers[0].layer.kernel) != before).all()
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(of(again(X[:, :4])), of(model(X[:, :4])))


def test_counted_and_quantized_as_the_layer_in_it():
    model = keras.Sequential(
        [
            keras.Input((5, 6, 6, 2)),
            IF(threshold=0.5),
            EachStep(keras.layers.Conv2D(4, 3, use_bias=False), name="conv"),
            EachStep(keras.layers.Flatten()),
            keras.layers.Dense(2, name="dense"),
        ]
    )
    (conv, dense) = activity_report(model, X).products
    assert conv["effective_macs"] == 0 < conv["strict_acs"] and dense["effective_macs"] > 0
    binary = quantize_weights(model, StraightThroughSign())
    assert activity_report(binary, X).products[0]["weight_bits"] == 1


def test_needs_a_time_axis():
    with pytest.raises(ValueError, match="at least 3 dimensions"):
        EachStep(keras.layers.Dense(2))(np.ones((2, 3), "float32"))
