"""What the tests of the neurons share: all of them by name, and gradients on any backend."""

import keras
import numpy as np
from keras import ops

from hybrid_lmu import neurons

# name: (cell, layer, arguments)
NEURONS = {
    "IF": (neurons.IFCell, neurons.IF, {}),
    "IF, threshold": (neurons.IFCell, neurons.IF, {"threshold": 0.75}),
    "IF, half": (neurons.IFCell, neurons.IF, {"initial_potential": "half", "surrogate": "sigmoid"}),
    "LIF": (neurons.LIFCell, neurons.LIF, {}),
    "LIF, subtract": (neurons.LIFCell, neurons.LIF, {"reset": "subtract", "tau": 4.0}),
    "LIF, full input": (neurons.LIFCell, neurons.LIF, {"decay_input": False, "tau": 8.0}),
    "LIF, below 0": (neurons.LIFCell, neurons.LIF, {"reset_potential": -0.5}),
    "Refractory": (neurons.RefractoryCell, neurons.Refractory, {}),
    "SRM": (neurons.SRMCell, neurons.SRM, {"surrogate": "arctan"}),
    "SRM, equal": (neurons.SRMCell, neurons.SRM, {"tau_mem": 3.0, "tau_syn": 3.0, "tau_ref": 1.0}),
}


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def gradients(function, *arrays, jit=False):
    """Gradients of a scalar function of tensors, as NumPy arrays."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        gradient = jax.grad(function, argnums=tuple(range(len(arrays))))
        found = (jax.jit(gradient) if jit else gradient)(*map(ops.convert_to_tensor, arrays))
    elif backend == "tensorflow":
        import tensorflow as tf

        def gradient(*inputs):
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                value = function(*inputs)
            return tape.gradient(value, inputs)

        run = tf.function(gradient, jit_compile=True) if jit else gradient
        found = run(*map(tf.constant, arrays))
    else:
        inputs = [ops.convert_to_tensor(array).clone().requires_grad_() for array in arrays]
        function(*inputs).backward()
        found = [one.grad for one in inputs]
    return [ops.convert_to_numpy(one) for one in found]
