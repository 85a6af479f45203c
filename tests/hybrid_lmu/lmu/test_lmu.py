"""HybridLMU: cell = layer, steps = parallel, the recurrent contract of Keras, and bad input."""

import json

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from hybrid_lmu import HybridLMU, HybridLMUCell

to_numpy = ops.convert_to_numpy
x = np.random.default_rng(0).normal(size=(3, 24, 2)).astype("float32")

CONNECTIONS = {
    "feed-forward memory": {},
    "hidden to memory": {"hidden_to_memory": True},
    "memory to memory": {"memory_to_memory": True, "use_bias": True},
    "input to hidden": {"input_to_hidden": True},
    "quantized feedback": {"memory_feedback": "quantized"},
    "quantized feedback, all connections": {
        "memory_feedback": "quantized",
        "hidden_to_memory": True,
        "memory_to_memory": True,
        "input_to_hidden": True,
    },
    "integrated feedback": {"memory_feedback": "integrated"},
    "integrated feedback, all connections": {
        "memory_feedback": "integrated",
        "hidden_to_memory": True,
        "memory_to_memory": True,
        "input_to_hidden": True,
    },
    "trainable theta": {"trainable_theta": True},
}
connections = pytest.mark.parametrize("options", CONNECTIONS.values(), ids=CONNECTIONS)
HIDDEN = {
    "Dense": lambda: keras.layers.Dense(5, activation="tanh"),
    "SimpleRNN": lambda: keras.layers.SimpleRNNCell(5),
    "LSTM": lambda: keras.layers.LSTMCell(5),
}


def lmu(hidden="SimpleRNN", **kwargs):
    defaults = {"memory_resolution": 6.0, "hidden_resolution": 2.0, "initial_error": "half"}
    hidden_cell = HIDDEN[hidden]() if hidden else None
    return HybridLMU(2, 4, 20.0, hidden_cell, **{**defaults, **kwargs})


@connections
@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.broad(4)
def test_cell_and_layer_give_the_same_counts(hidden, options):
    layer = lmu(hidden, return_sequences=True, return_state=True, **options)
    outputs, *states = [to_numpy(part) for part in layer(x)]
    stepwise = keras.layers.RNN(layer.cell, return_sequences=True, return_state=True)
    outputs_cell, *states_cell = [to_numpy(part) for part in stepwise(x)]
    np.testing.assert_array_equal(outputs, outputs_cell)
    for state, state_cell in zip(states, states_cell, strict=True):
        np.testing.assert_allclose(state, state_cell, atol=5e-5)
    assert len(np.unique(np.rint(outputs * 2))) > 2


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    steps=st.sampled_from([1, 2, 7, 12]),  # each length is compiled once
    memory_resolution=st.sampled_from([0.5, 2.0, 16.0]),
    hidden_resolution=st.sampled_from([0.5, 1.0, 8.0]),
)
def test_parallel_and_unrolled_counts_agree(seed, steps, memory_resolution, hidden_resolution):
    """Dyadic resolutions and inputs; a sum at an integer may still be moved by rounding in A."""
    inputs = np.random.default_rng(seed).normal(size=(2, steps, 2)).astype("float32")
    options = {
        "memory_resolution": memory_resolution,
        "hidden_resolution": hidden_resolution,
        "return_sequences": True,
        "kernel_initializer": "ones",
    }
    parallel, unrolled = lmu("Dense", **options), lmu("Dense", unroll=True, **options)
    unrolled.build(inputs.shape)
    parallel.build(inputs.shape)
    unrolled.set_weights(parallel.get_weights())
    a, b = to_numpy(parallel(inputs)), to_numpy(unrolled(inputs))
    assert np.sum(a != b) <= 1


