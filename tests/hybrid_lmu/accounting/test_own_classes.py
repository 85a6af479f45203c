"""A cell and a quantizer of a user's own are counted like those of this package."""

import keras
import numpy as np
import pytest

import hybrid_lmu
from hybrid_lmu import HybridRNN, activity_report, record_activity
from tests.hybrid_lmu.cells.own_cell import LeakyCell

x = np.random.default_rng(0).normal(size=(4, 10, 3)).astype("float32")


@pytest.mark.parametrize("rnn", [HybridRNN, keras.layers.RNN])
def test_a_cell_of_a_user_is_counted_by_its_declaration(rnn):
    layer = rnn(LeakyCell(5, resolution=4.0, seed=1), return_sequences=True, name="own")
    model = keras.Sequential([keras.Input((10, 3)), layer, keras.layers.Dense(2, name="head")])
    report = activity_report(model, x)
    dense = {row["name"]: row["dense_macs"] for row in report.products}
    assert dense == {
        "own/kernel": 10 * 3 * 5,
        "own/recurrent_kernel": 10 * 5 * 5,
        "head/kernel": 10 * 5 * 2,
    }
    found = {row["name"]: row["input_resolution"] for row in report.products}
    assert found == {"own/kernel": None, "own/recurrent_kernel": 4.0, "head/kernel": 4.0}
    assert list(record_activity(model, x)) == ["own/output"]


@keras.saving.register_keras_serializable(package="own")
class Truncation(hybrid_lmu.Quantizer):
    """Rounding to the next integer towards zero, without memory."""

    stationary = True

    def round(self, levels, state):
        return keras.ops.trunc(levels), state


def test_a_quantizer_of_a_user_is_counted():
    lmu = hybrid_lmu.HybridLMU(
        1, 4, 10, keras.layers.Dense(5, "relu"),
        memory_quantizer=Truncation(resolution=8.0),
        hidden_quantizer=Truncation(resolution=2.0),
        return_sequences=True, name="lmu",
    )  # fmt: skip
    model = keras.Sequential([keras.Input((10, 3)), lmu, keras.layers.Dense(2, name="head")])
    recorded = record_activity(model, x)["lmu/hidden"]
    np.testing.assert_array_equal(recorded.counts, np.rint(2 * keras.ops.convert_to_numpy(lmu(x))))
    activities = {row["name"]: row for row in activity_report(model, x).activities}
    assert [activities[f"lmu/{name}"]["resolution"] for name in ("memory", "hidden")] == [8.0, 2.0]
