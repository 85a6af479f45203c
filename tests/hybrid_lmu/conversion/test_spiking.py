"""Networks of integrate-and-fire neurons: their rates are the activities of their source."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers

from hybrid_lmu import activity_report
from hybrid_lmu.conversion import (
    early_exit,
    record_activations,
    reset_states,
    simulate,
    to_spiking,
)
from hybrid_lmu.neurons import IF
from hybrid_lmu.weights import ScaledBinary, SumOfSigmoids, quantize_weights

rng = np.random.default_rng(0)
IMAGES = rng.normal(size=(24, 8, 8, 3)).astype("float32")
VECTORS = rng.uniform(size=(40, 6)).astype("float32")


def of(x):
    return keras.ops.convert_to_numpy(x)


def dense(last=None):
    return keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(16, "relu", bias_initializer="uniform", name="first"),
            layers.Dense(12, "relu", name="second"),
            layers.Dense(4, last, bias_initializer="uniform", name="third"),
        ]
    )


def logits(model, x):
    *_, end = model.layers
    before = keras.Model(model.inputs[0], end.input)
    return before.predict(x, verbose=0) @ of(end.kernel) + of(end.bias)


def everything():
    """All that can be converted, in one network, with statistics that are not trivial."""
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(6, 3, padding="same", use_bias=False)(inputs)
    x = layers.BatchNormalization()(x)
    x = a = layers.MaxPooling2D(2)(layers.ReLU()(x))
    x = layers.DepthwiseConv2D(3, padding="same")(x)
    x = layers.Activation("relu")(layers.BatchNormalization()(x))
    x = layers.Conv2D(6, 1, groups=2)(layers.ZeroPadding2D(1)(x))
    x = layers.Add()([layers.AveragePooling2D(3, 1)(x), a])
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.Concatenate()([x, a])
    x = layers.Conv2D(8, 2, strides=2, activation="relu")(layers.Dropout(0.3)(x))
    x = layers.Concatenate()([layers.Flatten()(x), layers.GlobalAveragePooling2D()(x)])
    x = layers.Dense(4, "softmax")(layers.Dense(10, "relu")(x))
    model = keras.Model(inputs, x)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            shape = layer.moving_mean.shape
            values = rng.uniform(-1.5, 1.5, shape), *rng.normal(size=(2, *shape)) * 0.3
            layer.set_weights([*values, rng.uniform(0.5, 2, shape)])
    return model


def test_the_rates_approach_every_layer_of_the_source():
    model = everything()
    expected = logits(model, IMAGES)
    record = record_activations(model, IMAGES)
    errors = []
    for steps in (16, 256):
        spiking = to_spiking(model, record, steps, percentile=100, initial_potential="half")
        found = spiking.predict(IMAGES, verbose=0)[:, -1] / steps
        errors.append(np.abs(found - expected).max() / np.abs(expected).max())
    assert errors[1] < 0.05 and errors[1] < errors[0] / 3


@settings(deadline=None, max_examples=25)
@given(st.floats(0, 1.0), st.floats(0.05, 3.0), st.sampled_from([0.0, 0.5]))
def test_spikes_of_a_constant_input_in_closed_form(share, threshold, start):
    current = np.float32(share * threshold)
    steps = np.arange(1, 61)
    x = np.full((1, len(steps), 1), current)
    spikes = of(IF(threshold, "half" if start else "zeros")(x))[0, :, 0].cumsum()
    # At an integer the rounding of float32 decides.
    low, high = (np.floor(steps * float(current) / threshold + start + e) for e in (-1e-4, 1e-4))
    assert (low <= spikes).all() and (spikes <= high).all()


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(-24, 8), min_size=1, max_size=40), st.integers(0, 7))
def test_spikes_of_inputs_up_to_the_threshold_are_a_running_maximum_of_sums(x, start):
    cell = IF(8.0, [float(start)])
    x += [0] * (40 - len(x))  # one length is compiled once
    spikes = of(cell(np.array(x, "float32")[None, :, None]))[0, :, 0]
    sums = np.floor((np.cumsum(x) + start) / 8.0)
    np.testing.assert_array_equal(np.cumsum(spikes), np.maximum(np.maximum.accumulate(sums), 0))


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10_000))
@pytest.mark.slow
def test_the_rate_of_a_layer_is_off_by_one_spike_at_most(seed):
    random = np.random.default_rng(seed)
    model = keras.Sequential(
        [keras.Input((5,)), layers.Dense(7, "relu"), layers.Dense(7, use_bias=False)]
    )
    model.layers[1].set_weights([np.eye(7, dtype="float32")])
    x = random.normal(size=(6, 5)).astype("float32")
    record = record_activations(model, x)
    lam = record.layers[model.layers[0].name].largest
    steps = np.arange(1, 81)[:, None]
    found = of(to_spiking(model, record, 80, percentile=100)(x)) / steps
    assert (np.abs(found - of(model(x))[:, None]) <= (1 + 1e-4) * lam / steps + 1e-6).all()


def test_thresholds_are_percentiles_and_spikes_are_ones():
    model = dense()
    record = record_activations(model, VECTORS, batch_size=7)
    first = of(layers.ReLU()(model.layers[0](VECTORS)))
    spiking = to_spiking(model, record, 10, percentile=90)
    thresholds = [layer.cell.threshold for layer in spiking.layers if isinstance(layer, IF)]
    second = of(model.layers[1](first))
    lam = [np.percentile(first, 90), np.percentile(second, 90)]
    np.testing.assert_allclose(thresholds[0], lam[0], rtol=1e-2)
    np.testing.assert_allclose(thresholds[1], lam[1] / lam[0], rtol=1e-2)
    report = activity_report(spiking, VECTORS)
    of_spikes = [row for row in report.products if row["layer"] != "first"]
    assert len(of_spikes) == 2
    assert all(row["effective_macs"] == 0 < row["strict_acs"] for row in of_spikes)
    assert len(report.activities) == 2


@pytest.mark.parametrize("rule", [ScaledBinary, lambda: SumOfSigmoids("ternary")])
def test_kernels_of_few_bits_become_codes_and_their_scales_thresholds(rule):
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(6, 3, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Conv2D(8, 3, use_bias=False),
            layers.AveragePooling2D(2),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(9, "relu"),
            layers.Dense(4),
        ]
    )
    normalization = model.layers[1]
    normalization.set_weights(rng.uniform(0.5, 1.5, (4, 6)) * np.array([[-1], [1], [1], [1]]))
    low = quantize_weights(model, rule())
    record = record_activations(low, IMAGES)
    spiking = to_spiking(low, record, 200, percentile=100)
    found = spiking.predict(IMAGES, verbose=0)[:, -1] / 200
    expected = low.predict(IMAGES, verbose=0)
    assert np.abs(found - expected).max() < 0.1 * np.abs(expected).max()
    kernels = [w for w in spiking.weights if w.name == "kernel"]
    assert len(kernels) == 4
    for kernel in kernels:
        assert set(np.unique(of(kernel))) <= {-1.0, 0.0, 1.0}


def test_poisson_input_synchronous_layers_and_inputs_with_time():
    model = dense()
    record = record_activations(model, VECTORS)
    expected = of(model(VECTORS))
    size = np.abs(expected).max()
    poisson = to_spiking(model, record, 600, percentile=100, encoding="poisson", seed=0)
    assert np.abs(of(poisson(VECTORS))[:, -1] / 600 - expected).max() < 0.2 * size
    fast, slow = (to_spiking(model, record, 30, propagation=p) for p in ("one-step", "synchronous"))
    # Two layers of neurons and the readout: three steps late.
    # Two layers of neurons and the readout, each a step behind the one before.
    late = of(slow(VECTORS))
    assert (late[:, 0] == 0).all()
    assert np.abs(late[:, -1] / 30 - expected).max() < 0.3 * size
    timed = to_spiking(model, record, None, encoding=None)
    repeated = np.repeat(VECTORS[:, None], 30, axis=1)
    np.testing.assert_allclose(of(timed(repeated)), of(fast(VECTORS)), rtol=0, atol=1e-3)


def test_streams_in_chunks_and_is_saved(tmp_path):
    model = dense("softmax")
    record = record_activations(model, VECTORS)
    whole = of(to_spiking(model, record, 12)(VECTORS[:5]))
    fixed = keras.Sequential([keras.Input(batch_shape=(5, 6)), *model.layers])
    for propagation in ("one-step", "synchronous"):
        options = dict(stateful=True, propagation=propagation)
        streaming = to_spiking(fixed, record, 4, **options)
        parts = np.concatenate([of(streaming(VECTORS[:5])) for _ in range(3)], axis=1)
        expected = of(to_spiking(model, record, 12, propagation=propagation)(VECTORS[:5]))
        np.testing.assert_allclose(parts, expected, rtol=0, atol=1e-4)
        reset_states(streaming)
        np.testing.assert_allclose(of(streaming(VECTORS[:5])), parts[:, :4], rtol=0, atol=1e-5)
    spiking = to_spiking(model, record, 12)
    spiking.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(of(again(VECTORS[:5])), whole)


def test_accuracy_and_spikes_at_every_step_and_early_exit():
    model = dense()
    labels = of(model(VECTORS)).argmax(axis=-1)
    simulation = simulate(to_spiking(model, VECTORS, 60, percentile=100), VECTORS, batch_size=16)
    assert simulation.sums.shape == (40, 60, 4) and simulation.neurons == 28
    accuracy = simulation.accuracy(labels)
    assert accuracy[-1] > 0.9
    step = simulation.steps_to(labels, accuracy[-1])
    assert (accuracy[step - 1 :] >= accuracy[-1]).all() and accuracy[step - 2] < accuracy[-1]
    assert simulation.spikes[:, -1].mean() == pytest.approx(sum(simulation.by_layer.values()))
    assert (np.diff(simulation.spikes, axis=1) >= 0).all()
    never = early_exit(simulation, 1.0)
    assert (never.steps == 60).all() and never.accuracy(labels) == accuracy[-1]
    at_once = early_exit(simulation, 1e-6, first=5)
    assert (at_once.steps == 5).all() and at_once.accuracy(labels) == accuracy[4]
    some = early_exit(simulation, 0.9, kappa=20.0)
    assert 1 < some.steps.mean() < 60
    rows = np.arange(40)
    z = 20.0 * simulation.sums[rows, some.steps - 1] / some.steps[:, None]
    sure = np.exp(z - z.max(-1, keepdims=True))
    left = some.steps < 60
    assert (1 / sure.sum(-1)[left] >= 0.9).all()
    raw = early_exit(simulation, 0.9, kappa=20.0, norm="sum")
    assert (raw.steps <= some.steps).all()


def _functional(build):
    inputs = keras.Input((8, 8, 3))
    return keras.Model(inputs, build(inputs))


def attention(x):
    x = layers.Reshape((-1, x.shape[-1]))(x)
    return layers.MultiHeadAttention(1, 2)(x, x)


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda x: layers.LayerNormalization()(layers.ReLU()(x)), "LayerNormalization.*expected"),
        (
            lambda x: layers.ELU()(layers.ReLU()(layers.Masking()(x))),
            r"'masking\w*' \(Masking\), 'elu\w*' \(ELU\) cannot",
        ),
        (lambda x: layers.Conv2D(2, 3, activation="tanh")(layers.ReLU()(x)), "'tanh'.*expected"),
        (lambda x: layers.ReLU()(layers.Dense(2, "softmax")(x)), "not the last one"),
        (lambda x: layers.ReLU(threshold=0.5)(x), "threshold=0.5"),
        (lambda x: layers.Activation("silu")(layers.ReLU()(x)), "'silu'.*Put one of them in its"),
        (lambda x: layers.Multiply()([layers.ReLU()(x), x]), "product of two rates is no sum"),
        (lambda x: layers.ReLU()(x) * x, "product of two rates is no sum"),
        (lambda x: attention(layers.ReLU()(x)), "`to_hybrid` quantizes the activities around"),
        (lambda x: layers.Conv2D(2, 3)(x), "no ReLU.*Put relu or"),
        (
            lambda x: layers.ReLU()(x) * 2.0,
            r"'multiply\w*' \(a function of keras.ops, no layer\)",
        ),
        (lambda x: layers.Dropout(0.5)(layers.ReLU()(x), training=True), "training=True"),
        (lambda x: layers.Dense(2, activation=layers.ELU())(layers.ReLU()(x)), "'ELU'"),
        (lambda x: layers.ReLU()(layers.Dense(2, bias_initializer="zeros")(x * 0.0)), "convert"),
    ],
)
def test_what_cannot_be_converted_is_named(build, message):
    with pytest.raises(ValueError, match=message):
        to_spiking(_functional(build), IMAGES)


def test_residuals_by_operators():
    def build(x):
        y = layers.Conv2D(4, 1, activation="relu")(x)
        return layers.Dense(2)(keras.ops.relu(layers.Conv2D(4, 1)(y) + y))

    model = _functional(build)
    found = of(to_spiking(model, IMAGES, 300, percentile=100)(IMAGES))[:, -1] / 300
    expected = of(model(IMAGES))
    assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()


def test_sums_of_different_ranks_are_those_of_the_source():
    def build(x):
        y = layers.Conv2D(4, 3, activation="relu")(x)
        y = layers.Add()([y, layers.GlobalAveragePooling2D()(y)])
        return layers.Dense(2)(layers.Flatten()(y))

    model = _functional(build)
    expected = of(model(IMAGES))
    # Six steps are as many as the image is wide: time must not be taken for an axis of the image.
    found = of(to_spiking(model, IMAGES, 6, percentile=100)(IMAGES))
    longer = of(to_spiking(model, IMAGES, 200, percentile=100)(IMAGES))
    np.testing.assert_allclose(longer[:, :6], found, rtol=1e-4, atol=1e-4)
    assert np.abs(longer[:, -1] / 200 - expected).max() < 0.05 * np.abs(expected).max()


@pytest.mark.parametrize("rule", [ScaledBinary, lambda: SumOfSigmoids("ternary")])
def test_dead_channels_of_kernels_of_few_bits_are_constant(rule):
    inputs = keras.Input((8, 8, 3))
    normalization = layers.BatchNormalization()
    x = layers.ReLU()(normalization(layers.Conv2D(4, 3)(inputs)))
    model = keras.Model(inputs, layers.Dense(2)(layers.Flatten()(x)))
    normalization.gamma.assign([1.0, 0.0, 1.0, 1.0])
    normalization.beta.assign([0.0, 0.5, 0.0, 0.0])
    low = quantize_weights(model, rule(), exempt_first=False, exempt_last=False)
    expected = of(low(IMAGES))
    found = of(to_spiking(low, IMAGES, 300, percentile=100)(IMAGES))[:, -1] / 300
    assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()


def test_sums_and_spikes_of_half_precision_are_float32():
    keras.config.set_dtype_policy("mixed_float16")
    layer = layers.Conv2D(300, 1, activation="relu", kernel_initializer="ones")
    model = _functional(lambda x: layers.Dense(1, kernel_initializer="ones")(layer(x)))
    x = np.ones((2, 8, 8, 3), "float32")
    simulation = simulate(to_spiking(model, x, 30, percentile=100), x)
    assert simulation.sums.dtype == np.float32
    # All fire at all steps, more often than half precision can count.
    assert (simulation.spikes[:, -1] == 30 * 8 * 8 * 300).all()
    assert np.isfinite(simulation.sums).all() and simulation.sums.max() > 20_000


@pytest.mark.parametrize("activation", [layers.ReLU(), layers.ReLU(6.0), "relu6"])
def test_activations_given_as_layers(activation):
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(5, activation=activation), layers.Dense(2)]
    )
    found = of(to_spiking(model, VECTORS, 300, percentile=100)(VECTORS))[:, -1] / 300
    np.testing.assert_allclose(found, of(model(VECTORS)), rtol=0, atol=0.03)


def test_poisson_input_of_integers():
    pixels = rng.integers(0, 256, (10, 6)).astype("uint8")
    inputs = keras.Input((6,), dtype="uint8")
    model = keras.Model(inputs, layers.Dense(2)(layers.Dense(4, "relu")(inputs)))
    spiking = to_spiking(model, pixels, 2000, percentile=100, encoding="poisson", seed=0)
    expected = of(model(pixels))
    found = of(spiking(pixels))[:, -1] / 2000
    assert np.abs(found - expected).max() < 0.1 * np.abs(expected).max()


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(timesteps=0), "received: 0"),
        (dict(percentile=0), "received: 0"),
        (dict(percentile=1), "would be 0"),
        (dict(encoding="rate"), "received: 'rate'"),
        (dict(initial_potential="full"), "received: 'full'"),
        (dict(propagation="fast"), "received: 'fast'"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        to_spiking(dense(), VECTORS, **options)


def test_bad_data():
    with pytest.raises(ValueError, match="NaN"):
        to_spiking(dense(), np.full((2, 6), np.nan, "float32"))
    with pytest.raises(ValueError, match="received none"):
        to_spiking(dense(), VECTORS[:0])
    simulation = simulate(to_spiking(dense(), VECTORS, 3), VECTORS)
    with pytest.raises(ValueError, match="each of 40 samples"):
        simulation.accuracy(np.zeros(3))
    with pytest.raises(ValueError, match="received: 'none'"):
        early_exit(simulation, 0.9, norm="none")
    with pytest.raises(ValueError, match="received: 1.5"):
        early_exit(simulation, 1.5)
    of_each_place = replace(simulation, sums=simulation.sums[..., None])
    with pytest.raises(ValueError, match=r"received \(40, 3, 4, 1\)"):
        early_exit(of_each_place, 0.9)
    other = keras.Sequential([keras.Input((6,)), layers.Dense(3, "relu", name="other")])
    with pytest.raises(ValueError, match="received one without 'first', of \\['other'\\]"):
        to_spiking(dense(), record_activations(other, VECTORS))
    tuned = dense()
    tuned.get_layer("second").enable_lora(2)
    with pytest.raises(ValueError, match="'second' \\(Dense\\) has weights named lora"):
        to_spiking(tuned, VECTORS)
    with pytest.raises(ValueError, match="not stateful"):
        simulate(dense(), VECTORS)
