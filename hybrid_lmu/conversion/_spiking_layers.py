"""How each class of layers becomes a part of a network of spiking neurons.

`spiking_layer` is one function with one implementation for each class of layers. Register your own
class with ``@spiking_layer.register(MyLayer)``.
"""

import functools
import inspect
from dataclasses import replace

import keras
import numpy as np
from keras import layers

from hybrid_lmu._internal.copies import copy_layer
from hybrid_lmu._internal.keras_compat import operation_name
from hybrid_lmu._internal.traversal import copy_weights
from hybrid_lmu.conversion._graph import activation_of, describe
from hybrid_lmu.conversion._over_time import MaxPoolSums
from hybrid_lmu.conversion._scaled_tensor import ScaledTensor, linear_of, separated
from hybrid_lmu.weights._quantized_weights import QuantizedWeights, inside

RELUS = (keras.activations.relu, keras.activations.relu6, keras.ops.relu, keras.ops.relu6)
LEAKY_RELUS = (keras.activations.leaky_relu, keras.ops.leaky_relu)
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
        f"is registered with `hybrid_lmu.conversion.spiking_layer`.{_ways_out(found)}"
    )


def _ways_out(found):
    """Return what can be done about layers that cannot be converted, for messages."""
    ways = [way for kinds, way in _WAYS_OUT if any(_is_one(layer, kinds) for layer in found)]
    return "".join(f" {way}" for way in ways)


def _is_one(layer, kinds):
    if isinstance(layer, layers.Layer):
        return isinstance(layer, kinds)
    return operation_name(layer) in {kind.__name__ for kind in kinds}


_WAYS_OUT = (
    (
        (layers.Multiply, layers.Dot),
        "The product of two rates is no sum of spikes. Put a constant in the place of one factor "
        "(for squeeze and excitation, one number for each channel: a DepthwiseConv2D of kernel "
        "size 1), train a few epochs, and convert then.",
    ),
    (
        (layers.Attention, layers.AdditiveAttention, layers.MultiHeadAttention,
         layers.GroupQueryAttention),
        "Attention multiplies activities with each other; `to_hybrid` quantizes the activities "
        "around it.",
    ),
    ((layers.ELU, layers.PReLU), "Put ReLU or LeakyReLU in its place, and train a few epochs."),
    (
        (layers.LayerNormalization, layers.GroupNormalization),
        "Its factors depend on the input; put BatchNormalization in its place, and train.",
    ),
)  # fmt: skip


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


def negative_slope_of(layer) -> float | None:
    """Return the slope below 0 of the ReLU that a layer ends with; None if it ends with no ReLU.

    Raises:
        ValueError: if the ReLU has a threshold or a negative slope < 0.
    """
    function = activation_of(layer)
    if function in RELUS:
        return 0.0
    if function in LEAKY_RELUS:
        return inspect.signature(function).parameters["negative_slope"].default
    if not isinstance(function, (layers.ReLU, layers.LeakyReLU)):
        return None
    slope, threshold = float(function.negative_slope), getattr(function, "threshold", 0.0)
    if slope < 0 or threshold:
        raise ValueError(
            f"Layer {describe(layer)} has negative_slope={slope} and threshold={threshold}; "
            "expected a negative slope >= 0 and no threshold, as neurons that integrate and fire "
            "have."
        )
    return slope


def _activated(build, layer, x):
    """Add the activation of a layer behind its linear part."""
    function = activation_of(layer)
    if function in (None, keras.activations.linear):
        return x
    slope = negative_slope_of(layer)
    if slope is not None:
        return build.neurons(x, layer, negative_slope=slope)
    if function in AT_THE_END:
        return replace(x, ended_by=describe(layer))
    raise ValueError(
        f"Layer {describe(layer)} has the activation "
        f"{getattr(function, '__name__', type(function).__name__)!r}; "
        "expected relu, relu6, leaky_relu or linear, or softmax or sigmoid in the last layer. "
        "Put one of them in its place, train a few epochs, and convert then."
    )


def _register(*classes):
    """Decorator: the implementation of `spiking_layer` for several classes."""

    def decorate(function):
        for one in classes:
            spiking_layer.register(one, function)
        return function

    return decorate


@_register(layers.Dense, layers.Conv1D, layers.Conv2D, layers.Conv3D)
@_register(layers.DepthwiseConv1D, layers.DepthwiseConv2D)
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


@_register(layers.SeparableConv1D, layers.SeparableConv2D)
def _separable(layer, build, x):
    """A depthwise convolution, then one of kernel size 1."""
    depthwise, pointwise = separated(layer)
    x = build.linear(pointwise, build.linear(depthwise, x))
    return _activated(build, layer, x)


@_register(layers.ReLU, layers.LeakyReLU, layers.Activation, layers.Softmax)
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
