"""The wrapper around layers: any layer, files, states, gradients, bad input."""

import keras
import numpy as np
import pytest
from keras import ops

from hybrid_lmu import HybridCell, HybridLMU, HybridRNN, ScheduledVariable
from hybrid_lmu.weights import (
    AnnealTemperature,
    Bernoulli,
    LinearTemperature,
    QuantizedWeights,
    ScaledBinary,
    StraightThroughSign,
    SumOfSigmoids,
    packed_weights,
    uniform_levels,
)

to_numpy = ops.convert_to_numpy
random = np.random.default_rng(0)
x = random.normal(size=(8, 12, 3)).astype("float32")
y = random.integers(0, 4, 8)


def lmu(**kwargs):
    return HybridLMU(
        2, 4, 12, keras.layers.Dense(6, "relu"), memory_resolution=8.0, hidden_resolution=4.0,
        initial_error="half", **kwargs,
    )  # fmt: skip


LAYERS = {
    "dense": lambda: keras.layers.Dense(4),
    "conv": lambda: keras.layers.Conv1D(4, 3, strides=2),
    "simple_rnn": lambda: keras.layers.SimpleRNN(4),
    "gru": lambda: keras.layers.GRU(4, return_sequences=True),
    "lstm": lambda: keras.layers.LSTM(4, go_backwards=True),
    "hybrid_lmu": lambda: lmu(),
    "hybrid_rnn": lambda: HybridRNN(
        HybridCell(keras.layers.SimpleRNNCell(4), initial_error="half")
    ),
    "bidirectional": lambda: keras.layers.Bidirectional(keras.layers.GRU(4)),
    "time_distributed": lambda: keras.layers.TimeDistributed(keras.layers.Dense(4)),
}


def wrapped(layer, **kwargs):
    return QuantizedWeights(layer, SumOfSigmoids("ternary"), StraightThroughSign(), **kwargs)


def model_of(layer, shape=(12, 3)):
    return keras.Sequential(
        [keras.Input(shape), layer, keras.layers.Flatten(), keras.layers.Dense(4)]
    )


def compiled(model, rate=1e-2):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss)
    return model


@pytest.mark.parametrize("name", LAYERS)
def test_inference_is_that_of_the_layer_with_hard_weights(name):
    layer = wrapped(LAYERS[name]())
    found = to_numpy(layer(x))
    plain = LAYERS[name]()
    plain(x)
    hard = {v.path: one.values for v, one in zip([v for v, _ in layer.quantized()],
                                                 layer.packed().values(), strict=True)}  # fmt: skip
    plain.set_weights([hard.get(w.path, to_numpy(w)) for w in layer.layer.weights])
    np.testing.assert_allclose(found, to_numpy(plain(x)), atol=1e-5)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.broad(2)
def test_training_moves_every_latent_kernel(name):
    model = compiled(model_of(wrapped(LAYERS[name]())))
    before = [to_numpy(w) for w in model.layers[0].layer.trainable_weights]
    history = model.fit(x, y, epochs=2, verbose=0).history
    assert np.all(np.isfinite(history["loss"]))
    for old, new in zip(before, model.layers[0].layer.trainable_weights, strict=True):
        assert np.any(old != to_numpy(new)), new.path


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.broad(2)
def test_a_saved_model_is_the_same_model(name, tmp_path):
    model = compiled(model_of(wrapped(LAYERS[name]())))
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(model.predict(x, verbose=0), again.predict(x, verbose=0))
    for one, other in zip(
        packed_weights(model).values(), packed_weights(again).values(), strict=True
    ):
        np.testing.assert_array_equal(one.codes, other.codes)


