"""How each class of layers becomes a part of a network of spiking neurons.

`spiking_layer` is one function with one implementation for each class of layers. Register your own
class with ``@spiking_layer.register(MyLayer)``.
"""

import functools
from dataclasses import replace

import keras
import numpy as np
from keras import layers

from hybrid_lmu._internal.copies import copy_layer
from hybrid_lmu._internal.traversal import copy_weights
from hybrid_lmu.conversion._graph import activation_of, describe
from hybrid_lmu.conversion._over_time import MaxPoolSums
from hybrid_lmu.conversion._scaled_tensor import ScaledTensor, linear_of
from hybrid_lmu.weights._quantized_weights import QuantizedWeights, inside

RELUS = (keras.activations.relu, keras.activations.relu6, keras.ops.relu, keras.ops.relu6)
AT_THE_END = (keras.activations.softmax, keras.activations.sigmoid)


@functools.singledispatch
def spiking_layer(layer, build, *inputs):
    """Add what takes the place of a layer to a spiking network; return its output.

    `to_spiking` calls this function for each call of a layer, and the class of the layer chooses
    the implementation. A subclass is converted like its base class: the new network has a copy of
    the layer, made by ``from_config``, whose activation is linear. Register another implementation
    if that is not right for your class.

    Args:
        layer: the layer of the source network; read it and do not call it.
        build: the `hybrid_lmu.conversion.SpikingBuilder` of the new network. ``build.copy(layer)``
            copies a layer, ``build.call(layer, *inputs)`` runs a layer at every step (the layer
            needs `compute_output_shape`), and
            ``build.neurons(x, layer)`` adds integrate-and-fire neurons.
        inputs: a `hybrid_lmu.conversion.ScaledTensor` for each input of the layer.

    Returns:
        the output, a `ScaledTensor`.

    Raises:
        ValueError: if no implementation is registered for the class of the layer.

    Example: a layer that computes the negative of its input.

    >>> class Negative(keras.layers.Layer):
    ...     def call(self, inputs):
    ...         return -inputs
    ...     def compute_output_shape(self, input_shape):
    ...         return input_shape
    >>> @spiking_layer.register(Negative)
    ... def _(layer, build, x):
    ...     return x.new(build.call(build.copy(layer), x))
    """
    raise _unknown([layer])


def check_known(*found):
    """Raise ValueError, with their names, if layers have no implementation of `spiking_layer`."""
    unknown = [one for one in found if not (_is_known(one) or isinstance(one, layers.InputLayer))]
    if unknown:
        raise _unknown(unknown)


def _is_known(layer):
    default = spiking_layer.registry[object]
    return spiking_layer.dispatch(type(layer)) is not default


def _unknown(found):
    known = sorted(one.__name__ for one in spiking_layer.registry if one is not object)
    return ValueError(
        f"{', '.join(describe(one) for one in found)} cannot be converted to spiking "
        f"neurons; expected layers of the classes {', '.join(known)}, or a class of your own that "
        "is registered with `hybrid_lmu.conversion.spiking_layer`."
    )


def convert_call(build, layer, inputs):
    """Return the `ScaledTensor` that takes the place of one call of a layer.

    Raises:
        ValueError: for a layer of an unknown class, behind a softmax or sigmoid, or with channels
            on the first axis.
    """
    check_known(layer)
    ended = [x.ended_by for x in inputs if x.ended_by]
    if ended:
        raise ValueError(
            f"Layer {ended[0]} has a softmax or sigmoid and is not the last one; {describe(layer)} "
            "comes after it. Expected relu, relu6 or linear in between."
        )
    if getattr(inside(layer), "data_format", "channels_last") == "channels_first":
        raise ValueError(
            f"Layer {describe(layer)} has data_format='channels_first'; expected 'channels_last'."
        )
    return spiking_layer(layer, build, *inputs)


def ends_with_relu(layer) -> bool:
    """Return whether spiking neurons take the place of a layer's activation.

    Raises:
        ValueError: if the activation is a ReLU with a slope or a threshold.
    """
    inner = inside(layer)
    if getattr(inner, "negative_slope", 0.0) or getattr(inner, "threshold", 0.0):
        raise ValueError(
            f"Layer {describe(layer)} has negative_slope={inner.negative_slope} and "
            f"threshold={getattr(inner, 'threshold', 0.0)}; expected a plain ReLU, as neurons that "
            "integrate and fire are."
        )
    return activation_of(layer) in RELUS


def _activated(build, layer, x):
    """Add the activation of a layer behind its linear part."""
    function = activation_of(layer)
    if function in (None, keras.activations.linear):
        return x
    if ends_with_relu(layer):
        return build.neurons(x, layer)
    if function in AT_THE_END:
        return replace(x, ended_by=describe(layer))
    raise ValueError(
        f"Layer {describe(layer)} has the activation "
        f"{getattr(function, '__name__', type(function).__name__)!r}; "
        "expected relu, relu6 or linear, or softmax or sigmoid in the last layer."
    )


def _register(*classes):
    """Decorator: the implementation of `spiking_layer` for several classes."""

    def decorate(function):
        for one in classes:
            spiking_layer.register(one, function)
        return function

    return decorate


@_register(layers.Dense, layers.Conv1D, layers.Conv2D, layers.Conv3D, layers.DepthwiseConv2D)
def _weights(layer, build, x):
    return _activated(build, layer, build.linear(linear_of(layer), x))


