"""Layers and cells of your own, and subclasses of known ones, are converted too."""

import keras
import numpy as np
import pytest
from keras import layers

from hybrid_lmu import (
    HybridCell,
    HybridLMU,
    HybridRNN,
    Quantizer,
    SigmaDelta,
    SigmaDeltaQuantizer,
    activity_report,
)
from hybrid_lmu.conversion import (
    Replacement,
    hybrid_cell,
    hybrid_layer,
    spiking_layer,
    to_hybrid,
    to_spiking,
)
from hybrid_lmu.quantizers._find import quantizers_of

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


@keras.saving.register_keras_serializable(package="tests")
class Tenths(Quantizer):
    """Rounds to multiples of a number of levels, without a state."""

    stationary = True

    def __init__(self, activation=None, resolution=1.0, *, step=1.0, **kwargs):
        super().__init__(activation, resolution, **kwargs)
        self.step_size = step

    def round(self, levels, state):
        return self.step_size * keras.ops.round(levels / self.step_size), state

    def get_config(self):
        return {**super().get_config(), "step": self.step_size}


def test_to_hybrid_makes_copies_of_a_quantizer_of_your_own(tmp_path):
    lmu = HybridLMU(2, 4, 6, layers.SimpleRNNCell(3), return_sequences=True)
    parts = [lmu, layers.GRU(4), layers.Dense(5, "relu"), layers.Dense(2)]
    model = keras.Sequential([keras.Input((8, 3)), *parts])
    hybrid = to_hybrid(model, sequences, bits=3.0, quantizer=Tenths(step=2.0), seed=0)
    found = list(quantizers_of(hybrid).values())
    assert len(found) == 4 and {type(one) for one in found} == {Tenths}
    report = activity_report(hybrid, sequences)
    assert report.totals["activity_bits"] == pytest.approx(3.0, abs=0.5)
    counts = outputs_of(keras.Model(hybrid.input, hybrid.layers[-2].output), sequences)
    counts = counts * hybrid.layers[-2].quantizer.resolutions()
    np.testing.assert_allclose(counts, 2 * np.round(counts / 2), atol=1e-3)
    hybrid.save(tmp_path / "hybrid.keras")
    loaded = keras.models.load_model(tmp_path / "hybrid.keras")
    np.testing.assert_array_equal(outputs_of(loaded, sequences), outputs_of(hybrid, sequences))


def test_a_network_with_quantizers_of_your_own_keeps_them():
    lmu = HybridLMU(2, 4, 6, layers.SimpleRNNCell(3), memory_quantizer=Tenths(resolution=5.0),
                    hidden_quantizer=Tenths(resolution=6.0, step=3.0))  # fmt: skip
    model = keras.Sequential([keras.Input((8, 3)), lmu, layers.Dense(5, "relu"), layers.Dense(2)])
    hybrid = to_hybrid(model, resolution=4.0, seed=0)
    found = quantizers_of(hybrid).values()
    assert [(type(one), float(one.resolutions().flat[0])) for one in found] == [
        (Tenths, 5.0), (Tenths, 6.0), (SigmaDeltaQuantizer, 4.0)
    ]  # fmt: skip
    np.testing.assert_array_equal(
        outputs_of(hybrid.layers[1], sequences), outputs_of(model.layers[0], sequences)
    )


@pytest.mark.parametrize(
    "quantizer, error, message",
    [
        (Tenths("relu"), ValueError, "`quantizer` must have no activation.*received: 'relu'"),
        (Tenths, TypeError, "`quantizer` must be a `hybrid_lmu.Quantizer`; received: <class"),
    ],
)
def test_a_quantizer_that_cannot_be_copied_is_an_error(quantizer, error, message):
    model = keras.Sequential([keras.Input((8, 3)), layers.GRU(3)])
    with pytest.raises(error, match=message):
        to_hybrid(model, resolution=4.0, quantizer=quantizer)


def test_a_subclass_whose_call_would_be_lost_is_an_error():
    model = keras.Sequential([keras.Input((8, 3)), MySimpleRNN(3), layers.Dense(2)])
    with pytest.raises(ValueError, match="MySimpleRNN.*`call` of its own; expected"):
        to_hybrid(model, resolution=4.0)
