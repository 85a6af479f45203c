"""How the resolution of an activity is followed to the weights that it meets."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import hybrid_lmu
from hybrid_lmu.accounting import activity_report
from tests.hybrid_lmu.accounting.accounting_helpers import check, real, rows, sequential

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


def test_an_average_over_time_of_one_resolution_per_neuron():
    model = sequential(
        keras.Input((4, 3)),
        hybrid_lmu.SigmaDelta(resolution=[2.0, 3.0, 7.0], initial_error="half"),
        layers.GlobalAveragePooling1D(),
        layers.Dense(5, name="dense"),
    )
    # Every step the same counts: w * x is an integer, so that their sum is 4 * w * x.
    x = np.broadcast_to(np.array([1.5, -2 / 3, 3 / 7], "float32"), (6, 4, 3))
    (row,) = activity_report(model, x).products
    assert row["input_resolution"] == pytest.approx(4 * (2 + 3 + 7) / 3)
    assert row["graded_acs"] == 4 * (3 + 2 + 3) * 5
    assert row["effective_acs"] == 3 * 5 and row["effective_macs"] == 0


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
@pytest.mark.broad(4)
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


def test_inputs_of_an_integer_dtype_are_the_numbers_they_hold():
    a, b = keras.Input((3,), name="b"), keras.Input((3,), name="a")
    model = keras.Model([a, b], layers.Dense(2, name="dense")(layers.Concatenate()([a, b])))
    x = np.random.RandomState(0).randint(0, 3, (8, 6))

    def inputs(dtype):
        return {"b": x[:, :3].astype(dtype), "a": x[:, 3:].astype("float32")}

    (expected,) = activity_report(model, inputs("float32")).products
    (row,) = activity_report(model, inputs("uint8")).products
    assert row == expected
    assert row["effective_acs"] > 0 and row["effective_macs"] == 0
    (row,) = activity_report(model, list(inputs("int32").values())).products
    assert row == expected
    # A Sequential declares its input, too.
    images = sequential(keras.Input((4, 4, 1)), layers.Conv2D(2, 3, name="conv"))
    x = np.arange(16, dtype="uint8").reshape(1, 4, 4, 1) % 3
    (expected,) = activity_report(images, x.astype("float32")).products
    assert activity_report(images, x).products == [expected]
    assert expected["effective_macs"] == 0
