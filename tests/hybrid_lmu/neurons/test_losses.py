"""Losses of spiking outputs: the equations, training, files and wrong shapes."""

import keras
import numpy as np
import pytest
from keras import ops

from hybrid_lmu.neurons import (
    LIF,
    CountCrossentropy,
    CountMeanSquaredError,
    RateCrossentropy,
    count_accuracy,
)

rng = np.random.default_rng(0)
spikes = (rng.uniform(size=(6, 9, 4)) < 0.4).astype("float32")
labels = rng.integers(0, 4, 6)
LOSSES = [RateCrossentropy(), CountCrossentropy(), CountMeanSquaredError(0.8, 0.2)]


def softmax(z):
    return np.exp(z) / np.exp(z).sum(-1, keepdims=True)


@pytest.mark.parametrize("y", [labels, labels[:, None], labels.astype("float32")])
def test_equations(y):
    own = np.arange(6)
    rate = -np.log(softmax(spikes)[own, :, labels]).mean(axis=1)
    count = -np.log(softmax(spikes.sum(axis=1))[own, labels])
    wanted = np.where(np.eye(4)[labels] > 0, 0.8 * 9, 0.2 * 9)
    squares = ((spikes.sum(axis=1) - wanted) ** 2).mean(axis=1) / 9
    for loss, expected in zip(LOSSES, (rate, count, squares), strict=True):
        found = float(loss(y, spikes))
        assert found == pytest.approx(float(expected.mean()), rel=1e-5)
        each = ops.convert_to_numpy(loss.call(y, spikes))
        np.testing.assert_allclose(each, expected, rtol=1e-5)
    right = spikes.sum(axis=1).argmax(axis=-1) == labels
    np.testing.assert_array_equal(ops.convert_to_numpy(count_accuracy(y, spikes)), right)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_a_network_of_neurons_learns_with_it(loss, tmp_path):
    keras.utils.set_random_seed(0)
    y = rng.integers(0, 2, 64)
    x = np.repeat(rng.normal(size=(64, 1, 3)) + 2 * y[:, None, None], 8, axis=1).astype("float32")
    model = keras.Sequential(
        [keras.Input((8, 3)), keras.layers.Dense(8), LIF(), keras.layers.Dense(2), LIF()]
    )
    model.compile(keras.optimizers.Adam(0.02), loss, metrics=[count_accuracy])
    history = model.fit(x, y, epochs=15, batch_size=16, verbose=0).history
    assert history["loss"][-1] < 0.8 * history["loss"][0]
    assert history["count_accuracy"][-1] > 0.75
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    expected = model.evaluate(x, y, verbose=0)
    np.testing.assert_allclose(loaded.evaluate(x, y, verbose=0), expected, rtol=1e-5)


def test_other_shapes_and_rates_are_errors():
    for loss in (*LOSSES, count_accuracy):
        with pytest.raises(ValueError, match=r"return_sequences=True.*\(6,\) and \(6, 4\)"):
            loss(labels, spikes[:, 0])
        with pytest.raises(ValueError, match=r"received shapes \(6, 4\) and"):
            loss(np.eye(4)[labels], spikes)
    with pytest.raises(ValueError, match="`correct_rate`"):
        CountMeanSquaredError(1.5)
    with pytest.raises(ValueError, match="`incorrect_rate`"):
        CountMeanSquaredError(0.5, -0.1)