@pytest.mark.parametrize("feedback", ["exact", "quantized"])
@pytest.mark.broad(1)
def test_counts_of_a_large_memory(feedback):
    """At the size of psMNIST, float32 rounding shifts less than 1 count in 10,000 by one step.

    (A shift changes two counts.) What comes after the memory then sees other counts, and a
    recurrent network amplifies the difference; without such a shift it is equal.
    """
    inputs = np.random.default_rng(0).random((8, 784, 1)).astype("float32")
    layer = HybridLMU(
        1, 256, 784.0, None, kernel_initializer="ones", memory_resolution=16.0,
        memory_feedback=feedback, initial_error="half", return_sequences=True,
    )  # fmt: skip
    parallel = keras.Sequential([keras.Input((784, 1)), layer])
    stepwise = keras.Sequential(
        [keras.Input((784, 1)), keras.layers.RNN(layer.cell, return_sequences=True)]
    )
    a, b = (np.rint(16 * model.predict(inputs, verbose=0)) for model in (parallel, stepwise))
    assert np.mean(a != b) / 2 <= 1e-4
    assert np.abs(a - b).max() <= 1


@pytest.mark.parametrize("hidden", [*HIDDEN, None])
def test_large_resolution_is_the_non_spiking_layer(hidden):
    none = {"memory_resolution": None, "hidden_resolution": None}
    fine = {"memory_resolution": 2.0**20, "hidden_resolution": 2.0**20 if hidden else None}
    plain = lmu(hidden, return_sequences=True, **none)
    spiking = lmu(hidden, return_sequences=True, **fine)
    y = to_numpy(plain(x))
    spiking.build(x.shape)
    spiking.cell.kernel.assign(plain.cell.kernel)
    if hidden:
        for a, b in zip(
            spiking.cell.hidden_cell.weights, plain.cell.hidden_cell.weights, strict=True
        ):
            a.assign(b)
    np.testing.assert_allclose(to_numpy(spiking(x)), y, atol=1e-4)


def test_last_step_alone_has_the_distribution_of_the_full_simulation():
    """Mean and second moment of each output over 40,000 draws, for one input.

    Two means of n = 40,000 counts differ by more than 4.9 standard errors with probability 1e-6;
    there are 10 comparisons, so the false-alarm rate is about 1e-5 (and the seed is fixed).
    """
    one = np.repeat(x[:1], 40_000, axis=0)
    auto = lmu("Dense", initial_error="uniform_each_call", seed=1)
    full = lmu("Dense", initial_error="uniform_each_call", seed=2, simulation="full")
    full.build(one.shape)
    auto.build(one.shape)
    full.set_weights(auto.get_weights())
    assert auto.plan(one.shape).takes_last_steps and not full.plan(one.shape).takes_last_steps
    a, b = to_numpy(auto(one)).astype("float64"), to_numpy(full(one)).astype("float64")
    for power in (1, 2):
        difference = (a**power).mean(0) - (b**power).mean(0)
        error = np.sqrt(((a**power).var(0) + (b**power).var(0)) / len(one))
        assert (np.abs(difference) <= 4.9 * error + 1e-12).all()
    assert (a.std(0) > 0.1).any()


def test_last_step_alone_is_taken_only_where_it_is_valid():
    uniform = {"initial_error": "uniform"}
    assert lmu("Dense", **uniform).plan(x.shape).takes_last_steps
    for hidden, options in (
        ("Dense", {}),  # initial error "half": not uniform
        ("SimpleRNN", uniform),
        ("Dense", {**uniform, "return_sequences": True}),
        ("Dense", {**uniform, "return_state": True}),
        ("Dense", {**uniform, "stateful": True}),
        ("Dense", {**uniform, "simulation": "full"}),
        ("Dense", {**uniform, "memory_feedback": "quantized", "trainable_theta": True}),
        ("Dense", {**uniform, "hidden_to_memory": True}),
        ("Dense", {**uniform, "memory_to_memory": True}),
        ("Dense", {**uniform, "unroll": True}),
    ):
        assert not lmu(hidden, **options).plan(x.shape).takes_last_steps
    assert lmu("Dense", **uniform).plan(x.shape, mask=True).takes_last_steps
    assert not lmu("Dense", **uniform, return_last=3).plan(x.shape, mask=True).takes_last_steps


