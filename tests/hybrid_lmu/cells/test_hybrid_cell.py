"""HybridCell: every Keras cell, and a user's own, with quantized activity in the recurrence."""

import keras
import numpy as np
import pytest
from keras import ops

from hybrid_lmu import HybridCell, HybridRNN

to_numpy = ops.convert_to_numpy
x = np.random.default_rng(0).normal(size=(4, 15, 3)).astype("float32")
CELLS = {
    "SimpleRNN": lambda: keras.layers.SimpleRNNCell(6),
    "GRU": lambda: keras.layers.GRUCell(6),
    "GRU v1": lambda: keras.layers.GRUCell(6, reset_after=False),
    "LSTM": lambda: keras.layers.LSTMCell(6),
}
cells = pytest.mark.parametrize("make", CELLS.values(), ids=CELLS)


@keras.saving.register_keras_serializable(package="test")
class LeakyCell(keras.layers.Layer):
    """A user's own cell: the output is its second state."""

    units = 6
    state_size = [3, 6]
    output_size = 6

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], 6), name="kernel")

    def call(self, inputs, states):
        h = 0.9 * states[1] + ops.tanh(ops.matmul(inputs + states[0], self.kernel))
        return h, [inputs, h]


def counts_are_integers(y, resolution):
    np.testing.assert_allclose(y * resolution, np.rint(y * resolution), atol=1e-4)


@cells
def test_non_spiking_is_the_wrapped_cell(make):
    cell = make()
    plain = keras.layers.RNN(cell, return_sequences=True)(x)
    wrapped = keras.layers.RNN(HybridCell(cell, resolution=None), return_sequences=True)(x)
    np.testing.assert_array_equal(to_numpy(plain), to_numpy(wrapped))
    fine = keras.layers.RNN(HybridCell(cell, resolution=2.0**20), return_sequences=True)(x)
    np.testing.assert_allclose(to_numpy(fine), to_numpy(plain), atol=2e-5)


@cells
def test_equations_of_one_step_at_a_time(make):
    """The cell steps on its own quantized output, the error is kept, and other states stay real."""
    cell, w = make(), 3.0
    outputs, *states = keras.layers.RNN(
        HybridCell(cell, w, initial_error="half"), return_sequences=True, return_state=True
    )(x)
    inner = [np.zeros((4, 6), "float32") for _ in states[:-1]]
    v = np.full((4, 6), 0.5)
    for t in range(x.shape[1]):
        h, inner = cell(ops.convert_to_tensor(x[:, t]), [ops.convert_to_tensor(s) for s in inner])
        inner = [inner] if not isinstance(inner, (list, tuple)) else list(inner)
        v = v + w * to_numpy(h)
        n = np.floor(v)
        v = v - n
        inner[0] = (n / w).astype("float32")
        np.testing.assert_allclose(to_numpy(outputs)[:, t], n / w, atol=1e-6)
    np.testing.assert_allclose(to_numpy(states[-1]), v, atol=1e-5)
    for state, expected in zip(states[:-1], inner, strict=True):
        np.testing.assert_allclose(to_numpy(state), to_numpy(expected), atol=1e-5)


def test_users_own_cell_whose_output_is_another_state():
    outputs, first, second, error = keras.layers.RNN(
        HybridCell(LeakyCell(), resolution=2.0), return_sequences=True, return_state=True
    )(x)
    counts_are_integers(to_numpy(outputs), 2.0)
    np.testing.assert_array_equal(to_numpy(second), to_numpy(outputs)[:, -1])
    np.testing.assert_array_equal(to_numpy(first), x[:, -1])
    assert to_numpy(error).min() >= 0 and to_numpy(error).max() < 1


def test_cell_that_returns_a_copy_of_its_state_needs_output_state():
    class CopyCell(LeakyCell):
        def call(self, inputs, states):
            h, states = super().call(inputs, states)
            return 1.0 * h, states

    with pytest.raises(ValueError, match="Expected `output_state`"):
        keras.layers.RNN(HybridCell(CopyCell(), 2.0))(x)
    rnn = keras.layers.RNN(HybridCell(CopyCell(), 2.0, output_state=1), return_state=True)
    y, _, second, _ = rnn(x)
    np.testing.assert_array_equal(to_numpy(y), to_numpy(second))
    rnn = keras.layers.RNN(HybridCell(CopyCell(), 2.0, output_state=-1), return_state=True)
    y, _, second, _ = rnn(x)
    counts_are_integers(to_numpy(y), 2.0)
    assert np.abs(to_numpy(second) * 2 % 1).max() > 0.01


