"""Products of every kind of layer, against numbers worked out by hand or by brute force."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import hybrid_lmu
from hybrid_lmu.accounting import activity_report

RNG = np.random.default_rng(0)


def sequential(*stack):
    return keras.Sequential(list(stack))


def real(*shape):
    """Normal numbers, about half of them zero."""
    x = RNG.standard_normal(shape)
    return (x * (RNG.random(shape) < 0.5)).astype("float32")


def rows(report):
    return {row["name"]: row for row in report.products}


def kinds(report, kind):
    return sum(row["dense_macs"] for row in report.products if row["kind"] == kind)


def check(row, dense, macs, effective_acs=0, strict=0, graded=0):
    keys = ("dense_macs", "effective_macs", "effective_acs", "strict_acs", "graded_acs")
    expected = (dense, macs, effective_acs, strict, graded)
    assert [row[key] for key in keys] == pytest.approx(expected, rel=1e-6)


def set_kernel(layer, kernel):
    layer.kernel.assign(np.asarray(kernel, "float32"))


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


# Quantized activities: exact numbers of accumulates.


def test_sigma_delta_then_dense():
    # Resolution 2, error 0, input 0.75 (1.5 levels): counts 1, 2, 1, 2.
    model = sequential(
        keras.Input((4, 1)),
        hybrid_lmu.SigmaDelta(resolution=2, initial_error="zeros", name="sd"),
        layers.Dropout(0.5),
        layers.Flatten(),
        layers.Dense(3, name="dense"),
    )
    report = activity_report(model, np.full((5, 4, 1), 0.75, "float32"))
    check(rows(report)["dense/kernel"], 12, 0, 12, 6, 18)
    assert rows(report)["dense/kernel"]["input_resolution"] == 2
    (activity,) = report.activities
    assert activity["name"] == activity["layer"] == "sd"
    assert activity["activity_bits"] == 1.0
    assert activity["significant_bits"] == 1.5
    assert activity["count_max"] == 2 and activity["count_min"] == 1
    # A count of 2 is none of -1, 0, 1.
    assert report.neurobench["synaptic_operations"]["Effective_ACs"] == 0


def test_an_average_over_time_stays_an_integer_code():
    model = sequential(
        keras.Input((4, 1)),
        hybrid_lmu.SigmaDelta(resolution=2, initial_error="zeros"),
        layers.GlobalAveragePooling1D(),
        layers.Dense(3, name="dense"),
    )
    report = activity_report(model, np.full((5, 4, 1), 0.75, "float32"))
    assert rows(report)["dense/kernel"]["input_resolution"] == 8
    assert rows(report)["dense/kernel"]["graded_acs"] == 6 * 3


@pytest.mark.parametrize(
    "between",
    [
        [layers.Flatten()],
        [layers.MaxPooling1D(2), layers.Flatten()],
        [layers.Dropout(0.5), layers.ReLU(), layers.GlobalMaxPooling1D()],
        [layers.Permute((2, 1)), layers.Flatten()],
        [layers.ZeroPadding1D(1), layers.LSTM(3, name="rnn")],
        [layers.Permute((2, 1)), layers.GRU(3, name="rnn")],
        [layers.Bidirectional(layers.GRU(3), name="rnn")],
    ],
)
def test_a_resolution_per_neuron_is_followed(between):
    # The check of the integers is part of the report: a wrong resolution would raise.
    model = sequential(
        keras.Input((4, 3)),
        hybrid_lmu.SigmaDelta(resolution=[2.0, 3.0, 7.0]),
        *[type(layer).from_config(layer.get_config()) for layer in between],
        layers.Dense(2, name="dense"),
    )
    found = rows(activity_report(model, real(6, 4, 3)))
    inputs = [row for name, row in found.items() if "rnn" in name and "recurrent" not in name]
    for row in [r for r in inputs if r["kind"] == "input"] or [found["dense/kernel"]]:
        assert row["input_resolution"] is not None
        assert row["effective_acs"] > 0


def test_the_largest_of_different_resolutions_is_real():
    model = sequential(
        keras.Input((4, 3)),
        hybrid_lmu.SigmaDelta(resolution=[2.0, 3.0, 7.0]),
        layers.Reshape((6, 2)),
        layers.GlobalMaxPooling1D(),
        layers.Dense(2, name="dense"),
    )
    report = activity_report(model, real(6, 4, 3))
    assert rows(report)["dense/kernel"]["input_resolution"] is None


def test_hybrid_lmu_with_everything_quantized():
    lmu = hybrid_lmu.HybridLMU(
        2,
        4,
        10,
        layers.SimpleRNNCell(5),
        hidden_to_memory=True,
        memory_to_memory=True,
        memory_resolution=16,
        hidden_resolution=[1.0, 2, 3, 4, 5],
        memory_feedback="quantized",
        return_sequences=True,
        name="lmu",
    )
    model = sequential(keras.Input((7, 3)), lmu, layers.Dense(2, name="dense"))
    report = activity_report(model, (real(4, 7, 3) > 0).astype("float32"))
    found = rows(report)
    expected = {
        "lmu/kernel (input)": 1,
        "lmu/kernel (hidden)": 3,
        "lmu/recurrent_kernel": 16,
        "lmu/memory A": 16,
        "lmu/memory B": None,
        "lmu/hidden kernel": 16,
        "lmu/hidden recurrent_kernel": 3,
        "dense/kernel": 3,
    }
    assert {name: row["input_resolution"] for name, row in found.items()} == expected
    assert [row["name"] for row in report.activities] == ["lmu/memory", "lmu/hidden"]


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy):
    model = sequential(
        keras.Input((6, 3)),
        layers.RNN(
            hybrid_lmu.HybridCell(layers.LSTMCell(4, dtype=policy), resolution=3, dtype=policy),
            return_sequences=True,
            dtype=policy,
            name="rnn",
        ),
        hybrid_lmu.SigmaDelta(resolution=5, dtype=policy),
        layers.Flatten(dtype=policy),
        layers.Dense(2, dtype="float32", name="head"),
    )
    found = rows(activity_report(model, real(4, 6, 3)))
    assert found["rnn/recurrent_kernel"]["input_resolution"] == 3
    assert found["head/kernel"]["input_resolution"] == 5  # though cast to float32 on the way


# Structure of models.


def test_nested_shared_and_functional_models():
    shared = layers.Dense(4, name="shared")
    inner_input = keras.Input((3, 4))
    inner = keras.Model(
        inner_input, shared(hybrid_lmu.SigmaDelta(name="sd")(inner_input)), name="inner"
    )
    x = keras.Input((3, 4))
    once = inner(x)
    twice = shared(once)
    both = layers.Concatenate()([once, twice])
    model = keras.Model(x, sequential(keras.Input((3, 8)), layers.Dense(1, name="out"))(both))
    report = activity_report(model, real(2, 3, 4))
    dense = [(row["name"].split("/", 1)[-1], row["dense_macs"]) for row in report.products]
    assert sum(value for name, value in dense if "shared" in name or "kernel" in name) == (
        2 * 3 * 16 + 3 * 8
    )
    assert report.products[0]["input_resolution"] == 1
    assert report.products[1]["input_resolution"] is None
    assert report.neurobench["parameter_count"] == 20 + 9 + 1  # and a resolution


def test_a_resolution_enters_a_nested_model():
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(2, name="dense")], name="inner")
    x = keras.Input((3, 4))
    spikes = hybrid_lmu.SigmaDelta(resolution=2)(x)
    model = keras.Model(x, inner(layers.GlobalMaxPooling1D()(spikes)))
    assert (
        rows(activity_report(model, real(2, 3, 4)))["inner/dense/kernel"]["input_resolution"] == 2
    )


def test_a_concatenation_with_a_real_part_is_real():
    x = keras.Input((3, 4))
    both = layers.Concatenate()([hybrid_lmu.SigmaDelta(resolution=2)(x), x])
    model = keras.Model(x, layers.Dense(2, name="dense")(both))
    assert rows(activity_report(model, real(2, 3, 4)))["dense/kernel"]["effective_acs"] == 0
    spikes = layers.Concatenate()([hybrid_lmu.SigmaDelta(resolution=r)(x) for r in (2, 3)])
    model = keras.Model(x, layers.Dense(2, name="dense")(spikes))
    assert rows(activity_report(model, real(2, 3, 4)))["dense/kernel"]["effective_acs"] > 0


@keras.saving.register_keras_serializable(package="test_accounting")
class Block(keras.layers.Layer):
    """A composite layer without weights of its own."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.parts = [layers.Dense(4, name="a"), layers.Dense(2, name="b")]

    def call(self, inputs):
        for part in self.parts:
            inputs = part(inputs)
        return inputs


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.block = Block(name="block")

    def call(self, inputs):
        return self.block(inputs)