@connections
@pytest.mark.broad(2)
def test_streaming_in_chunks_is_one_long_call(options):
    whole = lmu(return_sequences=True, **options)
    y = to_numpy(whole(x))
    stateful = lmu(return_sequences=True, stateful=True, **options)
    stateful.build((3, None, 2))
    stateful.set_weights(whole.get_weights())
    for _ in range(2):
        parts = [to_numpy(stateful(part)) for part in (x[:, :7], x[:, 7:8], x[:, 8:])]
        # Chunks of other lengths round the memory otherwise, which can move a count by one step.
        assert np.mean(np.concatenate(parts, axis=1) != y) <= 0.01
        stateful.reset_state()


def test_state_in_state_out():
    layer = lmu(return_sequences=True, return_state=True)
    first, *states = layer(x[:, :10])
    second, *_ = layer(x[:, 10:], initial_state=states)
    whole, *_ = layer(x)
    joined = np.concatenate([to_numpy(first), to_numpy(second)], axis=1)
    np.testing.assert_array_equal(joined, to_numpy(whole))


@pytest.mark.parametrize("hidden", [*HIDDEN, None])
def test_masked_steps_are_skipped(hidden):
    options = {} if hidden else {"hidden_resolution": None}
    layer = lmu(hidden, return_sequences=True, **options)
    mask = np.arange(24)[None] < np.array([[9], [24], [1]])
    y = to_numpy(layer(x, mask=ops.convert_to_tensor(mask)))
    whole = to_numpy(layer(x))
    np.testing.assert_allclose(y[mask], whole[mask], atol=1e-5)
    np.testing.assert_array_equal(y[0, 9:], np.repeat(y[0, 8:9], 15, axis=0))


def test_backwards_and_bidirectional():
    forwards = lmu(return_sequences=True)
    y = to_numpy(forwards(np.ascontiguousarray(x[:, ::-1])))
    backwards = lmu(return_sequences=True, go_backwards=True)
    backwards.build(x.shape)
    backwards.set_weights(forwards.get_weights())
    np.testing.assert_array_equal(to_numpy(backwards(x)), y)
    both = keras.layers.Bidirectional(lmu(return_sequences=True))
    assert both(x).shape == (3, 24, 10)
    np.testing.assert_array_equal(
        to_numpy(both(x))[..., 5:][:, ::-1], to_numpy(both.backward_layer(x))
    )


@pytest.mark.parametrize(
    "policy, jit, length",
    [
        ("float32", False, 24),
        ("float32", True, 24),
        ("mixed_float16", True, 24),
        ("mixed_float16", False, None),  # no jit of unknown lengths on TensorFlow
        ("mixed_bfloat16", False, 24),
    ],
)
@pytest.mark.broad(1)
def test_fits_under_every_policy_and_length(policy, jit, length):
    if jit and keras.backend.backend() == "torch":
        pytest.skip("Keras has no jit on PyTorch.")
    keras.config.set_dtype_policy(policy)
    layer = lmu(hidden_resolution=8.0, hidden_to_memory=length is None)
    model = keras.Sequential(
        [keras.Input((length, 2)), layer, keras.layers.Dense(1, dtype="float32")]
    )
    model.compile(keras.optimizers.Adam(0.02), "mse", jit_compile=jit)
    losses = model.fit(x, np.full((3, 1), 3.0), epochs=10, verbose=0).history["loss"]
    assert losses[-1] < 0.7 * losses[0]
    states = layer.get_initial_state(3)
    assert {keras.backend.standardize_dtype(s.dtype) for s in states} == {"float32"}
    assert model.predict(x[:, :11] if length is None else x, verbose=0).shape == (3, 1)


@connections
@pytest.mark.broad(2)
def test_file_round_trip(options, tmp_path):
    model = keras.Sequential(
        [keras.Input((24, 2)), lmu(initial_error="uniform", return_sequences=True, **options),
         lmu("LSTM", memory_resolution=[3.0] * 8, kernel_regularizer="l2")]
    )  # fmt: skip
    for variable in model.variables:
        if variable.name == "resolution":
            variable.assign(1.5 * variable)
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(model.predict(x, verbose=0), loaded.predict(x, verbose=0))
    # By way of JSON, which knows no tuples.
    assert json.dumps(loaded.get_config()) == json.dumps(model.get_config())


