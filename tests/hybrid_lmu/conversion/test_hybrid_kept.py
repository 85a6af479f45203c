"""to_hybrid leaves a model what it is: its masks, penalties, dtypes, the structure of its outputs;
what it cannot keep is an error."""

import keras
import numpy as np
import pytest

from hybrid_lmu import resolution_variables
from hybrid_lmu.conversion import to_hybrid

layers, to_numpy = keras.layers, keras.ops.convert_to_numpy
x = np.random.default_rng(0).normal(size=(4, 12, 3)).astype("float32")
ids = np.array([[1, 2, 3, 0, 0], [4, 5, 1, 2, 3], [2, 0, 0, 0, 0]])


def outputs_of(model, inputs):
    return model.predict(inputs, verbose=0)


@pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask")
@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.Dense(3, "sigmoid"),
        lambda: layers.Activation("sigmoid"),
        lambda: layers.TimeDistributed(layers.Dense(3, "sigmoid")),
    ],
)
@pytest.mark.broad(1)
def test_masked_steps_without_resolutions_are_those_of_the_source(make):
    model = keras.Sequential(
        [
            keras.Input((5,)),
            layers.Embedding(6, 4, mask_zero=True),
            layers.GRU(4, return_sequences=True),
            make(),
            layers.Reshape((-1,)),
            layers.Dense(2),
        ]
    )
    np.testing.assert_allclose(
        outputs_of(to_hybrid(model), ids), outputs_of(model, ids), rtol=0, atol=1e-6
    )


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="keras-lmu needs TensorFlow")
@pytest.mark.parametrize("hidden", [layers.SimpleRNNCell, layers.Dense])
@pytest.mark.filterwarnings("ignore:Layer .* was passed an input with a mask")
@pytest.mark.broad(1)
def test_a_mask_that_keras_lmu_ignores_is_ignored(hidden, tmp_path):
    package = pytest.importorskip("keras_lmu", reason="keras-lmu is not installed")
    lmu = package.LMU(2, 4, 10, hidden(5))
    embedding = layers.Embedding(6, 4, mask_zero=True)
    model = keras.Sequential([keras.Input((5,)), embedding, lmu, layers.Dense(2)])
    hybrid = to_hybrid(model)
    np.testing.assert_allclose(outputs_of(hybrid, ids), outputs_of(model, ids), rtol=0, atol=1e-6)
    hybrid.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(outputs_of(loaded, ids), outputs_of(hybrid, ids))


@pytest.mark.parametrize(
    "make",
    [
        lambda penalty: layers.GRU(4, activity_regularizer=penalty),
        lambda penalty: layers.RNN(layers.LSTMCell(4), activity_regularizer=penalty),
        lambda penalty: layers.Bidirectional(layers.GRU(4, activity_regularizer=penalty)),
        lambda penalty: layers.Dense(4, "sigmoid", activity_regularizer=penalty),
        lambda penalty: layers.Activation("sigmoid", activity_regularizer=penalty),
    ],
)
@pytest.mark.broad(1)
def test_penalties_of_activities_are_kept(make):
    parts = [make(keras.regularizers.L2(0.1)), layers.Flatten(), layers.Dense(2)]
    model = keras.Sequential([keras.Input((12, 3)), *parts])
    losses = []
    for one in (model, to_hybrid(model)):
        one.compile("sgd", "mse")
        losses.append(one.evaluate(x, outputs_of(one, x), verbose=0))  # the penalty alone
    assert losses[1] == pytest.approx(losses[0], rel=1e-4) and losses[0] > 0.001


def test_a_single_output_keeps_its_name():
    inputs = keras.Input((12, 3))
    outputs = {"y": layers.Dense(2)(layers.GRU(4)(inputs))}
    hybrid = to_hybrid(keras.Model(inputs, outputs), resolution=8.0)
    hybrid.compile("sgd", {"y": "mse"})
    target = {"y": np.zeros((4, 2), "float32")}
    assert np.isfinite(hybrid.fit(x, target, verbose=0).history["loss"]).all()


def test_dtypes_are_those_of_the_layers_and_not_of_the_moment():
    model = keras.Sequential(
        [
            keras.Input((12, 3)),
            layers.Bidirectional(layers.GRU(4, return_sequences=True)),
            layers.RNN([layers.LSTMCell(4), layers.SimpleRNNCell(4)], return_sequences=True),
            layers.TimeDistributed(layers.Dense(4, "tanh")),
            layers.Dense(3, "sigmoid"),
            layers.Flatten(),
            layers.Dense(2),
        ]
    )
    keras.config.set_dtype_policy("mixed_bfloat16")
    hybrid = to_hybrid(model)
    assert {layer.dtype_policy.name for layer in hybrid.layers[1:]} == {"float32"}  # not Input
    np.testing.assert_allclose(outputs_of(hybrid, x), outputs_of(model, x), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "make",
    [
        lambda: layers.SimpleRNN(5, name="decoder"),
        lambda: layers.GRU(5, name="decoder"),
        lambda: layers.Bidirectional(layers.GRU(5), name="decoder"),
    ],
)
def test_an_initial_state_of_another_layer(make):
    sequence, start = keras.Input((12, 3)), keras.Input((5,))
    decoder = make()
    states = [start, start] if isinstance(decoder, layers.Bidirectional) else start
    decoded = decoder(sequence, initial_state=states)
    model = keras.Model([sequence, start], layers.Dense(2, name="out")(layers.ReLU()(decoded)))
    start = np.random.default_rng(1).normal(size=(4, 5)).astype("float32")
    found = outputs_of(to_hybrid(model), [x, start])
    np.testing.assert_allclose(found, outputs_of(model, [x, start]), rtol=0, atol=1e-6)
    hybrid = to_hybrid(model, resolution=4.0, exempt="decoder")
    assert len(resolution_variables(hybrid)) == 1
    assert outputs_of(hybrid, [x, np.ones((4, 5), "float32")]).shape == (4, 2)
