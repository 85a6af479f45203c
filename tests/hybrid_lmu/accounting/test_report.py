"""The report as a whole: data of every kind, its dictionary and text, energy, footprint."""

import json

import keras
import numpy as np
import pytest
from keras import layers, ops

import hybrid_lmu
from hybrid_lmu.accounting import (
    activity_report,
    record_activity,
)
from tests.hybrid_lmu.accounting.accounting_helpers import X, hybrid


@pytest.fixture(scope="module")
def model():
    return hybrid()


@pytest.fixture(scope="module")
def report(model):
    return activity_report(model, X)


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        part = X[3 * index : 3 * index + 3]
        return part, np.zeros(len(part))


def test_all_kinds_of_data_give_the_same(model, report):
    parts = np.array_split(X, 3)
    sources = [
        Batches(),
        iter(parts),
        ((part, np.zeros(len(part)), np.ones(len(part))) for part in parts),
        parts and ops.convert_to_tensor(X),
        X.astype("float64"),
    ]
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        sources.append(tf.data.Dataset.from_tensor_slices((X, np.zeros(10))).batch(4))
    for source in sources:
        other = activity_report(model, source, batch_size=3)
        assert other.samples == 10
        assert other.activities == report.activities
        assert other.totals == pytest.approx(report.totals)


def test_several_inputs():
    a, b = keras.Input((6, 2), name="a"), keras.Input((3,), name="b")
    joined = layers.Concatenate()([layers.LSTM(4)(a), b])
    model = keras.Model([a, b], layers.Dense(2, name="head")(joined))
    b_data = np.ones((10, 3), "float32")
    report = activity_report(model, [X, b_data], batch_size=4)
    assert report.samples == 10
    assert report.products[-1]["dense_macs"] == 14
    other = activity_report(model, {"a": X, "b": b_data}, batch_size=4)
    assert other.totals == pytest.approx(report.totals)


@pytest.mark.parametrize(
    "x, message",
    [
        (X[:0], "at least one sample"),
        (iter(()), "at least one sample"),
        (np.where(X > 0.99, np.nan, X), "must not contain NaN; batch 0"),
        (np.where(X > 0.99, -np.inf, X), "must not contain infinite numbers; batch 0"),
        (3.0, "`x` must be an array"),
    ],
)
def test_bad_data(model, x, message):
    with pytest.raises(ValueError, match=message):
        activity_report(model, x)


@pytest.mark.parametrize("batch_size", [0, -1, 2.0, True])
def test_bad_batch_size(model, batch_size):
    with pytest.raises(ValueError, match=f"`batch_size` must be .*; received: {batch_size}"):
        activity_report(model, X, batch_size=batch_size)


def test_only_models():
    with pytest.raises(ValueError, match="must be a keras.Model; received: Dense"):
        activity_report(layers.Dense(3), X)


def test_the_recorded_counts_are_those_of_the_model(model):
    recorded = record_activity(model, X, batch_size=4)
    assert list(recorded) == ["lmu/memory", "lmu/hidden"]
    hidden = recorded["lmu/hidden"]
    assert hidden.counts.dtype == np.int64 and hidden.counts.shape == (10, 6, 5)
    outputs = ops.convert_to_numpy(model.layers[0](X))
    np.testing.assert_allclose(hidden.counts / hidden.resolution, outputs, atol=1e-6)


def test_statistics_agree_with_the_recorded_counts(model, report):
    recorded = record_activity(model, X)
    for row in report.activities:
        counts = recorded[row["name"]].counts.reshape(-1, row["neurons"])
        span = counts.max(axis=0) - counts.min(axis=0) + 1
        assert row["activity_bits"] == pytest.approx(np.log2(span).mean())
        assert row["share_of_zeros"] == pytest.approx(np.mean(counts == 0))
        assert row["mean_abs_count"] == pytest.approx(np.mean(np.abs(counts)))
    rows = {row["name"]: row for row in report.products}
    # Each count of the memory meets 5 weights, those of the hidden layer 5 and 3.
    graded = np.abs(recorded["lmu/memory"].counts).sum() / 10
    assert rows["lmu/hidden kernel (memory)"]["graded_acs"] == pytest.approx(5 * graded)
    hidden = np.abs(recorded["lmu/hidden"].counts)
    assert rows["head/kernel"]["graded_acs"] == pytest.approx(3 * hidden.sum() / 10)
    before = hidden[:, :-1].sum() / 10
    assert rows["lmu/hidden recurrent_kernel"]["graded_acs"] == pytest.approx(5 * before)


def test_a_report_leaves_the_model_as_it_was_and_is_repeatable():
    model = hybrid("uniform")
    model(X)
    before = [ops.convert_to_numpy(v) for v in model.variables]
    first, second = activity_report(model, X, 4), activity_report(model, X, 4)
    assert first.to_dict() == second.to_dict()
    for old, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(old, ops.convert_to_numpy(variable))
    for layer in model.layers:
        assert "call" not in vars(layer)


