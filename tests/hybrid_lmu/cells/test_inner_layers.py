"""Feed-forward layers of any kind, and stacks of cells, inside a HybridCell and an LMU."""

import keras
import numpy as np
import pytest

from hybrid_lmu import HybridCell, HybridLMU, HybridRNN, activity_report
from hybrid_lmu.conversion import to_hybrid

L = keras.layers
x = np.random.default_rng(0).normal(size=(5, 12, 3)).astype("float32")
LAYERS = {
    "sequential": lambda: keras.Sequential([L.Dense(7, "relu"), L.Dropout(0.5), L.Dense(5)]),
    "nested": lambda: keras.Sequential(
        [keras.Sequential([L.Activation("tanh"), L.Dense(7, "relu")], name="inner"), L.Dense(5)]
    ),
    "einsum": lambda: L.EinsumDense("ab,bc->ac", output_shape=5, activation="relu"),
    "activation": lambda: L.Activation("tanh"),
    "relu": lambda: L.ReLU(),
    "functional": lambda: functional(),
}


def parameters(makers, fast):
    """Return the makers, by their names; all but the fast ones are slow tests."""
    marks = {name: () if name in fast else pytest.mark.slow for name in makers}
    return [pytest.param(makers[name], id=name, marks=marks[name]) for name in makers]


each_layer = pytest.mark.parametrize("make", parameters(LAYERS, ("sequential", "activation")))


def functional():
    features = keras.Input((8,))
    return keras.Model(features, L.Dense(5, "tanh")(L.Dense(8, "relu")(features)))


def model_of(layer):
    return keras.Sequential([keras.Input((12, 3)), layer])


@each_layer
@pytest.mark.parametrize("options", [{}, {"hidden_to_memory": True}], ids=["parallel", "steps"])
def test_any_feed_forward_layer_is_a_hidden_cell(make, options, tmp_path):
    """Without resolutions the hidden cell acts on each step of the memory, in both ways to run."""
    lmu = HybridLMU(2, 4, 12.0, make(), return_sequences=True, **options)
    model = model_of(lmu)
    found = model.predict(x, verbose=0)
    assert lmu.cell.output_size == found.shape[-1]
    steps = HybridLMU(2, 4, 12.0, make(), return_sequences=True, unroll=True, **options)
    steps.build((5, 12, 3))
    steps.set_weights(lmu.get_weights())
    np.testing.assert_allclose(keras.ops.convert_to_numpy(steps(x)), found, rtol=0, atol=1e-5)
    if not options:
        memory = HybridLMU(2, 4, 12.0, None, return_sequences=True)
        memory.build((5, 12, 3))
        memory.set_weights(lmu.cell.memory.get_weights() + [lmu.kernel])
        expected = lmu.hidden_cell(keras.ops.reshape(memory(x), (-1, 8)))
        expected = keras.ops.convert_to_numpy(expected).reshape(found.shape)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), found)


@each_layer
def test_any_feed_forward_layer_trains_and_is_wrapped(make):
    model = keras.Sequential(
        [
            keras.Input((12, 8)),
            HybridRNN(HybridCell(make(), resolution=64.0), return_sequences=True),
            HybridLMU(1, 8, 12.0, make(), memory_resolution=64, hidden_resolution=4),
            L.Dense(1),
        ]
    )
    model.compile("adam", "mse")
    model.fit(np.ones((4, 12, 8), "float32"), np.ones((4, 1)), verbose=0)
    assert model.output_shape == (None, 1)


def between(lmu):
    """Return what the first layer of a Sequential hidden cell puts out on the present memory."""
    inside = HybridLMU(2, 4, 12.0, lmu.hidden_cell.layers[0], memory_resolution=4,
                       initial_error="half", return_sequences=True)  # fmt: skip
    inside.build((5, 12, 3))
    inside.kernel.assign(lmu.kernel)
    return keras.ops.convert_to_numpy(inside(x))


def test_products_of_each_dense_of_a_sequential_are_counted():
    hidden = LAYERS["sequential"]()
    lmu = HybridLMU(2, 4, 12.0, hidden, memory_resolution=4, hidden_resolution=4,
                    initial_error="half", return_sequences=True)  # fmt: skip
    for steps in (False, True):
        lmu.unroll = steps
        model = model_of(lmu)
        products = activity_report(model, x).products
        found = {row["name"].split("/")[-1]: row for row in products}
        first, second = hidden.layers[0].name, hidden.layers[2].name
        assert found[f"hidden {first} kernel"]["dense_macs"] == 12 * 8 * 7
        assert found[f"hidden {second} kernel"]["dense_macs"] == 12 * 7 * 5
        assert found[f"hidden {second} kernel"]["kind"] == "hidden"
        # Between the layers the activity is real: the zeros of the ReLU are all that costs nothing.
        zeros = np.mean(between(lmu) == 0)
        assert 0.2 < zeros < 0.8
        effective = found[f"hidden {second} kernel"]["effective_macs"]
        np.testing.assert_allclose(effective, 12 * 7 * 5 * (1 - zeros), rtol=1e-5)
        assert found[f"hidden {first} kernel"]["effective_macs"] == 0  # counts of the memory


