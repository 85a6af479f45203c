"""Tensors of a spiking network under construction, and the weight layers between them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from hybrid_lmu._internal.copies import copy_layer
from hybrid_lmu.conversion._graph import describe


@dataclass(frozen=True)
class Linear:
    """A layer without activation, as numbers: ``y = scale * (codes * x) + bias``.

    Attributes:
        layer: the layer of Keras whose configuration is used.
        codes: kernel of the layer, in real numbers or integers.
        scale: one number, or one for each output.
        bias: one number for each output, or None.
    """

    layer: keras.layers.Layer
    codes: np.ndarray
    scale: Any
    bias: np.ndarray | None

    def then(self, gain: np.ndarray, offset: np.ndarray) -> Linear:
        """Return this layer followed by ``gain * y + offset``, one of each for each output.

        The kernel takes the gain. Integer codes change at most their signs; `scale` takes the rest.
        """
        bias = offset if self.bias is None else gain * self.bias + offset
        if self.is_coded:
            signs = np.where(gain < 0, -1.0, 1.0).astype("float32")
            codes = self.codes * self._by_output(signs)
            scale = np.abs(gain) * self.scale
            return replace(self, codes=codes, scale=scale, bias=bias).with_positive_scales()
        return replace(self, codes=self.codes * self._by_output(gain), bias=bias)

    def with_positive_scales(self) -> Linear:
        """Return the same function with scales > 0: an output of scale 0 gets codes of 0."""
        dead = np.broadcast_to(np.asarray(self.scale) == 0, (self.outputs,))
        if not dead.any():
            return self
        scale = np.where(dead, np.float32(1), self.scale).astype("float32")
        return replace(self, codes=self.codes * self._by_output(~dead), scale=scale)

    @property
    def is_coded(self) -> bool:
        """Whether the kernel consists of integer codes."""
        return np.ndim(self.scale) > 0 or self.scale != 1.0

    @property
    def outputs(self) -> int:
        """Number of outputs, or of output channels."""
        depthwise = _is_depthwise(self.layer)
        return int(np.prod(self.codes.shape[-2:])) if depthwise else self.codes.shape[-1]

    def takes_scales(self) -> bool:
        """Whether the kernel can take one scale for each input."""
        return not self.is_coded and getattr(self.layer, "groups", 1) == 1

    def _by_output(self, values):
        values = np.broadcast_to(np.asarray(values, "float32"), (self.outputs,))
        return values.reshape(self.codes.shape[-2:]) if _is_depthwise(self.layer) else values


@dataclass(frozen=True)
class ScaledTensor:
    """A symbolic tensor that stands for the activity ``scale * tensor`` of the source network.

    Scales let spikes be 0 or 1 and let kernels of integer codes stay integers. The thresholds of
    the next neurons take the scales.

    Attributes:
        tensor: symbolic tensor, [batch, ...], or [batch, time, ...] if `timed`.
        scale: > 0; one number, or one for each channel (last axis).
        timed: whether axis 1 is time.
        made_by: ``(input, Linear)`` if a weight layer made the tensor, or None. A normalization
            that follows is folded into that layer.
        ended_by: description of a layer whose softmax or sigmoid was left out, or None.
    """

    tensor: Any
    scale: Any = 1.0
    timed: bool = False
    made_by: tuple[ScaledTensor, Linear] | None = None
    ended_by: str | None = None

    @property
    def has_one_scale(self) -> bool:
        """Whether all channels have one scale."""
        return np.ndim(self.scale) == 0

    def new(self, tensor, **changes) -> ScaledTensor:
        """Return `tensor` with the attributes of this one; no weight layer made it."""
        return replace(self, tensor=tensor, made_by=None, **changes)


def _is_depthwise(layer):
    return isinstance(layer, (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D))


def linear_of(layer: keras.layers.Layer, quantized=None) -> Linear:
    """Return the `Linear` of a Dense or convolutional layer.

    Args:
        layer: the layer.
        quantized: the `QuantizedWeights` around it, or None.

    Raises:
        ValueError: if the layer has other weights than a kernel and a bias.
    """
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
    return Linear(layer, kernel, scale, named.get("bias")).with_positive_scales()


def separated(layer: keras.layers.Layer) -> tuple[Linear, Linear]:
    """Return a separable convolution as ``(depthwise, pointwise)``."""
    of = {w.name: keras.ops.convert_to_numpy(w) for w in layer.weights}
    one_d = isinstance(layer, keras.layers.SeparableConv1D)
    names = ("kernel_size", "strides", "padding", "dilation_rate", "depth_multiplier")
    config = {name: getattr(layer, name) for name in names}
    if one_d:
        config |= {n: config[n][0] for n in ("kernel_size", "strides", "dilation_rate")}
    kinds = keras.layers
    depthwise = (kinds.DepthwiseConv1D if one_d else kinds.DepthwiseConv2D)(**config)
    pointwise = (kinds.Conv1D if one_d else kinds.Conv2D)(layer.filters, 1)
    return (
        Linear(depthwise, of["depthwise_kernel"], 1.0, None),
        Linear(pointwise, of["pointwise_kernel"], 1.0, of.get("bias")),
    )


def build_linear(linear: Linear, x: ScaledTensor, *, name: str, call: Callable) -> ScaledTensor:
    """Add the layer to the network and return its output.

    Args:
        linear: the layer.
        x: its input.
        name: its name.
        call: function ``call(layer, x)``, which runs a layer on `x`, at every step if `x` is timed.
    """
    codes, scale = linear.codes, x.scale
    if not x.has_one_scale:  # into the kernel, so that its inputs stay as they are
        codes, scale = codes * np.asarray(scale, "float32")[:, None], 1.0
    scale = scale * linear.scale
    use_bias = linear.bias is not None
    layer = copy_layer(linear.layer, name=name, activation="linear", use_bias=use_bias)
    tensor = call(layer, x)
    bias = [linear.bias / scale] if use_bias else []
    layer.set_weights([codes, *bias])
    return ScaledTensor(tensor, scale, x.timed, (x, linear))
