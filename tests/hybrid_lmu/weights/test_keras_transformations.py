"""Keras's own transformations of weights, beside kernels of a few levels."""

import keras
import numpy as np
import pytest

from hybrid_lmu import activity_report
from hybrid_lmu.weights import QuantizedWeights, SumOfSigmoids, packed_weights

x = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")


def network():
    low = QuantizedWeights(keras.layers.Dense(4), SumOfSigmoids("ternary"), name="low")
    return keras.Sequential([keras.Input((3,)), low, keras.layers.Dense(2, name="out")])


def test_int8_leaves_the_low_bit_kernels_as_they_are(tmp_path):
    model = network()
    first = keras.Model(model.inputs, model.get_layer("low").output)
    before, packed = first.predict(x, verbose=0), packed_weights(model)["low/kernel"]
    with pytest.warns(UserWarning, match="'dense.*' stays as it is: `QuantizedWeights` 'low'"):
        model.quantize("int8")
    assert model.get_layer("out").quantization_mode == "int8"
    np.testing.assert_array_equal(first.predict(x, verbose=0), before)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(packed_weights(loaded)["low/kernel"].codes, packed.codes)
    np.testing.assert_allclose(*(one.predict(x, verbose=0) for one in (loaded, model)), atol=1e-6)


def test_lora_inside_is_an_error():
    model = network()
    with pytest.raises(ValueError, match="LoRA cannot be enabled in 'dense.*: .*'low'"):
        model.get_layer("low").layer.enable_lora(2)
    dense = keras.layers.Dense(4)
    dense.build((None, 3))
    dense.enable_lora(2)
    for one in (dense, keras.layers.Dense(4, lora_rank=2, name="dense")):
        with pytest.raises(ValueError, match="plain kernels, .*'dense.*with LoRA"):
            QuantizedWeights(one, SumOfSigmoids("ternary"))
    int8 = keras.layers.Dense(4, dtype="int8_from_float32")
    with pytest.raises(ValueError, match="with quantization mode 'int8' of Keras"):
        QuantizedWeights(int8, SumOfSigmoids("ternary"))


def test_report_of_lora():
    model = network()
    model.get_layer("out").enable_lora(2)
    with pytest.raises(ValueError, match="layer 'out' .* not known while LoRA is enabled"):
        activity_report(model, x)
