"""Surrogate gradients: spikes forward, the stated derivative backward, files."""

import keras
import numpy as np
import pytest
from keras import ops

from hybrid_lmu.neurons import (
    IF,
    ArcTan,
    Boxcar,
    FastSigmoid,
    Sigmoid,
    Surrogate,
    surrogates,
)
from tests.hybrid_lmu.neurons.neuron_helpers import gradients, normal

OF_HEIGHT_1 = [ArcTan(), ArcTan(3.0), Sigmoid(), Sigmoid(1.0), Boxcar(), Boxcar(0.5)]
ALL = [*OF_HEIGHT_1, FastSigmoid(), FastSigmoid(2.0)]
U = np.array([-2.0, -0.5, -0.25, -1e-3, 0.0, 1e-3, 0.25, 0.5, 2.0], "float32")


@pytest.mark.parametrize(
    "surrogate", ALL, ids=lambda s: "-".join(map(str, s.get_config().values())) + type(s).__name__
)
def test_a_spike_is_a_step_with_the_derivative(surrogate):
    spikes = ops.convert_to_numpy(surrogate.spike(U))
    np.testing.assert_array_equal(spikes, U >= 0)
    weights = normal(len(U))
    (found,) = gradients(lambda u: ops.sum(ops.multiply(surrogate.spike(u), weights)), U)
    expected = weights * ops.convert_to_numpy(surrogate.derivative(ops.convert_to_tensor(U)))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(
    "surrogate",
    OF_HEIGHT_1,
    ids=lambda s: "-".join(map(str, s.get_config().values())) + type(s).__name__,
)
def test_the_derivative_is_that_of_a_step_of_height_1(surrogate):
    u = np.linspace(-400, 400, 800_001).astype("float32")
    area = ops.convert_to_numpy(surrogate.derivative(ops.convert_to_tensor(u))).sum() * 1e-3
    assert area == pytest.approx(1.0, abs=3e-3)


def test_formulas():
    np.testing.assert_allclose(ArcTan(2.0).derivative(U), 1 / (1 + (np.pi * U) ** 2), rtol=1e-5)
    y = 1 / (1 + np.exp(-U))
    np.testing.assert_allclose(Sigmoid(1.0).derivative(U), y * (1 - y), rtol=1e-5)
    np.testing.assert_array_equal(
        Boxcar().derivative(ops.convert_to_tensor(U)), [*map(float, [0, 0, 1, 1, 1, 1, 1, 1, 0])]
    )
    np.testing.assert_array_equal(
        Boxcar(0.5).derivative(ops.convert_to_tensor(U)), [*map(float, [0, 0, 0, 2, 2, 2, 2, 0, 0])]
    )


@keras.saving.register_keras_serializable(package="test")
def triangle(u):
    return ops.relu(1.0 - ops.abs(u))


def test_any_function_is_a_surrogate(tmp_path):
    np.testing.assert_allclose(FastSigmoid(2.0).derivative(U), 1 / (1 + 2 * np.abs(U)) ** 2)
    x = normal(4, 6, 3)
    named, by_function = (
        IF(surrogate="fast_sigmoid"),
        IF(surrogate=lambda u: (1 + 25 * ops.abs(u)) ** -2.0),
    )
    each = [gradients(lambda x, f=f: ops.sum(ops.square(f(x))), x)[0] for f in (named, by_function)]
    np.testing.assert_allclose(*each, rtol=1e-5)
    model = keras.Sequential([keras.Input((6, 3)), IF(surrogate=triangle)])
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert loaded.layers[-1].cell.surrogate.function is triangle
    assert abs(each[0]).max() > 0


def test_half_precision_stays():
    u = ops.cast(U, "float16")
    assert keras.backend.standardize_dtype(Sigmoid().spike(u).dtype) == "float16"


def test_get():
    assert isinstance(surrogates.get("arctan"), ArcTan)
    given = Boxcar(0.3)
    assert surrogates.get(given) is given
    restored = surrogates.get(keras.saving.serialize_keras_object(given))
    assert restored.width == 0.3
    for wrong in ("tanh", 3, None, ArcTan):
        with pytest.raises(ValueError, match=r"one of 'arctan', .*, 'fast_sigmoid'; received: "):
            surrogates.get(wrong)


@pytest.mark.parametrize("kind, name", [(ArcTan, "alpha"), (Sigmoid, "alpha"), (Boxcar, "width")])
@pytest.mark.parametrize("wrong", [0, -1.0, float("nan"), float("inf"), "2", True])
def test_bad_arguments(kind, name, wrong):
    with pytest.raises(ValueError, match=f"`{name}` must be a finite number > 0; received: "):
        kind(wrong)


@keras.saving.register_keras_serializable(package="test_neurons")
class Triangle(Surrogate):
    """A surrogate of a user's own."""

    def derivative(self, u):
        return ops.maximum(1.0 - ops.abs(u), 0.0)

    def get_config(self):
        return {}


def test_a_surrogate_of_your_own_is_saved_with_the_model(tmp_path):
    model = keras.Sequential([keras.Input((5, 2)), IF(surrogate=Triangle())])
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    assert type(loaded.layers[0].cell.surrogate) is Triangle
