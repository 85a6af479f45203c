"""to_hybrid of models inside models, and of states that go from one layer to another."""

import keras
import numpy as np
import pytest

from hybrid_lmu import HybridCell, HybridLMU, HybridRNN, SigmaDelta, activity_report
from hybrid_lmu.conversion import to_hybrid

L = keras.layers
rng = np.random.default_rng(0)
x = rng.normal(size=(8, 10, 3)).astype("float32")
d = rng.normal(size=(8, 7, 2)).astype("float32")


def transfer_model():
    """A frozen base, called twice, and a head whose activation is the output."""
    a = keras.Input((10, 3))
    base = keras.Model(a, L.GRU(5, return_sequences=True)(L.Dense(4, "relu")(a)), name="base")
    base.trainable = False
    head = keras.Sequential([L.LSTM(6), L.Dense(4, "tanh"), L.Dense(2, "sigmoid")], name="head")
    i = keras.Input((10, 3))
    both = L.Concatenate()([base(i, training=False), base(L.Activation("tanh")(i))])
    return keras.Model(i, head(both))


def test_models_inside_models(tmp_path):
    model = transfer_model()
    expected = model.predict(x, verbose=0)
    same = to_hybrid(model)
    np.testing.assert_allclose(same.predict(x, verbose=0), expected, rtol=0, atol=1e-6)
    base, head = same.get_layer("base"), same.get_layer("head")
    assert not base.trainable_weights and len(head.trainable_weights) == 7
    assert [type(one) for one in base.layers[1:]] == [L.Dense, SigmaDelta, HybridRNN]
    assert not isinstance(head.layers[-1], SigmaDelta)  # the output of the model stays
    hybrid = to_hybrid(model, x, bits=4.0)
    report = activity_report(hybrid, x)
    assert report.totals["activity_bits"] == pytest.approx(4.0, abs=0.3)
    assert {row["name"].split("/")[0] for row in report.activities} >= {"base", "head"}
    hybrid.compile("adam", "mse")
    hybrid.fit(x, np.zeros((8, 2)), verbose=0)
    hybrid.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    for one, other in zip(loaded.get_weights(), hybrid.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=0, atol=0)


def test_exempt_names_models_inside_and_their_layers():
    model = transfer_model()
    kept = to_hybrid(model, resolution=4.0, exempt="base")
    assert [type(one) for one in kept.get_layer("base").layers[1:]] == [L.Dense, L.GRU]
    gru = model.get_layer("base").layers[-1].name
    kept = to_hybrid(model, resolution=4.0, exempt=gru)
    assert [type(one) for one in kept.get_layer("base").layers[1:]] == [L.Dense, SigmaDelta, L.GRU]
    with pytest.raises(ValueError, match="`exempt` must name layers.*'base'"):
        to_hybrid(model, resolution=4.0, exempt="nothing")


def test_images_go_into_models_inside():
    a = keras.Input((6, 6, 2))
    inner = keras.Sequential([keras.Input((6, 6, 2)), L.ReLU(name="relu")], name="inner")
    images = keras.Model(a, L.Dense(2)(L.Flatten()(inner(L.Conv2D(2, 3, padding="same")(a)))))
    with pytest.raises(ValueError, match="'relu' .*is that of images"):
        to_hybrid(images, resolution=4.0)


KINDS = {
    "SimpleRNN": lambda n, **kwargs: L.SimpleRNN(n, **kwargs),
    "GRU": lambda n, **kwargs: L.GRU(n, **kwargs),
    "GRU without carry": lambda n, **kwargs: L.GRU(n, recurrent_dropout=0.1, **kwargs),
    "LSTM": lambda n, **kwargs: L.LSTM(n, **kwargs),
    "Bidirectional": lambda n, **kwargs: L.Bidirectional(L.LSTM(n, **kwargs)),
    "HybridLMU": lambda n, **kwargs: HybridLMU(
        2, 4, 12.0, L.SimpleRNNCell(n), memory_to_memory=True, **kwargs
    ),
    "HybridLMU parallel": lambda n, **kwargs: HybridLMU(2, 4, 12.0, L.Dense(n), **kwargs),
}


def encoder_decoder(make):
    a, b = keras.Input((10, 3)), keras.Input((7, 2))
    y, *states = make(5, return_state=True)(a)
    h = make(5, return_sequences=True)(b, initial_state=states)
    return keras.Model([a, b], [L.Dense(2)(h), L.Dense(3)(states[0])])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.broad(3)
def test_encoder_and_decoder(kind, tmp_path):
    """The outputs are those of the source, as the resolution grows, and with calibrated bits."""
    model = encoder_decoder(KINDS[kind])
    expected = model.predict([x, d], verbose=0)
    for options, off in (({}, 1e-6), ({"resolution": 2.0**20}, 1e-4)):
        found = to_hybrid(model, **options).predict([x, d], verbose=0)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=off)
    hybrid = to_hybrid(model, [x, d], bits=4.0)
    report = activity_report(hybrid, [x, d])
    assert report.totals["activity_bits"] == pytest.approx(4.0, abs=0.2)
    recurrent = [row for row in report.products if row["kind"] == "recurrent"]
    if "carry" not in kind:  # the state that the decoder starts from is a count, too
        assert all(row["effective_macs"] == 0 for row in recurrent)
    hybrid.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert [tuple(o.shape) for o in loaded.outputs] == [tuple(o.shape) for o in model.outputs]


@pytest.mark.parametrize("carry", ["quantized", "exact"])
def test_an_initial_state_of_the_cell_alone_is_quantized(carry):
    rnn = HybridRNN(
        HybridCell(L.GRUCell(4), 4.0, initial_error="half", carry=carry), return_sequences=True
    )
    h = rng.normal(size=(8, 4)).astype("float32")
    counts = np.floor(4 * h + 0.5)
    states = [counts / 4, h] if carry == "exact" else [counts / 4]
    every = rnn(x, initial_state=[*states, 4 * h + 0.5 - counts])
    found = rnn(x, initial_state=h)
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(found), keras.ops.convert_to_numpy(every), rtol=0, atol=1e-5
    )


def test_states_of_stacked_cells_are_refused():
    a = keras.Input((10, 3))
    y, *_ = L.RNN([L.GRUCell(3), L.GRUCell(4)], return_state=True)(a)
    with pytest.raises(ValueError, match="return_state=True and stacked cells; expected"):
        to_hybrid(keras.Model(a, y), resolution=4.0)


def test_states_of_a_layer_with_quantizers_stay():
    a = keras.Input((10, 3))
    _, *states = HybridRNN(HybridCell(L.LSTMCell(4), 4.0, initial_error="half"),
                           return_state=True)(a)  # fmt: skip
    model = keras.Model(a, [L.Dense(2)(L.Dense(3, "relu")(states[0])), *states])
    found = to_hybrid(model, resolution=2.0**20).predict(x, verbose=0)
    for one, other in zip(found, model.predict(x, verbose=0), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-4)
