"""Layers over time of converted networks: what they compute, also in chunks, and saved."""

import keras
import numpy as np
import pytest

from hybrid_lmu.conversion import (
    Accumulate,
    Delay,
    MaxPoolSums,
    PoissonEncoder,
    RepeatSteps,
    Scale,
)

X = np.random.default_rng(0).normal(size=(2, 6, 4, 4, 3)).astype("float32")


def of(x):
    return keras.ops.convert_to_numpy(x)


def pooled(**options):
    return MaxPoolSums(keras.layers.MaxPooling2D(2), **options)


def test_sums_and_delays():
    np.testing.assert_allclose(of(Accumulate()(X)), np.cumsum(X, axis=1), rtol=0, atol=1e-5)
    late = of(Delay()(X))
    assert (late[:, 0] == 0).all()
    np.testing.assert_array_equal(late[:, 1:], X[:, :-1])
    assert of(RepeatSteps(3)(X[:, 0])).shape == (2, 3, 4, 4, 3)
    np.testing.assert_array_equal(of(RepeatSteps(3)(X[:, 0]))[:, 2], X[:, 0])
    np.testing.assert_array_equal(of(Scale([1.0, 2.0, 0.5])(X)), X * np.float32([1, 2, 0.5]))


def test_the_pool_of_spikes_has_those_of_the_neuron_that_leads():
    spikes = (X > 0.3).astype("float32")
    found = of(pooled()(spikes))
    assert set(np.unique(found)) <= {0.0, 1.0}
    sums = np.cumsum(spikes, axis=1).reshape(2, 6, 2, 2, 2, 2, 3).max(axis=(3, 5))
    np.testing.assert_array_equal(np.cumsum(found, axis=1), sums)


def test_poisson_input_has_the_rate_and_the_sign_of_the_input():
    x = np.array([[0.0, 0.25, -0.5, 2.0, 7.0]], "float32")
    spikes = of(PoissonEncoder(20_000, scale=2.0, seed=3)(x))
    assert set(np.unique(spikes)) <= {-1.0, 0.0, 1.0}
    expected = np.clip(x / 2.0, -1, 1)
    error = np.sqrt(np.abs(expected) * (1 - np.abs(expected)) / 20_000)
    assert (np.abs(spikes.mean(axis=1) - expected) <= 5 * error).all()


@pytest.mark.parametrize("make", [Accumulate, Delay, pooled])
def test_chunks_make_the_whole(make):
    whole = of(make()(X))
    layer = make(stateful=True)
    layer.build(X.shape)
    chunks = [of(layer(X[:, a:b])) for a, b in ((0, 1), (1, 4), (4, 6))]
    np.testing.assert_allclose(np.concatenate(chunks, axis=1), whole, rtol=0, atol=1e-5)
    layer.reset_state()
    np.testing.assert_allclose(of(layer(X[:, :1])), whole[:, :1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("make", [Accumulate, Delay, pooled])
def test_masked_steps_are_left_out(make):
    x, mask = X[:1], np.array([[False, True, True, False, True, False]])
    outputs, state = make(return_state=True)(x, mask=mask)
    expected, expected_state = make(return_state=True)(x[:, mask[0]])
    np.testing.assert_allclose(of(outputs)[:, mask[0]], of(expected), rtol=0, atol=1e-6)
    np.testing.assert_allclose(of(state), of(expected_state), rtol=0, atol=1e-6)
    if make is Accumulate:  # the sum so far
        np.testing.assert_array_equal(of(outputs)[:, 3], of(outputs)[:, 2])
    else:
        assert (of(outputs)[:, ~mask[0]] == 0).all()


def test_saved_and_loaded(tmp_path):
    model = keras.Sequential(
        [
            keras.Input((4, 4, 3)),
            RepeatSteps(5),
            Delay(),
            pooled(),
            Accumulate(),
            Scale([1.0, 2, 3]),
        ]
    )
    assert model.output_shape == (None, 5, 2, 2, 3)
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(of(again(X[:, 0])), of(model(X[:, 0])))


@pytest.mark.parametrize(
    "wrong, message",
    [
        (lambda: RepeatSteps(0), "received: 0"),
        (lambda: PoissonEncoder(5, scale=0), "received: 0"),
        (lambda: Accumulate()(np.ones((2, 3), "float32")), "received shape"),
    ],
)
def test_bad_input(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong()