def test_composite_layers_and_subclassed_models():
    report = activity_report(Subclassed(), real(2, 3))
    assert {name: row["dense_macs"] for name, row in rows(report).items()} == {
        "block/a/kernel": 12,
        "block/b/kernel": 8,
    }


@pytest.mark.parametrize("padding", ["valid", "same", "causal"])
@pytest.mark.parametrize("strides, dilation", [(1, 1), (2, 1), (1, 2)])
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


# What is left out, and what is refused.


def test_layers_without_products_pass_and_are_named():
    model = sequential(
        keras.Input((4,), dtype="int32"),
        layers.Embedding(10, 6, mask_zero=True, name="table"),
        layers.LayerNormalization(name="norm"),
        layers.SimpleRNN(3, name="rnn"),
        layers.BatchNormalization(name="bn"),
        layers.Softmax(),
    )
    x = np.array([[1, 2, 0, 0], [3, 4, 5, 6]])
    report = activity_report(model, x)
    assert report.not_counted == {
        "table": "look-up",
        "norm": "normalisation",
        "bn": "normalisation",
    }
    assert rows(report)["rnn/kernel"]["dense_macs"] == (2 + 4) * 18 / 2  # masked by the table
    assert "bn (normalisation)" in str(report)


class Unknown(keras.layers.Layer):
    def build(self, shape):
        self.w = self.add_weight(shape=(shape[-1],), name="w")

    def call(self, x):
        return x * self.w


