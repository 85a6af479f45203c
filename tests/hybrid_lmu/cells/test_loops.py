"""Loops with products taken out and gradients of our own: the same as step by step."""

import warnings

import keras
import numpy as np
import pytest
from keras import ops

from hybrid_lmu import HybridCell, HybridLMU, HybridRNN, SigmaDeltaQuantizer

to_numpy = ops.convert_to_numpy
x = np.random.default_rng(0).normal(size=(8, 20, 3)).astype("float32")
target = np.random.default_rng(1).normal(size=(8, 20, 5)).astype("float32")

CELLS = {
    "SimpleRNN": lambda **o: keras.layers.SimpleRNNCell(5, **o),
    "SimpleRNN, relu": lambda **o: keras.layers.SimpleRNNCell(5, activation="relu", **o),
    "SimpleRNN, sigmoid": lambda **o: keras.layers.SimpleRNNCell(5, activation="sigmoid", **o),
    "SimpleRNN, linear": lambda **o: keras.layers.SimpleRNNCell(5, activation=None, **o),
    "SimpleRNN, elu": lambda **o: keras.layers.SimpleRNNCell(5, activation="elu", **o),
    "SimpleRNN, no bias": lambda **o: keras.layers.SimpleRNNCell(5, use_bias=False, **o),
    "GRU": lambda **o: keras.layers.GRUCell(5, bias_initializer="normal", **o),
    "GRU, reset before": lambda **o: keras.layers.GRUCell(5, reset_after=False, **o),
    "GRU, no bias": lambda **o: keras.layers.GRUCell(5, use_bias=False, **o),
    "GRU, gate by gate": lambda **o: keras.layers.GRUCell(5, implementation=1, **o),
    "LSTM": lambda **o: keras.layers.LSTMCell(5, **o),
    "LSTM, no bias": lambda **o: keras.layers.LSTMCell(5, use_bias=False, **o),
}
cells = pytest.mark.parametrize("make", CELLS.values(), ids=CELLS)


class Stepwise(keras.layers.RNN):
    """`keras.layers.RNN`, which knows no more of a cell than its step."""


def trained(layer, weights=None, jit=False):
    """Weights before and after one step of plain gradient descent."""
    model = keras.Sequential([keras.Input(x.shape[1:]), layer])
    if weights is not None:
        model.set_weights(weights)
    before = model.get_weights()
    model.compile(keras.optimizers.SGD(1.0), "mse", jit_compile=jit)
    model.train_on_batch(x, target[:, -1] if len(model.output_shape) == 2 else target)
    return before, model.get_weights()


def check_same_step(fast, slow, jit=False):
    before, fast = trained(fast, jit=jit)
    _, slow = trained(slow, before, jit)
    changed = 0
    for old, a, b in zip(before, fast, slow, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-6)
        changed += not np.array_equal(old, a)
    assert changed >= 2


@cells
@pytest.mark.parametrize("resolution", [None, 4.0])
@pytest.mark.broad(4)
def test_outputs_and_states_are_those_of_the_steps(make, resolution):
    cell = HybridCell(make(), resolution, initial_error="half")
    options = {"return_sequences": True, "return_state": True}
    whole, *states = HybridRNN(cell, **options)(x)
    steps, *states_of_steps = Stepwise(cell, **options)(x)
    np.testing.assert_allclose(to_numpy(whole), to_numpy(steps), atol=1e-5)
    for a, b in zip(states, states_of_steps, strict=True):
        np.testing.assert_allclose(to_numpy(a), to_numpy(b), atol=1e-4)


@cells
@pytest.mark.parametrize("return_sequences", [True, False])
@pytest.mark.parametrize("resolution", [None, 4.0])
@pytest.mark.broad(4)
def test_gradients_are_those_of_the_steps(make, resolution, return_sequences):
    def layer(kind):
        cell = HybridCell(make(), resolution, initial_error="half")
        return kind(cell, return_sequences=return_sequences)

    check_same_step(layer(HybridRNN), layer(Stepwise))


@pytest.mark.parametrize(
    "name, jit",
    [("SimpleRNN", True), ("SimpleRNN", False), ("SimpleRNN, relu", False), ("LSTM", False)],
)
@pytest.mark.broad(1)
def test_a_learned_resolution_has_the_gradient_of_the_steps(name, jit):
    def layer(kind):
        quantizer = SigmaDeltaQuantizer(None, 4.0, initial_error="half", learn_resolution=True)
        return kind(HybridCell(CELLS[name](), quantizer=quantizer), return_sequences=True)

    fast = layer(HybridRNN)
    check_same_step(fast, layer(Stepwise), jit)
    assert np.all(to_numpy(fast.cell.quantizer.log_factor) != 0.0)


