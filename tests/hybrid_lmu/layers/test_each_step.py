"""EachStep is keras.layers.TimeDistributed, in one call of the layer."""

import keras
import numpy as np
import pytest

from hybrid_lmu import EachStep, SigmaDelta, activity_report
from hybrid_lmu.neurons import IF, LIF, SRM
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


class MaskedDense(keras.layers.Dense):
    def call(self, inputs, mask=None):
        y = super().call(inputs)
        return y if mask is None else y * keras.ops.cast(keras.ops.reshape(mask, (-1, 1)), y.dtype)


def test_hands_a_mask_on_and_checks_it():
    x, layer = np.ones((1, 2, 4), "float32"), EachStep(MaskedDense(1, kernel_initializer="ones"))
    np.testing.assert_array_equal(np.ravel(of(layer(x, mask=np.array([[False, True]])))), [0, 4])
    with pytest.raises(ValueError, match=r"mask of shape \(batch, time\) = \(1, 2\) .*\(1, 3\)"):
        layer(x, mask=np.ones((1, 3), bool))
    with pytest.raises(ValueError, match=r"received shape \(2,\)"):
        layer(x, mask=np.ones(2, bool))


def test_declares_the_dtype_that_it_computes():
    layer = EachStep(keras.layers.Dense(1), dtype="mixed_float16")
    spec = layer.compute_output_spec(keras.KerasTensor((3, 2, 4), "float16"))
    found = layer(np.ones((3, 2, 4), "float32")).dtype
    assert keras.backend.standardize_dtype(found) == spec.dtype == "float16"


@pytest.mark.parametrize("wrapper", [keras.layers.TimeDistributed, EachStep])
@pytest.mark.parametrize("make", [SigmaDelta, LIF, lambda: SRM(return_sequences=False)])
def test_layers_over_time_inside_a_wrapper(wrapper, make):
    x = np.random.default_rng(0).normal(size=(2, 3, 7, 4)).astype("float32")
    layer = wrapper(make())
    expected = of(layer(x)).shape
    assert layer.compute_output_shape(x.shape) == expected
    assert keras.Model(i := keras.Input(x.shape[1:]), layer(i)).output_shape[1:] == expected[1:]


def test_the_shape_of_the_output_without_a_call():
    model = keras.Sequential([SigmaDelta("relu"), keras.layers.Dense(2)])
    assert model.compute_output_shape((2, 5, 3)) == (2, 5, 2)
    shapes = LIF(return_state=True, return_sequences=False).compute_output_shape((2, 5, 3))
    assert shapes == ((2, 3), (2, 3))
    with pytest.raises(ValueError, match=r"mask of shape .*\(2, 5\).* received shape \(2, 4\)"):
        LIF()(np.ones((2, 5, 3), "float32"), mask=np.ones((2, 4), bool))