def test_an_unknown_layer_is_an_error_unless_skipped():
    model = sequential(keras.Input((4,)), Unknown(name="odd"), layers.Dense(2, name="dense"))
    with pytest.raises(ValueError, match=r"'odd' of class Unknown.*skip=\('odd',\)"):
        activity_report(model, real(2, 4))
    report = activity_report(model, real(2, 4), skip=("odd",))
    assert report.not_counted == {"odd": "skipped"}
    assert list(rows(report)) == ["dense/kernel"]
    with pytest.raises(ValueError, match="`skip` must name layers.*'nothing'"):
        activity_report(model, real(2, 4), skip=("odd", "nothing"))


class UnknownCell(layers.SimpleRNNCell):
    pass


@pytest.mark.parametrize(
    "wrap",
    [
        lambda cell: layers.RNN(cell),
        lambda cell: layers.RNN([layers.LSTMCell(3), cell]),
        lambda cell: layers.RNN(hybrid_lmu.HybridCell(cell)),
        lambda cell: hybrid_lmu.HybridLMU(1, 3, 5, cell),
        lambda cell: layers.TimeDistributed(Unknown(name="odd")),
    ],
)
def test_an_unknown_cell_is_an_error(wrap):
    model = sequential(keras.Input((4, 2)), wrap(UnknownCell(3, name="odd")))
    with pytest.raises(ValueError, match="'odd' of class Unknown"):
        activity_report(model, real(2, 4, 2))


def test_subclasses_of_known_layers_are_unknown():
    class MyDense(layers.Dense):
        def call(self, x):
            return super().call(x) + super().call(-x)

    with pytest.raises(ValueError, match="of class MyDense"):
        activity_report(sequential(keras.Input((4,)), MyDense(2)), real(2, 4))


class Signs(keras.layers.Layer):
    """A layer that multiplies with the signs of its weights."""

    def build(self, shape):
        self.w = self.add_weight(shape=(shape[-1], 2), initializer=real_initializer, name="w")

    def call(self, x):
        return ops.matmul(x, ops.sign(self.w))


def real_initializer(shape, dtype):
    return ops.convert_to_tensor(np.array([[1.5, 0.0], [0.0, 0.0], [-2.0, 3.0]]), dtype)


def test_a_rule_can_be_registered():
    from hybrid_lmu.accounting import layers as rules
    from hybrid_lmu.accounting import register_layer
    from hybrid_lmu.accounting.signals import matrix

    key = (Signs.__module__.split(".")[0], "Signs")
    model = sequential(keras.Input((3,)), Signs(name="signs"))
    x = np.array([[0.5, 0.5, 0.0], [0.5, 0.5, 0.5]], "float32")
    with pytest.raises(ValueError, match="of class Signs"):
        activity_report(model, x)

    @register_layer(*key)
    def _signs(layer, tape, call):
        tape.add(
            matrix("w", "input", lambda: np.sign(ops.convert_to_numpy(layer.w)), [call.x]),
            call.mask,
        )

    try:
        check(rows(activity_report(model, x))["signs/w"], 6, (1 + 3) / 2)
    finally:
        del rules.LAYERS[key]


# Raw integers.


