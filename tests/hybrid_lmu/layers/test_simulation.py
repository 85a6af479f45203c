"""Stacks that train on the last step alone, and their simulation at every step."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from hybrid_lmu import HybridLMU, LegendreMemory, SigmaDelta, activity_report, full_simulation
from hybrid_lmu.weights import QuantizedWeights, SumOfSigmoids

x = np.random.default_rng(0).normal(size=(16, 24, 2)).astype("float32")


def stack(*after, **options):
    lmu = HybridLMU(
        2, 4, 20.0, layers.Dense(6, "tanh"), memory_resolution=6, hidden_resolution=2, **options
    )
    return keras.Sequential([keras.Input((24, 2)), lmu, *after])


def test_the_last_step_has_the_distribution_of_all_steps_through_the_stack():
    """Mean and second moment of 40,000 draws: 10 comparisons at 4.9 standard errors, so a false
    alarm with a probability of about 1e-5 (and the seed is fixed)."""
    model = stack(
        layers.Dense(7), SigmaDelta("relu", 3.0, seed=1), layers.Dense(5), SigmaDelta(None, 1.0)
    )
    full = full_simulation(model)
    one = np.repeat(x[:1], 40_000, axis=0)
    # In training, each sample has first errors of its own.
    a, b = (ops.convert_to_numpy(m(one, training=True)).astype("float64") for m in (model, full))
    for power in (1, 2):
        difference = (a**power).mean(0) - (b**power).mean(0)
        error = np.sqrt(((a**power).var(0) + (b**power).var(0)) / len(one))
        assert (np.abs(difference) <= 4.9 * error + 1e-12).all()
    assert (a.std(0) > 0.1).sum() >= 3


def test_one_step_is_an_unbiased_rounding_with_the_gradient_of_the_activation():
    layer = SigmaDelta("tanh", resolution=2.0, seed=0)
    values = np.repeat(np.array([[-0.7, 0.1, 2.0]], "float32"), 40_000, axis=0)
    y = ops.convert_to_numpy(layer(values, training=True))
    assert set(np.unique(y * 2)) <= {-2.0, -1.0, 0.0, 1.0, 2.0}
    # Rounding to steps of 1/2 has a deviation of at most 1/4 each time.
    np.testing.assert_allclose(y.mean(0), np.tanh(values[0]), atol=5 * 0.25 / 200)

    model = keras.Sequential([keras.Input((3,)), layers.Dense(1, use_bias=False), layer])
    model.compile(keras.optimizers.SGD(1.0), "mse")
    model.layers[0].kernel.assign([[0.1], [0.0], [0.0]])
    model.train_on_batch(np.eye(3, dtype="float32")[:1], np.full((1, 1), 9.0))
    moved = ops.convert_to_numpy(model.layers[0].kernel)[0, 0] - 0.1
    slope = 1 - np.tanh(0.1) ** 2
    assert any(moved == pytest.approx(2 * (9 - y) * slope, rel=1e-4) for y in (0.0, 0.5))


@pytest.mark.slow
def test_a_stack_trains_by_fit_and_its_simulation_has_its_weights():
    model = stack(layers.Dropout(0.1), layers.Dense(8), SigmaDelta("relu", 4), layers.Dense(1))
    model.compile(keras.optimizers.Adam(1e-2), "mse")
    target = 5 * np.sign(x.mean(axis=(1, 2)))[:, None]
    losses = model.fit(x, target, epochs=100, verbose=0).history["loss"]
    assert np.mean(losses[-5:]) < 0.75 * np.mean(losses[:5])
    full = full_simulation(model)
    assert [tuple(w.shape) for w in full.weights] == [tuple(w.shape) for w in model.weights]
    for a, b in zip(full.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_does_not_round_is_the_same_to_float_precision():
    inputs = keras.Input((24, 2))
    memory = LegendreMemory(4, 20, memory_d=2)(inputs)
    model = keras.Model(inputs, layers.Dense(3, "tanh")(memory))
    full = full_simulation(model)
    np.testing.assert_allclose(full.predict(x), model.predict(x), atol=1e-5)


@pytest.mark.slow
def test_counts_of_all_steps_and_of_the_last():
    model = stack(layers.Dense(7), SigmaDelta("relu", 3.0), layers.Dense(5))
    last, every = (activity_report(m, x) for m in (model, full_simulation(model)))
    products = [{r["name"]: r["dense_macs"] for r in report.products} for report in (last, every)]
    readout = model.layers[-1].name
    assert products[0][f"{readout}/kernel"] == 7 * 5
    assert products[1][f"{readout}/kernel"] == 24 * 7 * 5
    assert [row["neurons"] for row in last.activities] == [8, 6, 7]


@pytest.mark.parametrize("resolution", [None, 2.0])
@pytest.mark.parametrize("return_last", [None, 3])
@pytest.mark.broad(1)
def test_quantized_weights_are_simulated_too(return_last, resolution):
    lmu = HybridLMU(
        2, 4, 20.0, layers.Dense(5, "relu"), return_last=return_last,
        memory_resolution=resolution, hidden_resolution=resolution,
    )  # fmt: skip
    rule = SumOfSigmoids("ternary")
    low_bit = [QuantizedWeights(layer, rule) for layer in (lmu, layers.Dense(3))]
    last = keras.Sequential([keras.Input((24, 2)), *low_bit])
    every = full_simulation(last)
    if resolution is None:
        predictions = [model.predict(x, verbose=0) for model in (last, every)]
        np.testing.assert_allclose(*predictions, atol=1e-5)
    rows = {row["name"].split("/")[-1]: row for row in activity_report(every, x).products}
    assert rows["hidden kernel"]["dense_macs"] == 24 * 8 * 5
    assert rows["kernel"]["dense_macs"] == (return_last or 24) * 5 * 3


def operations_after_the_last_step():
    inputs = keras.Input((24, 2))
    last = layers.LSTM(3)(inputs)
    return keras.Model(inputs, last - ops.mean(last, axis=1, keepdims=True))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: keras.Sequential([keras.Input((24, 2)), layers.Dense(3)]), "0 such layers"),
        (lambda: stack(layers.Reshape((2, 3))), "must act on the last axis"),
        (lambda: stack(return_sequences=True), "0 such layers"),
        (lambda: stack(layers.Softmax(axis=1)), "act on the last axis, .* class Softmax"),
        (lambda: stack(keras.Sequential([layers.Dense(3)])), "models or wrappers inside it"),
        (
            lambda: keras.Sequential([keras.Input((24, 2)), layers.Masking(), layers.LSTM(3)]),
            "without masks; received .* class Masking",
        ),
        (operations_after_the_last_step, "class Mean"),
        (lambda: layers.Dense(3), "received: Dense"),
        (lambda: keras.Sequential([layers.LSTM(3)]), "functional keras.Model, built"),
    ],
)
def test_models_without_a_simulation(make, message):
    with pytest.raises(ValueError, match=message):
        full_simulation(make())


def test_model_and_simulation_run_by_turns():
    model = stack(layers.Dense(3))
    model.compile("sgd", "mse")
    full = full_simulation(model, every_layer=False)
    before = full.predict(x, verbose=0)
    target = np.zeros((len(x), *model.output_shape[1:]), "float32")
    model.train_on_batch(x, target)
    assert full.predict(x, verbose=0).shape == before.shape
    assert np.isfinite(model.train_on_batch(x, target))


def test_lmus_alone_are_simulated_with_the_draws_that_would_have_come_next():
    model = stack(layers.Dense(3), memory_dropout=0.1)
    model.predict(x, verbose=0)  # the seed generators have moved
    full = full_simulation(model, every_layer=False)
    assert full.layers[0].simulation == "full" and model.layers[0].simulation == "auto"
    assert [layer.name for layer in full.layers] == [layer.name for layer in model.layers]
    for one, two in zip(model.variables, full.variables, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(one), ops.convert_to_numpy(two))
    model.layers[0].simulation = "full"
    model.make_predict_function(force=True)
    expected, found = (m.predict(x, verbose=0) for m in (model, full))
    np.testing.assert_array_equal(found, expected)


def test_lmus_in_quantized_weights_and_models_without_one():
    rule = SumOfSigmoids((-1, 0, 1))
    lmu = HybridLMU(2, 4, 20.0, layers.Dense(6, "tanh"), memory_resolution=6, hidden_resolution=2)
    model = keras.Sequential([keras.Input((24, 2)), QuantizedWeights(lmu, rule, rule)])
    full = full_simulation(model, every_layer=False)
    assert full.layers[0].layer.simulation == "full"
    plain = keras.Sequential([keras.Input((24, 2)), layers.LSTM(3)])
    assert full_simulation(plain, every_layer=False) is plain
    nested = keras.Sequential([keras.Input((24, 2)), stack()])
    with pytest.raises(ValueError, match="received .* inside another layer or model"):
        full_simulation(nested, every_layer=False)
