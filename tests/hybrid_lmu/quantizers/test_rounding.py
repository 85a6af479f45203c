"""Quantizers without memory: their two forms, their statistics, cells that take them, files."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from keras import ops

from hybrid_lmu import (
    HybridCell,
    HybridLMU,
    HybridRNN,
    RoundingQuantizer,
    SigmaDeltaQuantizer,
    StochasticQuantizer,
    activity_report,
)

to_numpy = ops.convert_to_numpy
KINDS = (RoundingQuantizer, StochasticQuantizer)
kinds = pytest.mark.parametrize("kind", KINDS)


@kinds
@settings(max_examples=8, deadline=None)
@given(
    x=hnp.arrays(
        np.float32, (2, 21, 3), elements=st.floats(-50, 50, width=32, allow_subnormal=False)
    ),
    mask=hnp.arrays(bool, (2, 21)),
    resolution=st.sampled_from([0.5, 1.0, 3.7, 64.0]),
)
def test_sequence_is_the_loop(kind, x, mask, resolution):
    quantizer = kind(resolution=resolution)
    quantizer.build((None, 3))
    first = error = quantizer.get_initial_error((2, 3))
    steps = []
    for t in range(x.shape[1]):
        y, after = quantizer.step(ops.convert_to_tensor(x[:, t]), error)
        keep = mask[:, t, None]
        steps.append(np.where(keep, to_numpy(y), 0.0))
        error = ops.where(keep, after, error)
    y, last = quantizer.sequence(ops.convert_to_tensor(x), first, ops.convert_to_tensor(mask))
    np.testing.assert_array_equal(to_numpy(y), np.stack(steps, axis=1))
    np.testing.assert_array_equal(to_numpy(last), to_numpy(error))


def counts_of(quantizer, value, shape):
    quantizer.build((None, shape[-1]))
    error = quantizer.get_initial_error((shape[0], shape[-1]))
    return to_numpy(quantizer.sequence(ops.full(shape, value, dtype="float32"), error)[0])


def test_rounding_takes_the_nearest_level():
    values = np.array([-1.3, -0.6, -0.2, 0.2, 0.6, 1.3], "float32")
    for value in values:
        y = counts_of(RoundingQuantizer(resolution=2.0), value, (1, 5, 1))
        assert np.all(y == np.round(2 * value) / 2)


def test_stochastic_rounding_is_unbiased_and_white():
    """Share of ones within 4.9 standard errors of 0.3, neighbours in time and space unrelated."""
    shape = (40, 500, 20)
    y = counts_of(StochasticQuantizer(seed=3, initial_error="uniform_each_call"), 0.3, shape)
    assert set(np.unique(y)) == {0.0, 1.0}
    error = np.sqrt(0.3 * 0.7 / y.size)
    assert abs(y.mean() - 0.3) < 4.9 * error
    centred = y - 0.3
    for a, b in ((centred[:, 1:], centred[:, :-1]), (centred[..., 1:], centred[..., :-1])):
        assert abs(np.mean(a * b)) < 4.9 * 0.21 / np.sqrt(a.size)
    # The diffused quantizer's neighbours are not: what a step leaves over, the next emits.
    diffused = counts_of(SigmaDeltaQuantizer(seed=3), 0.3, shape) - 0.3
    assert np.mean(diffused[:, 1:] * diffused[:, :-1]) < -0.05


@kinds
def test_gradient_is_that_of_the_activation(kind):
    layer = HybridRNN(HybridCell(keras.layers.Dense(3), quantizer=kind(resolution=2.0)))
    plain = HybridRNN(HybridCell(keras.layers.Dense(3), resolution=None))
    x = np.random.default_rng(0).normal(size=(4, 6, 2)).astype("float32")
    y = np.ones((4, 3), "float32")
    moved = []
    for rnn in (layer, plain):
        model = keras.Sequential([keras.Input((6, 2)), rnn])
        model.layers[0].cell.cell.set_weights([np.ones((2, 3)), np.zeros(3)])
        # Loss linear in the output, so that its gradient does not see the rounding.
        model.compile("sgd", lambda y, out: ops.sum(y * out, axis=-1))
        model.train_on_batch(x, y)
        moved.append(to_numpy(model.layers[0].cell.cell.kernel))
    np.testing.assert_allclose(moved[0], moved[1], rtol=1e-5)


@kinds
@pytest.mark.parametrize("feedback", ("exact", "integrated"))
@pytest.mark.broad(1)
def test_lmu_with_other_quantizers_as_file_and_in_the_report(kind, feedback, tmp_path):
    layer = HybridLMU(
        1, 4, 12.0, keras.layers.SimpleRNNCell(5), memory_feedback=feedback,
        memory_quantizer=kind(resolution=4.0), hidden_quantizer=kind(resolution=2.0),
    )  # fmt: skip
    model = keras.Sequential([keras.Input((12, 1)), layer, keras.layers.Dense(2)])
    x = np.random.default_rng(0).normal(size=(6, 12, 1)).astype("float32")
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert type(loaded.layers[0].cell.memory_quantizer) is kind
    if kind is RoundingQuantizer:  # no draw
        np.testing.assert_array_equal(model.predict(x, verbose=0), loaded.predict(x, verbose=0))
    rows = activity_report(loaded, x).activities
    assert [row["resolution"] for row in rows] == [4.0, 2.0]


def test_a_quantizer_excludes_nothing_silently():
    with pytest.raises(ValueError, match="`memory_quantizer`.*received.*array"):
        HybridLMU(
            1, 4, 9.0, None, memory_resolution=np.ones(4), memory_quantizer=RoundingQuantizer()
        )
    with pytest.raises(ValueError, match="`quantizer`.*received"):
        HybridCell(keras.layers.LSTMCell(3), resolution=4.0, quantizer=RoundingQuantizer())
    with pytest.raises(ValueError, match="`memory_quantizer`.*received"):
        HybridLMU(1, 4, 9.0, None, memory_resolution=4.0, memory_quantizer=RoundingQuantizer())


@pytest.mark.parametrize("kind", (SigmaDeltaQuantizer, *KINDS))
def test_limit_bounds_the_counts_and_stops_the_gradient(kind):
    x = ops.convert_to_tensor(np.random.default_rng(0).normal(size=(3, 40, 4)).astype("float32"))
    quantizer = kind(resolution=4.0, limit=[0.25, 0.5, 1.0, 1.25])
    quantizer.build((None, 4))
    error = quantizer.get_initial_error((3, 4))
    counts = 4 * to_numpy(quantizer.sequence(3 * x, error)[0])
    np.testing.assert_array_equal(np.abs(counts).max((0, 1)), [1, 2, 4, 5])
    y, _ = quantizer.step(3 * x[:, 0], error)
    np.testing.assert_array_equal(4 * to_numpy(y), counts[:, 0])
    y, _ = quantizer.emit(quantizer.activity(3 * x[:, 0]), error)
    np.testing.assert_array_equal(4 * to_numpy(y), counts[:, 0])
    with pytest.raises(ValueError, match="`limit` must be a finite number > 0"):
        kind(limit=0)


def test_resolutions_as_arrays_without_a_quantizer():
    hidden = keras.layers.Dense(3)
    layer = HybridLMU(
        1, 4, 9.0, hidden, memory_resolution=np.full(4, 8.0), hidden_resolution=np.full(3, 2.0)
    )
    assert tuple(layer(np.ones((2, 9, 1), "float32")).shape) == (2, 3)
    cell = HybridCell(keras.layers.GRUCell(3), resolution=np.full(3, 2.0))
    assert tuple(HybridRNN(cell)(np.ones((2, 9, 1), "float32")).shape) == (2, 3)


@pytest.mark.parametrize("options", [{"limit": 0.3}, {"activation": "relu"}], ids=str)
@pytest.mark.parametrize("resolution", [None, 4.0])
def test_a_recurrent_cell_heeds_the_limit_and_activation_of_its_quantizer(options, resolution):
    x = np.random.default_rng(0).normal(size=(2, 12, 3)).astype("float32")
    quantizer = SigmaDeltaQuantizer(resolution=resolution, initial_error="half", **options)
    cell = HybridCell(keras.layers.SimpleRNNCell(4), quantizer=quantizer)
    whole, steps = (
        to_numpy(HybridRNN(cell, return_sequences=True, unroll=unroll)(x))
        for unroll in (False, True)
    )
    np.testing.assert_allclose(whole, steps, atol=1e-6)
    assert np.abs(whole).max() <= 0.5 or whole.min() == 0.0


@pytest.mark.slow
def test_an_integrated_memory_with_a_limit_stays_within_it():
    """What its output lacks does not add up: it goes back to 0 when the input does."""
    quantizer = SigmaDeltaQuantizer(resolution=8.0, limit=0.5, initial_error="half")
    layer = HybridLMU(
        1, 4, 50.0, None, memory_quantizer=quantizer, memory_feedback="integrated",
        kernel_initializer=None, return_sequences=True, return_state=True,
    )  # fmt: skip
    x = np.zeros((1, 600, 1), "float32")
    x[:, :300] = 1.0
    y, *states = layer(x)
    assert np.abs(to_numpy(y)).max() <= 0.5 + 1 / 8
    assert np.abs(to_numpy(y)[:, 500:]).mean() < 0.05
    assert all(np.abs(to_numpy(state)).max() <= 1.0 for state in states)


def test_a_limit_for_another_number_of_neurons():
    with pytest.raises(ValueError, match="`limit` must .* received 3 entries"):
        SigmaDeltaQuantizer(limit=[1.0, 2.0, 3.0]).build((None, 4))