def test_only_small_raw_integers_are_codes():
    model = sequential(keras.Input((2,)), layers.Dense(3))
    check(activity_report(model, np.array([[15.0, -15.0]])).products[0], 6, 0, 6, 0, 90)
    report = activity_report(model, np.array([[1.0, 0.0], [255.0, 1.0]]))  # pixels
    check(report.products[0], 6, 4.5)
    assert report.products[0]["input_resolution"] is None
    assert report.products[0]["input_bits"] == 8


# Tensors that change their dtype, and operations of functional models.


def test_a_function_of_a_quantized_activity_is_real_in_mixed_precision():
    x = keras.Input((4, 3))
    spikes = hybrid_lmu.SigmaDelta(resolution=4, dtype="mixed_float16")(x)
    head = layers.Dense(2, dtype="float32", name="head")
    report = activity_report(keras.Model(x, head(ops.tanh(spikes))), real(5, 4, 3))
    assert rows(report)["head/kernel"]["input_resolution"] is None
    assert rows(report)["head/kernel"]["effective_macs"] > 0


def test_casts_keep_the_resolution():
    x = keras.Input((4, 3))
    spikes = hybrid_lmu.SigmaDelta(resolution=4, dtype="mixed_float16")(x)
    head = layers.Dense(2, dtype="float32", name="head")
    cast = keras.Model(x, head(ops.cast(spikes, "float32")))
    assert rows(activity_report(cast, real(5, 4, 3)))["head/kernel"]["input_resolution"] == 4
    nested = sequential(keras.Input((4, 3)), layers.Dense(2, dtype="mixed_float16", name="head"))
    nested.name = "inner"
    report = activity_report(keras.Model(x, nested(spikes)), real(5, 4, 3))
    assert rows(report)["inner/head/kernel"]["input_resolution"] == 4
    assert keras.DTypePolicy.convert_input.__closure__ is None  # as it was before


class Doubled(keras.layers.Layer):
    def call(self, x):
        return ops.add(x, x)

    def compute_output_shape(self, shape):
        return shape


def test_products_without_weights_are_named():
    x = keras.Input((4, 3))
    y = layers.Attention(name="attention")([x, x])
    y = layers.Multiply(name="product")([y, x])
    z = ops.add(ops.relu(y), ops.matmul(layers.Dot(2, name="dot")([y, x]), x))
    z = Doubled(name="own")(ops.power(z, 2))
    z = layers.TimeDistributed(layers.Rescaling(2.0), name="each")(z)
    model = keras.Model(x, layers.Average()([z, x]))
    report = activity_report(model, real(2, 4, 3))
    by_class = {
        type(one).__name__: report.not_counted.get(one.name)
        for one in model.operations
        if not isinstance(one, (layers.InputLayer, layers.Average))
    }
    operation = "products of two activations or with a constant"
    assert by_class == {
        "Attention": "products of two activations",
        "Multiply": "products of two activations",
        "Dot": "products of two activations",
        "Relu": None,
        "Matmul": operation,
        "Add": None,
        "Power": "products unknown",
        "Doubled": "products unknown",
        "TimeDistributed": "products with a constant",
    }
    text = " ".join(str(report).split())
    assert "each (products with a constant)" in text
    assert "products of two activations or with constants" in text


def test_operations_inside_nested_models_are_named_and_can_be_skipped():
    x = keras.Input((3,))
    inner = keras.Model(x, ops.multiply(x, x), name="inner")
    model = sequential(keras.Input((3,)), inner, layers.Dense(2))
    (operation,) = [one for one in inner.operations if type(one).__name__ == "Multiply"]
    name = f"inner/{operation.name}"
    assert name in activity_report(model, real(2, 3)).not_counted
    report = activity_report(model, real(2, 3), skip=operation.name)
    assert report.not_counted == {name: "skipped"}


def test_hybrid_rnn_counts_as_rnn():
    cell = hybrid_lmu.HybridCell(keras.layers.GRUCell(3), resolution=2.0, seed=1)
    x = np.random.default_rng(0).normal(size=(4, 6, 2)).astype("float32")
    rows = []
    for layer in (keras.layers.RNN(cell), hybrid_lmu.HybridRNN(cell)):
        report = hybrid_lmu.activity_report(keras.Sequential([keras.Input((6, 2)), layer]), x)
        rows.append([{**row, "name": "", "layer": ""} for row in report.to_dict()["products"]])
    assert [row["dense_macs"] for row in rows[0]] == [row["dense_macs"] for row in rows[1]]