def test_a_report_restores_layers_after_an_error(model):
    with pytest.raises((ValueError, TypeError)):
        activity_report(model, X[:, :, :1])
    assert all("call" not in vars(layer) for layer in model.layers)
    model.predict(X, verbose=0)


def test_the_present_resolution_counts():
    model = hybrid()
    coarse = activity_report(model, X)
    model.layers[0].cell.memory_quantizer.resolution.assign(2.0**20)
    fine = activity_report(model, X)
    assert fine.activities[0]["resolution"] == 2.0**20
    assert fine.activities[0]["activity_bits"] > coarse.activities[0]["activity_bits"] + 10
    assert fine.activities[1]["activity_bits"] < 8


def test_an_activity_off_the_grid_is_an_error():
    class Off(hybrid_lmu.SigmaDelta):
        def call(self, inputs):
            return super().call(inputs) * 1.01

    with pytest.raises(ValueError, match="'off' is not an integer.*resolution 4"):
        activity_report(
            keras.Sequential([keras.Input((6, 2)), Off(resolution=4, name="off")]), 9 * X
        )


def test_real_inputs_are_macs_and_integers_in_all_batches_are_acs():
    model = keras.Sequential([keras.Input((2,)), layers.Dense(3)])
    x = np.ones((8, 2), "float32")
    assert activity_report(model, x, 2).totals["effective_acs"] == 6
    x[-1, 0] = 0.5  # in the last batch only
    report = activity_report(model, x, 2)
    assert report.totals["effective_acs"] == 0 and report.totals["effective_macs"] == 6
    assert report.products[0]["input_resolution"] is None


# The dictionary and the text.

ACTIVITY_KEYS = {
    *("name", "layer", "resolution", "neurons", "activity_bits", "provisioned_bits"),
    *("significant_bits", "significant_bits_nonzero", "entropy_bits", "share_of_zeros"),
    *("mean_abs_count", "count_min", "count_max"),
}
PRODUCT_KEYS = {
    *("name", "kind", "weights", "dense_macs", "effective_macs", "effective_acs"),
    *("strict_acs", "graded_acs", "input_resolution"),
}
ENERGY_KEYS = {
    *("preset", "process_nm", "source", "compute_joules", "memory_joules", "total_joules"),
    "precision",
}


def test_dictionary(report):
    result = report.to_dict()
    assert result["unit"] == "per sample (whole sequence)"
    assert (result["samples"], result["timesteps"]) == (10, 6)
    assert all(set(row) == ACTIVITY_KEYS for row in result["activities"])
    assert all(set(row) >= PRODUCT_KEYS for row in result["products"])
    kinds = {row["kind"] for row in result["products"]}
    assert kinds == {"input", "memory", "hidden", "recurrent"}
    for key in ("dense_macs", "effective_macs", "effective_acs", "strict_acs", "graded_acs"):
        assert result["totals"][key] == pytest.approx(sum(r[key] for r in result["products"]))
    bits = [row["activity_bits"] for row in result["activities"]]
    assert result["totals"]["activity_bits"] == pytest.approx(np.mean(bits))
    operations = result["neurobench"]["synaptic_operations"]
    assert set(operations) == {"Effective_MACs", "Effective_ACs", "Dense"}
    assert operations["Dense"] == result["totals"]["dense_macs"]
    assert set(result["footprint"]) >= {
        "stored_bytes",
        "packed_bytes",
        "parameters",
        "state_bytes",
    }
    assert all(set(row) == ENERGY_KEYS for row in result["energy"])
    for row in result["energy"]:
        assert row["total_joules"] == row["compute_joules"] + (row["memory_joules"] or 0.0)


def test_no_quantized_activity():
    model = keras.Sequential([keras.Input((6, 2)), layers.LSTM(3)])
    report = activity_report(model, X)
    assert report.activities == []
    assert report.totals["activity_bits"] is None
    assert "No quantized activity" in str(report)


def test_json(report, tmp_path):
    path = tmp_path / "report.json"
    path.write_text("old")
    report.to_json(path)
    assert json.loads(path.read_text()) == report.to_dict()
    assert [p.name for p in tmp_path.iterdir()] == ["report.json"]


