"""Trained time constants and thresholds: the same neuron, with gradients and files."""

import keras
import numpy as np
import pytest
from keras import ops

from hybrid_lmu import HybridRNN
from hybrid_lmu.neurons import IF, LIF, IFCell, LIFCell
from tests.hybrid_lmu.neurons.neuron_helpers import gradients, normal

to_numpy = ops.convert_to_numpy
x = 2 * normal(3, 9, 4)
LAYERS = {
    "IF": (IF, IFCell, {"threshold": [0.5, 1.0, 1.5, 2.0], "initial_potential": "half"}, {}),
    "LIF": (LIF, LIFCell, {"tau": 3.0, "threshold": 0.8}, {"learn_tau": True}),
    "LIF, subtract": (
        LIF,
        LIFCell,
        {"tau": 3.0, "reset": "subtract", "reset_potential": -0.5, "detach_reset": False},
        {"learn_tau": True},
    ),
}
each = pytest.mark.parametrize("name", LAYERS)


@each
def test_before_training_it_is_the_same_neuron(name):
    layer, cell, options, learned = LAYERS[name]
    plain = layer(**options, return_potentials=True)
    trained = layer(**options, **learned, learn_threshold=True, return_potentials=True)
    for one, other in zip(plain(x), trained(x), strict=True):
        np.testing.assert_allclose(*map(to_numpy, (one, other)), rtol=0, atol=1e-5)
    assert len(trained.trainable_weights) == 1 + len(learned) and not plain.weights
    found = [gradients(lambda x, f=f: ops.sum(ops.square(f(x)[1])), x)[0] for f in (plain, trained)]
    np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-4)
    mask = np.arange(9) < [[9], [5], [0]]
    for one, other in zip(plain(x, mask=mask), trained(x, mask=mask), strict=True):
        np.testing.assert_allclose(*map(to_numpy, (one, other)), rtol=0, atol=1e-5)


@each
def test_the_constants_are_trained_and_saved(name, tmp_path):
    layer, cell, options, learned = LAYERS[name]
    neurons = layer(**options, **learned, learn_threshold=True)
    rnn = HybridRNN(cell(4, **options, **learned, learn_threshold=True), return_sequences=True)
    found = []
    for one in (neurons, rnn):
        model = keras.Sequential([keras.Input((9, 4)), one, keras.layers.GlobalAveragePooling1D()])
        model.compile(keras.optimizers.SGD(0.5), "mse")
        model.fit(x, np.full((3, 4), 0.9), verbose=0)
        found.append([ops.convert_to_numpy(w) for w in one.trainable_weights])
        model.save(tmp_path / "m.keras")
        loaded = keras.saving.load_model(tmp_path / "m.keras")
        expected = model.predict(x, verbose=0)
        np.testing.assert_array_equal(loaded.predict(x, verbose=0), expected)
    for one, other in zip(*found, strict=True):  # the step and the sequence have one gradient
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    assert np.abs(neurons.cell.present_threshold - neurons.cell.threshold).max() > 1e-4
    assert (neurons.cell.present_threshold < neurons.cell.threshold + 0.2).all()
    if learned:
        assert neurons.cell.present_tau != pytest.approx(3.0, abs=1e-5)


def test_gradient_of_the_time_constant():
    """The last potential of neurons that do not fire is a polynomial in 1 / tau."""
    layer = LIF(tau=4.0, threshold=99.0, learn_tau=True, return_potentials=True)
    layer(x)
    constant = np.ones((1, 5, 1), "float32")
    u = lambda w: 1 - (1 - 1 / (1 + np.exp(-w))) ** 5  # noqa: E731
    w = -np.log(3.0)
    expected = (u(w + 1e-4) - u(w - 1e-4)) / 2e-4
    assert float(layer(constant)[1][0, -1, 0]) == pytest.approx(u(w), rel=1e-5)
    a = keras.Input((5, 1))
    model = keras.Model(a, layer(a)[1][:, -1])
    model.compile(keras.optimizers.SGD(1.0), lambda y, p: ops.mean(p))
    model.fit(constant, np.zeros((1, 1)), verbose=0)
    moved = w - float(ops.convert_to_numpy(layer.cell.rate_logit))
    assert moved == pytest.approx(expected, rel=1e-3)


def test_wrong_arguments():
    with pytest.raises(ValueError, match="`tau` must be > 1 to be trained"):
        LIF(tau=1.0, learn_tau=True)
    with pytest.raises(ValueError, match="`learn_threshold`"):
        IF(learn_threshold="yes")
