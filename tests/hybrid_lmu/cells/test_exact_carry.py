"""HybridCell with an exact carry: a GRU whose weights get counts and whose state stays exact."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from hybrid_lmu import HybridCell, HybridRNN, RoundingQuantizer, activity_report

to_numpy = ops.convert_to_numpy
x = np.random.default_rng(0).normal(size=(4, 15, 3)).astype("float32")
CELLS = {
    "reset after": lambda: keras.layers.GRUCell(6, bias_initializer="normal"),
    "reset before": lambda: keras.layers.GRUCell(6, reset_after=False, bias_initializer="normal"),
    "no bias": lambda: keras.layers.GRUCell(6, use_bias=False),
}
cells = pytest.mark.parametrize("make", CELLS.values(), ids=CELLS)
rnns = pytest.mark.parametrize("layer", [keras.layers.RNN, HybridRNN])


def hybrid(cell, resolution, **options):
    return HybridCell(cell, resolution, initial_error="half", carry="exact", **options)


@cells
@rnns
@pytest.mark.broad(3)
def test_without_rounding_it_is_the_gru(make, layer):
    cell = make()
    expected = to_numpy(keras.layers.RNN(cell, return_sequences=True)(x))
    for resolution, atol in ((None, 1e-6), (2.0**20, 2e-5)):
        found = layer(hybrid(cell, resolution), return_sequences=True)(x)
        np.testing.assert_allclose(to_numpy(found), expected, rtol=0, atol=atol)


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


@rnns
@pytest.mark.parametrize("reset_after", [True, False])
def test_the_weights_get_counts_and_the_carry_is_exact(layer, reset_after):
    """``z, r = s(.. y), g = tanh(.. r y), h = z h + (1 - z) g, y = Q(h)``, one step at a time."""
    cell = keras.layers.GRUCell(6, reset_after=reset_after, bias_initializer="normal")
    w, v = 3.0, np.full((4, 6), 0.5)
    outputs, *states = layer(hybrid(cell, w), return_sequences=True, return_state=True)(x)
    kernel, recurrent, bias = (to_numpy(weight).astype("float64") for weight in cell.weights)
    bias = bias if reset_after else np.stack([bias, np.zeros_like(bias)])
    y = h = np.zeros((4, 6))
    for t in range(x.shape[1]):
        az, ar, ag = np.split(x[:, t] @ kernel + bias[0], 3, axis=-1)
        uz, ur, ug = np.split(y @ recurrent + bias[1], 3, axis=-1)
        z, r = sigmoid(az + uz), sigmoid(ar + ur)
        inner = r * ug if reset_after else (r * y) @ recurrent[:, 12:]
        h = z * h + (1 - z) * np.tanh(ag + inner)
        v = v + w * h
        n = np.floor(v)
        v, y = v - n, n / w
        np.testing.assert_allclose(to_numpy(outputs)[:, t], y, atol=1e-6)
    for state, expected in zip(states, (y, h, v), strict=True):
        np.testing.assert_allclose(to_numpy(state), expected, atol=1e-5)


@settings(max_examples=10, deadline=None)
@given(w=st.floats(0.5, 50.0), gate=st.floats(-6.0, 6.0), seed=st.integers(0, 99))
@pytest.mark.slow
def test_errors_of_rounding_do_not_add_up(w, gate, seed):
    """Without recurrent weights the sum of the outputs stays within half a count of the GRU's."""
    cell = keras.layers.GRUCell(6, recurrent_initializer="zeros", seed=seed)
    cell.build((None, 3))
    cell.bias.assign(np.concatenate([np.full((2, 6), gate / 2), np.zeros((2, 12))], axis=1))
    plain = to_numpy(keras.layers.RNN(cell, return_sequences=True)(x))
    found = to_numpy(HybridRNN(hybrid(cell, w), return_sequences=True)(x))
    assert np.abs(np.cumsum(found - plain, axis=1)).max() <= 0.501 / w


