"""With resolutions None and equal weights, HybridLMU is keras_lmu.LMU, for all options of both."""

import itertools

import keras
import numpy as np
import pytest

from hybrid_lmu import HybridLMU, LegendreMemory
from hybrid_lmu.memory import legendre

if keras.backend.backend() != "tensorflow":
    pytest.skip("keras-lmu runs on TensorFlow only", allow_module_level=True)
keras_lmu = pytest.importorskip("keras_lmu", reason="keras-lmu is not installed")

x = np.random.default_rng(0).normal(size=(3, 40, 2)).astype("float32")
HIDDEN = {
    "SimpleRNN": lambda: keras.layers.SimpleRNNCell(5),
    "LSTM": lambda: keras.layers.LSTMCell(5),
    "Dense": lambda: keras.layers.Dense(5, activation="tanh"),
    "None": lambda: None,
}


def copy_weights(theirs, ours):
    """Copy the weights of a keras_lmu.LMU, whose own cell may sit inside a feed-forward layer."""
    inner = theirs.layer.cell if isinstance(theirs.layer, keras.layers.RNN) else theirs.layer
    cell = ours.cell
    for name in ("kernel", "recurrent_kernel", "bias"):
        if getattr(inner, name, None) is not None:
            getattr(cell, name).assign(getattr(inner, name))
    if cell.hidden_cell is not None:
        cell.hidden_cell.set_weights(inner.hidden_cell.get_weights())
    if cell.memory.theta_inv is not None:
        inner.theta_inv.assign(1 / 26.0)  # as if it had been trained
        cell.memory.theta_inv.assign(1 / 26.0)


def check(hidden, **options):
    theirs = keras_lmu.LMU(3, 4, 30.0, HIDDEN[hidden](), **options)
    ours = HybridLMU(3, 4, 30.0, HIDDEN[hidden](), **options)
    theirs(x), ours(x)
    copy_weights(theirs, ours)
    expected, received = np.asarray(theirs(x)), np.asarray(ours(x))
    assert expected.shape == received.shape
    count = lambda layer: sum(w.shape.num_elements() for w in layer.trainable_weights)  # noqa: E731
    assert count(theirs) == count(ours)
    np.testing.assert_allclose(received, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.parametrize(
    "discretizer, trainable_theta", [("zoh", False), ("zoh", True), ("euler", True)]
)
@pytest.mark.broad(1)
def test_connections(hidden, discretizer, trainable_theta):
    every = list(itertools.product((False, True), repeat=3))
    for h2m, m2m, i2h in every[:: 7 if trainable_theta else 1]:  # else none and all of them
        if hidden == "None" and (h2m or i2h):
            continue  # keras_lmu.LMU takes neither
        check(
            hidden,
            hidden_to_memory=h2m,
            memory_to_memory=m2m,
            input_to_hidden=i2h,
            use_bias=m2m,
            discretizer=discretizer,
            trainable_theta=trainable_theta,
            return_sequences=m2m,
        )


def test_positional_arguments_are_the_same():
    arguments = (False, True, True, True, "euler", "he_normal", "orthogonal", None, None, True)
    theirs = keras_lmu.LMU(3, 4, 30.0, HIDDEN["LSTM"](), *arguments, "zeros", None, 0.1, 0.2, True)
    ours = HybridLMU(3, 4, 30.0, HIDDEN["LSTM"](), *arguments, "zeros", None, 0.1, 0.2, True)
    theirs(x), ours(x)
    copy_weights(theirs, ours)
    np.testing.assert_allclose(np.asarray(ours(x)), np.asarray(theirs(x)), rtol=0, atol=1e-5)


def test_where_the_two_differ_at_high_order_keras_lmu_is_off():
    order, steps = 256, 784
    u = np.random.default_rng(0).uniform(size=(2, steps, 1)).astype("float32")
    a, b = legendre.discretize(order, steps, "zoh")
    exact = np.zeros((2, order))
    for t in range(steps):
        exact = exact @ a.T + u[:, t] * b.reshape(1, -1)
    theirs = keras_lmu.LMUFeedforward(1, order, steps, None, kernel_initializer=None)
    ours, theirs = (np.asarray(layer(u)) for layer in (LegendreMemory(order, steps), theirs))
    error, their_error, difference = (
        np.abs(p - q).max() / np.abs(exact).max()
        for p, q in ((ours, exact), (theirs, exact), (ours, theirs))
    )
    print(f"relative to float64: LegendreMemory {error:.1e}, keras-lmu {their_error:.1e}")
    assert error < 1e-6 and difference < their_error + 1e-6
