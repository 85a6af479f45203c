"""Trained recurrent networks with quantized activities: the same network, in fewer bits."""

import keras
import numpy as np
import pytest
from keras import layers

from hybrid_lmu import (
    BitBudget,
    DiscreteSystem,
    HybridLMU,
    HybridLMUCell,
    HybridRNN,
    SigmaDelta,
    activity_report,
)
from hybrid_lmu.conversion import to_hybrid, to_keras_lmu
from hybrid_lmu.memory import legendre

X = np.random.default_rng(0).normal(size=(16, 20, 3)).astype("float32")


def of(x):
    return keras.ops.convert_to_numpy(x)


def keras_lmu():
    if keras.backend.backend() != "tensorflow":
        pytest.skip("keras-lmu runs on TensorFlow only")
    return pytest.importorskip("keras_lmu", reason="keras-lmu is not installed")


def stack():
    return [
        layers.LSTM(6, return_sequences=True),
        layers.Bidirectional(layers.GRU(5, return_sequences=True)),
        layers.Dense(7, "tanh", name="between"),
        layers.SimpleRNN(5),
        layers.Dense(4, "relu"),
        layers.Dropout(0.2),
        layers.Dense(2, "softmax"),
    ]


def lmu(**options):
    return lambda: [keras_lmu().LMU(2, 6, 15, **options), layers.Dense(2)]