@rnns
def test_masked_steps_keep_all_states(layer):
    rnn = layer(hybrid(CELLS["reset after"](), 3.0), return_sequences=True, return_state=True)
    whole = [to_numpy(one) for one in rnn(x)]
    lengths = np.array([4, 15, 9, 1])
    mask = np.arange(15)[None] < lengths[:, None]
    y, *states = (to_numpy(one) for one in rnn(x, mask=ops.convert_to_tensor(mask)))
    short = [to_numpy(one) for one in rnn(x[:1, :4])]
    np.testing.assert_allclose(y[1], whole[0][1], atol=1e-6)
    np.testing.assert_allclose(y[0, 4:], np.repeat(short[0][:, -1], 11, axis=0), atol=1e-6)
    for state, expected in zip(states, short[1:], strict=True):
        np.testing.assert_allclose(state[0], expected[0], atol=1e-5)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_streams_in_parts_saves_and_loads(policy, tmp_path):
    keras.config.set_dtype_policy(policy)
    make = lambda **o: HybridRNN(hybrid(CELLS["reset after"](), 3.0), return_sequences=True, **o)  # noqa: E731
    one_call, streaming = make(), make(stateful=True)
    whole = to_numpy(ops.cast(one_call(x), "float32"))
    streaming.build((4, None, 3))
    streaming.set_weights(one_call.get_weights())
    parts = [to_numpy(ops.cast(streaming(x[:, a:b]), "float32")) for a, b in ((0, 1), (1, 15))]
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)
    model = keras.Sequential([keras.Input((15, 3)), one_call])
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert loaded.layers[0].cell.carry == "exact"
    np.testing.assert_array_equal(model.predict(x, verbose=0), loaded.predict(x, verbose=0))


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.broad(1)
def test_a_stateful_model_predicts_and_trains(policy):
    """Each state is a variable of its own: JAX gives their buffers away, PyTorch writes to them."""
    keras.config.set_dtype_policy(policy)
    rnn = HybridRNN(hybrid(CELLS["reset after"](), 3.0), stateful=True)
    model = keras.Sequential([keras.Input(batch_shape=(4, 15, 3)), rnn, keras.layers.Dense(1)])
    model.compile("adam", "mse")
    first = model.predict(x, verbose=0)
    assert not np.array_equal(first, model.predict(x, verbose=0))
    rnn.reset_state()
    np.testing.assert_array_equal(model.predict(x, verbose=0), first)
    history = model.fit(x, x[:, 0, :1], epochs=2, batch_size=4, shuffle=False, verbose=0).history
    assert np.all(np.isfinite(history["loss"]))
    y, h, _ = (to_numpy(state) for state in rnn.states)
    assert not np.array_equal(y, h)


@pytest.mark.parametrize(
    "layer, jit", [(HybridRNN, False), (HybridRNN, True), (keras.layers.RNN, True)]
)
@pytest.mark.broad(1)
def test_trains_with_dropout(layer, jit):
    if jit and keras.backend.backend() == "torch":
        pytest.skip("Keras has no jit on PyTorch.")
    cell = keras.layers.GRUCell(6, dropout=0.2, seed=1)
    model = keras.Sequential(
        [keras.Input((15, 3)), layer(hybrid(cell, 4.0)), keras.layers.Dense(1)]
    )
    model.compile(keras.optimizers.Adam(0.02), "mse", jit_compile=jit)
    target = x[:, -3:, 0].sum(axis=1, keepdims=True)
    losses = model.fit(x, target, epochs=20, verbose=0).history["loss"]
    assert losses[-1] < 0.8 * losses[0]


def test_its_products_are_counted_as_those_of_a_quantized_carry():
    found = []
    for carry in ("exact", "quantized"):
        cell = HybridCell(CELLS["reset after"](), 4.0, seed=0, carry=carry)
        model = keras.Sequential([keras.Input((15, 3)), HybridRNN(cell), keras.layers.Dense(2)])
        report = activity_report(model, x)
        keys = ("kind", "outputs", "dense_macs", "input_resolution")
        found.append([[row[key] for key in keys] for row in report.products])
        recurrent = next(row for row in report.products if row["kind"] == "recurrent")
        assert recurrent["effective_macs"] == 0 < recurrent["effective_acs"]
        assert report.totals["activity_bits"] > 1
    assert found[0] == found[1]


def test_other_quantizers_have_it_too():
    cell = CELLS["reset after"]()
    quantizer = RoundingQuantizer(resolution=3.0)
    y, fed_back, carried, _ = HybridRNN(
        HybridCell(cell, quantizer=quantizer, carry="exact"), return_state=True
    )(x)
    np.testing.assert_array_equal(to_numpy(y), to_numpy(fed_back))
    counts = 3.0 * to_numpy(y)
    np.testing.assert_allclose(counts, np.rint(counts), atol=1e-5)
    np.testing.assert_allclose(to_numpy(carried), to_numpy(y), atol=0.5 / 3.0 + 1e-5)


@pytest.mark.parametrize(
    "cell, options, message",
    [
        (keras.layers.LSTMCell, {}, r"GRUCell.*; received: 'lstm_cell.*' of class LSTMCell\. A Si"),
        (lambda n: keras.layers.GRUCell(n, recurrent_dropout=0.1), {}, "without recurrent dropout"),
        (keras.layers.GRUCell, {"output_state": 0}, "expected `output_state=None`, received: 0"),
        (keras.layers.GRUCell, {"carry": "real"}, "must be one of 'quantized', 'exact'; rec.*real"),
    ],
)
def test_what_cannot_carry_exactly_is_an_error(cell, options, message):
    with pytest.raises(ValueError, match=message):
        HybridCell(cell(4), **{"carry": "exact", **options})


def test_another_number_of_states_is_an_error_where_the_layer_is_called():
    layer = HybridRNN(hybrid(CELLS["reset after"](), 3.0))
    message = r"expects an `initial_state` of 3 tensors \(\[batch, 6\], .*\); received 2"
    with pytest.raises(ValueError, match=message):
        layer(keras.Input((15, 3)), initial_state=[keras.Input((6,)), keras.Input((6,))])
    assert layer(keras.Input((15, 3)), initial_state=keras.Input((6,))).shape == (None, 6)