@_register(QuantizedWeights)
def _low_bit(layer, build, x):
    inner = layer.layer
    if spiking_layer.dispatch(type(inner)) is not _weights:
        raise ValueError(
            f"Layer {describe(layer)} with quantized weights cannot be converted to spiking "
            "neurons; expected a Dense or convolutional layer in it."
        )
    return _activated(build, inner, build.linear(linear_of(inner, layer), x))


@_register(layers.ReLU, layers.Activation, layers.Softmax)
def _activation(layer, build, x):
    return _activated(build, layer, x)


@_register(layers.BatchNormalization)
def _normalization(layer, build, x):
    gain, offset = affine_of(layer)
    rank = len(x.tensor.shape) - x.timed
    if layer.axis not in (-1, rank - 1):
        raise ValueError(
            f"Layer {describe(layer)} has axis={layer.axis}; expected the last one, of channels."
        )
    if x.made_by is not None:
        before, linear = x.made_by
        return build.linear(linear.then(gain, offset), before)
    # Behind a sum or a pooling: a layer of its own, one multiplication a channel.
    x = build.with_one_scale(x)
    copy = build.copy(layer, trainable=False, scale=True, center=True)
    tensor = build.call(copy, x)
    # The copy computes gain * x + offset / scale: a normalization of mean 0 and variance 1.
    values = {
        "gamma": gain,
        "beta": offset / x.scale,
        "moving_mean": 0.0 * gain,
        "moving_variance": 1.0 - layer.epsilon + 0.0 * gain,
    }
    copy.set_weights([values[w.name] for w in copy.weights])
    return x.new(tensor)


def affine_of(layer: layers.BatchNormalization) -> tuple[np.ndarray, np.ndarray]:
    """Return ``(gain, offset)`` of a BatchNormalization in inference, one for each channel."""
    of = {w.name: keras.ops.convert_to_numpy(w).astype("float64") for w in layer.weights}
    gain = of.get("gamma", 1.0) / np.sqrt(of["moving_variance"] + layer.epsilon)
    offset = of.get("beta", 0.0) - gain * of["moving_mean"]
    return gain.astype("float32"), offset.astype("float32")


@_register(
    layers.Dropout,
    layers.GaussianNoise,
    layers.GaussianDropout,
    layers.AlphaDropout,
    layers.ActivityRegularization,
    layers.Identity,
)
def _nothing_in_inference(layer, build, x):
    return x


@_register(layers.Flatten)
def _moved(layer, build, x):
    scale = x.scale
    tensor = build.call(build.copy(layer), x)
    if not x.has_one_scale:
        scale = np.tile(scale, tensor.shape[-1] // len(scale))
    return x.new(tensor, scale=scale)


@_register(layers.Reshape)
def _moved_with_one_scale(layer, build, x):
    return _moved(layer, build, build.with_one_scale(x))


@_register(
    layers.ZeroPadding1D,
    layers.ZeroPadding2D,
    layers.ZeroPadding3D,
    layers.UpSampling2D,
)
def _channels_stay(layer, build, x):
    return x.new(build.call(build.copy(layer), x))


@_register(
    layers.AveragePooling1D,
    layers.AveragePooling2D,
    layers.AveragePooling3D,
    layers.GlobalAveragePooling1D,
    layers.GlobalAveragePooling2D,
    layers.GlobalAveragePooling3D,
)
def _average(layer, build, x):
    return _channels_stay(layer, build, build.delayed(x))


@_register(
    layers.MaxPooling1D,
    layers.MaxPooling2D,
    layers.MaxPooling3D,
    layers.GlobalMaxPooling1D,
    layers.GlobalMaxPooling2D,
    layers.GlobalMaxPooling3D,
)
def _largest(layer, build, x):
    if not x.timed:
        return x.new(build.call(build.copy(layer), x))
    x = build.delayed(x)
    pool = MaxPoolSums(copy_layer(layer), stateful=build.stateful, **build.options())
    return x.new(pool(x.tensor))


@_register(layers.Add, layers.Average)
def _sum(layer, build, *inputs):
    inputs = build.of_one_rank(build.alike(inputs))
    return inputs[0].new(build.call(build.copy(layer), *inputs))


@_register(layers.Concatenate)
def _concatenation(layer, build, *inputs):
    inputs = build.equally_timed(inputs)
    timed = inputs[0].timed
    rank = len(inputs[0].tensor.shape) - timed
    if layer.axis not in (-1, rank - 1):
        inputs = build.alike(inputs)
        copy = build.copy(layer, axis=layer.axis + (timed and layer.axis > 0))
        return inputs[0].new(copy([x.tensor for x in inputs]))
    scales = [np.broadcast_to(x.scale, (x.tensor.shape[-1],)) for x in inputs]
    scale = np.concatenate(scales)
    scale = scale[0] if np.ptp(scale) == 0 else scale
    tensor = build.copy(layer, axis=-1)([x.tensor for x in inputs])
    return inputs[0].new(tensor, scale=scale)


@_register(layers.Rescaling, layers.Normalization)
def _of_the_input(layer, build, x):
    if x.timed:
        raise ValueError(
            f"Layer {describe(layer)} must be at the analog input of the network, before any "
            "neurons; expected encoding='analog'."
        )
    copy = build.copy(layer)
    tensor = copy(build.with_one_scale(x, 1.0).tensor)
    copy_weights(layer, copy)
    return ScaledTensor(tensor)