def test_a_cell_with_an_activity_regularizer_is_called_and_adds_its_losses():
    for cell in (keras.layers.SimpleRNNCell, keras.layers.LSTMCell):
        layer = HybridRNN(HybridCell(cell(5, activity_regularizer="l2"), 4.0))
        assert not layer.cell.takes_sequences
        if keras.backend.backend() != "jax":  # there, losses of a loop do not leave it, in Keras
            layer(x)
            assert len(layer.losses) >= 20


@pytest.mark.parametrize("jit", [True, False])
def test_initial_states_that_depend_on_weights(jit):
    """The diffusion error gets no gradient, other states do."""
    sequence, context = keras.Input((20, 3)), keras.Input((3,))
    states = [keras.layers.Dense(5)(context), keras.layers.Dense(5, "sigmoid")(context)]
    rnn = HybridRNN(HybridCell(keras.layers.SimpleRNNCell(5), 4.0))
    model = keras.Model([sequence, context], rnn(sequence, initial_state=states))
    model.compile(keras.optimizers.SGD(1.0), "mse", jit_compile=jit)
    before = model.get_weights()
    model.train_on_batch([x, x[:, 0]], target[:, -1])
    moved = {
        weight.path: not np.array_equal(to_numpy(weight), old)
        for weight, old in zip(model.weights, before, strict=True)
    }
    assert sum(moved.values()) == len(before) - 3  # not those of the error, nor the resolution


@pytest.mark.parametrize("rates", [{"dropout": 0.4}, {"recurrent_dropout": 0.4}], ids=str)
@pytest.mark.parametrize("name", ["SimpleRNN", "GRU", "LSTM"])
@pytest.mark.broad(1)
def test_dropout_masks_are_those_of_the_cell(name, rates):
    def layer(kind):
        cell = HybridCell(CELLS[name](seed=3, **rates), 4.0, initial_error="half")
        return kind(cell, return_sequences=True)

    check_same_step(layer(HybridRNN), layer(Stepwise))


@pytest.mark.parametrize("return_sequences", [True, False])
@pytest.mark.parametrize("hidden", ["Dense", "SimpleRNN", "LSTM"])
@pytest.mark.broad(1)
def test_gradients_under_quantized_feedback(hidden, return_sequences):
    """The linear adjoint in parallel is what differentiating the loop gives."""
    hidden_cells = {"Dense": lambda: keras.layers.Dense(5, activation="tanh"), **CELLS}

    def layer(unroll):
        return HybridLMU(
            2, 4, 20.0, hidden_cells[hidden](), memory_resolution=8.0, hidden_resolution=4.0,
            memory_feedback="quantized", use_bias=True, initial_error="half",
            return_sequences=return_sequences, unroll=unroll,
        )  # fmt: skip

    check_same_step(layer(False), layer(True))


def test_last_step_under_quantized_feedback_has_the_distribution_of_all_steps():
    """Means of 40,000 draws, 5 comparisons at 4.9 standard errors: false alarms 5e-6."""
    one = np.repeat(x[:1], 40_000, axis=0)

    def layer(simulation, seed):
        return HybridLMU(
            1, 4, 20.0, keras.layers.Dense(5, activation="tanh"), memory_resolution=8.0,
            hidden_resolution=2.0, memory_feedback="quantized", seed=seed, simulation=simulation,
        )  # fmt: skip

    auto, full = layer("auto", 1), layer("full", 2)
    a = to_numpy(auto(one, training=True)).astype("float64")
    full.build(one.shape)
    full.set_weights(auto.get_weights())
    b = to_numpy(full(one, training=True)).astype("float64")
    assert auto.plan(one.shape).takes_last_steps and not full.plan(one.shape).takes_last_steps
    error = np.sqrt((a.var(0) + b.var(0)) / len(one))
    assert (np.abs(a.mean(0) - b.mean(0)) <= 4.9 * error + 1e-12).all()
    assert (a.std(0) > 0.1).any()


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="XLA's choice of TensorFlow")
@pytest.mark.parametrize(
    "layer, loops",
    [
        (lambda: HybridRNN(HybridCell(keras.layers.LSTMCell(5))), True),
        (lambda: HybridRNN(HybridCell(keras.layers.SimpleRNNCell(5))), False),
        (lambda: HybridLMU(1, 4, 20, keras.layers.SimpleRNNCell(5), memory_to_memory=True), True),
        (lambda: HybridLMU(1, 4, 20, keras.layers.SimpleRNNCell(5), unroll=True), True),
        (lambda: HybridLMU(1, 4, 20, keras.layers.SimpleRNNCell(5)), False),
    ],
)
def test_loops_that_tensorflow_differentiates_are_not_compiled_by_xla(layer, loops):
    model = keras.Sequential([keras.Input((20, 3)), layer()])
    with warnings.catch_warnings(record=True) as caught:
        model.compile("sgd", "mse", jit_compile=True)
    assert model.jit_compile is not loops
    assert any("jit_compile" in str(w.message) for w in caught) is loops
    assert layer().supports_jit is not loops  # known before the model is built
