"""Neurons whose spikes come back through a kernel."""

import keras
import numpy as np
import pytest
from keras import ops

from hybrid_lmu import HybridRNN, activity_report
from hybrid_lmu.neurons import IFCell, LIFCell, RecurrentSpikingCell, SRMCell
from tests.hybrid_lmu.neurons.neuron_helpers import gradients, normal

x = 2 * normal(3, 9, 4)
NEURONS = {
    "LIF": lambda: LIFCell(4, tau=3.0),
    "IF": lambda: IFCell(4, initial_potential="half"),
    "SRM": lambda: SRMCell(4),
}
each = pytest.mark.parametrize("make", NEURONS.values(), ids=NEURONS)


@each
def test_the_spikes_of_the_step_before_meet_the_kernel(make):
    cell, neuron = RecurrentSpikingCell(make()), make()
    found = ops.convert_to_numpy(HybridRNN(cell, return_sequences=True)(x))
    kernel = ops.convert_to_numpy(cell.recurrent_kernel)
    neuron.build((3, 4))
    spikes, state = np.zeros((3, 4), "float32"), neuron.get_initial_state(3)
    for t in range(9):
        out, state = neuron(x[:, t] + spikes @ kernel, state)
        spikes = ops.convert_to_numpy(out)
        np.testing.assert_array_equal(found[:, t], spikes)
    assert 0 < found.mean() < 1
    plain = keras.layers.RNN(cell, return_sequences=True)(x)
    np.testing.assert_array_equal(ops.convert_to_numpy(plain), found)


@each
def test_trains_is_counted_saved_and_streamed(make, tmp_path):
    rnn = HybridRNN(RecurrentSpikingCell(make()), return_sequences=True, return_state=True)
    a = keras.Input((9, 4))
    spikes, *states = rnn(a)
    model = keras.Model(a, keras.layers.Dense(2)(spikes))
    model.compile("sgd", "mse")
    before = ops.convert_to_numpy(rnn.cell.recurrent_kernel)
    model.fit(x, np.ones((3, 9, 2)), verbose=0)
    assert np.abs(ops.convert_to_numpy(rnn.cell.recurrent_kernel) - before).max() > 0
    rows = {row["kind"]: row for row in activity_report(model, x).products}
    recurrent = rows["recurrent"]
    assert recurrent["effective_macs"] == 0 and recurrent["strict_acs"] > 0
    assert recurrent["dense_macs"] == 9 * 16
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    whole = model.predict(x, verbose=0)
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), whole)
    first, *middle = rnn(x[:, :5])
    rest, *_ = rnn(x[:, 5:], initial_state=middle)
    parts = [ops.convert_to_numpy(one) for one in (first, rest)]
    np.testing.assert_array_equal(np.concatenate(parts, 1), ops.convert_to_numpy(rnn(x)[0]))


def test_gradient_goes_back_through_the_kernel():
    cell = RecurrentSpikingCell(LIFCell(4, surrogate="sigmoid"), recurrent_initializer="ones")
    rnn = keras.layers.RNN(cell)
    rnn(x)
    (found,) = gradients(lambda x: ops.sum(rnn(x)), x[:, :2])
    assert np.abs(found[:, 0] - found[:, 0].mean(axis=1, keepdims=True)).max() > 0
    cell.recurrent_kernel.assign(np.zeros((4, 4)))
    (alone,) = gradients(lambda x: ops.sum(rnn(x)), x[:, :2])
    assert np.abs(found[:, 0] - alone[:, 0]).max() > 1e-3


def test_wrong_neurons():
    for wrong in (keras.layers.LSTMCell(3), LIFCell(None), "lif"):
        with pytest.raises(ValueError, match="`neuron` must be a spiking cell with `units`"):
            RecurrentSpikingCell(wrong)
