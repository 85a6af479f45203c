"""Integer codes on their way through layers that have no weights.

A tensor ``y`` carries an integer code if ``n = y * resolution`` is an integer. `propagate` says
which resolution a layer puts out: Flatten moves the entries, an average over N entries multiplies
the resolution by N, and so on. The reports of `hybrid_lmu.accounting` follow codes to the weights
that they meet. The conversion follows scales, ``y = scale * n``, with ``scale = 1 / resolution``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
from keras import layers, ops

EPSILON = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}


class _Raw:
    def __repr__(self):
        return "RAW"


RAW = _Raw()
"""Resolution of an input of the model: 1 if all of the data turn out to be small integers."""


@dataclass(frozen=True)
class Code:
    """What is known of a tensor.

    Attributes:
        tensor: the tensor ``y``, [batch, ...]; an array or a symbolic tensor.
        resolution: None for real numbers; `RAW`; or a number, array or tensor that broadcasts
            against `tensor`: of no axis, of one axis (one entry a channel), or of the full shape.
        mask: booleans over the leading axes of `tensor`, False where a step is left out, or None.
        dtype: coarsest dtype that the values went through; sets the tolerance for rounding.
    """

    tensor: Any
    resolution: Any = None
    mask: Any = None
    dtype: str = "float32"

    def cast(self, dtype: str) -> Code:
        """Return the code of the tensor in another dtype."""
        if keras.backend.standardize_dtype(self.tensor.dtype) == dtype:
            return self
        coarse = coarsest(self.dtype, dtype)
        return replace(self, tensor=ops.cast(self.tensor, dtype), dtype=coarse)


def coarsest(*dtypes) -> str:
    """Return the floating dtype with the largest rounding error."""
    names = [keras.backend.standardize_dtype(dtype) for dtype in dtypes]
    return max(names, key=lambda name: EPSILON.get(name, 0.0))


def is_known(resolution) -> bool:
    """Return whether the resolution is a number or a tensor, neither None nor `RAW`."""
    return resolution is not None and resolution is not RAW


def is_scalar(resolution) -> bool:
    """Return whether the resolution is one number for the whole tensor."""
    return is_known(resolution) and rank(resolution) == 0


def rank(value) -> int:
    """Return the number of axes of a number, array or tensor."""
    return len(getattr(value, "shape", ()))


def per_channel(resolution):
    """Return a resolution of full shape as one number, or one for each channel (last axis).

    Args:
        resolution: a number or an array.

    Returns:
        a NumPy number or an array [channels]; None if entries of one channel differ.
    """
    array = keras.ops.convert_to_numpy(resolution)
    rows = array.reshape(-1, array.shape[-1]) if array.ndim else array.reshape(1, 1)
    if np.ptp(rows, axis=0).any():
        return None
    return rows[0, 0] if np.ptp(rows[0]) == 0 else rows[0]


@functools.singledispatch
def propagate(layer, codes: Sequence[Code]):
    """Return the resolution of what a layer puts out, None if its numbers are real.

    A layer of another class than those known here may have a method `products` (see
    `hybrid_lmu.cells.contract`), which names the resolution of its output. For a class of somebody
    else, register a function: ``@propagate.register(TheirLayer)``.

    Args:
        layer: the layer. It is called on the resolutions, if they are one for each entry.
        codes: a `Code` for each input of the layer.

    Returns:
        None, `RAW`, or a number or tensor that broadcasts against the output.
    """
    if not hasattr(layer, "products"):
        return None
    output = layer.products().output
    if not output.from_input:
        return resolution_of(output)
    resolution = codes[0].resolution
    return resolution if not is_known(resolution) or rank(resolution) <= 1 else None


def resolution_of(signal):
    """Return the present resolution of a `hybrid_lmu.cells.contract.Signal`, None if it is real."""
    return signal.resolution if signal.quantizer is None else signal.quantizer.resolution


def _register(*classes):
    def decorate(function):
        for one in classes:
            propagate.register(one, function)
        return function

    return decorate


@_register(
    layers.Dropout,
    layers.SpatialDropout1D,
    layers.SpatialDropout2D,
    layers.SpatialDropout3D,
    layers.GaussianNoise,
    layers.GaussianDropout,
    layers.AlphaDropout,
    layers.ActivityRegularization,
    layers.Identity,
    layers.Masking,
    layers.RepeatVector,
    layers.Cropping1D,
    layers.Cropping2D,
    layers.Cropping3D,
    layers.UpSampling1D,
    layers.ZeroPadding1D,
    layers.ZeroPadding2D,
    layers.ZeroPadding3D,
)
def _channels_stay(layer, codes):
    resolution = codes[0].resolution
    if rank(resolution) == 1 and channels_last(layer):
        return resolution
    return _moved(layer, codes)


@_register(layers.Flatten, layers.Reshape, layers.Permute)
def _moved(layer, codes):
    """The entries of the output are entries of the input, in other places."""
    (code,) = codes
    if not is_known(code.resolution) or is_scalar(code.resolution):
        return code.resolution
    return layer(ops.broadcast_to(code.resolution, ops.shape(code.tensor)))


@_register(
    layers.MaxPooling1D,
    layers.MaxPooling2D,
    layers.MaxPooling3D,
    layers.GlobalMaxPooling1D,
    layers.GlobalMaxPooling2D,
    layers.GlobalMaxPooling3D,
)
def _largest(layer, codes):
    resolution = codes[0].resolution
    if not is_known(resolution) or is_scalar(resolution):
        return resolution
    # The largest entry may have any of the resolutions, unless each channel has one.
    return resolution if rank(resolution) == 1 and channels_last(layer) else None


@_register(layers.AveragePooling1D, layers.AveragePooling2D, layers.AveragePooling3D)
def _average_of_windows(layer, codes):
    size = 1 if codes[0].resolution is None else float(math.prod(layer.pool_size))
    return _average(layer, codes, [size]) if layer.padding == "valid" else None


@_register(layers.GlobalAveragePooling1D, layers.GlobalAveragePooling2D)
def _average_of_all(layer, codes):
    shape = ops.shape(codes[0].tensor)
    return _average(layer, codes, shape[1:-1] if channels_last(layer) else shape[2:])


def _average(layer, codes, sizes):
    """An average over N entries ``n / w`` is an integer over ``N * w``."""
    (code,) = codes
    resolution = code.resolution
    by_channel = rank(resolution) == 1 and channels_last(layer)
    if code.mask is not None or not (is_scalar(resolution) or by_channel):
        return None
    resolution = ops.convert_to_tensor(resolution)
    for size in sizes:
        resolution = resolution * ops.cast(size, resolution.dtype)
    return resolution


@_register(layers.Concatenate)
def _concatenation(layer, codes):
    if not all(is_known(code.resolution) for code in codes):
        return RAW if all(code.resolution is RAW for code in codes) else None
    return layer([ops.broadcast_to(code.resolution, ops.shape(code.tensor)) for code in codes])


@_register(layers.Subtract)
def _difference(layer, codes):
    """Counts of one resolution, such as spikes, have a difference of that resolution."""
    first, second = (code.resolution for code in codes)
    same = isinstance(first, (int, float)) and isinstance(second, (int, float)) and first == second
    return first if same else None


@_register(layers.ReLU)
def _plain_relu(layer, codes):
    plain = not (layer.max_value or layer.negative_slope or layer.threshold)
    return codes[0].resolution if plain else None


@_register(layers.Activation)
def _activation(layer, codes):
    keeps = (keras.activations.relu, keras.activations.linear)
    return codes[0].resolution if layer.activation in keeps else None


def channels_last(layer) -> bool:
    """Return whether the channels of a layer's input are its last axis."""
    return getattr(layer, "data_format", None) in (None, "channels_last")