@pytest.mark.slow
def test_training_is_resumed_from_a_file(tmp_path):
    def model():
        keras.utils.set_random_seed(3)
        rule = Bernoulli(seed=5, initial=None, rho=1e-3)
        return compiled(model_of(QuantizedWeights(keras.layers.GRU(4), rule, ScaledBinary())))

    whole, first = model(), model()
    whole.fit(x, y, epochs=4, shuffle=False, verbose=0)
    first.fit(x, y, epochs=2, shuffle=False, verbose=0)
    first.save(tmp_path / "half.keras")
    second = keras.saving.load_model(tmp_path / "half.keras")
    second.fit(x, y, epochs=2, shuffle=False, verbose=0)
    for one, other in zip(whole.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_gradients_of_all_steps_are_summed_before_the_rule():
    """The gradient of a wrapped recurrent layer is that of a plain one, through the rule once."""
    rule = StraightThroughSign(scale=0.5)
    layer = QuantizedWeights(keras.layers.SimpleRNN(4, use_bias=False), rule, rule)
    layer(x)
    plain = keras.layers.SimpleRNN(4, use_bias=False)
    plain(x)
    plain.set_weights([one.values for one in layer.packed().values()])
    rate, steps = 0.1, []
    for one in (layer, plain):
        model = keras.Sequential([keras.Input((12, 3)), one])
        model.compile(keras.optimizers.SGD(rate), "mse")
        before = [to_numpy(w) for w in one.trainable_weights]
        model.fit(x, np.ones((8, 4)), batch_size=8, verbose=0)
        steps.append([b - to_numpy(w) for b, w in zip(before, one.trainable_weights, strict=True)])
    for found, expected in zip(*steps, strict=True):
        np.testing.assert_allclose(found, 0.5 * expected, rtol=1e-3, atol=1e-6)


def test_streaming_is_one_long_call():
    whole = wrapped(HybridRNN(keras.layers.GRUCell(4), return_sequences=True))
    expected = to_numpy(whole(x[:2]))
    stream = wrapped(HybridRNN(keras.layers.GRUCell(4), return_sequences=True, stateful=True))
    stream(keras.Input(batch_shape=(2, 6, 3)))
    stream.set_weights(whole.get_weights())
    model = keras.Sequential([keras.Input(batch_shape=(2, 6, 3)), stream])
    parts = [model.predict(part, verbose=0) for part in (x[:2, :6], x[:2, 6:])]
    np.testing.assert_allclose(np.concatenate(parts, axis=1), expected, atol=1e-6)
    stream.reset_state()
    np.testing.assert_allclose(model.predict(x[:2, :6], verbose=0), parts[0], atol=1e-6)


def test_states_and_masks_go_through():
    layer = wrapped(keras.layers.GRU(4, return_state=True))
    mask = np.arange(12)[None] < np.array([12, 5, 1, 7, 7, 3, 2, 12])[:, None]
    output, state = layer(x, initial_state=np.ones((8, 4), "float32"), mask=mask)
    expected, _ = layer(x[1:2, :5], initial_state=np.ones((1, 4), "float32"))
    np.testing.assert_allclose(to_numpy(output)[1:2], to_numpy(expected), atol=1e-6)
    np.testing.assert_array_equal(to_numpy(output), to_numpy(state))


def test_dropout_and_seeds_advance_inside():
    layer = wrapped(keras.layers.GRU(4, dropout=0.5, seed=1))
    first, second = (to_numpy(layer(x, training=True)) for _ in range(2))
    assert np.any(first != second)


def test_losses_of_the_layer_are_kept():
    dense = keras.layers.Dense(4, activity_regularizer="l2", kernel_regularizer="l2")
    model = keras.Sequential([keras.Input((3,)), QuantizedWeights(dense, SumOfSigmoids())])
    model.compile("sgd", "mse")
    plain = keras.Sequential(
        [keras.Input((3,)), QuantizedWeights(keras.layers.Dense(4), SumOfSigmoids())]
    )
    plain.compile("sgd", "mse")
    plain.set_weights(model.get_weights())
    assert model.evaluate(x[:, 0], x[:, :4, 0], verbose=0) > plain.evaluate(
        x[:, 0], x[:, :4, 0], verbose=0
    )


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.broad(1)
def test_mixed_precision(precision):
    keras.config.set_dtype_policy(precision)
    layer = wrapped(lmu(return_sequences=True))
    assert keras.backend.standardize_dtype(layer(x).dtype) == precision.removeprefix("mixed_")
    assert all(keras.backend.standardize_dtype(w.dtype) == "float32" for w in layer.weights)
    model = compiled(model_of(wrapped(lmu())))
    assert np.isfinite(model.fit(x, y, verbose=0).history["loss"][0])


def test_constraints_are_kept_after_updates():
    def largest(rule):
        dense = keras.layers.Dense(4, kernel_constraint="non_neg")
        model = compiled(keras.Sequential([keras.Input((3,)), QuantizedWeights(dense, rule)]), 5.0)
        model.fit(x[:, 0], y, epochs=3, verbose=0)
        return to_numpy(dense.kernel)

    clipped = largest(StraightThroughSign(clip=0.5))
    assert (
        clipped.min() == 0.0 and clipped.max() <= 0.5
    )  # its own constraint, then that of the rule
    centred = largest(ScaledBinary())
    assert np.abs(centred).max() <= 1.0


def test_the_temperature_is_scheduled_and_saved(tmp_path):
    model = compiled(model_of(wrapped(keras.layers.GRU(4))))
    anneal = AnnealTemperature(LinearTemperature(30.0, largest=70.0), per="epoch")
    history = model.fit(x, y, epochs=3, verbose=0, callbacks=[anneal]).history
    assert history["temperature"] == [30.0, 60.0, 70.0]
    model.save(tmp_path / "model.keras")
    (rule,) = [r for _, r in keras.saving.load_model(tmp_path / "model.keras").layers[0].quantized()
               if isinstance(r, SumOfSigmoids)]  # fmt: skip
    assert float(rule.temperature) == 70.0
    with pytest.raises(ValueError, match="temperature must be finite and > 0"):
        model.fit(x, y, verbose=0, callbacks=[AnnealTemperature(lambda step: -1.0)])
    assert isinstance(anneal, ScheduledVariable)


def test_a_mask_passes_by_layers_that_do_not_take_it():
    model = keras.Sequential(
        [
            keras.Input((5,), dtype="int32"),
            keras.layers.Embedding(10, 4, mask_zero=True),
            wrapped(keras.layers.Dense(4)),
            wrapped(keras.layers.GRU(3)),
        ]
    )
    tokens = np.array([[1, 2, 0, 0, 0], [1, 2, 3, 0, 0]])
    longer = np.array([[1, 2, 0, 0, 0], [1, 2, 3, 0, 0]])[:, :4]
    np.testing.assert_allclose(
        to_numpy(model(tokens)), to_numpy(model(np.pad(longer, ((0, 0), (0, 1))))), atol=1e-6
    )
    assert np.any(to_numpy(model(tokens))[0] != to_numpy(model(tokens))[1])


def test_a_frozen_layer_stays_as_it_is():
    dense = keras.layers.Dense(4, trainable=False)
    model = compiled(keras.Sequential([keras.Input((3,)), wrapped(dense)]), 0.5)
    before = model.get_weights()
    model.fit(x[:, 0], y, epochs=2, verbose=0)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_kernel_is_saved_once(tmp_path):
    model = keras.Sequential([keras.Input((300,)), wrapped(keras.layers.Dense(400))])
    model.save(tmp_path / "model.keras")
    assert (tmp_path / "model.keras").stat().st_size < 1.2 * 4 * 300 * 400
    assert len(model.layers[0].weights) == 2 + 4  # kernel, bias; alpha, beta, biases, temperature


@pytest.mark.slow
def test_models_of_small_kernels_load_again(tmp_path):
    for seed in range(5):
        keras.utils.set_random_seed(seed)
        rule = SumOfSigmoids(uniform_levels(3))
        model = keras.Sequential([keras.Input((4,)), QuantizedWeights(keras.layers.Dense(4), rule)])
        model.save(tmp_path / "model.keras")
        again = keras.saving.load_model(tmp_path / "model.keras")
        np.testing.assert_array_equal(model.predict(x[:, :4, 0], verbose=0),
                                      again.predict(x[:, :4, 0], verbose=0))  # fmt: skip


def test_weights_go_from_one_rule_to_another(tmp_path):
    def network(rule):
        return keras.Sequential([keras.Input((3,)), QuantizedWeights(keras.layers.Dense(4), rule)])

    first, second = network(Bernoulli()), network(Bernoulli(inference="sample"))
    first.save_weights(tmp_path / "a.weights.h5")
    second.load_weights(tmp_path / "a.weights.h5")
    np.testing.assert_array_equal(first.get_weights()[0], second.get_weights()[0])
    network(StraightThroughSign()).save_weights(tmp_path / "b.weights.h5")
    first.load_weights(tmp_path / "b.weights.h5")


def test_a_model_that_is_built_inside_fit():
    """Without a rule that reads the kernel it works; with one the error says what to do."""

    def model(rule):
        layers = [QuantizedWeights(keras.layers.GRU(4), rule), keras.layers.Dense(4)]
        return compiled(keras.Sequential(layers))

    assert np.isfinite(model(StraightThroughSign()).fit(x, y, verbose=0).history["loss"][0])
    if keras.backend.backend() == "torch":  # builds eagerly
        model(SumOfSigmoids()).fit(x, y, verbose=0)
        return
    with pytest.raises((ValueError, RuntimeError), match="keras.Input"):
        model(SumOfSigmoids()).fit(x, y, verbose=0)


def test_nan_is_not_hidden_by_a_sign():
    for rule in (StraightThroughSign(), ScaledBinary(), SumOfSigmoids(), Bernoulli()):
        layer = QuantizedWeights(keras.layers.Dense(4), rule)
        layer(x[:, 0])
        layer.layer.kernel.assign(np.full((3, 4), np.nan))
        assert np.all(np.isnan(to_numpy(layer(x[:, 0]))))
        with pytest.raises(ValueError, match="must be finite; received 12"):
            layer.packed()


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: QuantizedWeights(keras.layers.Dense(2)), "must be given; received None"),
        (lambda: QuantizedWeights(keras.layers.GRUCell(2), SumOfSigmoids()), "not a cell"),
        (lambda: QuantizedWeights(model_of(keras.layers.GRU(4)), SumOfSigmoids()), "a Keras layer"),
        (lambda: QuantizedWeights(keras.layers.Dense(2), "binary"), "received: 'binary'"),
        (
            lambda: QuantizedWeights(keras.layers.Dense(2), SumOfSigmoids(), exempt="kernel")(x),
            "nothing to quantize.*kernel",
        ),
        (lambda: QuantizedWeights(keras.layers.ReLU(), SumOfSigmoids())(x), "nothing to quantize"),
        (
            lambda: QuantizedWeights(
                keras.layers.Dense(2, kernel_initializer="zeros"), SumOfSigmoids()
            )(x),
            "entries other than 0",
        ),
        (
            lambda: QuantizedWeights(keras.layers.Dense(2), SumOfSigmoids(), exempt="typo")(x),
            "must name weights.*kernel.*received: .'typo'",
        ),
        (lambda: QuantizedWeights(keras.layers.Dense(2), SumOfSigmoids(), exempt=3), "received: 3"),
        (lambda: QuantizedWeights(wrapped(keras.layers.Dense(2)), SumOfSigmoids()), "already"),
        (
            lambda: QuantizedWeights(keras.layers.MultiHeadAttention(2, 3), SumOfSigmoids()),
            "must have one input; received .*MultiHeadAttention",
        ),
        (
            lambda: QuantizedWeights(keras.layers.DepthwiseConv1D(3), ScaledBinary())(x),
            "last axis.*DepthwiseConv1D",
        ),
        (
            lambda: QuantizedWeights(keras.layers.Conv1DTranspose(2, 3), StraightThroughSign())(x),
            "last axis.*Conv1DTranspose",
        ),
        (
            lambda: QuantizedWeights(
                keras.layers.Dense(2, kernel_initializer="ones"), ScaledBinary()
            )(x),
            "received a constant kernel",
        ),
    ],
)  # fmt: skip
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()
