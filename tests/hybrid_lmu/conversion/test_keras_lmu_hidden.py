"""keras-lmu's LMUs with any hidden cell convert, are counted, and come back; and weight files."""

import keras
import numpy as np
import pytest

from hybrid_lmu import activity_report
from hybrid_lmu.conversion import to_hybrid, to_keras_lmu

if keras.backend.backend() != "tensorflow":
    pytest.skip("keras-lmu runs on TensorFlow only", allow_module_level=True)
keras_lmu = pytest.importorskip("keras_lmu", reason="keras-lmu is not installed")

L = keras.layers
x = np.random.default_rng(0).normal(size=(4, 12, 3)).astype("float32")
HIDDEN = {
    "sequential": lambda: keras.Sequential([L.Dense(7, "relu"), L.Dense(5)]),
    "activation": lambda: L.Activation("tanh"),
    "einsum": lambda: L.EinsumDense("ab,bc->ac", 5),
    "stack": lambda: L.StackedRNNCells([L.GRUCell(3), L.LSTMCell(5)]),
}


def trained(hidden, **options):
    lmu = keras_lmu.LMU(2, 4, 12.0, hidden, **options)
    return keras.Sequential([keras.Input((12, 3)), lmu, L.Dense(2)])


@pytest.mark.parametrize("input_to_hidden", [False, True])
@pytest.mark.parametrize("hidden", HIDDEN)
@pytest.mark.broad(3)
def test_any_hidden_cell_of_keras_lmu(hidden, input_to_hidden):
    theirs = trained(HIDDEN[hidden](), input_to_hidden=input_to_hidden)
    expected = theirs.predict(x, verbose=0)
    same = to_hybrid(theirs)
    np.testing.assert_allclose(same.predict(x, verbose=0), expected, rtol=0, atol=1e-5)
    back = to_keras_lmu(same)
    np.testing.assert_allclose(back.predict(x, verbose=0), expected, rtol=0, atol=1e-5)
    macs = [activity_report(m, x).totals["dense_macs"] for m in (theirs, same)]
    assert macs[0] == macs[1] > 12 * (8 + 3 * input_to_hidden) * (hidden != "activation")
    counts = to_hybrid(theirs, x, bits=3.0)
    assert activity_report(counts, x).totals["activity_bits"] == pytest.approx(3.0, abs=0.2)


def test_a_file_of_weights(tmp_path):
    theirs = trained(HIDDEN["sequential"]())
    theirs.save_weights(tmp_path / "old.weights.h5")
    again = trained(HIDDEN["sequential"]())
    again.load_weights(tmp_path / "old.weights.h5")
    np.testing.assert_allclose(
        to_hybrid(again).predict(x, verbose=0), theirs.predict(x, verbose=0), rtol=0, atol=1e-5
    )