@pytest.mark.parametrize("name", ["nested", "einsum", "activation"])
def test_other_layers_are_counted(name):
    model = model_of(HybridLMU(2, 4, 12.0, LAYERS[name](), hidden_resolution=4))
    dense = {"nested": 8 * 7 + 7 * 5, "einsum": 8 * 5, "activation": 0}[name]
    products = activity_report(model, x).products
    assert sum(row["dense_macs"] for row in products if row["kind"] == "hidden") == 12 * dense


def test_unknown_products_are_named():
    odd = L.EinsumDense("ab,b->ab", output_shape=8)
    with pytest.raises(ValueError, match="EinsumDense.*ab,bc->ac.*received 'ab,b->ab'"):
        activity_report(model_of(HybridLMU(2, 4, 12.0, odd)), x)
    with pytest.raises(ValueError, match="products of cell 'functional.*are not known"):
        activity_report(model_of(HybridLMU(2, 4, 12.0, functional())), x)


def stack():
    return L.StackedRNNCells([L.GRUCell(4), L.LSTMCell(5)])


def stack_of_hybrid_cells():
    return L.StackedRNNCells([HybridCell(L.GRUCell(4), 8.0), HybridCell(L.LSTMCell(5), 8.0)])


STACKS = {
    "gru, lstm": stack,
    "hybrid cells": stack_of_hybrid_cells,
    "simple": lambda: L.StackedRNNCells([L.SimpleRNNCell(4), L.SimpleRNNCell(5)]),
    "one": lambda: L.StackedRNNCells([L.LSTMCell(5)]),
    "in a stack": lambda: L.StackedRNNCells([stack(), L.GRUCell(3, dropout=0.5)]),
}


@pytest.mark.parametrize("make", parameters(STACKS, ("gru, lstm",)))
@pytest.mark.parametrize("options", [{}, {"hidden_to_memory": True}], ids=["memory", "steps"])
def test_stacked_cells(make, options, tmp_path):
    """A stack is run as it is, its output quantized; reports know the products of each cell."""
    cell = make()
    plain = L.RNN(cell if len(cell.cells) > 1 else cell.cells[0], return_sequences=True)
    expected = keras.ops.convert_to_numpy(plain(x))
    wrapped = keras.ops.convert_to_numpy(
        HybridRNN(HybridCell(cell, 2.0**20, initial_error="half"), return_sequences=True)(x)
    )
    if make is not stack_of_hybrid_cells:  # which draw their errors
        np.testing.assert_allclose(wrapped, expected, rtol=0, atol=2e-5)
    lmu = HybridLMU(1, 4, 12.0, make(), memory_resolution=8, hidden_resolution=8,
                    initial_error="half", return_sequences=True, **options)  # fmt: skip
    model = model_of(lmu)
    report = activity_report(model, x)
    assert report.totals["dense_macs"] > 0
    model.compile("adam", "mse")
    model.fit(x, np.zeros((5, 12, expected.shape[-1])), verbose=0)
    found = model.predict(x, verbose=0)
    np.testing.assert_allclose(found * 8, np.rint(found * 8), atol=1e-4)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    if make is not stack_of_hybrid_cells:
        np.testing.assert_array_equal(loaded.predict(x, verbose=0), found)


def test_counts_between_hybrid_cells_of_a_stack_are_counts():
    lmu = HybridLMU(1, 4, 12.0, stack_of_hybrid_cells(), memory_resolution=8, hidden_resolution=8)
    rows = {row["name"].split("/")[-1]: row for row in activity_report(model_of(lmu), x).products}
    for name in ("kernel", "recurrent_kernel"):
        row = rows[f"hidden cell 1 {name}"]
        assert row["effective_macs"] == 0 and 0 < row["effective_acs"] < row["dense_macs"]
        assert row["input_resolution"] == 8


def test_layers_that_cannot_be_inside():
    recurrent = keras.Sequential([L.Dense(4), L.LSTM(4)])
    with pytest.raises(ValueError, match="`hidden_cell` must be .* with a recurrent layer inside"):
        HybridLMU(1, 4, 12.0, recurrent)
    with pytest.raises(ValueError, match="`cell` must be .* with a recurrent layer inside"):
        HybridCell(recurrent)
    images = HybridLMU(1, 4, 12.0, L.Conv2D(3, 2))
    with pytest.raises(ValueError, match=r"makes \[batch, units\] .*\(5, 4\).*received `conv2d"):
        images.build((5, 12, 3))
    with pytest.raises(ValueError, match=r"gives the shape \(5, 2, 2\)"):
        HybridLMU(1, 4, 12.0, L.Reshape((2, 2))).build((5, 12, 3))


def test_to_hybrid_keeps_the_hidden_layers():
    plain = model_of(HybridLMU(2, 4, 12.0, LAYERS["sequential"]()))
    hybrid = to_hybrid(plain, resolution=2.0**20)
    np.testing.assert_allclose(
        hybrid.predict(x, verbose=0), plain.predict(x, verbose=0), rtol=0, atol=1e-4
    )
