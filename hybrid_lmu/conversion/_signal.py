"""Tensors of a spiking network under construction, and the weight layers between them."""

from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from hybrid_lmu.conversion._graph import copy_layer, describe


@dataclass(frozen=True)
class Linear:
    """A layer without activation, as numbers: ``y = scale * (codes * x) + bias``.

    `layer`: one of Keras whose configuration it has. `codes`: its kernel, or integers. `scale`: one
    number, or one for each output. `bias`: one for each output, or None.
    """

    layer: keras.layers.Layer
    codes: np.ndarray
    scale: Any
    bias: np.ndarray | None

    def then(self, gain, offset):
        """The same, followed by ``gain * y + offset``, one of each for each output.

        A kernel takes the gain; integer codes stay what they are, but for their signs.
        """
        bias = offset if self.bias is None else gain * self.bias + offset
        if self.is_coded:
            signs = np.where(gain < 0, -1.0, 1.0).astype("float32")
            codes = self.codes * self._by_output(signs)
            return replace(self, codes=codes, scale=np.abs(gain) * self.scale, bias=bias).alive()
        return replace(self, codes=self.codes * self._by_output(gain), bias=bias)

    def alive(self):
        """The same with scales > 0: an output of scale 0 has codes of 0."""
        dead = np.broadcast_to(np.asarray(self.scale) == 0, (self.outputs,))
        if not dead.any():
            return self
        scale = np.where(dead, np.float32(1), self.scale).astype("float32")
        return replace(self, codes=self.codes * self._by_output(~dead), scale=scale)

    @property
    def is_coded(self):
        return np.ndim(self.scale) > 0 or self.scale != 1.0

    @property
    def outputs(self):
        """Number of outputs (of channels)."""
        depthwise = _is_depthwise(self.layer)
        return int(np.prod(self.codes.shape[-2:])) if depthwise else self.codes.shape[-1]

    def takes_scales(self):
        """Whether one scale for each input may go into the kernel."""
        return not self.is_coded and getattr(self.layer, "groups", 1) == 1

    def _by_output(self, values):
        values = np.broadcast_to(np.asarray(values, "float32"), (self.outputs,))
        return values.reshape(self.codes.shape[-2:]) if _is_depthwise(self.layer) else values


@dataclass(frozen=True)
class Signal:
    """A symbolic tensor that stands for the activity ``scale * tensor`` of the source network.

    `scale`: > 0, one number, or one for each channel (last axis): so spikes are 0 or 1, kernels of
    integer codes stay integers, and thresholds take what is left. `timed`: whether axis 1 is
    time. `made_by`: ``(input Signal, Linear)`` if a weight layer put it out: what follows may still
    be folded into it. `ended_by`: the layer whose softmax or sigmoid was left out, if there is one.
    """

    tensor: Any
    scale: Any = 1.0
    timed: bool = False
    made_by: tuple | None = None
    ended_by: str | None = None

    @property
    def has_one_scale(self):
        return np.ndim(self.scale) == 0

    def new(self, tensor, **changes):
        """The signal after something that is no weight layer."""
        return replace(self, tensor=tensor, made_by=None, **changes)


def _is_depthwise(layer):
    return "Depthwise" in type(layer).__name__


def linear_of(layer, quantized=None):
    """The `Linear` of a Dense or convolutional layer; `quantized`: its `QuantizedWeights`."""
    named = {w.name: keras.ops.convert_to_numpy(w) for w in layer.weights}
    other = sorted(set(named) - {"kernel", "depthwise_kernel", "bias"})
    if other:  # LoRA, int8
        raise ValueError(
            f"Layer {describe(layer)} has weights named {', '.join(other)}; expected a kernel and "
            "a bias alone."
        )
    kernel = next(named[n] for n in ("kernel", "depthwise_kernel") if n in named)
    scale = 1.0
    if quantized is not None:
        packed = [rule.packed(v) for v, rule in quantized.quantized()]
        if packed:
            kernel = packed[0].codes.astype("float32")
            scale = np.asarray(packed[0].scale, "float32")
            scale = scale.reshape(-1) if scale.size > 1 else scale.reshape(())[()]
    return Linear(layer, kernel, scale, named.get("bias")).alive()


def build_linear(linear, signal, name, call):
    """Add the layer behind `signal` to the network; return its output as a `Signal`.

    `call`: ``call(layer, signal)``, which runs a layer at every step if the signal is timed.
    """
    codes, scale = linear.codes, signal.scale
    if not signal.has_one_scale:  # into the kernel, so that its inputs stay as they are
        codes, scale = codes * np.asarray(scale, "float32")[:, None], 1.0
    scale = scale * linear.scale
    layer = copy_layer(
        linear.layer, name=name, activation="linear", use_bias=linear.bias is not None
    )
    tensor = call(layer, signal)
    bias = [] if linear.bias is None else [linear.bias / scale]
    layer.set_weights([codes, *bias])
    return Signal(tensor, scale, signal.timed, (signal, linear))