def test_json_leaves_nothing_behind_after_an_error(report, tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(OSError):
        report.to_json(target)
    other = tmp_path / "target.tmp"  # of somebody else
    other.write_text("kept")
    report.to_json(tmp_path / "report.json")
    (tmp_path / "report.json.tmp").write_text("kept")
    report.to_json(tmp_path / "report.json")
    assert (tmp_path / "report.json.tmp").read_text() == "kept"
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["report.json", "report.json.tmp", "target", "target.tmp"]


@pytest.mark.slow
def test_text_is_at_most_120_columns_wide():
    lmu = hybrid_lmu.HybridLMU(
        1,
        256,
        784,
        layers.SimpleRNNCell(212),
        input_to_hidden=True,
        memory_resolution=8,
        hidden_resolution=4,
        name="a_hybrid_lmu_with_a_long_name",
    )
    model = keras.Sequential([keras.Input((784, 1)), lmu, layers.Dense(10, "softmax")])
    text = str(activity_report(model, np.full((1, 784, 1), 0.7, "float32")))
    assert "784 steps" in text
    assert max(len(line) for line in text.splitlines()) <= 120


def test_text(report):
    text = str(report)
    assert "10 samples, T = 6 steps" in text
    for words in (
        "lmu/memory A",
        "total per sample",
        "total per step",
        "Excluded: biases",
        "45 nm",
        "ISSCC 2014",
        "IEEE Micro",
        "quantized-ann",
    ):
        assert words in text
    line = next(line for line in text.splitlines() if line.startswith("total per step"))
    assert f"{report.totals['dense_macs'] / 6:,.0f}" in line
    header = next(line for line in text.splitlines() if line.startswith("product "))
    assert header.index("dense MACs") + len("dense MACs") == line.index(
        f"{report.totals['dense_macs'] / 6:,.0f}"
    ) + len(f"{report.totals['dense_macs'] / 6:,.0f}")


# Activation sparsity, footprint, energy.


def test_activation_sparsity_of_relu():
    model = keras.Sequential([keras.Input((2,)), layers.Dense(2, "relu"), layers.Dense(3)])
    model.layers[0].kernel.assign([[1.0, -1.0], [1.0, -1.0]])
    report = activity_report(model, np.full((4, 2), 0.5, "float32"))
    assert report.neurobench["activation_sparsity"] == 0.5
    assert report.totals["neuron_updates"] == 2  # those of the linear layer are none
    assert report.products[1]["effective_macs"] == 3


@pytest.mark.parametrize(
    "stack",
    [
        [layers.Dense(2, "relu")],
        [layers.Dense(2), layers.ReLU()],
        [layers.Dense(2), layers.Activation("relu")],
        [layers.Dense(2), layers.BatchNormalization(), layers.ReLU(max_value=6.0)],
        [layers.Dense(2), layers.TimeDistributed(layers.ReLU())],
        [layers.Dense(2), layers.Activation("linear"), ops.relu],
    ],
)
def test_an_activation_function_of_its_own_is_as_one_in_the_layer(stack):
    x = y = keras.Input((3, 2))
    for layer in stack:
        y = layer(y)
    model = keras.Model(x, layers.Dense(3)(y))
    stack[0].kernel.assign([[1.0, -1.0], [1.0, -1.0]])
    report = activity_report(model, np.full((4, 3, 2), 0.5, "float32"))
    assert report.neurobench["activation_sparsity"] == 0.5
    assert report.totals["neuron_updates"] == 3 * 2
    assert report.products[1]["effective_macs"] == 3 * 3


@pytest.mark.parametrize("function", [layers.ReLU, layers.LeakyReLU, ops.relu])
def test_a_quantized_activity_is_counted_once(function):
    x = keras.Input((6, 2))
    spikes = hybrid_lmu.SigmaDelta(resolution=2)(x)
    model = keras.Model(x, function(spikes) if function is ops.relu else function()(spikes))
    assert activity_report(model, X).totals["neuron_updates"] == 6 * 2


@pytest.mark.parametrize("lengths", [(6, 3), (3, 6)])
def test_batches_of_different_lengths(lengths):
    model = keras.Sequential(
        [
            keras.Input((None, 2)),
            hybrid_lmu.SigmaDelta(resolution=2, initial_error="zeros"),
            layers.GlobalAveragePooling1D(),
            layers.Dense(3, name="head"),
        ]
    )
    data = [np.full((5, length, 2), 0.5, "float32") for length in lengths]
    report = activity_report(model, iter(data))
    assert report.timesteps == 6
    (row,) = report.products
    assert row["input_resolution"] == 2 * 6  # of the longest
    assert row["graded_acs"] == 3 * 2 * (6 + 3) / 2  # one event per step and neuron
    with pytest.raises(ValueError, match=r"sequences of one length; received lengths \[3, 6\]"):
        record_activity(model, iter(data))


def test_batches_of_different_lengths_into_a_recurrent_layer():
    model = keras.Sequential([keras.Input((None, 2)), layers.LSTM(3)])
    report = activity_report(model, iter([X, X[:, :3]]))
    assert report.timesteps == 6
    gates, steps = 3 * 3, (6 + 3) / 2
    assert report.totals["dense_macs"] == steps * (4 * 3 * (2 + 3) + gates)
