"""to_spiking computes what the source does, whatever its layers are called, shared or made of."""

import keras
import numpy as np
import pytest

from hybrid_lmu import activity_report
from hybrid_lmu.conversion import record_activations, simulate, to_hybrid, to_spiking
from hybrid_lmu.weights import StraightThroughSign, quantize_weights

layers, ops = keras.layers, keras.ops
rng = np.random.default_rng(0)
x = rng.normal(size=(20, 6)).astype("float32")
images = rng.random((6, 8, 8, 3)).astype("float32")
STEPS = 200


def rates(model, inputs):
    spiking = to_spiking(model, inputs, STEPS, percentile=100, initial_potential="half")
    return simulate(spiking, inputs).sums[:, -1] / STEPS


def assert_rates_approach_the_outputs(model, inputs):
    expected = model.predict(inputs, verbose=0)
    np.testing.assert_allclose(rates(model, inputs), expected, atol=0.02 * np.ptp(expected))


def with_statistics(model):
    """The model, its normalizations with weights as training might leave them."""
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 2.0, w.shape) for w in layer.get_weights()])
    return model


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("center", [True, False])
@pytest.mark.broad(2)
def test_a_normalization_of_its_own(first, scale, center):
    norm = layers.BatchNormalization(scale=scale, center=center)
    hidden = layers.Dense(16, "relu")
    inner = [norm, hidden] if first else [hidden, norm]
    model = with_statistics(keras.Sequential([keras.Input((6,)), *inner, layers.Dense(4)]))
    assert_rates_approach_the_outputs(model, x)
    spiking = to_spiking(model, x, 10)
    assert activity_report(spiking, x).totals["dense_macs"] > 0


def adapted(**options):
    norm = layers.Normalization(**options)
    norm.adapt(far)
    return norm


far = (100.0 + 50.0 * x).astype("float32")


@pytest.mark.parametrize("options", [{}, {"axis": None}], ids=["axis -1", "axis None"])
@pytest.mark.broad(1)
def test_an_adapted_normalization(options, tmp_path):
    parts = [adapted(**options), layers.Dense(16, "relu"), layers.Dense(4)]
    model = keras.Sequential([keras.Input((6,)), *parts])
    largest = ops.convert_to_numpy(ops.max(parts[1](parts[0](far))))
    record = record_activations(model, far)
    assert record.layers[parts[1].name].largest == pytest.approx(float(largest), rel=1e-5)
    assert_rates_approach_the_outputs(model, far)
    spiking = to_spiking(model, far, 10)
    spiking.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    found, kept = (one.predict(far, verbose=0) for one in (loaded, spiking))
    np.testing.assert_array_equal(found, kept)


