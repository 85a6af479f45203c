"""Copies of models need nothing registered, and nothing of what a model is compiled with."""

import keras
import numpy as np
import pytest
from keras import ops

from hybrid_lmu import HybridLMU, full_simulation
from hybrid_lmu._internal.copies import copy_layer
from hybrid_lmu.conversion import to_hybrid, to_spiking
from hybrid_lmu.weights import SumOfSigmoids, quantize_weights, with_inference

x = np.random.default_rng(0).uniform(size=(6, 10, 1)).astype("float32")


def own_loss(y, p):
    return ops.mean((y - p) ** 2, axis=-1)


def own_activation(a):
    return a * ops.sigmoid(2 * a)


def network(functional=False, **resolutions):
    hidden = keras.layers.Dense(4, own_activation)
    layers = [HybridLMU(1, 3, 10, hidden, **resolutions), keras.layers.Dense(2)]
    inputs = keras.Input((10, 1))
    model = keras.Model(inputs, layers[1](layers[0](inputs)))
    if not functional:
        model = keras.Sequential([keras.Input((10, 1)), *layers])
    model.compile("adam", own_loss, metrics=[own_loss])
    return model


SPIKING = {"memory_resolution": 8, "hidden_resolution": 2}
FUNCTIONS = {
    "full_simulation": lambda f: full_simulation(network(f, **SPIKING)),
    "to_hybrid": lambda f: to_hybrid(network(f), x, bits=4.0),
    "quantize_weights": lambda f: quantize_weights(network(f), SumOfSigmoids("binary")),
}


@pytest.mark.parametrize("functional", [False, True])
@pytest.mark.parametrize("name", list(FUNCTIONS))
@pytest.mark.broad(3)
def test_own_loss_metric_and_activation(name, functional):
    copy = FUNCTIONS[name](functional)
    assert not copy.compiled and copy(x).shape == (6, 2)


def test_other_copies_of_a_compiled_model():
    low = quantize_weights(network(), SumOfSigmoids("binary"))
    low.compile("adam", own_loss)
    assert not with_inference(low, "soft").compiled
    dense = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, "relu")])
    dense.compile("adam", own_loss)
    assert to_spiking(dense, x[:, :3, 0], timesteps=3).output_shape == (None, 3, 4)


def test_two_functions_of_one_name_are_not_confused():
    class Two(keras.layers.Layer):
        def __init__(self, first, second):
            super().__init__()
            self.first, self.second = first, second

        def get_config(self):
            serialize = keras.saving.serialize_keras_object
            return {"first": serialize(self.first), "second": serialize(self.second)}

        @classmethod
        def from_config(cls, config):
            make = keras.saving.deserialize_keras_object
            return cls(make(config["first"]), make(config["second"]))

    def outer():
        def own_loss(y, p):
            return 0.0

        return own_loss

    with pytest.raises(Exception, match="own_loss"):
        copy_layer(Two(own_loss, outer()))
