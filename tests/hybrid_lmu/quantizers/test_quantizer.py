"""The sigma-delta quantizer: its vectors, its two forms, its bounds, its gradient."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from keras import ops

from hybrid_lmu import HybridLMU, SigmaDelta, SigmaDeltaQuantizer
from hybrid_lmu.quantizers import RoundingQuantizer, StochasticQuantizer

to_numpy = ops.convert_to_numpy


def quantizer_for(neurons, **kwargs):
    quantizer = SigmaDeltaQuantizer(**kwargs)
    quantizer.build((None, neurons))
    return quantizer


def loop(quantizer, x, error):
    outputs = []
    for t in range(x.shape[1]):
        y, error = quantizer.step(ops.convert_to_tensor(x[:, t]), error)
        outputs.append(to_numpy(y))
    return np.stack(outputs, axis=1), to_numpy(error)


@pytest.mark.parametrize(
    "resolution, value, counts",
    [
        (1.0, 0.3, [0, 1, 0, 0, 1, 0, 0, 0, 1, 0]),
        (4.0, 0.3, [1, 1, 2, 1, 1, 1, 1, 2, 1, 1]),
        (1.0, -0.3, [0, -1, 0, 0, 0, -1, 0, 0, -1, 0]),
    ],
)
def test_published_vectors(resolution, value, counts):
    # The error starts 2e-7 above one half, so that float32's -0.3 does not decide the tie.
    quantizer = quantizer_for(1, resolution=resolution)
    y, _ = quantizer.sequence(
        ops.full((1, 10, 1), value, dtype="float32"), ops.full((1, 1), 0.5 + 2**-22)
    )
    np.testing.assert_array_equal(to_numpy(y)[0, :, 0] * resolution, counts)


@pytest.mark.parametrize("time", [7, 53, 96])  # one chunk, padded chunks, whole chunks
@settings(max_examples=8, deadline=None)
@given(
    x=hnp.arrays(
        np.float32, (2, 96, 3), elements=st.floats(-50, 50, width=32, allow_subnormal=False)
    ),
    resolution=st.sampled_from([0.01, 0.5, 1.0, 3.7, 64.0, 2.0**20]),
    cut=st.integers(1, 6),
    seed=st.integers(0, 99),
)
def test_sequence_is_the_loop_and_chunks_are_the_sequence(x, resolution, cut, seed, time):
    x, cut = x[:, :time], cut * time // 7
    quantizer = quantizer_for(3, resolution=resolution, seed=seed)
    error = quantizer.get_initial_error((2, 3))
    y, after = quantizer.sequence(ops.convert_to_tensor(x), error)
    y_loop, after_loop = loop(quantizer, x, error)
    np.testing.assert_array_equal(to_numpy(y), y_loop)
    np.testing.assert_array_equal(to_numpy(after), after_loop)

    first, middle = quantizer.sequence(ops.convert_to_tensor(x[:, :cut]), error)
    second, end = quantizer.sequence(ops.convert_to_tensor(x[:, cut:]), middle)
    np.testing.assert_array_equal(np.concatenate([to_numpy(first), to_numpy(second)], 1), y_loop)
    np.testing.assert_array_equal(to_numpy(end), after_loop)


@pytest.mark.parametrize("resolution", [0.1, 0.5, 1.0, 4.0, 32.0, 1024.0])
def test_cumulative_error_stays_below_one_level(resolution):
    a = np.random.default_rng(0).uniform(0, 0.8, (4, 500, 5)).astype("float32")
    quantizer = quantizer_for(5, resolution=resolution, seed=1)
    y, _ = quantizer.sequence(ops.convert_to_tensor(a), quantizer.get_initial_error((4, 5)))
    y = to_numpy(y).astype("float64")
    assert np.abs(np.cumsum(y - a, axis=1)).max() * resolution < 1 + 1e-4
    assert np.abs(y - a).max() * resolution < 1 + 1e-4
    np.testing.assert_allclose(y * resolution, np.rint(y * resolution), atol=1e-3)


def test_exact_over_a_million_steps():
    steps, increment = 1_000_000, 4 * np.float32(0.3)
    quantizer = quantizer_for(1, resolution=4.0, initial_error="half")
    y, _ = quantizer.sequence(
        ops.full((1, steps, 1), 0.3, dtype="float32"), quantizer.get_initial_error((1, 1))
    )
    grid = np.round(float(increment) * 2**24) / 2**24
    expected = np.floor(0.5 + grid * np.arange(1, steps + 1))
    counts = np.rint(to_numpy(y)[0, :, 0].astype("float64") * 4)
    np.testing.assert_array_equal(np.cumsum(counts), expected)


def test_large_resolution_is_the_activation_and_none_is_exactly_it():
    x = np.random.default_rng(0).normal(size=(2, 9, 4)).astype("float32")
    fine = SigmaDelta("tanh", resolution=2.0**20)(x)
    np.testing.assert_allclose(to_numpy(fine), np.tanh(x), atol=2e-6)
    exact = SigmaDelta("tanh", resolution=None)(x)
    np.testing.assert_array_equal(to_numpy(exact), to_numpy(ops.tanh(x)))


def test_masked_steps_emit_nothing_and_keep_the_error():
    x = np.random.default_rng(0).normal(size=(2, 12, 3)).astype("float32")
    mask = np.ones((2, 12), bool)
    mask[:, 4:7] = False
    quantizer = quantizer_for(3, resolution=2.0)
    error = quantizer.get_initial_error((2, 3))
    y, after = quantizer.sequence(ops.convert_to_tensor(x), error, ops.convert_to_tensor(mask))
    short = ops.convert_to_tensor(x[mask].reshape(2, 9, 3))
    y_short, after_short = quantizer.sequence(short, error)
    np.testing.assert_array_equal(to_numpy(y)[mask].reshape(2, 9, 3), to_numpy(y_short))
    np.testing.assert_array_equal(to_numpy(after), to_numpy(after_short))
    assert not to_numpy(y)[~mask].any()


@pytest.mark.parametrize("resolution", [0.5, 4.0])
def test_gradient_is_that_of_the_activation(resolution):
    """Training a scale through the quantizer moves it as the plain activation would."""
    x = np.random.default_rng(0).normal(size=(4, 6, 3)).astype("float32")

    def trained(layer):
        model = keras.Sequential(
            [keras.Input((6, 3)), keras.layers.Dense(3, kernel_initializer="ones"), layer]
        )
        # A loss linear in the output has a gradient that does not see the output itself.
        model.compile(keras.optimizers.SGD(0.1), lambda y_true, y: ops.mean(y_true * y))
        model.train_on_batch(x, np.ones((4, 6, 3), "float32"))
        return model.get_weights()[0]

    spiking = trained(SigmaDelta("tanh", resolution=resolution))
    plain = trained(keras.layers.Activation("tanh"))
    np.testing.assert_allclose(spiking, plain, rtol=1e-5)
    assert np.abs(plain - 1).max() > 1e-4


def test_no_gradient_through_time():
    """A loss on the last step alone gives no gradient to earlier steps by way of the error."""
    x = np.random.default_rng(0).normal(size=(2, 5, 1)).astype("float32")
    scale = keras.layers.TimeDistributed(keras.layers.Dense(1, use_bias=False))
    last = keras.layers.Lambda(lambda y: y[:, -1])
    model = keras.Sequential([keras.Input((5, 1)), scale, SigmaDelta(resolution=1.0), last])
    model.compile(keras.optimizers.SGD(1.0), lambda y_true, y: ops.sum(y_true * y))
    before = model.get_weights()[0]
    model.train_on_batch(x, np.ones((2, 1), "float32"))
    np.testing.assert_allclose(
        before - model.get_weights()[0], x[:, -1].sum(0, keepdims=True), rtol=1e-5
    )


def test_resolution_per_neuron():
    x = np.full((1, 8, 2), 0.5, "float32")
    y = SigmaDelta(resolution=[1.0, 4.0], initial_error="zeros")(x)
    np.testing.assert_array_equal(to_numpy(y)[0].T, [[0, 1] * 4, [0.5] * 8])


def test_initial_error_is_uniform_seeded_and_can_be_given():
    given = {"seed": 7, "initial_error": "uniform_each_call"}
    draw = to_numpy(quantizer_for(50, **given).get_initial_error((200, 50)))
    again = to_numpy(quantizer_for(50, **given).get_initial_error((200, 50)))
    np.testing.assert_array_equal(draw, again)
    assert draw.min() >= 0 and draw.max() < 1
    # Mean of 10,000 uniform numbers: standard deviation 0.0029.
    assert abs(draw.mean() - 0.5) < 0.015
    for given_error, expected in (("zeros", 0), ("half", 0.5), (0.25, 0.25), ([0.5, 0.75], 0.75)):
        error = quantizer_for(2, initial_error=given_error).get_initial_error((3, 2))
        np.testing.assert_array_equal(to_numpy(error)[:, 1], expected)


@pytest.mark.parametrize(
    "resolution", [0, -1, float("nan"), float("inf"), "two", [1, 0], [[1.0]], True]
)
def test_bad_resolution(resolution):
    with pytest.raises(ValueError, match="`resolution` must be"):
        SigmaDelta(resolution=resolution)


@pytest.mark.parametrize("initial_error", ["random", 1.0, -0.1, [0.5, 2], float("nan")])
def test_bad_initial_error(initial_error):
    with pytest.raises(ValueError, match="`initial_error` must be"):
        SigmaDelta(initial_error=initial_error)


def test_bad_inputs():
    with pytest.raises(ValueError, match="one entry per neuron, 2 for"):
        SigmaDelta(resolution=[1.0, 2.0, 3.0])(np.zeros((1, 4, 2), "float32"))
    with pytest.raises(ValueError, match=r"received shape \(4, 2\)"):
        SigmaDelta(initial_error="half")(np.zeros((4, 2), "float32"))
    with pytest.raises(ValueError, match=r"only with a uniform `initial_error` and without states"):
        SigmaDelta(return_state=True)(np.zeros((4, 2), "float32"))
    with pytest.raises(ValueError, match=r"received shape \(4,\)"):
        SigmaDelta()(np.zeros(4, "float32"))
    with pytest.raises(ValueError, match="expects floating-point inputs; received dtype int"):
        SigmaDelta()(np.zeros((1, 4, 2), "int32"))
    with pytest.raises(ValueError, match="fixed batch size"):
        keras.Sequential([keras.Input((4, 2)), SigmaDelta(stateful=True)])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", [SigmaDeltaQuantizer, RoundingQuantizer, StochasticQuantizer])
def test_what_is_not_finite_comes_out_at_its_step_and_changes_no_other(kind, bad):
    x = np.random.default_rng(0).normal(size=(1, 6, 1)).astype("float32")
    x[0, 3] = bad
    quantizer = kind(resolution=2.0)
    quantizer.build((None, 1))
    error = quantizer.get_initial_error((1, 1))
    y, after = quantizer.sequence(ops.convert_to_tensor(x), error)
    looped, after_loop = loop(quantizer, x, error)
    np.testing.assert_array_equal(to_numpy(y), looped)
    np.testing.assert_array_equal(to_numpy(after), after_loop)
    assert np.isfinite(looped[0, :, 0]).tolist() == [True] * 3 + [False] + [True] * 2
    np.testing.assert_array_equal(looped[0, 3, 0], bad)


def test_a_gain_gives_neurons_of_different_size_one_resolution():
    gain = np.array([4.0, 0.5, 1.0], "float32")
    x = np.random.default_rng(0).normal(size=(2, 20, 3)).astype("float32") / gain
    scaled = SigmaDeltaQuantizer(resolution=2.0, initial_error="half", gain=gain, limit=1.5)
    plain = SigmaDeltaQuantizer(resolution=2.0, initial_error="half", limit=1.5)
    for quantizer in (scaled, plain):
        quantizer.build((None, 20, 3))
    error = scaled.get_initial_error((2, 3))
    y, after = scaled.sequence(x, error)
    expected, _ = plain.sequence(x * gain, error)
    np.testing.assert_array_equal(to_numpy(y), to_numpy(expected))
    for t in range(20):
        step, error = scaled.step(x[:, t], error)
        np.testing.assert_array_equal(to_numpy(step), to_numpy(y)[:, t])
    np.testing.assert_array_equal(to_numpy(error), to_numpy(after))
    again = SigmaDeltaQuantizer.from_config(scaled.get_config())
    np.testing.assert_array_equal(again.gain, gain)


def test_a_memory_that_recurs_on_its_counts_has_no_gain():
    quantizer = SigmaDeltaQuantizer(resolution=2.0, gain=2.0)
    with pytest.raises(ValueError, match="without `gain`"):
        HybridLMU(1, 4, 10, None, memory_quantizer=quantizer, memory_feedback="quantized")