@pytest.mark.parametrize(
    "make, jit", [(CELLS["SimpleRNN"], False), *((make, True) for make in CELLS.values())]
)
@pytest.mark.broad(1)
def test_trains_with_dropout(make, jit):
    if jit and keras.backend.backend() == "torch":
        pytest.skip("Keras has no jit on PyTorch.")
    cell = make()
    cell.dropout = cell.recurrent_dropout = 0.2
    model = keras.Sequential(
        [keras.Input((15, 3)), keras.layers.RNN(HybridCell(cell, 4.0)), keras.layers.Dense(1)]
    )
    model.compile(keras.optimizers.Adam(0.02), "mse", jit_compile=jit)
    target = x[:, -3:, 0].sum(axis=1, keepdims=True)
    losses = model.fit(x, target, epochs=20, verbose=0).history["loss"]
    assert losses[-1] < 0.8 * losses[0]


@cells
@pytest.mark.broad(2)
def test_file_round_trip(make, tmp_path):
    rnn = keras.layers.RNN(
        HybridCell(make(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), return_sequences=True
    )
    model = keras.Sequential([keras.Input((None, 3)), keras.layers.Bidirectional(rnn)])
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(model.predict(x, verbose=0), loaded.predict(x, verbose=0))


def test_stack_and_mask():
    stack = keras.layers.StackedRNNCells([HybridCell(make(), 2.0) for make in CELLS.values()])
    mask = np.arange(15)[None] < np.array([[4], [15], [9], [15]])
    y = keras.layers.RNN(stack, return_sequences=True)(x, mask=ops.convert_to_tensor(mask))
    counts_are_integers(to_numpy(y), 2.0)
    np.testing.assert_array_equal(to_numpy(y)[0, 4:], np.repeat(to_numpy(y)[0, 3:4], 11, axis=0))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy):
    keras.config.set_dtype_policy(policy)
    outputs, *states = keras.layers.RNN(
        HybridCell(keras.layers.LSTMCell(6), 4.0), return_sequences=True, return_state=True
    )(x)
    counts_are_integers(to_numpy(ops.cast(outputs, "float32")), 4.0)
    assert keras.backend.standardize_dtype(outputs.dtype) == policy.removeprefix("mixed_")


def test_feed_forward_layer_as_a_cell():
    dense = keras.layers.Dense(6, activation="relu")
    rnn = keras.layers.RNN(HybridCell(dense, None), return_sequences=True)
    np.testing.assert_allclose(to_numpy(rnn(x)), to_numpy(dense(x)), atol=1e-6)


def test_bad_cells():
    with pytest.raises(ValueError, match="`cell` must be a Keras cell or layer; received: 'lstm'"):
        HybridCell("lstm")
    with pytest.raises(ValueError, match="makes .batch, units.*received .repeat_v"):
        HybridRNN(HybridCell(keras.layers.RepeatVector(2)))(x)


@pytest.mark.parametrize("layer", [keras.layers.RNN, HybridRNN])
@pytest.mark.broad(1)
def test_dropout_with_an_initial_state_and_in_stateful_layers(layer):
    for stateful in (False, True):
        cell = keras.layers.GRUCell(6, dropout=0.5, recurrent_dropout=0.5)
        rnn = layer(HybridCell(cell, None), stateful=stateful)
        zeros = [np.zeros((4, 6), "float32")]
        results = {to_numpy(rnn(x, initial_state=zeros, training=True)).tobytes() for _ in range(4)}
        assert len(results) == 4
        calm = to_numpy(rnn(x, initial_state=zeros))
        np.testing.assert_array_equal(calm, to_numpy(rnn(x, initial_state=zeros)))


def test_hybrid_rnn_keeps_states_exact_and_starts_anew(tmp_path):
    keras.config.set_dtype_policy("mixed_float16")
    make = lambda **kwargs: HybridRNN(  # noqa: E731
        HybridCell(keras.layers.GRUCell(6, seed=1), 3.0, seed=2), return_sequences=True, **kwargs
    )
    one_call, streaming = make(), make(stateful=True)
    whole = to_numpy(one_call(x))
    streaming.build((4, None, 3))
    streaming.set_weights(one_call.get_weights())
    parts = [to_numpy(streaming(x[:, t : t + 1])) for t in range(15)]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)
    assert {keras.backend.standardize_dtype(s.dtype) for s in streaming.states} == {"float32"}
    streaming.reset_state()
    np.testing.assert_array_equal(to_numpy(streaming(x[:, :1])), whole[:, :1])
    model = keras.Sequential([keras.Input((15, 3)), make()])
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(model.predict(x, verbose=0), loaded.predict(x, verbose=0))


def test_bad_states():
    with pytest.raises(ValueError, match="`output_state` must be .*; received: 5"):
        HybridCell(keras.layers.GRUCell(2), output_state=5)
