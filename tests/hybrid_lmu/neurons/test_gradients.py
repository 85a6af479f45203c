"""The gradient by a linear recurrence is that of the loop over the cell."""

import keras
import numpy as np
import pytest
from keras import ops

from hybrid_lmu.neurons import IF, LIF, SRM, IFCell
from tests.hybrid_lmu.neurons.neuron_helpers import NEURONS, gradients, normal

neurons = pytest.mark.parametrize("cell, layer, arguments", NEURONS.values(), ids=NEURONS)
X = normal(2, 17, 3) + 0.2
TARGET = normal(2, 17, 3, seed=1)


def starts(cell):
    return [0.1 * normal(2, 3, seed=9 + index) for index in range(len(cell.state_names))]


def score(states):
    return sum(ops.sum(ops.multiply(state, TARGET[:, i])) for i, state in enumerate(states))


def loss_of_loop(cell):
    """The gradient that the backend finds through the steps of the cell."""

    def loss(x, *states):
        total, states = 0.0, list(states)
        for t in range(x.shape[1]):
            s, states = cell(x[:, t], states)
            total = total + ops.sum(ops.multiply(s, TARGET[:, t]))
        return total + score(states)

    return loss


def loss_of_layer(layer):
    def loss(x, *states):
        s, *states = layer(x, initial_state=list(states))
        return ops.sum(ops.multiply(s, TARGET)) + score(states)

    return loss


@neurons
@pytest.mark.parametrize("detach_reset", [True, False])
def test_gradients_to_inputs_and_states_are_those_of_the_cell(cell, layer, arguments, detach_reset):
    arguments = {**arguments, "detach_reset": detach_reset}
    cell = cell(3, **arguments)
    expected = gradients(loss_of_loop(cell), X, *starts(cell))
    found = gradients(loss_of_layer(layer(**arguments, return_state=True)), X, *starts(cell))
    for a, b in zip(found, expected, strict=True):
        assert np.isfinite(a).all() and np.abs(a).max() > 0
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5 * np.abs(b).max())


@neurons
def test_gradients_under_a_mask(cell, layer, arguments):
    mask = np.random.default_rng(2).random((2, 17)) < 0.6
    layer = layer(**arguments)

    def masked(x):
        return ops.sum(ops.multiply(layer(x, mask=ops.convert_to_tensor(mask)), TARGET))

    (found,) = gradients(masked, X)
    assert not found[~mask].any()
    for sample in range(2):
        kept = mask[sample]

        def alone(x, sample=sample, kept=kept):
            return ops.sum(ops.multiply(layer(x), TARGET[sample : sample + 1, kept]))

        (expected,) = gradients(alone, X[sample : sample + 1, kept])
        np.testing.assert_allclose(found[sample, kept], expected[0], rtol=1e-4, atol=1e-6)


@neurons
@pytest.mark.broad(3)
def test_compiled_gradients(cell, layer, arguments):
    loss = loss_of_layer(layer(**arguments, return_state=True, detach_reset=False))
    inputs = (X, *starts(cell(3, **arguments)))
    for a, b in zip(gradients(loss, *inputs), gradients(loss, *inputs, jit=True), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5 * np.abs(b).max())


def test_a_detached_if_has_the_gradient_of_the_sum():
    # dL/dx_t = sum of all later g(u_k - threshold).
    layer = IF()
    (found,) = gradients(lambda x: ops.sum(layer(x)), X)
    u, v = [], np.zeros((2, 3), "float32")
    for t in range(17):
        u.append(v + X[:, t])
        v = u[-1] - (u[-1] >= 1)
    g = 1 / (1 + (np.pi * (np.stack(u, axis=1) - 1)) ** 2)
    np.testing.assert_allclose(found, np.cumsum(g[:, ::-1], axis=1)[:, ::-1], rtol=1e-4)


@pytest.mark.slow
def test_gradients_of_long_sequences_stay_finite():
    x = normal(1, 2000, 4)
    for layer in (LIF(), IF(), SRM(surrogate="arctan")):
        (found,) = gradients(lambda x, layer=layer: ops.mean(layer(x)), x)
        assert np.isfinite(found).all()


@pytest.mark.parametrize(
    "make, jit",
    [
        (lambda: LIF(tau=4.0), True),
        (lambda: SRM(surrogate="arctan"), True),
        (lambda: SRM(surrogate="arctan"), "auto"),
        (lambda: keras.layers.RNN(IFCell(16), return_sequences=True), "auto"),
    ],
)
@pytest.mark.slow
def test_training_lowers_the_loss(make, jit):
    model = keras.Sequential(
        [
            keras.Input((20, 8)),
            keras.layers.Dense(16),
            make(),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(2),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-2), loss, jit_compile=jit)
    labels = np.arange(64) % 2
    x = normal(64, 20, 8) + labels[:, None, None] * np.linspace(-1, 1, 8)
    losses = model.fit(x.astype("float32"), labels, epochs=25, verbose=0).history["loss"]
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("make", [LIF, SRM])
@pytest.mark.broad(1)
def test_training_on_sequences_of_unknown_length(make):
    layers = [keras.layers.Masking(), keras.layers.Dense(3, use_bias=False), make()]
    last = keras.layers.RNN(IFCell(3))
    model = keras.Sequential([keras.Input((None, 3)), *layers, last])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    before = model.get_weights()[0]
    for length in (17, 11, 5):
        model.train_on_batch(X[:, :length], TARGET[:, 0])
    change = model.get_weights()[0] - before
    assert np.isfinite(change).all() and np.abs(change).max() > 0