NETWORKS = {
    "stack": stack,
    "cells": lambda: [
        layers.RNN([layers.LSTMCell(4), layers.GRUCell(5)], go_backwards=True),
        layers.Dense(2),
    ],
    "lmu": lmu(hidden_cell=layers.SimpleRNNCell(5)),
    "lmu, dense": lmu(hidden_cell=layers.Dense(5, "relu"), input_to_hidden=True, dropout=0.1),
    "lmu, all connections": lambda: [
        keras_lmu().LMU(
            2,
            6,
            15,
            layers.LSTMCell(5),
            True,
            True,
            True,
            True,
            use_bias=True,
            return_sequences=True,
        ),
        layers.Dense(2),
    ],
    "lmu without hidden cell": lambda: [
        keras_lmu().LMUFeedforward(2, 6, 15, None, input_to_hidden=True, return_sequences=True)
    ],
    "feed-forward lmu": lambda: [
        keras_lmu().LMUFeedforward(3, 6, 15, layers.Dense(5), kernel_initializer=None)
    ],
    "lmu cell": lambda: [
        layers.RNN(keras_lmu().LMUCell(2, 6, 15, layers.GRUCell(5), memory_to_memory=True))
    ],
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.broad(3)
def test_without_resolutions_it_is_the_network(name):
    model = keras.Sequential([keras.Input((20, 3)), *NETWORKS[name]()])
    expected = of(model(X))
    for layer in model.layers:  # as if it had been trained
        theta = getattr(getattr(getattr(layer, "layer", None), "cell", None), "theta_inv", None)
        if theta is not None:
            theta.assign(1 / 12.0)
            expected = of(model(X))
    plain = to_hybrid(model)
    np.testing.assert_allclose(of(plain(X)), expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    recurrent = [one for one in plain.layers if isinstance(one, (HybridRNN, layers.Bidirectional))]
    assert recurrent
    assert len(plain.trainable_weights) == len(model.trainable_weights)


def test_keras_lmus_truncated_response_is_whole_here_with_a_warning():
    def model(truncate):
        options = dict(conv_mode="raw", truncate_ir=truncate)
        lmu = keras_lmu().LMUFeedforward(1, 4, 5.0, layers.Dense(5), **options)
        return keras.Sequential([keras.Input((20, 3)), lmu])

    plain, truncated = model(None), model(1e-2)
    truncated.set_weights(plain.get_weights())
    with pytest.warns(UserWarning, match="truncate_ir=0.01, .* HybridLMU does not"):
        found = to_hybrid(truncated)
    np.testing.assert_allclose(of(found(X)), of(plain(X)), rtol=0, atol=1e-5)


@pytest.mark.parametrize("trainable_theta", [False, True])
def test_keras_lmu_below_the_bound_of_eulers_rule_is_reproduced(trainable_theta):
    options = dict(discretizer="euler", trainable_theta=trainable_theta)
    lmu = keras_lmu().LMU(1, 32, 128.0, layers.SimpleRNNCell(5), **options)
    model = keras.Sequential([keras.Input((20, 3)), lmu])
    expected, found = of(model(X)), to_hybrid(model)
    np.testing.assert_allclose(of(found(X)), expected, rtol=0, atol=2e-4)
    assert isinstance(found.layers[-1].discretizer, DiscreteSystem)


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.slow
def test_keras_lmu_of_high_order_is_reproduced_with_its_matrices(recurrent, tmp_path):
    order, steps = 256, 784  # where a matrix exponential in float32 is off by 2e-5
    x = np.random.default_rng(0).uniform(size=(3, steps, 1)).astype("float32")
    lmu = keras_lmu().LMU(1, order, steps, layers.SimpleRNNCell(20), hidden_to_memory=recurrent)
    model = keras.Sequential([keras.Input((steps, 1)), lmu, layers.Dense(3)])
    expected = model.predict(x, verbose=0)
    plain = to_hybrid(model)
    plain.save(tmp_path / "m.keras")
    for one in (plain, keras.saving.load_model(tmp_path / "m.keras")):
        difference = np.abs(one.predict(x, verbose=0) - expected).max() / np.abs(expected).max()
        assert difference < 1e-5
    again = to_keras_lmu(plain).predict(x, verbose=0)
    np.testing.assert_allclose(again, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("per", ["neuron", "layer"])
@pytest.mark.broad(1)
def test_bits_are_those_of_the_data(per, tmp_path):
    model = keras.Sequential(
        [
            keras.Input((20, 3)),
            layers.LSTM(8, return_sequences=True),
            layers.Dense(7, "tanh", name="between"),
            layers.SimpleRNN(6),
            layers.Dense(2),
        ]
    )
    hybrid = to_hybrid(model, X, bits=5.0, per=per, seed=1)
    expected = model.predict(X, verbose=0)
    error = np.abs(hybrid.predict(X, verbose=0) - expected).max()
    assert 0 < error < 0.5 * np.abs(expected).max()
    report = activity_report(hybrid, X)
    assert len(report.activities) == 3
    for row in report.activities:
        assert row["activity_bits"] == pytest.approx(5.0, abs=0.3)
    shapes = {w.shape for w in hybrid.weights if w.name == "resolution"}
    assert (shapes == {()}) == (per == "layer")
    assert isinstance(hybrid.get_layer("between_counts"), SigmaDelta)
    hybrid.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    for ours, theirs in zip(hybrid.weights, again.weights, strict=True):
        np.testing.assert_array_equal(of(ours), of(theirs))


@pytest.mark.parametrize("hidden", ["rnn", "none", "cell"])
@pytest.mark.broad(1)
def test_a_non_spiking_hybrid_lmu_gets_resolutions_too(hidden):
    one = HybridLMU(2, 6, 15, layers.GRUCell(5) if hidden == "rnn" else None, True, use_bias=True)
    if hidden == "cell":
        one = layers.RNN(HybridLMUCell(2, 6, 15, layers.GRUCell(5), hidden_to_memory=True))
    model = keras.Sequential([keras.Input((20, 3)), one, layers.Dense(2)])
    for weight in model.trainable_weights:  # as if it had been trained
        weight.assign(1.1 * of(weight) + 0.01)
    expected = of(model(X))
    bound = 1e-5 * np.abs(expected).max()
    np.testing.assert_allclose(of(to_hybrid(model)(X)), expected, rtol=0, atol=bound)
    hybrid = to_hybrid(model, X, bits=4.0, seed=1)
    for row in activity_report(hybrid, X).activities:
        assert row["activity_bits"] == pytest.approx(4.0, abs=0.4)


LMUS = {
    "feed-forward": dict(hidden_cell=layers.Dense(5, "relu"), dropout=0.1),
    "recurrent, all connections": dict(
        hidden_cell=layers.LSTMCell(5), trainable_theta=True, hidden_to_memory=True,
        memory_to_memory=True, input_to_hidden=True, use_bias=True, return_sequences=True,
    ),
    "without hidden cell": dict(hidden_cell=None, kernel_initializer=None, memory_d=3),
}  # fmt: skip


@pytest.mark.parametrize("name", LMUS)
@pytest.mark.broad(1)
def test_to_keras_lmu_is_the_way_back(name):
    package = keras_lmu()
    lmu = HybridLMU(**{"memory_d": 2, "order": 6, "theta": 15, "name": "one", **LMUS[name]})
    model = keras.Sequential([keras.Input((20, 3)), lmu, layers.Dense(2)])
    for weight in model.trainable_weights:  # as if it had been trained
        weight.assign(1.1 * of(weight) + 0.01)
    theirs = to_keras_lmu(model)
    assert isinstance(theirs.layers[1], package.LMU) and theirs.layers[1].name == "one"
    expected = of(model(X))
    for found in (theirs, to_hybrid(theirs)):
        np.testing.assert_allclose(
            of(found(X)), expected, rtol=0, atol=1e-5 * np.abs(expected).max()
        )


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: HybridLMU(1, 4, 9, None, memory_resolution=2), "a resolution; keras_lmu"),
        (lambda: HybridLMU(1, 4, 9, layers.Dense(2), return_last=3), "return_last=3; keras_lmu"),
        (
            lambda: HybridLMU(
                1,
                4,
                1000,
                None,
                discretizer=DiscreteSystem(*legendre.discretize(4, 1010.0, "zoh")),
            ),
            r"matrices of a `DiscreteSystem`, whose .* % off .* theta=1000",
        ),
        (lambda: layers.GRU(2), r"must have a HybridLMU.*\(GRU\)"),
    ],
)
def test_to_keras_lmu_says_what_it_cannot_take(make, message):
    keras_lmu()
    model = keras.Sequential([keras.Input((20, 3)), make()])
    with pytest.raises(ValueError, match=message):
        to_keras_lmu(model)


