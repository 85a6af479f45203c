"""An LMU without a hidden cell: its output is the memory, and the input if asked for."""

import keras
import numpy as np

from hybrid_lmu import HybridLMU

to_numpy = keras.ops.convert_to_numpy


def test_without_a_hidden_cell_the_size_of_the_input_is_learned(tmp_path):
    x = np.random.default_rng(0).normal(size=(2, 12, 3)).astype("float32")
    layer = HybridLMU(2, 4, 12.0, None, input_to_hidden=True, return_sequences=True)
    model = keras.Sequential([keras.Input((12, 3)), layer])
    assert model.output_shape == (None, 12, 11)
    found = to_numpy(model(x))
    np.testing.assert_array_equal(found[..., 8:], x)
    steps = HybridLMU(2, 4, 12.0, None, input_to_hidden=True, return_sequences=True, unroll=True)
    steps.build(x.shape)
    steps.set_weights(layer.get_weights())
    np.testing.assert_allclose(to_numpy(steps(x)), found, rtol=0, atol=1e-5)
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(to_numpy(again(x)), found)
