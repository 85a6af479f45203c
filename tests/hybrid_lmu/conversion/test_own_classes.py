"""Layers and cells of your own, and subclasses of known ones, are converted too."""

import keras
import numpy as np
import pytest
from keras import layers

from hybrid_lmu import HybridCell, HybridLMU, HybridRNN, SigmaDelta
from hybrid_lmu.conversion import (
    Replacement,
    hybrid_cell,
    hybrid_layer,
    spiking_layer,
    to_hybrid,
    to_spiking,
)

x = np.random.default_rng(0).normal(size=(6, 5)).astype("float32")
sequences = np.random.default_rng(1).normal(size=(6, 8, 3)).astype("float32")


def outputs_of(model, inputs):
    return keras.ops.convert_to_numpy(model(inputs))


class MyDense(layers.Dense):
    pass


class MyLMU(HybridLMU):
    pass


class Negative(layers.Layer):
    def call(self, inputs):
        return -inputs

    def compute_output_shape(self, input_shape):
        return input_shape


class Leaky(layers.Layer):
    """A cell of Keras's protocol: ``h_t = decay * h_{t-1} + kernel x_t``."""

    def __init__(self, units, decay=0.5, **kwargs):
        super().__init__(**kwargs)
        self.units = self.state_size = self.output_size = units
        self.decay = decay

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], self.units), name="kernel")

    def call(self, inputs, states):
        h = self.decay * states[0] + keras.ops.matmul(inputs, self.kernel)
        return h, [h]

    def get_config(self):
        return {**super().get_config(), "units": self.units, "decay": self.decay}


class LeakyAgain(Leaky):
    pass


class MySimpleRNN(layers.SimpleRNN):
    def call(self, sequences, initial_state=None, mask=None, training=False):
        return 2.0 * super().call(sequences, initial_state, mask, training)


@spiking_layer.register(Negative)
def _spiking_negative(layer, build, x):
    return x.new(build.call(build.copy(layer), x))


@hybrid_layer.register(Negative)
def _hybrid_negative(layer, build):
    return None


@hybrid_cell.register(Leaky)
def _hybrid_leaky(cell, build):
    new = HybridCell(
        type(cell).from_config(cell.get_config()), quantizer=build.quantizer("hidden", cell.units)
    )
    return Replacement((new,), lambda new: new.cell.set_weights(cell.get_weights()))


def test_to_spiking_takes_a_registered_layer_and_a_subclass_of_dense():
    parts = [MyDense(16, "relu"), Negative(), MyDense(8, "relu"), layers.Dense(3)]
    model = keras.Sequential([keras.Input((5,)), *parts])
    spiking = to_spiking(model, x, 200, percentile=100, initial_potential="half")
    expected = outputs_of(model, x)
    found = outputs_of(spiking, x)[:, -1] / 200
    np.testing.assert_allclose(found, expected, atol=0.03 * np.ptp(expected))


@pytest.mark.parametrize("cell", [Leaky, LeakyAgain])
def test_to_hybrid_takes_a_registered_cell_and_its_subclass(cell):
    parts = [layers.RNN(cell(4)), Negative(), MyDense(4, "tanh"), layers.Dense(2)]
    model = keras.Sequential([keras.Input((8, 3)), *parts])
    np.testing.assert_allclose(
        outputs_of(to_hybrid(model), sequences), outputs_of(model, sequences), rtol=0, atol=1e-5
    )
    hybrid = to_hybrid(model, resolution=4.0, seed=0)
    rnn, _, _, counts, _ = hybrid.layers[1:]
    assert isinstance(rnn, HybridRNN) and type(rnn.cell.cell) is cell
    assert isinstance(counts, SigmaDelta)
    kernel = keras.ops.convert_to_numpy(rnn.cell.cell.kernel)
    np.testing.assert_array_equal(kernel, keras.ops.convert_to_numpy(parts[0].cell.kernel))


def test_to_hybrid_takes_a_subclass_of_hybrid_lmu():
    lmu = MyLMU(2, 4, 6, layers.SimpleRNNCell(3))
    model = keras.Sequential([keras.Input((8, 3)), lmu, layers.Dense(2)])
    new = to_hybrid(model, resolution=4.0).layers[1]
    assert type(new) is MyLMU and new.cell.memory_quantizer.spiking


def test_a_subclass_whose_call_would_be_lost_is_an_error():
    model = keras.Sequential([keras.Input((8, 3)), MySimpleRNN(3), layers.Dense(2)])
    with pytest.raises(ValueError, match="MySimpleRNN.*`call` of its own; expected"):
        to_hybrid(model, resolution=4.0)
