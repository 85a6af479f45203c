"""HybridLMU over its last steps: readouts of several steps, truncated training, dropout."""

import keras
import numpy as np
import pytest
from keras import ops

from hybrid_lmu import HybridLMU, LeakyAverage, activity_report, full_simulation

to_numpy = ops.convert_to_numpy
x = np.random.default_rng(0).normal(size=(3, 24, 2)).astype("float32")
FEEDBACK = pytest.mark.parametrize("feedback", ("exact", "quantized", "integrated"))


def lmu(hidden=None, **kwargs):
    defaults = {"memory_resolution": 6.0, "hidden_resolution": 2.0}
    hidden = hidden or keras.layers.Dense(5, activation="tanh")
    return HybridLMU(2, 4, 20.0, hidden, **{**defaults, **kwargs})


def twin(layer, **kwargs):
    """The same layer with other options, and the same weights."""
    copy = HybridLMU.from_config({**layer.get_config(), **kwargs})
    copy.build(x.shape)
    copy.set_weights(layer.get_weights())
    return copy


@pytest.mark.parametrize("recurrent", (False, True))
@FEEDBACK
def test_last_steps_are_those_of_the_sequence(recurrent, feedback):
    hidden = keras.layers.SimpleRNNCell(5) if recurrent else None
    layer = lmu(hidden, return_last=7, memory_feedback=feedback, initial_error="half")
    y = to_numpy(layer(x))
    every = twin(layer, return_last=None, return_sequences=True)
    np.testing.assert_array_equal(y, to_numpy(every(x))[:, -7:])
    assert y.shape == (3, 7, 5)
    assert layer.compute_output_spec(keras.KerasTensor((3, 24, 2))).shape == (3, 7, 5)


@FEEDBACK
def test_without_rounding_the_tail_is_the_end_of_the_whole(feedback):
    """At a resolution of 2**20 the draw of the errors does not matter."""
    fine = {"memory_resolution": 2.0**20, "hidden_resolution": 2.0**20}
    layer = lmu(return_last=4, memory_feedback=feedback, **fine)
    assert layer.plan(x.shape).takes_last_steps
    y = to_numpy(layer(x))
    np.testing.assert_allclose(y, to_numpy(twin(layer, simulation="full")(x)), atol=1e-4)


def test_tail_has_the_distribution_of_the_full_simulation():
    """Mean over the last 4 steps of 40,000 draws: 4.9 standard errors, as for the last step."""
    one = np.repeat(x[:1], 40_000, axis=0)
    auto = lmu(return_last=4, seed=1, initial_error="uniform_each_call")
    auto.build(one.shape)
    full = twin(auto, simulation="full", seed=2)
    assert auto.plan(one.shape).takes_last_steps and not full.plan(one.shape).takes_last_steps
    a, b = (to_numpy(layer(one)).astype("float64").mean(1) for layer in (auto, full))
    for power in (1, 2):
        difference = (a**power).mean(0) - (b**power).mean(0)
        error = np.sqrt(((a**power).var(0) + (b**power).var(0)) / len(one))
        assert (np.abs(difference) <= 4.9 * error + 1e-12).all()
    assert (a.std(0) > 0.01).any()


@FEEDBACK
@pytest.mark.broad(1)
def test_truncated_training_of_recurrent_hidden_units(feedback):
    """Over all steps it is the whole simulation; over few it is not, and it is shorter."""
    hidden = keras.layers.SimpleRNNCell(5)
    fine = {"memory_resolution": 2.0**20, "hidden_resolution": 2.0**20}
    layer = lmu(hidden, simulation=24, memory_feedback=feedback, **fine)
    full = to_numpy(twin(layer, simulation="full")(x)) if layer(x) is not None else None
    np.testing.assert_allclose(to_numpy(layer(x)), full, atol=1e-4)
    np.testing.assert_allclose(to_numpy(twin(layer, simulation=99)(x)), full, atol=1e-4)
    assert np.abs(to_numpy(twin(layer, simulation=2)(x)) - full).max() > 1e-3


def test_last_steps_exclude_masks_and_short_sequences():
    mask = np.ones((3, 24), bool)
    with pytest.raises(ValueError, match="without a mask"):
        lmu(return_last=6)(x, mask=mask)
    with pytest.raises(ValueError, match="at least that many steps, received 24"):
        lmu(return_last=25)(keras.Input((24, 2)))


def test_shapes_of_the_last_steps():
    layer = lmu(return_last=6)
    assert tuple(layer.compute_output_shape((3, 24, 2))) == (3, 6, 5)
    both = keras.layers.Bidirectional(lmu(return_last=6))
    assert both.compute_output_shape((3, 24, 2)) == tuple(both(x).shape) == (3, 6, 10)


def test_full_simulation_of_the_last_steps():
    layer = lmu(return_last=4, initial_error="uniform")
    model = keras.Sequential([keras.Input((24, 2)), layer, keras.layers.GlobalAveragePooling1D()])
    full = full_simulation(model)
    assert full.layers[0].simulation == "full" and full.output_shape == model.output_shape