def test_an_adapted_normalization_in_other_copies():
    sequences = np.stack([far] * 5, axis=1)
    parts = [layers.SimpleRNN(4), layers.Dense(2)]
    model = keras.Sequential([keras.Input((5, 6)), adapted(), *parts])
    expected = model.predict(sequences, verbose=0)
    found = to_hybrid(model).predict(sequences, verbose=0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    low_bit = quantize_weights(model, StraightThroughSign(), exempt=parts[0].name)
    seen = keras.Model(low_bit.inputs, low_bit.layers[0].output).predict(sequences, verbose=0)
    np.testing.assert_allclose(seen.mean(axis=(0, 1)), np.zeros(6), atol=1e-5)


@pytest.mark.parametrize("name", ["logits", "sums", "a_if", "a_steps"])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.broad(3)
def test_names_of_the_source_are_its_own(name, last):
    a = layers.Dense(16, "relu", name="a")
    b = layers.Dense(8, "relu", name="b" if last else name)
    c = layers.Dense(4, name=name if last else "c")
    model = keras.Sequential([keras.Input((6,)), a, b, c])
    assert_rates_approach_the_outputs(model, x)
    spiking = to_spiking(model, x)
    assert {one.name for one in model.layers} <= {one.name for one in spiking.layers}


def conv():
    return layers.Conv2D(4, 3, activation="relu", padding="same")


@pytest.mark.parametrize(
    "shared",
    [
        lambda: layers.AveragePooling2D(2),
        lambda: layers.MaxPooling2D(2),
        lambda: layers.BatchNormalization(),
        lambda: layers.ZeroPadding2D(1),
        lambda: layers.Reshape((4, 4, -1)),
    ],
)
@pytest.mark.broad(2)
def test_layers_called_twice(shared):
    inputs, layer = keras.Input((8, 8, 3)), shared()
    if isinstance(layer, layers.BatchNormalization):
        hidden = layer(layers.Conv2D(3, 3, activation="relu", padding="same")(layer(inputs)))
    else:
        hidden = layer(conv()(inputs))
        wide = layers.Conv2D(3, 3, activation="relu", padding="same")(inputs)
        hidden = layers.Concatenate()([hidden, layer(wide)])
    outputs = layers.Dense(3)(layers.Flatten()(hidden))
    assert_rates_approach_the_outputs(with_statistics(keras.Model(inputs, outputs)), images)


def test_a_flatten_and_a_sum_called_twice():
    inputs, flatten, add = keras.Input((8, 8, 3)), layers.Flatten(), layers.Add()
    one, two = conv()(inputs), conv()(inputs)
    hidden = layers.Dense(6, "relu")(flatten(add([one, two])))
    outputs = layers.Dense(3)(hidden)
    again = layers.Dense(3)(flatten(conv()(add([two, one]))))
    model = keras.Model(inputs, layers.Add()([outputs, again]))
    assert_rates_approach_the_outputs(model, images)


@pytest.mark.parametrize("add", [lambda a, b: a + b, ops.add])
def test_a_sum_with_the_input(add):
    inputs = keras.Input((6,))
    hidden = layers.Dense(6)(layers.Dense(6, "relu")(inputs))
    outputs = layers.Dense(3)(ops.relu(add(hidden, inputs)))
    assert_rates_approach_the_outputs(keras.Model(inputs, outputs), x)


@pytest.mark.parametrize(
    "relu",
    [
        layers.Activation(ops.relu),
        layers.Activation(ops.relu6),
        ops.relu,
        ops.relu6,
        keras.activations.relu,
        keras.activations.relu6,
        lambda t: keras.activations.relu(t, max_value=1.0),
    ],
)
@pytest.mark.broad(3)
def test_every_way_to_write_a_relu(relu):
    inputs = keras.Input((6,))
    hidden = relu(layers.Dense(8, activation=ops.relu)(inputs))
    outputs = layers.Dense(3, activation=layers.Softmax())(relu(layers.Dense(8)(hidden)))
    spiking = to_spiking(
        keras.Model(inputs, outputs), x, STEPS, percentile=100, initial_potential="half"
    )
    logits = keras.Model(inputs, outputs)
    found = simulate(spiking, x).sums[:, -1] / STEPS
    odds = np.exp(found - found.max(axis=-1, keepdims=True))
    expected = logits.predict(x, verbose=0)
    np.testing.assert_allclose(odds / odds.sum(axis=-1, keepdims=True), expected, atol=0.03)


def test_neurons_have_the_dtype_of_the_source_and_not_of_the_moment():
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(16, "relu"), layers.Dense(8, "relu"), layers.Dense(4)]
    )
    expected = rates(model, 2000 * x)
    keras.config.set_dtype_policy("mixed_float16")
    np.testing.assert_allclose(rates(model, 2000 * x), expected, rtol=1e-4, atol=1e-2)


def test_wrong_steps_percentiles_and_sizes():
    model = keras.Sequential([keras.Input((6,)), layers.Dense(8, "relu"), layers.Dense(3)])
    for timesteps in (0, -1, 2.5, "a", True):
        with pytest.raises(ValueError, match="`timesteps`"):
            to_spiking(model, x, timesteps, encoding=None)
    for percentile in ("99", None, True, [99.9], 0, 101):
        with pytest.raises(ValueError, match=r"must be in \(0, 100\]; received"):
            to_spiking(model, x, percentile=percentile)
    inputs = keras.Input((None, None, 3))
    pooled = layers.GlobalAveragePooling2D()(conv()(inputs))
    spiking = to_spiking(keras.Model(inputs, layers.Dense(2)(pooled)), images, 5)
    with pytest.raises(ValueError, match="neurons of known number; received"):
        simulate(spiking, images)