def test_dropout_is_drawn_per_sequence_and_only_in_training():
    options = {"dropout": 0.5, "recurrent_dropout": 0.5, "memory_to_memory": True}
    none = {"memory_resolution": None, "hidden_resolution": None}
    layer = lmu(return_sequences=True, **options, **none)
    calm = to_numpy(layer(x))
    np.testing.assert_array_equal(calm, to_numpy(layer(x)))
    first, second = to_numpy(layer(x, training=True)), to_numpy(layer(x, training=True))
    assert np.abs(first - calm).max() > 1e-3 and np.abs(first - second).max() > 1e-3
    stateless = lmu("Dense", dropout=0.5, **none)
    assert stateless.plan(x.shape).takes_last_steps
    repeated = np.repeat(x[:1], 400, axis=0)
    dropped = to_numpy(stateless(repeated, training=True))
    assert len(np.unique(np.round(dropped, 4), axis=0)) == 4  # 2 inputs, each kept or not


def test_signals_are_what_the_weights_see():
    cell = lmu(hidden_to_memory=True, memory_to_memory=True, input_to_hidden=True).cell
    cell.build((3, 2))
    states = cell.get_initial_state(3)
    for t in range(5):
        h_before = to_numpy(states[0])
        signals, states = cell.signals(ops.convert_to_tensor(x[:, t]), states)
        signals = {key: to_numpy(value) for key, value in signals.items()}
        np.testing.assert_array_equal(signals["input"], x[:, t])
        np.testing.assert_array_equal(signals["hidden_before"], h_before)
        np.testing.assert_allclose(signals["memory"] * 6, np.rint(signals["memory"] * 6), atol=1e-4)
        np.testing.assert_array_equal(signals["memory_to_hidden"], signals["memory"])
        np.testing.assert_array_equal(signals["hidden"], to_numpy(states[0]))
        encoded = np.concatenate([x[:, t], h_before], axis=1)
        u = encoded @ to_numpy(cell.kernel)
        u = u + signals["memory_recurrent"] @ to_numpy(cell.recurrent_kernel)
        np.testing.assert_allclose(signals["memory_input"], u, atol=1e-5)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"hidden": None}, "Without a hidden cell"),
        ({"memory_feedback": "none"}, "`memory_feedback` must be one of 'exact', 'quantized'"),
        ({"hidden_to_memory": "no"}, "`hidden_to_memory` must be one of True, False; rec.*'no'"),
        ({"use_bias": 2}, "`use_bias` must be one of True, False; received: 2"),
        ({"trainable_theta": "yes"}, "`trainable_theta` must be one of True, False"),
        ({"dropout": 1.0}, r"`dropout` must be in \[0, 1\); received: 1.0"),
        ({"memory_resolution": -1}, "`memory_resolution` must be a finite number > 0"),
        ({"simulation": "steps"}, "`simulation` must be 'auto', 'full' or a number"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        lmu(**arguments)


@pytest.mark.parametrize(
    "make, inputs, message",
    [
        (lmu, x[0], r"\[batch, time, features\]; received shape \(24, 2\)"),
        (lmu, x.astype("int32"), "expects floating-point inputs; received dtype int32"),
        (lambda: lmu(memory_resolution=[1.0, 2.0]), x, "one entry per neuron, 8 for"),
        (lambda: lmu(kernel_initializer=None), x[..., :1], "`memory_d`=2 features; received 1"),
        (lambda: lmu(input_d=3), x, "was given `input_d`=3; received inputs of shape"),
    ],
)
def test_bad_inputs(make, inputs, message):
    with pytest.raises(ValueError, match=message):
        make()(inputs)


def test_cell_is_pure():
    cell = HybridLMUCell(
        1, 4, 10, keras.layers.GRUCell(3), memory_resolution=2, hidden_resolution=1
    )
    cell.build((2, 1))
    states = cell.get_initial_state(2)
    before = [to_numpy(s).copy() for s in states]
    first = to_numpy(cell(ops.ones((2, 1)), states)[0])
    np.testing.assert_array_equal(first, to_numpy(cell(ops.ones((2, 1)), states)[0]))
    for a, b in zip(before, states, strict=True):
        np.testing.assert_array_equal(a, to_numpy(b))


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="Keras has no jit on PyTorch.")
@connections
@pytest.mark.broad(1)
def test_trains_compiled(options):
    model = keras.Sequential([keras.Input((24, 2)), lmu(**options), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.01), "mse", jit_compile=True)
    assert np.isfinite(model.train_on_batch(x, np.ones((3, 1))))


