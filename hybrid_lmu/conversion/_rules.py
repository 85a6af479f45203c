"""How each class of layers becomes a part of a network of spiking neurons.

A rule is a function ``rule(build, layer, *signals) -> Signal``: it adds what takes the place of the
layer to the network under construction (`build`, a `Builder`), behind
the given inputs. `register_rule` adds one for a class of your own.
"""

from dataclasses import replace

import keras
import numpy as np

from hybrid_lmu._internal.traversal import copy_weights
from hybrid_lmu.accounting.cells import class_key
from hybrid_lmu.conversion._graph import activation_of, copy_layer, describe
from hybrid_lmu.conversion._over_time import MaxPoolSums
from hybrid_lmu.conversion._signal import Signal, linear_of
from hybrid_lmu.weights._quantized_weights import inside

RULES = {}
_INPUT = ("keras", "InputLayer")  # has no call
RELUS = (keras.activations.relu, keras.activations.relu6, keras.ops.relu, keras.ops.relu6)
AT_THE_END = (keras.activations.softmax, keras.activations.sigmoid)


def register_rule(package, *names):
    """Decorator: use the function as rule for layers of these classes (not of subclasses).

    Args:
        package: top-level package of the module that defines the class, such as ``"keras"``.
        names: names of classes.
    """

    def decorate(rule):
        RULES.update({(package, name): rule for name in names})
        return rule

    return decorate


def check_known(*layers):
    """Raise ValueError, with their names, if layers have no rule, as no operation has."""
    unknown = [
        describe(one)
        for one in layers
        if not isinstance(one, keras.layers.Layer) or class_key(one) not in {*RULES, _INPUT}
    ]
    if unknown:
        known = sorted({name for _, name in RULES})
        raise ValueError(
            f"Layer {', '.join(unknown)} cannot be converted to spiking neurons; expected layers "
            f"of the classes {', '.join(known)}, or a rule of your own (`register_rule`)."
        )


def convert_call(build, layer, signals):
    """The `Signal` that takes the place of one call of a layer.

    Raises:
        ValueError: for a layer, or options of it, without a rule.
    """
    check_known(layer)
    ended = [signal.ended_by for signal in signals if signal.ended_by]
    if ended:
        raise ValueError(
            f"Layer {ended[0]} has a softmax or sigmoid and is not the last one; {describe(layer)} "
            "comes after it. Expected relu, relu6 or linear in between."
        )
    if getattr(inside(layer), "data_format", "channels_last") == "channels_first":
        raise ValueError(
            f"Layer {describe(layer)} has data_format='channels_first'; expected 'channels_last'."
        )
    return RULES[class_key(layer)](build, layer, *signals)


def ends_with_relu(layer):
    """Whether spiking neurons take the place of a layer's activation.

    Raises:
        ValueError: if it is a ReLU with a slope, or with a threshold.
    """
    inner = inside(layer)
    if getattr(inner, "negative_slope", 0.0) or getattr(inner, "threshold", 0.0):
        raise ValueError(
            f"Layer {describe(layer)} has negative_slope={inner.negative_slope} and "
            f"threshold={getattr(inner, 'threshold', 0.0)}; expected a plain ReLU, as neurons that "
            "integrate and fire are."
        )
    return activation_of(layer) in RELUS


def _activated(build, layer, signal):
    """What comes after the linear part of a layer."""
    function = activation_of(layer)
    if function in (None, keras.activations.linear):
        return signal
    if ends_with_relu(layer):
        return build.neurons(signal, layer)
    if function in AT_THE_END:
        return replace(signal, ended_by=describe(layer))
    raise ValueError(
        f"Layer {describe(layer)} has the activation "
        f"{getattr(function, '__name__', type(function).__name__)!r}; "
        "expected relu, relu6 or linear, or softmax or sigmoid in the last layer."
    )


@register_rule("keras", "Dense", "Conv1D", "Conv2D", "Conv3D", "DepthwiseConv2D")
def _weights(build, layer, signal):
    return _activated(build, layer, build.linear(linear_of(layer), signal))


@register_rule("hybrid_lmu", "QuantizedWeights")
def _low_bit(build, layer, signal):
    inner = layer.layer
    if RULES.get(class_key(inner)) is not _weights:
        raise ValueError(
            f"Layer {describe(layer)} with quantized weights cannot be converted to spiking "
            "neurons; expected a Dense or convolutional layer in it."
        )
    return _activated(build, inner, build.linear(linear_of(inner, layer), signal))


@register_rule("keras", "ReLU", "Activation", "Softmax")
def _activation(build, layer, signal):
    return _activated(build, layer, signal)


