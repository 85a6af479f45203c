"""A user's own cell trains, is saved, and says which products it makes."""

import keras
import numpy as np
import pytest
from keras import ops

from hybrid_lmu import HybridRNN
from hybrid_lmu.cells._products import cell_products, cell_signals
from tests.hybrid_lmu.cells.own_cell import LeakyCell

to_numpy = ops.convert_to_numpy
x = np.random.default_rng(0).normal(size=(4, 6, 3)).astype("float32")


@pytest.mark.parametrize("layer", [HybridRNN, keras.layers.RNN])
def test_trains_and_is_saved(layer, tmp_path):
    model = keras.Sequential([keras.Input((6, 3)), layer(LeakyCell(5, 4.0, seed=1))])
    model.compile("sgd", "mse")
    before = model.get_weights()
    model.train_on_batch(x, np.ones((4, 5), "float32"))
    moved = [not np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True)]
    assert sum(moved[:2]) == 2
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    y = model.predict(x, verbose=0)
    np.testing.assert_array_equal(y, loaded.predict(x, verbose=0))
    np.testing.assert_allclose(4 * y, np.rint(4 * y), atol=1e-5)


def test_products_are_what_the_step_computes():
    cell = LeakyCell(5, 4.0, seed=1)
    cell.build((None, 3))
    signals, after = cell_signals(cell, ops.convert_to_tensor(x[:, 0]), cell.get_initial_state(4))
    drive = 0.0
    for product in cell_products(cell).items[:2]:
        met = ops.concatenate([part.value(signals) for part in product.inputs], axis=-1)
        drive = drive + ops.matmul(met, product.weight)
    np.testing.assert_allclose(to_numpy(after[1]), to_numpy(ops.tanh(drive)), atol=1e-6)
    assert cell_products(cell).output.quantizer is cell.quantizer
