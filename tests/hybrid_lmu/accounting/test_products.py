"""Products of every kind of layer, against numbers worked out by hand or by brute force."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import hybrid_lmu
from hybrid_lmu.accounting import activity_report
from tests.hybrid_lmu.accounting.accounting_helpers import (
    check,
    kinds,
    real,
    rows,
    sequential,
    set_kernel,
)

# The worked example of NeuroBench's documentation of synaptic operations.


def worked_example(x):
    model = sequential(keras.Input((3,)), layers.Dense(3, use_bias=True))
    # Keras multiplies from the left, y = x W: the transpose of the matrix of the documentation.
    set_kernel(model.layers[0], np.transpose([[1.3, 0, -3.2], [0, 1.2, -5.1], [-1.1, 2.7, 0]]))
    return activity_report(model, np.array([x], "float32"))


def test_neurobench_worked_example():
    report = worked_example([0.0, 1.3, -1.0])
    check(report.products[0], 9, 4)
    operations = report.neurobench["synaptic_operations"]
    assert operations == {"Effective_MACs": 4.0, "Effective_ACs": 0.0, "Dense": 9.0}
    assert report.neurobench["connection_sparsity"] == pytest.approx(3 / 9)
    assert report.neurobench["parameter_count"] == 12
    assert report.neurobench["footprint"] == 48


def test_neurobench_worked_example_with_spikes():
    report = worked_example([0.0, 1.0, -1.0])
    check(report.products[0], 9, 0, 4, 4, 4)
    operations = report.neurobench["synaptic_operations"]
    assert operations == {"Effective_MACs": 0.0, "Effective_ACs": 4.0, "Dense": 9.0}


def test_graded_codes_are_accumulates_but_not_so_for_neurobench():
    report = worked_example([0.0, 1.0, -3.0])
    check(report.products[0], 9, 0, 4, 2, 2 * 1 + 2 * 3)
    operations = report.neurobench["synaptic_operations"]
    assert operations == {"Effective_MACs": 4.0, "Effective_ACs": 0.0, "Dense": 9.0}


def test_dense_against_brute_force_over_batches():
    x = real(11, 5, 4)
    model = sequential(keras.Input((5, 4)), layers.Dense(6), layers.Dense(2))
    kernel = real(4, 6)
    set_kernel(model.layers[0], kernel)
    report = activity_report(model, x, batch_size=4)
    effective = np.einsum("bti,io->", (x != 0) * 1.0, (kernel != 0) * 1.0) / 11
    check(report.products[0], 5 * 24, effective)
    check(report.products[1], 5 * 12, report.products[1]["effective_macs"])
    assert report.samples == 11


# Recurrent layers.


def test_lstm_as_neurobench():
    model = sequential(keras.Input((3, 1)), layers.LSTM(128, name="lstm"))
    report = activity_report(model, np.full((2, 3, 1), 0.5, "float32"))
    assert report.totals["dense_macs"] == 3 * 66_432
    assert rows(report)["lstm/gates"]["dense_macs"] == 3 * (2 * 128 + 128)
    # The state is zero before the first step.
    check(rows(report)["lstm/recurrent_kernel"], 3 * 4 * 128**2, 2 * 4 * 128**2)
    assert report.timesteps == 3


@pytest.mark.parametrize("reset_after", [True, False])
def test_gru_as_neurobench(reset_after):
    units, features = 5, 3
    model = sequential(keras.Input((4, features)), layers.GRU(units, reset_after=reset_after))
    report = activity_report(model, np.full((2, 4, features), 0.5, "float32"))
    per_step = 3 * units * (features + units) + units + 2 * units
    assert report.totals["dense_macs"] == 4 * per_step
    assert kinds(report, "recurrent") == 4 * 3 * units**2
    assert report.totals["effective_macs"] == 4 * per_step - 3 * units**2


def test_the_candidate_of_a_gru_sees_a_real_input():
    cell = hybrid_lmu.HybridCell(layers.GRUCell(5, reset_after=False), resolution=4)
    model = sequential(keras.Input((6, 3)), layers.RNN(cell, name="rnn"))
    found = rows(activity_report(model, real(2, 6, 3)))
    assert found["rnn/recurrent_kernel (z, r)"]["input_resolution"] == 4
    assert found["rnn/recurrent_kernel (z, r)"]["dense_macs"] == 6 * 5 * 10
    assert found["rnn/recurrent_kernel (candidate)"]["input_resolution"] is None
    assert found["rnn/recurrent_kernel (candidate)"]["dense_macs"] == 6 * 5 * 5


def test_stacked_cells_and_bidirectional():
    stack = [
        hybrid_lmu.HybridCell(layers.SimpleRNNCell(4), resolution=3),
        layers.LSTMCell(5),
    ]
    model = sequential(
        keras.Input((6, 2)),
        layers.RNN(stack, return_sequences=True, name="stack"),
        layers.Bidirectional(layers.GRU(3), name="both"),
    )
    report = activity_report(model, real(3, 6, 2))
    found = rows(report)
    assert found["stack/cell 0 recurrent_kernel"]["input_resolution"] == 3
    assert found["stack/cell 1 kernel"]["input_resolution"] == 3
    assert found["stack/cell 1 kernel"]["dense_macs"] == 6 * 4 * 20
    for direction in ("forward", "backward"):
        assert found[f"both/{direction} kernel"]["dense_macs"] == 6 * 5 * 9
        assert found[f"both/{direction} recurrent_kernel"]["dense_macs"] == 6 * 3 * 9
    assert [row["name"] for row in report.activities] == ["stack/cell 0 output"]


def test_masked_steps_are_not_counted():
    x = np.full((2, 5, 3), 0.5, "float32")
    x[0, 3:] = 0.0  # 3 steps; the other sample has 5
    for backwards in (False, True):
        model = sequential(
            keras.Input((5, 3)),
            layers.Masking(),
            hybrid_lmu.SigmaDelta("relu", resolution=2, initial_error="zeros"),
            layers.SimpleRNN(4, return_sequences=True, go_backwards=backwards, name="rnn"),
            layers.TimeDistributed(layers.Dense(2), name="head"),
        )
        report = activity_report(model, x)
        found = rows(report)
        assert found["rnn/kernel"]["dense_macs"] == 8 * 12 / 2
        # One event per neuron and step: 0.5 * 2, all in the steps that are not masked.
        assert found["rnn/kernel"]["graded_acs"] == 8 * 12 / 2
        assert found["head/kernel"]["dense_macs"] == (8 if not backwards else 8) * 8 / 2
        assert report.activities[0]["share_of_zeros"] == 0.0


def test_a_mask_goes_through_layers_that_do_not_use_it():
    x = np.full((2, 5, 3), 0.5, "float32")
    x[0, 3:] = 0.0  # 3 steps; the other sample has 5
    model = sequential(
        keras.Input((5, 3)),
        layers.Masking(),
        layers.LSTM(4, return_sequences=True),
        layers.Dense(3, name="first"),
        layers.Activation("relu"),
        layers.Dense(2, name="second"),
    )
    found = rows(activity_report(model, x))
    assert found["first/kernel"]["dense_macs"] == 8 * 12 / 2
    assert found["second/kernel"]["dense_macs"] == 8 * 6 / 2


def test_stateful_layers_start_from_their_states_and_keep_them():
    model = sequential(
        keras.Input(batch_shape=(2, 3, 2)), layers.SimpleRNN(4, stateful=True, name="rnn")
    )
    x = np.full((2, 3, 2), 0.5, "float32")
    assert rows(activity_report(model, x))["rnn/recurrent_kernel"]["effective_macs"] == 2 * 16
    model(x)
    before = [ops.convert_to_numpy(v) for v in model.layers[0].states]
    assert rows(activity_report(model, x))["rnn/recurrent_kernel"]["effective_macs"] == 3 * 16
    for old, new in zip(before, model.layers[0].states, strict=True):
        np.testing.assert_array_equal(old, ops.convert_to_numpy(new))


# The LMU of psMNIST: one step is 256 + 65,536 + 54,484 + 44,944 products (design, peers 3.4).


def check_psmnist(report, name, steps):
    found = rows(report)
    assert found[f"{name}/kernel"]["dense_macs"] == steps
    assert found[f"{name}/memory A"]["dense_macs"] == steps * 65_536
    assert found[f"{name}/memory B"]["dense_macs"] == steps * 256
    assert kinds(report, "hidden") == steps * 54_484
    assert kinds(report, "recurrent") == steps * 44_944
    # The encoder of one input and one memory is one product more than the four named.
    assert report.totals["dense_macs"] == steps * (165_220 + 1)
    assert report.timesteps == steps


@pytest.mark.parametrize("spiking", [False, True])
@pytest.mark.broad(1)
def test_psmnist_hybrid_lmu(spiking):
    resolutions = {"memory_resolution": 8, "hidden_resolution": 4} if spiking else {}
    model = sequential(
        keras.Input((6, 1)),
        hybrid_lmu.HybridLMU(
            1, 256, 784, layers.SimpleRNNCell(212), input_to_hidden=True, name="lmu", **resolutions
        ),
    )
    report = activity_report(model, np.full((2, 6, 1), 0.5, "float32"))
    check_psmnist(report, "lmu", 6)
    found = rows(report)
    assert found["lmu/memory A"]["input_resolution"] is None  # exact feedback: real
    memory = found["lmu/hidden kernel (memory)"]
    assert memory["input_resolution"] == (8 if spiking else None)
    assert found["lmu/hidden kernel (input)"]["input_resolution"] is None
    assert len(report.activities) == (2 if spiking else 0)
    assert (report.totals["effective_acs"] > 0) == spiking


def test_psmnist_without_an_encoder_is_the_documented_sum():
    lmu = hybrid_lmu.HybridLMU(
        1, 256, 784, layers.SimpleRNNCell(212), input_to_hidden=True, kernel_initializer=None
    )
    report = activity_report(sequential(keras.Input((3, 1)), lmu), real(2, 3, 1))
    assert report.totals["dense_macs"] / report.timesteps == 165_220


@pytest.mark.parametrize("options", [{}, {"trainable_theta": True}])
@pytest.mark.broad(1)
def test_psmnist_keras_lmu(options):
    if keras.backend.backend() != "tensorflow":
        pytest.skip("keras-lmu runs on TensorFlow only")
    keras_lmu = pytest.importorskip("keras_lmu")
    lmu = keras_lmu.LMU(
        1, 256, 784, layers.SimpleRNNCell(212), input_to_hidden=True, name="lmu", **options
    )
    model = sequential(keras.Input((6, 1)), lmu)
    report = activity_report(model, np.full((2, 6, 1), 0.5, "float32"))
    check_psmnist(report, "lmu", 6)
    assert report.totals["effective_acs"] == 0
    # Memory and hidden state are zero before the first step: A and the recurrent kernel rest.
    found = rows(report)
    assert found["lmu/memory A"]["effective_macs"] == pytest.approx(5 * 65_536, rel=0.01)
    assert found["lmu/hidden recurrent_kernel"]["effective_macs"] == 5 * 44_944


def test_keras_lmu_with_all_connections_counts_as_the_hybrid_lmu_does():
    if keras.backend.backend() != "tensorflow":
        pytest.skip("keras-lmu runs on TensorFlow only")
    keras_lmu = pytest.importorskip("keras_lmu")
    options = {
        "hidden_to_memory": True,
        "memory_to_memory": True,
        "input_to_hidden": True,
        "use_bias": True,
        "name": "lmu",
    }
    x = real(2, 7, 3)
    reports = []
    for cls in (keras_lmu.LMU, hybrid_lmu.HybridLMU):
        lmu = cls(2, 4, 10, layers.LSTMCell(5), **options)
        reports.append(activity_report(sequential(keras.Input((7, 3)), lmu), x))
    ours, theirs = (
        {row["name"]: (row["kind"], row["dense_macs"]) for row in report.products}
        for report in reports
    )
    assert ours == theirs
    assert ours["lmu/kernel (hidden)"] == ("input", 7 * 5 * 2)
    assert ours["lmu/recurrent_kernel"] == ("recurrent", 7 * 8 * 2)
    assert ours["lmu/memory A"] == ("memory", 7 * 2 * 16)
    assert ours["lmu/memory B"] == ("memory", 7 * 2 * 4)


def test_legendre_memory():
    model = sequential(
        keras.Input((6, 2)), hybrid_lmu.LegendreMemory(4, 10, memory_d=2, name="memory")
    )
    report = activity_report(model, np.ones((3, 6, 2), "float32"))
    found = rows(report)
    check(found["memory/memory A"], 6 * 2 * 16, 5 * 2 * 16)
    check(found["memory/memory B"], 6 * 2 * 4, 0, 6 * 2 * 4, 6 * 2 * 4, 6 * 2 * 4)
    assert report.footprint["stored_bytes"] == 4 * (16 + 4)
    assert report.footprint["state_bytes"] == 4 * 8
    assert found["memory/memory A"]["structured_operations"] is None  # zoh


def test_operations_of_the_structured_memory_step():
    memory = hybrid_lmu.LegendreMemory(4, 20, memory_d=2, discretizer="euler", name="memory")
    report = activity_report(sequential(keras.Input((6, 2)), memory), np.ones((3, 6, 2), "float32"))
    found = rows(report)
    assert found["memory/memory A"]["structured_operations"] == 6 * 2 * (6 * 4)
    assert found["memory/memory B"]["structured_operations"] is None
    assert "memory/memory A: 288 operations in the form of" in str(report)


@pytest.mark.parametrize("padding", ["valid", "same", "causal"])
@pytest.mark.parametrize("strides, dilation", [(1, 1), (2, 1), (1, 2)])
@pytest.mark.broad(5)
def test_convolution_against_brute_force(padding, strides, dilation):
    layer = layers.Conv1D(3, 3, strides, padding, dilation_rate=dilation, name="conv")
    model = sequential(keras.Input((9, 2)), layer)
    kernel = real(3, 2, 3)
    set_kernel(layer, kernel)
    layer.bias.assign(np.zeros(3))
    x = np.rint(2 * real(4, 9, 2))
    row = rows(activity_report(model, x))["conv/kernel"]

    def run(inputs, weights):
        twin = layers.Conv1D(3, 3, strides, padding, dilation_rate=dilation, use_bias=False)
        twin.build(inputs.shape)
        set_kernel(twin, weights)
        return float(ops.sum(twin(np.asarray(inputs, "float32")))) / 4

    ones = np.ones_like(kernel)
    mask = kernel != 0
    check(
        row,
        run(np.ones_like(x), ones),
        0,
        run(x != 0, mask),
        run(np.abs(x) == 1, mask),
        run(np.abs(x), mask),
    )


def test_convolution_of_many_channels():
    layer = layers.Conv2D(32, 3, padding="same", use_bias=False, name="conv")
    model = sequential(keras.Input((14, 14, 16)), layer)
    row = rows(activity_report(model, real(2, 14, 14, 16)))["conv/kernel"]
    within = 3 * 14 - 2  # places where the kernel meets no padding, on each axis
    assert row["dense_macs"] == within**2 * 16 * 32


def test_depthwise_convolution_and_averages_of_counts():
    x = np.rint(2 * np.abs(real(2, 6, 6, 3)))
    model = sequential(
        keras.Input((6, 6, 3)),
        layers.DepthwiseConv2D(3, use_bias=False, name="depthwise"),
        layers.GlobalAveragePooling2D(),
    )
    row = rows(activity_report(model, x))["depthwise/kernel"]
    seen = np.zeros((2, 6, 6, 3))  # how many windows of 3 x 3 an entry is in
    for i in range(4):
        for j in range(4):
            seen[:, i : i + 3, j : j + 3] += 1
    check(
        row,
        16 * 9 * 3,
        0,
        np.sum(seen * (x != 0)) / 2,
        np.sum(seen * (x == 1)) / 2,
        np.sum(seen * x) / 2,
    )
    counts = sequential(
        keras.Input((5, 4, 4, 2)),
        hybrid_lmu.neurons.IF(0.5),
        hybrid_lmu.EachStep(layers.AveragePooling2D(2)),
        hybrid_lmu.EachStep(layers.GlobalAveragePooling2D()),
        layers.Dense(2, name="dense"),
    )
    row = rows(activity_report(counts, np.abs(real(2, 5, 4, 4, 2))))["dense/kernel"]
    assert row["input_resolution"] == 16 and row["effective_macs"] == 0 < row["graded_acs"]


def test_hybrid_rnn_counts_as_rnn():
    cell = hybrid_lmu.HybridCell(keras.layers.GRUCell(3), resolution=2.0, seed=1)
    x = np.random.default_rng(0).normal(size=(4, 6, 2)).astype("float32")
    rows = []
    for layer in (keras.layers.RNN(cell), hybrid_lmu.HybridRNN(cell)):
        report = hybrid_lmu.activity_report(keras.Sequential([keras.Input((6, 2)), layer]), x)
        rows.append([{**row, "name": "", "layer": ""} for row in report.to_dict()["products"]])
    assert [row["dense_macs"] for row in rows[0]] == [row["dense_macs"] for row in rows[1]]