@register_rule("keras", "BatchNormalization")
def _normalization(build, layer, signal):
    gain, offset = affine_of(layer)
    rank = len(signal.tensor.shape) - signal.timed
    if layer.axis not in (-1, rank - 1):
        raise ValueError(
            f"Layer {describe(layer)} has axis={layer.axis}; expected the last one, of channels."
        )
    if signal.made_by is not None:
        before, linear = signal.made_by
        return build.linear(linear.then(gain, offset), before)
    # Behind a sum or a pooling: a layer of its own, one multiplication a channel.
    signal = build.with_one_scale(signal)
    copy = build.copy(layer, trainable=False, scale=True, center=True)
    tensor = build.call(copy, signal)
    # gain * x + offset / scale, as a normalization of mean 0 and variance 1.
    values = {"gamma": gain, "beta": offset / signal.scale, "moving_mean": 0.0 * gain,
              "moving_variance": 1.0 - layer.epsilon + 0.0 * gain}  # fmt: skip
    copy.set_weights([values[w.name] for w in copy.weights])
    return signal.new(tensor)


def affine_of(layer):
    """``(gain, offset)`` of a BatchNormalization in inference, one of each for each channel."""
    of = {w.name: keras.ops.convert_to_numpy(w).astype("float64") for w in layer.weights}
    gain = of.get("gamma", 1.0) / np.sqrt(of["moving_variance"] + layer.epsilon)
    offset = of.get("beta", 0.0) - gain * of["moving_mean"]
    return gain.astype("float32"), offset.astype("float32")


@register_rule("keras", "Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D",
               "GaussianNoise", "GaussianDropout", "AlphaDropout", "ActivityRegularization",
               "Identity")  # fmt: skip
def _nothing_in_inference(build, layer, signal):
    return signal


@register_rule("keras", "Flatten", "Reshape")
def _moved(build, layer, signal):
    if class_key(layer)[1] == "Reshape":
        signal = build.with_one_scale(signal)
    scale = signal.scale
    tensor = build.call(build.copy(layer), signal)
    if not signal.has_one_scale:
        scale = np.tile(scale, tensor.shape[-1] // len(scale))
    return signal.new(tensor, scale=scale)


@register_rule("keras", "AveragePooling1D", "AveragePooling2D", "AveragePooling3D",
               "GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalAveragePooling3D",
               "ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D", "UpSampling2D")  # fmt: skip
def _linear_by_channel(build, layer, signal):
    signal = build.delayed(signal) if "Pooling" in class_key(layer)[1] else signal
    return signal.new(build.call(build.copy(layer), signal))


@register_rule("keras", "MaxPooling1D", "MaxPooling2D", "MaxPooling3D",
               "GlobalMaxPooling1D", "GlobalMaxPooling2D", "GlobalMaxPooling3D")  # fmt: skip
def _max_pooling(build, layer, signal):
    if not signal.timed:
        return signal.new(build.call(build.copy(layer), signal))
    signal = build.delayed(signal)
    pool = MaxPoolSums(copy_layer(layer), stateful=build.stateful, **build.options())
    return signal.new(pool(signal.tensor))


@register_rule("keras", "Add", "Average")
def _sum(build, layer, *signals):
    signals = build.of_one_rank(build.alike(signals))
    return signals[0].new(build.call(build.copy(layer), *signals))


@register_rule("keras", "Concatenate")
def _concatenate(build, layer, *signals):
    signals = build.equally_timed(signals)
    rank = len(signals[0].tensor.shape) - signals[0].timed
    if layer.axis not in (-1, rank - 1):
        signals = build.alike(signals)
        axis = layer.axis + (signals[0].timed and layer.axis > 0)
        copy = build.copy(layer, axis=axis)
        return signals[0].new(copy([s.tensor for s in signals]))
    sizes = [s.tensor.shape[-1] for s in signals]
    scale = np.concatenate(
        [np.broadcast_to(s.scale, (n,)) for s, n in zip(signals, sizes, strict=True)]
    )
    scale = scale[0] if np.ptp(scale) == 0 else scale
    tensor = build.copy(layer, axis=-1)([s.tensor for s in signals])
    return signals[0].new(tensor, scale=scale)


@register_rule("keras", "Rescaling", "Normalization")
def _of_the_input(build, layer, signal):
    if signal.timed:
        raise ValueError(
            f"Layer {describe(layer)} must be at the analog input of the network, before any "
            "neurons; expected encoding='analog'."
        )
    copy = build.copy(layer)
    tensor = copy(build.with_one_scale(signal, 1.0).tensor)
    copy_weights(layer, copy)
    return Signal(tensor)