@pytest.mark.slow
def test_dropout_with_an_initial_state_and_in_stateful_layers():
    hidden = keras.layers.LSTMCell(5, dropout=0.5, recurrent_dropout=0.5)
    options = {"dropout": 0.5, "recurrent_dropout": 0.5, "memory_to_memory": True}
    for stateful in (False, True):
        layer = HybridLMU(2, 4, 20.0, hidden, stateful=stateful, **options)
        layer(x)
        zeros = [np.zeros(s.shape, "float32") for s in layer.get_initial_state(3)]
        results = set()
        for _ in range(4):
            results.add(to_numpy(layer(x, initial_state=zeros, training=True)).tobytes())
        assert len(results) == 4
        calm = to_numpy(layer(x, initial_state=zeros))
        np.testing.assert_array_equal(calm, to_numpy(layer(x, initial_state=zeros)))
    inputs, states = keras.Input((24, 2)), [keras.Input((s.shape[1],)) for s in zeros]
    layer = HybridLMU(2, 4, 20.0, hidden, **options)
    model = keras.Model(
        [inputs, *states], keras.layers.Dense(1)(layer(inputs, initial_state=states))
    )
    model.compile("sgd", "mse")
    for batch in (x, x[:2]):
        given = [batch, *(z[: len(batch)] for z in zeros)]
        assert np.isfinite(model.train_on_batch(given, np.ones((len(batch), 1))))


@pytest.mark.parametrize("hidden", ["SimpleRNN", "LSTM"])
def test_stateful_training(hidden):
    layer = lmu(hidden, stateful=True)
    model = keras.Sequential([keras.Input(batch_shape=(3, 24, 2)), layer, keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.01), "mse")
    before = [to_numpy(s).copy() for s in layer.states]
    assert np.isfinite(model.fit(x, np.ones((3, 1)), batch_size=3, verbose=0).history["loss"][0])
    after = [to_numpy(s) for s in layer.states]
    for memory_or_error in (-1, -2):
        assert np.abs(before[memory_or_error] - after[memory_or_error]).max() > 0


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX computes in float32 by default")
@connections
@pytest.mark.broad(3)
def test_float64_layer(options):
    cell = keras.layers.LSTMCell(5, dtype="float64")
    layer = HybridLMU(
        2, 4, 20.0, cell, dtype="float64", memory_resolution=4, hidden_resolution=2, **options
    )
    model = keras.Sequential([keras.Input((24, 2), dtype="float64"), layer])
    assert model.predict(x.astype("float64"), verbose=0).dtype == "float64"


def test_weights_move_between_spiking_and_non_spiking(tmp_path):
    spiking, plain = lmu(), lmu(memory_resolution=None, hidden_resolution=None)
    models = [keras.Sequential([keras.Input((24, 2)), layer]) for layer in (spiking, plain)]
    for first, second in (models, models[::-1]):
        first.save_weights(tmp_path / "w.weights.h5")
        second.load_weights(tmp_path / "w.weights.h5")
        for a, b in zip(first.trainable_weights, second.trainable_weights, strict=True):
            np.testing.assert_array_equal(to_numpy(a), to_numpy(b))


def test_wrong_number_of_states():
    layer = lmu()
    with pytest.raises(ValueError, match=r"of 4 tensors \(\[batch, .*\); received 1"):
        layer(x, initial_state=[np.zeros((3, 5), "float32")])
