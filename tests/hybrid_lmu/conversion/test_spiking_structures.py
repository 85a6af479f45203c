"""Models inside models, several inputs and outputs, separable convolutions and leaky ReLUs."""

import re

import keras
import numpy as np
import pytest

from hybrid_lmu import activity_report
from hybrid_lmu.conversion import record_activations, simulate, to_spiking

L = keras.layers
rng = np.random.default_rng(0)
images = rng.uniform(size=(20, 8, 8, 2)).astype("float32")
T = 300


def rates_of(model, x, **options):
    options = {"percentile": 100, "initial_potential": "half", "timesteps": T, **options}
    spiking = to_spiking(model, x, **options)
    sums = spiking.predict(x, verbose=0)
    return spiking, keras.tree.map_structure(lambda s: s[:, -1] / T, sums)


def transfer_model():
    """A base of two outputs, one inside another model, and a head that is called twice."""
    a = keras.Input((8, 8, 2))
    h = L.BatchNormalization()(L.Conv2D(4, 3, activation="relu", name="same")(a))
    base = keras.Model(a, [L.MaxPooling2D()(L.ReLU(name="r")(h)), h], name="base")
    outer = keras.Sequential([keras.Input((8, 8, 2)), keras.Model(a, base(a)[0], name="inner")])
    head = keras.Sequential([L.Flatten(), L.Dense(6, "relu", name="same"), L.Dense(6)], name="head")
    i = keras.Input((8, 8, 2))
    logits = L.Add()([head(base(i, training=False)[0]), head(outer(i))])
    return keras.Model(i, L.Activation("softmax")(logits)), keras.Model(i, logits)


def test_models_inside_models():
    model, logits = transfer_model()
    base = model.get_layer("base")
    before = [len(layer.weights) for layer in base.layers], model.get_weights()
    record = record_activations(model, images)
    assert {"base/same", "base/r", "head/same", "head#2/same"} <= set(record.layers)
    assert "sequential/inner/base/r" in {re.sub(r"_\d+", "", path) for path in record.layers}
    expected = logits.predict(images, verbose=0)
    _, found = rates_of(model, images)
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.02 * np.abs(expected).max())
    after = [len(layer.weights) for layer in base.layers], model.get_weights()
    assert before[0] == after[0]
    for one, other in zip(before[1], after[1], strict=True):
        np.testing.assert_array_equal(one, other)


def test_an_inner_model_in_training_is_refused():
    a = keras.Input((3,))
    inner = keras.Sequential([keras.Input((3,)), L.Dense(4, "relu"), L.Dropout(0.5)])
    with pytest.raises(ValueError, match="training=True; expected a network in inference"):
        to_spiking(keras.Model(a, inner(a, training=True)), np.ones((3, 3), "float32"))


class Own(keras.Model):
    def call(self, inputs):
        return inputs


def test_an_inner_model_without_a_graph_is_refused():
    a = keras.Input((3,))
    with pytest.raises(ValueError, match=r"must be Sequential or functional.*received 'own.*Own"):
        to_spiking(keras.Model(a, Own()(L.ReLU()(a))), np.ones((3, 3), "float32"))


