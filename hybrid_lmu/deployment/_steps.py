"""One step of each kind of layer that keeps states, as a layer without a time axis."""

from __future__ import annotations

import functools
import math

import keras
from keras import ops

from hybrid_lmu.cells._hybrid_cell import call_layer
from hybrid_lmu.cells.contract import as_list, zeros
from hybrid_lmu.layers._each_step import EachStep
from hybrid_lmu.layers._readout import LeakyAverage
from hybrid_lmu.layers._stateful_activation import StatefulActivation
from hybrid_lmu.neurons._cell import SpikingLayer
from hybrid_lmu.quantizers._layer import SigmaDelta

AVERAGES = (keras.layers.GlobalAveragePooling1D, LeakyAverage)


def keeps_states(layer) -> bool:
    """Whether a step of the layer needs numbers from the steps before it."""
    return step.dispatch(type(layer)) is not step.registry[object]


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class Step(keras.layers.Layer):
    """One step of a layer over time: ``[x, *states] -> [y, *states]``.

    Args:
        layer: the layer over time; `Step` owns and builds it.
        window: for an average over time, the number of last steps that it covers. Default None:
            all steps so far.
    """

    def __init__(self, layer: keras.layers.Layer, window: int | None = None, **kwargs):
        super().__init__(**{"autocast": False, "dtype": layer.dtype_policy, **kwargs})
        self.layer = layer
        self.window = window

    def build(self, input_shape):
        shape = input_shape[0] if isinstance(input_shape[0], (list, tuple)) else input_shape
        self.features = tuple(shape[1:])
        if not self.layer.built:
            self.layer.build((shape[0], None, *self.features))
            self.layer.built = True

    def initial_states(self, batch_size):
        """Return the states before the first step as a flat list of tensors."""
        return [
            ops.convert_to_tensor(state)
            for state in keras.tree.flatten(
                first_states(self.layer, (batch_size, *self.features), self.window)
            )
        ]

    def call(self, inputs):
        x, *states = inputs
        packed = first_states(self.layer, ops.shape(x), self.window)
        dtypes = [state.dtype for state in keras.tree.flatten(packed)]
        states = [ops.cast(s, dtype) for s, dtype in zip(states, dtypes, strict=True)]
        packed = keras.tree.pack_sequence_as(packed, states)
        dtype = self.dtype_policy.compute_dtype
        y, after = step(self.layer, ops.cast(x, dtype), packed, self.window)
        after = keras.tree.flatten(after)
        cast = [ops.cast(s, dtype) for s, dtype in zip(after, dtypes, strict=True)]
        return [ops.cast(y, dtype), *cast]

    def get_config(self):
        layer = keras.saving.serialize_keras_object(self.layer)
        return {**super().get_config(), "layer": layer, "window": self.window}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        layer = keras.saving.deserialize_keras_object(config["layer"], custom_objects)
        return cls(**{**config, "layer": layer})


@functools.singledispatch
def step(layer, x, states, window):
    """Run one step of a layer: ``(y, states)``.

    Args:
        layer: the layer over time, built.
        x: [batch, ...], the input of the step.
        states: in the structure of `first_states`.
        window: see `Step`.
    """
    raise ValueError(f"Layer {layer.name!r} ({type(layer).__name__}) has no step.")


@functools.singledispatch
def first_states(layer, shape, window):
    """Return the states before the first step, for inputs of `shape`, (batch, ...)."""
    raise ValueError(f"Layer {layer.name!r} ({type(layer).__name__}) has no states.")


@step.register(keras.layers.RNN)
def _(layer, x, states, window):
    return call_layer(layer.cell, x, states, training=False)


@first_states.register(keras.layers.RNN)
def _(layer, shape, window):
    cell = layer.cell
    if hasattr(cell, "get_initial_state"):
        return as_list(cell.get_initial_state(batch_size=shape[0]))
    return zeros(cell.state_size, shape[0], cell.compute_dtype)


@step.register(StatefulActivation)
def _(layer, x, states, window):
    y, states = layer.sequence(ops.expand_dims(x, 1), states, None)
    return y[:, 0], states


@first_states.register(StatefulActivation)
def _(layer, shape, window):
    return layer.initial_states(shape) if layer.keeps_state else []


@step.register(SpikingLayer)
def _(layer, x, states, window):
    return layer.cell(x, states)


@step.register(SigmaDelta)
def _(layer, x, states, window):
    if not states:
        return layer.quantizer.step(x, None)[0], []
    y, error = layer.quantizer.step(x, states[0])
    return y, [error]


@step.register(keras.layers.GlobalAveragePooling1D)
@step.register(LeakyAverage)
def _(layer, x, states, window):
    fading = _fading(layer)
    if window is None:
        total, weight = fading * states[0] + x, fading * states[1] + 1.0
        return total / weight, [total, weight]
    # A step that was not yet has a weight of 0.
    values = ops.concatenate([states[0][:, 1:], ops.expand_dims(x, 1)], axis=1)
    present = ops.concatenate([states[1][:, 1:], ops.ones_like(states[1][:, :1])], axis=1)
    age = ops.arange(window - 1, -1, -1, dtype=present.dtype)
    weights = ops.expand_dims(present * fading**age, -1)
    return ops.sum(values * weights, axis=1) / ops.sum(weights, axis=1), [values, present]


@first_states.register(keras.layers.GlobalAveragePooling1D)
@first_states.register(LeakyAverage)
def _(layer, shape, window):
    batch, features = shape[0], shape[1]
    if window is None:
        return [ops.zeros((batch, features)), ops.zeros((batch, 1))]
    return [ops.zeros((batch, window, features)), ops.zeros((batch, window))]


def _fading(layer):
    """Return the weight of a step in the average, relative to that of the step after it."""
    return math.exp(-1.0 / layer.time_constant) if isinstance(layer, LeakyAverage) else 1.0


def at_one_step(layer: keras.layers.Layer) -> keras.layers.Layer:
    """Return the layer that acts on one step, of a wrapper that acts on each step."""
    each = isinstance(layer, (EachStep, keras.layers.TimeDistributed))
    return layer.layer if each else layer
