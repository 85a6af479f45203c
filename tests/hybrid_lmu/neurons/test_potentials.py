"""Potentials over time as an output of a layer of neurons."""

import keras
import numpy as np
import pytest
from keras import ops

from hybrid_lmu import activity_report
from hybrid_lmu.neurons import IF, LIF
from tests.hybrid_lmu.neurons.neuron_helpers import NEURONS, gradients, normal

x = 2 * normal(3, 9, 4)


@pytest.mark.parametrize("name", NEURONS)
@pytest.mark.broad(3)
def test_potentials_are_those_before_the_reset(name):
    cell, layer, arguments = NEURONS[name]
    spikes, u, *states = layer(**arguments, return_potentials=True, return_state=True)(x)
    plain, *expected = layer(**arguments, return_state=True)(x)
    np.testing.assert_array_equal(spikes, plain)
    for one, other in zip(states, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    step = cell(4, **arguments)
    step.build((3, 4))
    state = step.get_initial_state(3)
    u = ops.convert_to_numpy(u)
    for t in range(9):
        current, (*_, v) = step.filtered(ops.convert_to_tensor(x[:, t]), list(state))
        expected = ops.convert_to_numpy(step.charge(current, v))
        np.testing.assert_allclose(u[:, t], expected, rtol=0, atol=1e-5)
        _, state = step(x[:, t], state)


def test_gradients_reach_the_inputs_through_the_potentials():
    layer = LIF(tau=4.0, reset="subtract", return_potentials=True)
    (found,) = gradients(lambda x: ops.sum(layer(x)[1][:, -1]), x)
    expected = 0.25 * 0.75 ** np.arange(9)[::-1]  # the reset is left out of the gradient
    np.testing.assert_allclose(found, np.broadcast_to(expected[None, :, None], x.shape), rtol=1e-5)


def test_as_an_output_of_a_model_with_masks(tmp_path):
    a = keras.Input((9, 4))
    spikes, u = IF(return_sequences=False, return_potentials=True)(keras.layers.Masking()(a))
    assert spikes.shape == (None, 4) and u.shape == (None, 9, 4)
    model = keras.Model(a, [spikes, u])
    padded = x.copy()
    padded[:, 5:] = 0.0
    found = model.predict(padded, verbose=0)
    assert (found[1][:, 5:] == 0).all() and (found[1][:, :5] != 0).any()
    shorter = keras.ops.convert_to_numpy(IF(return_potentials=True)(x[:, :5])[1])
    np.testing.assert_allclose(found[1][:, :5], shorter, rtol=0, atol=1e-6)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(loaded.predict(padded, verbose=0)[1], found[1])
    rows = activity_report(keras.Model(a, IF(return_potentials=True)(a)), x).activities
    assert len(rows) == 1 and rows[0]["neurons"] == 4