@pytest.mark.parametrize("named", [False, True])
def test_several_inputs_and_outputs(named):
    a, b = keras.Input((5,), name="a"), keras.Input((3,), name="b")
    h = L.Dense(8, "relu")(L.Concatenate()([a, L.Dense(4, "relu")(b)]))
    outputs = {"y": L.Dense(2)(h), "z": L.Dense(3, "relu")(h)}
    inputs = {"a": a, "b": b} if named else [a, b]
    model = keras.Model(inputs, outputs if named else list(outputs.values()))
    x = [rng.normal(size=(30, 5)).astype("float32"), 9 * rng.normal(size=(30, 3)).astype("float32")]
    x = dict(zip("ab", x, strict=True)) if named else x
    expected = model.predict(x, verbose=0)
    spiking, found = rates_of(model, x)
    keras.tree.assert_same_structure(found, expected)
    for one, other in zip(keras.tree.flatten(found), keras.tree.flatten(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=0.03 * np.abs(other).max())
    with pytest.raises(ValueError, match="one output; received .* with 2.*outputs.0."):
        simulate(spiking, x)
    alone = keras.Model(spiking.input, spiking.outputs[0])
    assert simulate(alone, x).sums.shape == (30, T, 2)
    largest = [h.largest for h in record_activations(model, x).inputs]
    sizes = [np.abs(one).max() for one in keras.tree.flatten(x)]
    np.testing.assert_allclose(largest, sizes, rtol=1e-6)
    poisson, found = rates_of(model, x, encoding="poisson", seed=0, timesteps=2000)
    y = found["y"] if named else found[0]
    y = y * T / 2000
    expected = expected["y"] if named else expected[0]
    assert np.corrcoef(y.reshape(-1), expected.reshape(-1))[0, 1] > 0.98


def separable(options, kind):
    shape = (8, 8, 2) if kind is L.SeparableConv2D else (12, 2)
    layer = kind(5, 3, bias_initializer="normal", depthwise_initializer="normal", **options)
    return keras.Sequential(
        [keras.Input(shape), L.Activation("relu"), layer, L.BatchNormalization(), L.ReLU(),
         L.Flatten(), L.Dense(3)]
    )  # fmt: skip


@pytest.mark.parametrize("kind", [L.SeparableConv2D, L.SeparableConv1D])
@pytest.mark.parametrize(
    "options",
    [{}, {"strides": 2, "padding": "same", "depth_multiplier": 3, "activation": "relu"},
     {"dilation_rate": 2, "use_bias": False}],
)  # fmt: skip
@pytest.mark.broad(2)
def test_separable_convolutions(kind, options):
    model = separable(options, kind)
    x = rng.normal(size=(20, *model.input_shape[1:])).astype("float32")
    expected = model.predict(x, verbose=0)
    spiking, found = rates_of(model, x)
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.03 * np.abs(expected).max())
    kinds = [type(layer).__name__ for layer in spiking.layers]
    found = [getattr(getattr(one, "layer", one), "kernel", None) for one in spiking.layers]
    assert sum(kernel is not None for kernel in found) == 3, kinds


LEAKY = {
    "layer": lambda h: L.LeakyReLU(0.3)(h),
    "relu with slope": lambda h: L.ReLU(negative_slope=0.3)(h),
    "name": lambda h: L.Activation("leaky_relu")(h),
    "operation": lambda h: keras.ops.leaky_relu(h, 0.3),
    "of a layer": lambda h: L.Dense(6, activation=L.LeakyReLU(0.05))(h),
}


@pytest.mark.parametrize("leaky", LEAKY.values(), ids=LEAKY)
@pytest.mark.broad(2)
def test_leaky_relus_are_two_neurons(leaky):
    a = keras.Input((5,))
    h = leaky(L.Dense(8)(a))
    model = keras.Model(a, L.Dense(3)(leaky(L.Dense(8)(h))))
    x = rng.normal(size=(30, 5)).astype("float32")
    expected = model.predict(x, verbose=0)
    spiking, found = rates_of(model, x)
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.03 * np.abs(expected).max())


@pytest.mark.parametrize("slope", [0.01, 0.3, 1.5])
def test_a_constant_current_is_rounded_to_spikes_of_both_signs(slope):
    """The rate is within one spike of the leaky ReLU, and spikes are -1, 0 or 1."""
    z = np.linspace(-0.9, 0.9, 19).astype("float32")[:, None]
    model = keras.Sequential([keras.Input((1,)), L.LeakyReLU(slope, name="leaky")])
    z = z / max(slope, 1)
    spiking = to_spiking(model, z, timesteps=50, percentile=100)
    lam = np.abs(model.predict(z, verbose=0)).max()
    found = spiking.predict(z, verbose=0)[:, -1] / 50
    expected = np.where(z > 0, z, slope * z)
    assert np.abs(found - expected).max() <= lam / 50 * (1 + 1e-4)
    signed = keras.Model(spiking.input, spiking.get_layer("leaky_signed").output)
    spikes = signed.predict(z, verbose=0)
    assert set(np.unique(spikes)) <= {-1.0, 0.0, 1.0} and (spikes[0] <= 0).all()


def test_spikes_of_both_signs_cost_additions():
    model = keras.Sequential([keras.Input((5,)), L.Dense(8), L.LeakyReLU(0.3), L.Dense(3)])
    x = rng.normal(size=(30, 5)).astype("float32")
    rows = activity_report(to_spiking(model, x, timesteps=20), x).products
    last = rows[-1]
    assert last["effective_macs"] == 0 and last["strict_acs"] == last["effective_acs"] > 0