@pytest.mark.slow
def test_is_trained_on_with_a_budget():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((20, 3)), layers.GRU(6), layers.Dense(2)])
    hybrid = to_hybrid(model, X, bits=6.0)
    hybrid.compile(keras.optimizers.Adam(1e-2), "mse")
    falling = keras.optimizers.schedules.PolynomialDecay(6.0, 3, 3.0)
    history = hybrid.fit(
        X, np.ones((16, 2)), batch_size=4, epochs=5, verbose=0, callbacks=[BitBudget(falling, X)]
    ).history
    assert history["loss"][-1] < history["loss"][0] and history["activity_bits"][-1] == 3.0
    found = activity_report(hybrid, X).activities[0]["activity_bits"]
    assert found == pytest.approx(3.0, abs=0.4)


@pytest.mark.parametrize("rate, carry", [(0.0, "exact"), (0.2, "quantized")])
def test_a_gru_carries_exactly_where_it_can(rate, carry):
    gru = layers.GRU(6, dropout=0.2, recurrent_dropout=rate, return_sequences=True)
    model = keras.Sequential([keras.Input((20, 3)), gru])
    hybrid = to_hybrid(model, resolution=1e4, seed=1)
    assert hybrid.layers[1].cell.carry == carry
    np.testing.assert_allclose(of(hybrid(X)), of(model(X)), rtol=0, atol=1e-2)


def test_streams_as_the_whole():
    inputs = keras.Input(batch_shape=(4, None, 3))
    outputs = layers.Dense(2)(layers.LSTM(5, return_sequences=True, stateful=True)(inputs))
    hybrid = to_hybrid(keras.Model(inputs, outputs), resolution=4.0, seed=3)
    rnn = next(one for one in hybrid.layers if isinstance(one, HybridRNN))
    start = [of(state) for state in rnn.states]
    whole = of(hybrid(X[:4]))
    for state, value in zip(rnn.states, start, strict=True):
        state.assign(value)
    parts = [of(hybrid(X[:4, a:b])) for a, b in ((0, 7), (7, 8), (8, 20))]
    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, rtol=0, atol=1e-6)


def test_exempt_layers_stay():
    model = keras.Sequential([keras.Input((20, 3)), *stack()[::2]])
    hybrid = to_hybrid(model, resolution=4.0, exempt=("between", "lstm*"))
    kinds = [type(one).__name__ for one in hybrid.layers]
    assert "LSTM" in kinds and hybrid.get_layer("between").activation is keras.activations.tanh


@pytest.mark.parametrize(
    "end",
    [
        lambda: [layers.Dense(3, "softmax")],
        lambda: [layers.TimeDistributed(layers.Dense(3, "sigmoid"))],
        lambda: [layers.Dense(3), layers.ReLU()],
    ],
)
def test_the_output_is_not_quantized(end):
    model = keras.Sequential([keras.Input((20, 3)), layers.GRU(4, return_sequences=True), *end()])
    # Its layers have two calls then, that of `model` and that of the model to be converted.
    again = keras.Sequential([keras.Input(batch_shape=(16, 20, 3)), *model.layers])
    for one in (model, again):
        kinds = [type(layer).__name__ for layer in to_hybrid(one, resolution=2.0).layers]
        assert "HybridRNN" in kinds and "SigmaDelta" not in kinds


FROZEN = {
    "gru": lambda: layers.GRU(4),
    "hybrid lmu": lambda: HybridLMU(2, 6, 15, layers.SimpleRNNCell(4)),
    "lmu": lambda: keras_lmu().LMU(2, 6, 15, layers.SimpleRNNCell(4)),
    "feed-forward lmu": lambda: keras_lmu().LMUFeedforward(2, 6, 15, layers.Dense(4)),
}


@pytest.mark.parametrize("name", FROZEN)
def test_frozen_layers_stay_frozen(name):
    model = keras.Sequential([keras.Input((20, 3)), FROZEN[name](), layers.Dense(2)])
    model.layers[0].trainable = False
    found = to_hybrid(model, resolution=4.0).trainable_weights
    assert [w.path.split("/")[0] for w in found] == [model.layers[1].name] * 2
    if name == "hybrid lmu" and keras.backend.backend() == "tensorflow":
        keras_lmu()
        assert len(to_keras_lmu(model).trainable_weights) == 2


