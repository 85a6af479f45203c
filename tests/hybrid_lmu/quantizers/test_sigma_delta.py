"""The layer around the quantizer: shapes, state, streaming, dtypes, files."""

import keras
import numpy as np
import pytest
from keras import ops

from hybrid_lmu import SigmaDelta

to_numpy = ops.convert_to_numpy
x = np.random.default_rng(0).normal(size=(2, 30, 3)).astype("float32")


def test_any_feature_shape():
    images = np.random.default_rng(0).normal(size=(2, 5, 4, 3, 2)).astype("float32")
    y = to_numpy(SigmaDelta("relu", resolution=2.0, initial_error="zeros")(images))
    flat = SigmaDelta("relu", resolution=2.0, initial_error="zeros")(images.reshape(2, 5, 24))
    np.testing.assert_array_equal(y.reshape(2, 5, 24), to_numpy(flat))


def test_streaming_in_chunks_is_one_long_call():
    whole = to_numpy(SigmaDelta(resolution=2.0, seed=3)(x))
    layer = SigmaDelta(resolution=2.0, seed=3, stateful=True)
    chunks = [to_numpy(layer(part)) for part in (x[:, :1], x[:, 1:17], x[:, 17:])]
    np.testing.assert_array_equal(np.concatenate(chunks, axis=1), whole)


def test_state_in_state_out():
    layer = SigmaDelta(resolution=2.0, return_state=True)
    first, error = layer(x[:, :11])
    second, _ = layer(x[:, 11:], initial_state=error)
    start = to_numpy(first)[:, :1]
    assert start.shape == (2, 1, 3)
    joined = np.concatenate([to_numpy(first), to_numpy(second)], axis=1)
    assert np.abs(np.cumsum(joined - x, axis=1)).max() < 0.5 + 1e-4


def test_no_steps_leave_the_error_alone():
    layer = SigmaDelta(initial_error="half", return_state=True)
    y, error = layer(np.zeros((2, 0, 3), "float32"))
    assert tuple(y.shape) == (2, 0, 3)
    np.testing.assert_array_equal(to_numpy(error), np.full((2, 3), 0.5))


def test_stateful_prediction_carries_the_error_and_reset_draws_anew():
    layer = SigmaDelta(resolution=0.25, initial_error="zeros", stateful=True)
    model = keras.Sequential([keras.Input(batch_shape=(1, 2, 1)), layer])
    one = np.ones((1, 2, 1), "float32")
    counts = [model.predict(one, verbose=0).ravel() * 0.25 for _ in range(3)]
    np.testing.assert_array_equal(np.concatenate(counts), [0, 0, 0, 1, 0, 0])
    layer.reset_state()
    np.testing.assert_array_equal(model.predict(one, verbose=0).ravel(), [0, 0])


def test_stateful_layers_exchange_weights_with_stateless_ones(tmp_path):
    def model(stateful):
        layer = SigmaDelta(resolution=3.0, stateful=stateful)
        return keras.Sequential([keras.Input(batch_shape=(2, 30, 3)), keras.layers.Dense(3), layer])

    trained, streaming = model(False), model(True)
    streaming.set_weights(trained.get_weights())
    trained.save_weights(tmp_path / "w.weights.h5")
    streaming.load_weights(tmp_path / "w.weights.h5")
    for a, b in zip(trained.get_weights(), streaming.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_keeps_the_error_in_float32(policy):
    layer = SigmaDelta("tanh", resolution=4.0, return_state=True, dtype=policy)
    y, error = layer(x)
    assert keras.backend.standardize_dtype(y.dtype) == policy.removeprefix("mixed_")
    assert keras.backend.standardize_dtype(error.dtype) == "float32"
    np.testing.assert_array_equal(np.rint(to_numpy(ops.cast(y, "float32")) * 4) % 1, 0)
    symbolic = layer(keras.Input((30, 3)))
    assert [s.dtype for s in symbolic] == [policy.removeprefix("mixed_"), "float32"]


def test_saved_model_keeps_resolution_and_random_draw(tmp_path):
    model = keras.Sequential([keras.Input((30, 3)), SigmaDelta("relu", resolution=[1.0, 2.0, 3.0])])
    model.layers[0].quantizer.resolution.assign([4.0, 5.0, 6.0])
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(to_numpy(loaded.layers[0].quantizer.resolution), [4, 5, 6])
    np.testing.assert_array_equal(model.predict(x, verbose=0), loaded.predict(x, verbose=0))


def test_state_of_another_batch_size_is_refused_and_not_broadcast():
    layer = SigmaDelta(resolution=2.0, stateful=True)
    layer(x)
    with pytest.raises(ValueError, match=r"batch size of 2; received inputs of shape \(1, 30, 3\)"):
        layer(x[:1])
    with pytest.raises(ValueError, match=r"\[batch, time, features...\], received shape \(2, 30\)"):
        layer(x[..., 0])


def test_initial_error_as_an_array():
    given = SigmaDelta(resolution=2.0, initial_error=np.array([0.0, 0.5, 0.75]))(x)
    listed = SigmaDelta(resolution=2.0, initial_error=[0.0, 0.5, 0.75])(x)
    np.testing.assert_array_equal(to_numpy(given), to_numpy(listed))


def test_non_spiking_layer_returns_a_state_too():
    outputs, error = SigmaDelta("relu", resolution=None, return_state=True)(x)
    np.testing.assert_array_equal(to_numpy(outputs), np.maximum(x, 0))
    assert error.shape == (2, 3) and not to_numpy(error).any()


@pytest.mark.parametrize("saved, loaded", [(None, 2.0), (2.0, None), (2.0, [1.0, 1.0, 1.0])])
def test_weights_move_between_spiking_and_non_spiking(saved, loaded, tmp_path):
    def model(resolution):
        layers = [keras.Input((30, 3)), keras.layers.Dense(3), SigmaDelta(resolution=resolution)]
        return keras.Sequential(layers)

    first, second = model(saved), model(loaded)
    first.save_weights(tmp_path / "w.weights.h5")
    second.load_weights(tmp_path / "w.weights.h5")
    np.testing.assert_array_equal(first.get_weights()[0], second.get_weights()[0])
    if loaded:
        expected = np.broadcast_to(2.0, np.shape(loaded))
        np.testing.assert_array_equal(to_numpy(second.layers[-1].quantizer.resolution), expected)
