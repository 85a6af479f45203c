"""Names of kernels and quantizers: however they were given, and before and after a file."""

import keras
import numpy as np
import pytest

from hybrid_lmu import (
    AnnealResolution,
    HybridCell,
    HybridLMU,
    HybridRNN,
    SigmaDelta,
    SigmaDeltaQuantizer,
    resolution_variables,
)
from hybrid_lmu.weights import (
    QuantizedWeights,
    ScaledBinary,
    StraightThroughSign,
    SumOfSigmoids,
    between_levels,
    packed_weights,
    quantize_weights,
)

x = np.random.default_rng(0).normal(size=(4, 20, 3)).astype("float32")
RULES = {
    "sign": StraightThroughSign,
    "scaled": ScaledBinary,
    "sigmoids": lambda: SumOfSigmoids("binary"),
}


def lmu(**options):
    hidden = keras.layers.Dense(6, "relu", name="units")
    options = {"memory_resolution": 8, "hidden_resolution": 2, "initial_error": "zeros", **options}
    return HybridLMU(2, 8, 20, hidden, input_to_hidden=True, name="lmu", **options)


def sequential(layer):
    return keras.Sequential([keras.Input((20, 3)), layer, keras.layers.Dense(2, name="out")])


@pytest.mark.parametrize("rule", list(RULES))
@pytest.mark.parametrize("pattern", ["hidden", "lmu_cell/kernel", "*hidden*kernel", "units/kernel"])
def test_exempt_kernels_are_the_same_after_a_file(tmp_path, rule, pattern):
    model = sequential(QuantizedWeights(lmu(), RULES[rule](), exempt=pattern))
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    quantized = "lmu/lmu_cell/kernel"
    if pattern == "lmu_cell/kernel":
        quantized = "lmu/lmu_cell/hidden/units/kernel"
    assert list(packed_weights(model)) == list(packed_weights(loaded)) == [quantized]
    if rule == "sigmoids":
        assert list(between_levels(model)) == list(between_levels(loaded)) == [quantized]
    np.testing.assert_array_equal(*(one.predict(x, verbose=0) for one in (model, loaded)))


@pytest.mark.parametrize("pattern", ["hidden", "lmu/lmu_cell/hidden/units/kernel", "lmu/*/units/*"])
def test_exempt_of_a_whole_model(tmp_path, pattern):
    model = quantize_weights(sequential(lmu()), StraightThroughSign(), exempt=pattern)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    names = ["lmu/lmu_cell/kernel", "out/kernel"]
    assert list(packed_weights(model)) == list(packed_weights(loaded)) == names
    np.testing.assert_array_equal(*(one.predict(x, verbose=0) for one in (model, loaded)))


def given():
    quantizers = {
        f"{part}_quantizer": SigmaDeltaQuantizer(resolution=4.0, initial_error="zeros")
        for part in ("memory", "hidden")
    }
    return lmu(memory_resolution=None, hidden_resolution=None, **quantizers)


@pytest.mark.parametrize("make", [lmu, given])
def test_quantizers_have_the_names_of_the_arguments(tmp_path, make):
    model = sequential(make())
    model.compile("sgd", "mse")
    model.save(tmp_path / "m.keras")
    expected = [
        "lmu/lmu_cell/memory_quantizer/resolution",
        "lmu/lmu_cell/hidden/hidden_quantizer/resolution",
    ]
    for one in (model, keras.saving.load_model(tmp_path / "m.keras")):
        assert sorted(resolution_variables(one)) == sorted(expected)
        assert list(resolution_variables(one, "memory_quantizer")) == expected[:1]
        for name in ("hidden_quantizer", "hidden"):
            assert list(resolution_variables(one, name)) == expected[1:]


@pytest.mark.parametrize(
    "make, expected",
    [
        (lambda **q: SigmaDelta(name="first", **q), "first/quantizer/resolution"),
        (
            lambda **q: HybridRNN(HybridCell(keras.layers.GRUCell(3), name="cell", **q), name="r"),
            "r/cell/quantizer/resolution",
        ),
    ],
)
def test_other_owners(tmp_path, make, expected):
    for options in ({}, {"quantizer": SigmaDeltaQuantizer(name="mine")}):
        inner = keras.Sequential([keras.Input((5, 3)), make(**options)], name="inner")
        model = keras.Sequential([keras.Input((5, 3)), inner])
        model.save(tmp_path / "m.keras")
        for one in (model, keras.saving.load_model(tmp_path / "m.keras")):
            assert list(resolution_variables(one)) == [f"inner/{expected}"]
        assert bool(options) == bool(resolution_variables(model, "mine"))


def test_same_names_are_told_apart():
    inner = [keras.Sequential([SigmaDelta(name="same")], name=n) for n in ("a", "b")]
    model = keras.Sequential([keras.Input((5, 3)), *inner])
    assert list(resolution_variables(model)) == [f"{n}/same/quantizer/resolution" for n in "ab"]


def test_errors_list_the_names():
    model = sequential(lmu())
    model.compile("sgd", "mse")
    anneal = AnnealResolution(lambda step: 2.0, name="typo")
    with pytest.raises(ValueError, match="the model has .'lmu/lmu_cell/hidden/hidden_quantizer/re"):
        model.fit(x, np.zeros((4, 2)), verbose=0, callbacks=[anneal])
    with pytest.raises(ValueError, match="weights of the layer, .*'lmu_cell/hidden/units/kernel'"):
        sequential(QuantizedWeights(lmu(), StraightThroughSign(), exempt="typo"))
