"""A spiking network under construction."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

import keras
import numpy as np

from hybrid_lmu._internal.copies import copy_layer
from hybrid_lmu.conversion._activations import ActivationRecord
from hybrid_lmu.conversion._graph import describe, layers_of
from hybrid_lmu.conversion._over_time import (
    Accumulate,
    Delay,
    PoissonEncoder,
    RepeatSteps,
    Scale,
)
from hybrid_lmu.conversion._scaled_tensor import Linear, ScaledTensor, build_linear
from hybrid_lmu.conversion._spiking_layers import convert_call
from hybrid_lmu.layers._each_step import EachStep
from hybrid_lmu.neurons import IF

# Layers that act alike on tensors with and without a time axis.
_OF_ANY_RANK = (keras.layers.Dense, keras.layers.Add, keras.layers.Average)


class SpikingBuilder:
    """A spiking network under construction; the implementations of `spiking_layer` add to it.

    Args:
        model: the source network, functional.
        record: the `ActivationRecord` of the source network.
        timesteps, percentile, initial_potential, propagation, stateful: see `to_spiking`.

    Attributes:
        path: name of the call of a layer that is being converted; new layers are named after it.
        dtype: dtype policy of new layers: that of the first layer of the source network.
        stateful: whether new layers carry their states from call to call.
    """

    def __init__(
        self,
        model: keras.Model,
        record: ActivationRecord,
        *,
        timesteps: int | None,
        percentile: float,
        initial_potential: str,
        propagation: str,
        stateful: bool,
    ):
        self.record, self.timesteps, self.percentile = record, timesteps, percentile
        self.initial_potential, self.propagation = initial_potential, propagation
        self.stateful, self.path = stateful, None
        self.dtype = next(
            layer.dtype_policy
            for layer in layers_of(model)
            if not isinstance(layer, keras.layers.InputLayer)
        )
        # Names of the source are for what takes the place of its layers.
        self._reserved = {one.name for one in (*model.operations, *model.layers)}
        self._taken = set()
        self._made = {}  # from the id of a tensor of the new network to the ScaledTensor of it

    def encoded(
        self, inputs, encoding: str | None, seed: int | None, index: int = 0
    ) -> ScaledTensor:
        """Add the encoding of an input, the first one or the one of the given index."""
        x = ScaledTensor(inputs, timed=encoding is None)
        if encoding == "poisson":
            size = self.record.inputs[index].largest
            seed = None if seed is None else seed + index
            if size == 0:
                raise ValueError(
                    "Poisson input needs data that are not all 0; received zeros only."
                )
            encoder = PoissonEncoder(self.timesteps, scale=size, seed=seed, dtype=self.dtype)
            x = ScaledTensor(encoder(inputs), size, True)
        self._made[id(inputs)] = x
        return x

    def visit(self, layer, path: str, *tensors, **kwargs):
        """Add what takes the place of one call of a layer; return its tensor."""
        if kwargs.get("training"):
            raise ValueError(
                f"{describe(layer)} is called with training=True; expected a network in inference."
            )
        self.path = path
        given = [id(t) for t in keras.tree.flatten(tensors)]  # an operation may get numbers, too
        x = convert_call(self, layer, [self._made[i] for i in given if i in self._made])
        self._made[id(x.tensor)] = x
        return x.tensor

    def name(self, suffix: str = "") -> str:
        """Return a name for a new layer, after the layer that it takes the place of."""
        return self.unique(f"{re.sub('[#/]', '_', self.path)}{suffix}")

    def unique(self, wanted: str) -> str:
        """Return `wanted`, with a number if another layer has that name."""
        others = self._taken | self._reserved - {self.path}
        numbered = (f"{wanted}_{number}" for number in itertools.count(2))
        name = next(one for one in itertools.chain([wanted], numbered) if one not in others)
        self._taken.add(name)
        return name

    def options(self, suffix: str = "") -> dict:
        """Return name and dtype of a new layer, as keyword arguments."""
        return {"name": self.name(suffix), "dtype": self.dtype}

    def copy(self, layer, **changes):
        """Return a copy of a layer of the source network, with `changes` in its configuration."""
        return copy_layer(layer, name=self.name(), **changes)

    def call(self, layer, *inputs: ScaledTensor):
        """Run a layer, at every step if the inputs are timed; return the tensor."""
        tensors = [x.tensor for x in inputs]
        tensors = tensors[0] if len(tensors) == 1 else tensors
        if inputs[0].timed and not isinstance(layer, _OF_ANY_RANK):
            layer = EachStep(layer, name=layer.name, dtype=layer.dtype_policy)
        return layer(tensors)

    def linear(self, linear: Linear, x: ScaledTensor) -> ScaledTensor:
        """Add a layer of weights."""
        if not x.has_one_scale and not linear.takes_scales():
            x = self.with_one_scale(x)
        return build_linear(linear, x, name=self.name(), call=self.call)

    def neurons(self, x: ScaledTensor, layer, *, negative_slope: float = 0.0) -> ScaledTensor:
        """Add integrate-and-fire neurons in place of the ReLU of a layer.

        A leaky ReLU is the difference of two of them, of x and of -x. The threshold of the second
        is larger by 1 / slope, so that spikes of both have one size.
        """
        if self.path not in self.record.layers:
            raise ValueError(
                f"`x` must be a record of the activations of this model; received one without "
                f"{self.path!r}, of {list(self.record.layers)}."
            )
        lam = self.record.layers[self.path].percentile(self.percentile)
        if lam == 0:
            raise ValueError(
                f"The threshold of {describe(layer)} would be 0: its activity is 0 up to "
                f"percentile {self.percentile} of the data. Take a higher percentile or other data."
            )
        x = self.delayed(self.timed(x))
        threshold = lam / np.asarray(x.scale, "float64")
        spikes = self._integrate_and_fire(threshold)(x.tensor)
        if negative_slope:
            minus = Scale(-1.0, **self.options("_minus"))(x.tensor)
            below = self._integrate_and_fire(threshold / negative_slope)(minus)
            spikes = keras.layers.Subtract(**self.options("_signed"))([spikes, below])
        return ScaledTensor(spikes, lam, True)

    def _integrate_and_fire(self, threshold):
        return IF(
            threshold.tolist(),
            initial_potential=self.initial_potential,
            stateful=self.stateful,
            **self.options("_if"),
        )

    def timed(self, x: ScaledTensor) -> ScaledTensor:
        """Return x at every step."""
        if x.timed:
            return x
        repeat = RepeatSteps(self.timesteps, **self.options("_steps"))
        return x.new(repeat(x.tensor), timed=True)

    def delayed(self, x: ScaledTensor) -> ScaledTensor:
        """Return x one step later if ``propagation="synchronous"``, else x itself."""
        if not x.timed or self.propagation == "one-step":
            return x
        delay = Delay(stateful=self.stateful, **self.options("_delay"))
        return x.new(delay(x.tensor))

    def with_one_scale(self, x: ScaledTensor, scale=None) -> ScaledTensor:
        """Return x with one scale for all channels; that scale is `scale` if given."""
        if x.has_one_scale and scale in (None, x.scale):
            return x
        scale = 1.0 if scale is None else scale
        rescale = Scale(np.asarray(x.scale) / scale, **self.options("_scale"))
        return x.new(rescale(x.tensor), scale=scale)

    def equally_timed(self, inputs: Sequence[ScaledTensor]) -> list[ScaledTensor]:
        """Return all inputs at every step if one of them is timed."""
        if any(x.timed for x in inputs):
            return [self.timed(x) for x in inputs]
        return list(inputs)

    def alike(self, inputs: Sequence[ScaledTensor]) -> list[ScaledTensor]:
        """Return all inputs with the same scale, and at every step if one of them is timed."""
        scales = [x.scale for x in inputs if x.has_one_scale]
        scale = scales[0] if scales else 1.0
        return [self.with_one_scale(x, scale) for x in self.equally_timed(inputs)]

    def of_one_rank(self, inputs: Sequence[ScaledTensor]) -> list[ScaledTensor]:
        """Insert axes of size 1 behind batch and time until all inputs have the same rank."""
        rank = max(len(x.tensor.shape) for x in inputs)

        def widened(x):
            missing = rank - len(x.tensor.shape)
            if not missing:
                return x
            shape = (*(1,) * missing, *x.tensor.shape[1 + x.timed :])
            axes = keras.layers.Reshape(shape, **self.options("_axes"))
            return x.new(self.call(axes, x))

        return [widened(x) for x in inputs]

    def readout(self, output):
        """Add the sums of an output over time, in the units of the source network."""
        x = self.delayed(self.timed(self._made[id(output)]))
        # Float32: half precision cannot hold the sum of many large outputs.
        name = self.unique("sums")
        sums = Accumulate(stateful=self.stateful, name=name, dtype="float32")(x.tensor)
        if x.has_one_scale and x.scale == 1.0:
            return sums
        return Scale(x.scale, name=self.unique("logits"), dtype="float32")(sums)