def test_a_hybrid_model_gets_no_second_quantizer():
    model = keras.Sequential(
        [keras.Input((20, 3)), HybridLMU(2, 6, 15, layers.Dense(5, "relu"), memory_resolution=4),
         layers.Dense(3, "relu"), layers.Dense(2)]
    )  # fmt: skip
    hybrid = to_hybrid(model, resolution=2.0)
    assert [type(one).__name__ for one in hybrid.layers[1:]] == [
        "HybridLMU", "Dense", "SigmaDelta", "Dense",
    ]  # fmt: skip
    both = layers.Bidirectional(HybridLMU(2, 6, 15, None, memory_resolution=4, name="lmu"))
    model = keras.Sequential([keras.Input((20, 3)), both, layers.Dense(3, "relu"), layers.Dense(2)])
    assert isinstance(to_hybrid(model, resolution=2.0).layers[1], layers.Bidirectional)


def test_images_are_not_taken_for_sequences():
    many = [layers.Conv2D(2, 3), layers.ReLU(name="relu"), layers.Reshape((6, 12)), layers.GRU(3)]
    model = keras.Sequential([keras.Input((8, 8, 1)), *many])
    with pytest.raises(ValueError, match=r"'relu' \(ReLU\), of shape \(None, 6, 6, 2\), is that"):
        to_hybrid(model, resolution=2.0)
    assert to_hybrid(model, resolution=2.0, exempt="relu").get_layer("relu")


def test_positions_at_each_step_are_quantized():
    inner = layers.Conv1D(2, 3, activation="relu")
    each = [layers.Dense(3, "relu"), layers.TimeDistributed(inner), layers.Activation("tanh")]
    model = keras.Sequential([keras.Input((4, 8, 1)), *each, layers.Reshape((4, 12))])
    model.add(layers.GRU(3))
    hybrid = to_hybrid(model, resolution=2.0)
    kinds = [type(one).__name__ for one in hybrid.layers[1:]]
    assert kinds == [
        "Dense", "SigmaDelta", "EachStep", "SigmaDelta", "SigmaDelta", "Reshape", "HybridRNN",
    ]  # fmt: skip
    model = keras.Sequential([hybrid.inputs[0], *hybrid.layers[1:], layers.Dense(2, "relu")])
    model.add(layers.Dense(2))
    assert len(to_hybrid(model, resolution=2.0).layers) == 11  # its own SigmaDeltas stay


def test_layers_of_several_outputs_are_copied():
    inputs = keras.Input((20, 3))
    every, last = layers.GRU(4, return_sequences=True, return_state=True, name="encoder")(inputs)
    attended, _ = layers.MultiHeadAttention(1, 2)(every, every, return_attention_scores=True)
    outputs = layers.Dense(2)(layers.Concatenate()([layers.GRU(3)(attended), last]))
    model = keras.Model(inputs, outputs)
    plain = to_hybrid(model, exempt="encoder")
    np.testing.assert_allclose(of(plain(X)), of(model(X)), rtol=0, atol=1e-5)


class Unknown(layers.Layer):
    state_size = output_size = 3

    def call(self, x, states):
        return x, [x]


@pytest.mark.parametrize(
    "make, options, message",
    [
        (lambda: layers.GRU(2), dict(resolution=1.0, bits=3.0, x=X), "exclude each other"),
        (lambda: layers.GRU(2), dict(bits=3.0), "`x`.*must be given"),
        (lambda: layers.GRU(2), dict(bits=0.0, x=X), "received: 0.0"),
        (lambda: layers.GRU(2), dict(resolution=-1.0), "resolution"),
        (lambda: layers.GRU(2), dict(resolution=1.0, per="unit"), "received: 'unit'"),
        (lambda: layers.GRU(2), dict(resolution=1.0, exempt="lstm"), r"received: \['lstm'\]"),
        (lambda: layers.Dense(2), dict(resolution=1.0), "Nothing to quantize"),
        (lambda: layers.RNN(Unknown()), dict(resolution=1.0), "Unknown.*expected"),
        (lambda: layers.ConvLSTM1D(2, 3), dict(resolution=1.0), "ConvLSTMCell.*expected"),
        (lambda: layers.ReLU(6.0), dict(resolution=1.0), "max_value=6"),
    ],
)
def test_bad_input(make, options, message):
    layer = make()
    shape = (20, 5, 3) if isinstance(layer, layers.ConvLSTM1D) else (20, 3)
    tail = layers.Dense(1) if isinstance(layer, layers.ReLU) else None
    inputs = keras.Input(shape)
    outputs = layer(inputs) if tail is None else tail(layer(inputs))
    model = keras.Model(inputs, outputs)
    with pytest.raises(ValueError, match=message):
        to_hybrid(model, **options)
