"""Layers of a spiking network that its source does not have: encoding, delays, sums over time."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np
from keras import ops

from hybrid_lmu._internal.checks import (
    as_numbers,
    check_positive,
    check_positive_integer,
    check_seed,
)
from hybrid_lmu._internal.masks import zero_masked_steps
from hybrid_lmu.cells.contract import Products, Signal
from hybrid_lmu.layers._stateful_activation import StatefulActivation


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class RepeatSteps(keras.layers.Layer):
    """Present the same input at every step: ``y_t = x``, an analog current.

    Args:
        timesteps: number of steps T, an integer >= 1.

    Inputs: [batch, ...]. Output: [batch, T, ...].
    """

    def __init__(self, timesteps: int, **kwargs):
        super().__init__(**kwargs)
        self.timesteps = check_positive_integer("timesteps", timesteps)

    def products(self) -> Products:
        return Products((), Signal("output", from_input=True))

    def call(self, inputs):
        return ops.repeat(ops.expand_dims(inputs, 1), self.timesteps, axis=1)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.timesteps, *input_shape[1:])

    def get_config(self):
        return {**super().get_config(), "timesteps": self.timesteps}


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class PoissonEncoder(keras.layers.Layer):
    """Random spikes: at each step +-1, the sign of x, with probability ``min(|x| / scale, 1)``.

    Each step is a Bernoulli draw. The field calls this Poisson input.

    Args:
        timesteps: number of steps T, an integer >= 1.
        scale: the value of ``|x|`` that means a spike at every step; > 0. Default 1.
        seed: seed of the draws. Default None: another one in each run.

    Inputs: [batch, ...]. Output: [batch, T, ...], -1, 0 or 1.
    """

    def __init__(self, timesteps: int, *, scale: float = 1.0, seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        self.timesteps = check_positive_integer("timesteps", timesteps)
        self.scale = check_positive("scale", scale)
        self.seed = check_seed("seed", seed)
        self.seed_generator = keras.random.SeedGenerator(seed)

    def products(self) -> Products:
        return Products((), Signal("output", 1.0))

    def call(self, inputs):
        shape = ops.shape(inputs)
        drawn = keras.random.uniform(
            (shape[0], self.timesteps, *shape[1:]), dtype="float32", seed=self.seed_generator
        )
        rate = ops.expand_dims(ops.cast(inputs, "float32") / self.scale, 1)
        spikes = ops.cast(drawn < ops.abs(rate), "float32") * ops.sign(rate)
        return ops.cast(spikes, self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.timesteps, *input_shape[1:])

    def get_config(self):
        config = {"timesteps": self.timesteps, "scale": self.scale, "seed": self.seed}
        return {**super().get_config(), **config}


class _Carried(StatefulActivation):
    """A layer with one state, of the shape of one step of its input, 0 before the first step.

    A masked step leaves the state as it is.
    """

    def products(self) -> Products:
        # Entries are moved, added and compared: counts stay counts of the same resolution.
        return Products((), Signal("output", from_input=True))

    def build(self, input_shape):
        self.check_shape(input_shape)
        if self.stateful:
            self.add_states(input_shape)

    def initial_states(self, shape):
        return [ops.zeros(shape, dtype=self.state_dtype)]


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class Delay(_Carried):
    """``y_t = x_{t-1}``, ``y_1 = 0``: the input of a layer that runs one step behind.

    A masked step is left out: its output is 0, and the next step gets the last input before it.

    Args:
        return_state, stateful: see `hybrid_lmu.neurons.IF`.

    Inputs, output: [batch, time, ...]. State: the last input.

    Example:

    >>> [float(y) for y in Delay()(np.ones((1, 3, 1), "float32"))[0, :, 0]]
    [0.0, 1.0, 1.0]
    """

    state_names = ("last input",)

    def sequence(self, inputs, states, mask):
        first = ops.expand_dims(ops.cast(states[0], inputs.dtype), 1)
        every = ops.concatenate([first, inputs], axis=1)
        if mask is None:
            return every[:, :-1], [ops.cast(every[:, -1], self.state_dtype)]
        # Number of the last step that the mask leaves, up to each step; 0 is the state.
        steps = ops.arange(1, ops.shape(inputs)[1] + 1, dtype="int32")
        numbers = ops.where(ops.cast(mask, "bool"), steps, ops.zeros_like(steps))
        last = ops.associative_scan(ops.maximum, numbers, axis=1)
        last = ops.pad(last, ((0, 0), (1, 0)))
        last = ops.reshape(last, (*ops.shape(last), *(1,) * (len(inputs.shape) - 2)))
        every = ops.take_along_axis(every, ops.broadcast_to(last, ops.shape(every)), axis=1)
        state = ops.cast(every[:, -1], self.state_dtype)
        return zero_masked_steps(every[:, :-1], mask), [state]


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class Accumulate(_Carried):
    """``y_t = x_1 + ... + x_t``: a readout that integrates.

    A masked step adds nothing to the sum.

    Args:
        return_state, stateful: see `hybrid_lmu.neurons.IF`.

    Inputs, output: [batch, time, ...]. State: the sum, float32.

    Example:

    >>> [float(y) for y in Accumulate()(np.ones((1, 3, 1), "float32"))[0, :, 0]]
    [1.0, 2.0, 3.0]
    """

    state_names = ("sum",)

    def sequence(self, inputs, states, mask):
        sums = running_sums(zero_masked_steps(inputs, mask), states[0])
        return ops.cast(sums, inputs.dtype), [sums[:, -1]]


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class MaxPoolSums(_Carried):
    """Max pooling of the sums so far: ``y_t = pool(S_t) - pool(S_{t-1})``, S the sums of x.

    The sums of y are the largest of several sums. Where x are spikes, y are spikes too, as many as
    the leading neuron has. (The largest of the spikes of each step would be the spikes of all
    neurons together.)

    A masked step adds nothing to the sums; its output is 0.

    Args:
        layer: a max pooling layer over images, such as `keras.layers.MaxPooling2D`.
        return_state, stateful: see `hybrid_lmu.neurons.IF`.

    Inputs: [batch, time, ...]. Output: [batch, time, ...], pooled. State: the sums, float32.
    """

    state_names = ("sum",)

    def __init__(
        self,
        layer: keras.layers.Layer,
        *,
        return_state: bool = False,
        stateful: bool = False,
        **kwargs,
    ):
        super().__init__(return_state=return_state, stateful=stateful, **kwargs)
        self.layer = layer

    def sequence(self, inputs, states, mask):
        sums = running_sums(zero_masked_steps(inputs, mask), states[0])
        every = ops.concatenate([ops.expand_dims(states[0], 1), sums], axis=1)
        flat = self.layer(ops.reshape(every, (-1, *every.shape[2:])))
        pooled = ops.reshape(flat, (-1, ops.shape(every)[1], *flat.shape[1:]))
        return ops.cast(pooled[:, 1:] - pooled[:, :-1], inputs.dtype), [sums[:, -1]]

    def compute_output_spec(self, inputs, initial_state=None, mask=None):
        spec = super().compute_output_spec(inputs, initial_state, mask)
        inner = self.layer.compute_output_shape((inputs.shape[0], *inputs.shape[2:]))
        output = keras.KerasTensor((*inputs.shape[:2], *inner[1:]), dtype=self.compute_dtype)
        return (output, *spec[1:]) if self.return_state else output

    def get_config(self):
        layer = keras.saving.serialize_keras_object(self.layer)
        return {**super().get_config(), "layer": layer}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        layer = keras.saving.deserialize_keras_object(config["layer"], custom_objects)
        return cls(**{**config, "layer": layer})


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class Scale(keras.layers.Layer):
    """``y = scale * x`` with a constant.

    Args:
        scale: one number, or one for each channel (last axis).

    Inputs, output: [batch, ..., channels].
    """

    def __init__(self, scale: float | Sequence[float], **kwargs):
        super().__init__(**kwargs)
        self.scale = as_numbers(scale, "float32")
        if self.scale is None or self.scale.ndim > 1 or not np.isfinite(self.scale).all():
            raise ValueError(
                f"`scale` must be a finite number, or one for each channel; received: {scale!r}"
            )

    def call(self, inputs):
        return inputs * ops.cast(ops.convert_to_tensor(self.scale), inputs.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "scale": self.scale.tolist()}


def running_sums(x, start):
    """Return `start` plus the sums of x up to each step, float32."""
    return ops.cumsum(ops.cast(x, "float32"), axis=1) + ops.expand_dims(start, 1)