@pytest.mark.parametrize("feedback", ["quantized", "integrated"])
@pytest.mark.parametrize("state", [False, True])
@pytest.mark.broad(1)
def test_gradients_of_the_steps_before_the_last(feedback, state):
    """At a high resolution those of the network without a quantizer."""
    found = []
    for resolution in (None, 2.0**16):
        layer = HybridLMU(
            2, 6, 24.0, keras.layers.Dense(3), seed=0, memory_feedback=feedback,
            memory_resolution=resolution, return_last=None if state else 3, return_state=state,
            initial_error="half", kernel_initializer=keras.initializers.Constant(0.3),
        )  # fmt: skip
        inputs = keras.Input((24, 2))
        y = layer(inputs)
        # Its states: of the hidden cell, then the memory.
        y = y[2] if state else keras.layers.GlobalAveragePooling1D()(y)
        model = keras.Model(inputs, keras.layers.Dense(1, kernel_initializer="ones")(y))
        model.compile(keras.optimizers.SGD(0.1), "mse")
        kernel = next(w for w in model.trainable_weights if w.path.endswith("lmu_cell/kernel"))
        for weight in model.trainable_weights:
            if weight is not kernel:
                weight.assign(np.full(weight.shape, 0.1))
        before = to_numpy(kernel)
        model.train_on_batch(x, np.ones((3, 1)))
        found.append(to_numpy(kernel) - before)
    assert np.abs(found[0]).max() > 1e-4
    np.testing.assert_allclose(found[1], found[0], rtol=0.02, atol=1e-5)


def test_memory_dropout_drops_the_same_units_at_all_steps():
    layer = HybridLMU(
        1, 30, 20.0, None, kernel_initializer=None, memory_dropout=0.5, return_sequences=True
    )
    ones = np.ones((2, 24, 1), "float32")
    plain, dropped = to_numpy(layer(ones)), to_numpy(layer(ones, training=True))
    kept = dropped[:, -1] != 0
    assert 0.2 < kept.mean() < 0.8
    np.testing.assert_allclose(dropped, 2 * plain * kept[:, None], rtol=1e-5, atol=1e-6)
    stepwise = keras.layers.RNN(layer.cell, return_sequences=True)
    again = to_numpy(stepwise(ones, training=True))
    np.testing.assert_allclose(again, 2 * plain * (again[:, -1] != 0)[:, None], atol=1e-5)


def test_readouts_count_what_they_cost():
    """The sum of k counts meets each weight once; k counts meet it k times before a leaky sum."""
    steps, data = 4, np.random.default_rng(1).normal(size=(5, 24, 1)).astype("float32")
    core = dict(memory_resolution=4.0, hidden_resolution=3.0, return_last=steps)

    def dense_row(layers):
        model = keras.Sequential([keras.Input((24, 1)), *layers])
        return activity_report(model, data).products[-1]

    lmu = HybridLMU(1, 4, 20.0, keras.layers.Dense(5, "relu"), **core)
    mean = dense_row([lmu, keras.layers.GlobalAveragePooling1D(), keras.layers.Dense(2)])
    leaky = dense_row([lmu, keras.layers.Dense(2), LeakyAverage(2.0)])
    assert mean["input_resolution"] == 3.0 * steps and leaky["input_resolution"] == 3.0
    assert mean["dense_macs"] == 5 * 2 and leaky["dense_macs"] == steps * 5 * 2
    assert mean["graded_acs"] > 0 and leaky["graded_acs"] > 0


def test_leaky_average():
    layer = LeakyAverage(2.0)
    x = np.random.default_rng(0).normal(size=(2, 6, 3)).astype("float32")
    state, norm = 0.0, 0.0
    for t in range(6):
        state, norm = np.exp(-0.5) * state + x[:, t], np.exp(-0.5) * norm + 1
    np.testing.assert_allclose(to_numpy(layer(x)), state / norm, rtol=1e-5)
    copy = LeakyAverage.from_config(layer.get_config())
    np.testing.assert_array_equal(to_numpy(copy(x)), to_numpy(layer(x)))
    for bad in (0, -1.0, float("inf")):
        with pytest.raises(ValueError, match="time_constant.*received"):
            LeakyAverage(bad)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"return_last": 0}, "`return_last` must be an integer >= 1"),
        ({"return_last": 2, "return_sequences": True}, "`return_last` excludes"),
        ({"return_last": 2, "return_state": True}, "`return_last` excludes"),
        ({"simulation": 0}, "`simulation` must be an integer >= 1"),
        ({"simulation": None}, "`simulation` must be 'auto', 'full' or a number"),
        ({"memory_dropout": 1.0}, "`memory_dropout` must be in"),
        ({"memory_feedback": "spiking"}, "`memory_feedback` must be one of"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        lmu(**options)


def test_memory_dropout_does_not_follow_the_diffusion_error():
    """With one seed for both, the units that are kept would be those that round up, or down."""
    layer = HybridLMU(
        1, 30, 20.0, None, kernel_initializer=None, memory_resolution=1.0, memory_dropout=0.5,
        seed=0,
    )  # fmt: skip
    x = np.random.default_rng(0).normal(size=(4000, 20, 1)).astype("float32")
    kept = to_numpy(layer(x, training=True))
    exact = to_numpy(twin_of_memory(layer, x))
    # E[kept] is the exact memory: in total to 5 standard errors of the rounding and dropping.
    difference = kept - exact
    error = difference.std() / np.sqrt(difference.size)
    assert abs(difference.mean()) < 5 * error


def twin_of_memory(layer, x):
    config = {**layer.get_config(), "memory_resolution": None, "memory_dropout": 0}
    return HybridLMU.from_config(config)(x)


@pytest.mark.parametrize("cell", [keras.layers.SimpleRNNCell, keras.layers.GRUCell])
@pytest.mark.broad(1)
def test_dropout_of_the_hidden_cell_over_the_last_steps(cell):
    layer = HybridLMU(1, 4, 20.0, cell(3, recurrent_dropout=0.3), simulation=8)
    model = keras.Sequential([keras.Input((24, 2)), layer])
    model.compile("sgd", "mse")
    before = model.get_weights()
    model.train_on_batch(x, np.ones((3, 3)))
    assert any(not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))
