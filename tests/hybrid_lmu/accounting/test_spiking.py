"""The report knows spikes: behind them are additions; behind a trace, multiplications."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from hybrid_lmu.accounting import activity_report
from hybrid_lmu.neurons import IF, LIF, SRM, IFCell, Refractory, SRMCell, SynapticTrace
from tests.hybrid_lmu.accounting.accounting_helpers import check, real, rows, sequential

X = real(4, 10, 3) + 0.5


@pytest.mark.parametrize("make", [IF, LIF, SRM, Refractory])
def test_products_behind_spikes_are_additions(make):
    neuron = make(name="neuron")
    model = sequential(keras.Input((10, 3)), neuron, layers.Dense(5, name="dense"))
    report = activity_report(model, X)
    spikes = ops.convert_to_numpy(make()(X)).sum() / 4
    assert spikes > 0
    check(rows(report)["dense/kernel"], 150, 0, 5 * spikes, 5 * spikes, 5 * spikes)
    assert rows(report)["dense/kernel"]["input_resolution"] == 1
    (activity,) = report.activities
    assert activity["layer"] == "neuron" and activity["neurons"] == 3
    assert activity["count_min"] == 0 and activity["count_max"] == 1
    assert activity["activity_bits"] == 1
    assert activity["mean_abs_count"] == pytest.approx(spikes / 30)
    assert not report.not_counted


def test_spikes_of_all_steps_count_where_the_last_alone_goes_on():
    def report(last):
        model = sequential(
            keras.Input(batch_shape=(4, 10, 3)),
            IF(return_sequences=not last, stateful=True, return_state=False, name="if"),
            layers.Dense(5, name="dense"),
        )
        model.layers[0].states[0].assign(np.full((4, 3), 0.5))
        return activity_report(model, X)

    last, every = report(True), report(False)
    assert last.activities == every.activities
    assert rows(last)["dense/kernel"]["dense_macs"] == 15
    assert rows(last)["dense/kernel"]["effective_macs"] == 0


def test_masked_steps_are_left_out():
    x = X.copy()
    x[:, 6:] = 0
    masked = sequential(keras.Input((10, 3)), layers.Masking(), IF(name="if"))
    short = sequential(keras.Input((6, 3)), IF(name="if"))
    a, b = activity_report(masked, x).activities[0], activity_report(short, x[:, :6]).activities[0]
    assert a["mean_abs_count"] == b["mean_abs_count"] > 0


def test_convolutions_behind_spikes():
    model = sequential(
        keras.Input((5, 6, 6, 1)),
        IF(initial_potential="half", name="if"),
        layers.TimeDistributed(layers.Conv2D(2, 3), name="conv"),
        LIF(tau=1.5, threshold=0.01, name="lif"),
        layers.TimeDistributed(layers.MaxPooling2D(2)),
        layers.TimeDistributed(layers.Flatten()),
        layers.Dense(3, name="dense"),
    )
    found = activity_report(model, np.abs(real(2, 5, 6, 6, 1)))
    for row in found.products:
        assert row["input_resolution"] == 1 and row["effective_macs"] == 0 < row["strict_acs"]


def test_a_trace_before_the_weights_is_multiplied_and_behind_them_it_is_not():
    spikes = (X > 0.5).astype("float32")
    before = sequential(
        keras.Input((10, 3)),
        IF(name="if"),
        SynapticTrace(name="trace"),
        layers.Dense(5, name="dense"),
        Refractory(name="neuron"),
    )
    behind = sequential(
        keras.Input((10, 3)), IF(name="if"), layers.Dense(5, name="dense"), SRM(name="neuron")
    )
    behind.set_weights(before.get_weights())
    before, behind = activity_report(before, spikes), activity_report(behind, spikes)
    assert rows(before)["dense/kernel"]["input_resolution"] is None
    assert rows(before)["dense/kernel"]["effective_macs"] > 0
    assert rows(behind)["dense/kernel"]["effective_macs"] == 0
    assert rows(behind)["dense/kernel"]["effective_acs"] == 5 * spikes.sum() / 4
    assert before.activities[1]["mean_abs_count"] == behind.activities[1]["mean_abs_count"]
    # States per sample: IF 3, traces 2 * 3, R 5; IF 3, P, Q and R 3 * 5.
    assert [one.footprint["state_bytes"] // 4 for one in (before, behind)] == [14, 18]


def test_cells_in_recurrent_layers():
    stack = layers.RNN([IFCell(3), layers.SimpleRNNCell(4), SRMCell(4)], return_sequences=True)
    model = sequential(keras.Input((10, 3)), stack, layers.Dense(2, name="dense"))
    report = activity_report(model, X)
    found = [row for row in report.products if row["kind"] == "input"]
    assert [row["input_resolution"] for row in found] == [1, 1]
    assert len(report.activities) == 2
