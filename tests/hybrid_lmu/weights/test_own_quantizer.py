"""A weight quantizer of a user's own, after the contract in `hybrid_lmu.weights._quantizer`."""

import keras
import numpy as np
from keras import ops

import hybrid_lmu
from hybrid_lmu.weights import WeightQuantizer, packed_weights, quantize_weights, weight_footprint

to_numpy = ops.convert_to_numpy
random = np.random.default_rng(0)
x = random.normal(size=(8, 12, 3)).astype("float32")


@keras.saving.register_keras_serializable(package="test_own_quantizer")
class Ternary(WeightQuantizer):
    """Three levels, the scale is a share of the mean size of the latent kernel."""

    levels = (-1, 0, 1)

    def __init__(self, share=1.0, **kwargs):
        super().__init__(**kwargs)
        self.share = share

    def call(self, latent, training=False):
        return latent + ops.stop_gradient(self.hard(latent) - latent)

    def code(self, latent):
        return ops.clip(ops.round(latent / self.scale(latent)), -1.0, 1.0)

    def scale(self, latent):
        return self.share * ops.mean(ops.abs(latent))

    def get_config(self):
        return {**super().get_config(), "share": self.share}


def test_it_trains_and_is_saved_packed_and_counted(tmp_path):
    plain = keras.Sequential([keras.Input((12, 3)), keras.layers.GRU(4), keras.layers.Dense(2)])
    model = quantize_weights(plain, Ternary(0.9), Ternary())
    model.compile("adam", "mse")
    before = model.get_weights()
    model.fit(x, np.ones((8, 2)), verbose=0)
    assert all(np.any(a != b) for a, b in zip(before, model.get_weights(), strict=True))

    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))

    packed = packed_weights(loaded)
    assert len(packed) == 3 and all(one.bits == 2 for one in packed.values())
    assert weight_footprint(loaded)["quantized"] == 3 * 12 + 4 * 12 + 4 * 2
    values = list(packed.values())
    plain.set_weights(
        [values[0].values, values[1].values, *to_numpy_all(loaded.layers[0].layer.weights[2:]),
         values[2].values, *to_numpy_all(loaded.layers[1].layer.weights[1:])]
    )  # fmt: skip
    np.testing.assert_allclose(
        plain.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-4, atol=1e-5
    )
    rows = hybrid_lmu.activity_report(loaded, x).products
    assert [row["weight_bits"] for row in rows if "weight_bits" in row].count(2) == 3


def to_numpy_all(variables):
    return [to_numpy(v) for v in variables]
