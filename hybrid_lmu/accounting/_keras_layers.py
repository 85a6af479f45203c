"""Which signals meet which weights in a call of a layer, by the type of the layer.

`record` is one function for all classes, chosen by type, so that a subclass is treated as its base
class. Layers of this package, and of a user, declare what they do with a method ``products()`` that
returns `hybrid_lmu.cells.contract.Products` with signals named ``input`` and ``output``. For a
class of somebody else, register a function: ``@record.register(TheirLayer)``.
"""

from __future__ import annotations

import functools
import math
import sys
from dataclasses import dataclass, replace
from typing import Any

import keras
from keras import layers, ops

from hybrid_lmu.accounting._items import ProductItem, Tape
from hybrid_lmu.accounting._recurrent import record_loop, record_sequence, steps_that_are_read
from hybrid_lmu.cells._products import cell_products
from hybrid_lmu.cells._rnn import HybridRNN
from hybrid_lmu.cells.contract import as_list
from hybrid_lmu.codes import Code, is_known, is_scalar, propagate, rank
from hybrid_lmu.conversion._over_time import PoissonEncoder, RepeatSteps, Scale
from hybrid_lmu.layers._each_step import EachStep
from hybrid_lmu.layers._stateful_activation import StatefulActivation
from hybrid_lmu.lmu._layer import HybridLMU
from hybrid_lmu.neurons._cell import SpikingLayer
from hybrid_lmu.weights._quantized_weights import QuantizedWeights


@dataclass
class Call:
    """One call of a layer.

    Attributes:
        inputs: the `Code` of each input.
        output: what the layer returned; `record` may put an equal tensor in its place.
        mask: booleans [batch, time], or None.
        states: the states of a stateful layer before the call, or None.
        kwargs: the further arguments.
        seeds: ``[(variable, value before the call)]`` of the random draws.
    """

    inputs: list[Code]
    output: Any
    mask: Any = None
    states: list | None = None
    kwargs: dict | None = None
    seeds: list | None = None

    @property
    def x(self) -> Code:
        return replace(self.inputs[0], mask=self.mask)

    @property
    def first_output(self):
        return keras.tree.flatten(self.output)[0]

    @property
    def initial_state(self):
        """The states before the first step that are given or kept, or None."""
        given = (self.kwargs or {}).get("initial_state")
        return self.states if given is None else given


@functools.singledispatch
def record(layer: keras.layers.Layer, call: Call, tape: Tape) -> Any:
    """Put what meets the weights of a layer on the tape; return the resolution of its output.

    Args:
        layer: the layer that was called.
        call: the call.
        tape: the `Tape`.

    Returns:
        None for real numbers, `hybrid_lmu.codes.RAW`, or a number or tensor that broadcasts against
        the output.
    """
    if not hasattr(layer, "products"):
        return propagate(layer, call.inputs)
    signals = {"input": call.x.tensor, "output": call.first_output}
    resolution = tape.declared(layer.products(), signals, call.x, call.mask)
    return resolution if not is_known(resolution) or rank(resolution) <= 1 else None


def _register(*classes):
    def decorate(function):
        for one in classes:
            record.register(one, function)
        return function

    return decorate


def is_known_layer(layer: keras.layers.Layer) -> bool:
    """Return whether `record` or `propagate` knows the class of a layer."""
    _register_keras_lmu()
    kind = type(layer)
    return (
        hasattr(layer, "products")
        or record.dispatch(kind) is not record.dispatch(object)
        or propagate.dispatch(kind) is not propagate.dispatch(object)
    )


def check_known(layer: keras.layers.Layer) -> None:
    """Raise ValueError if a layer has weights of its own and its products are not known."""
    if getattr(layer, "lora_enabled", False):
        raise ValueError(
            f"The products of layer {layer.name!r} ({type(layer).__name__}) are not known while "
            "LoRA is enabled: its kernel is a sum. Save the model and load it, which "
            f"merges both, or leave it out of the report with `skip=({layer.name!r},)`."
        )
    if is_known_layer(layer):
        for cell in _cells(layer):
            cell_products(cell)
        inner = _inner_layer(layer)
        if inner is not None and reason_not_counted(inner) is None:
            check_known(inner)
        return
    held = {id(w) for one in vars(layer).values() for w in _weights_within(one)}
    if [w for w in layer.weights if id(w) not in held or hasattr(layer, "state_size")]:
        raise ValueError(
            f"The products of layer {layer.name!r} ({type(layer).__name__}), which has weights, "
            f"are not known. Leave it out of the report with `skip=({layer.name!r},)`, or give it "
            "a method `products` (see `hybrid_lmu.cells.contract`)."
        )


def _weights_within(value):
    within = [one for one in keras.tree.flatten(value) if isinstance(one, keras.layers.Layer)]
    return [w for one in within for w in one.weights]


def _inner_layer(layer):
    wrappers = (layers.TimeDistributed, EachStep, QuantizedWeights)
    return layer.layer if isinstance(layer, wrappers) else None


def _cells(layer):
    if isinstance(layer, layers.Bidirectional):
        return [layer.forward_layer.cell, layer.backward_layer.cell]
    return [layer.cell] if isinstance(layer, layers.RNN) else []


_NOT_COUNTED = (
    (
        (layers.BatchNormalization, layers.LayerNormalization, layers.GroupNormalization,
         layers.UnitNormalization, layers.Normalization,
         *filter(None, [getattr(layers, "RMSNormalization", None)])),
        "normalisation",
    ),
    (layers.Embedding, "look-up"),
    ((layers.Multiply, layers.Dot, layers.Attention), "products of two activations"),
    ((layers.Rescaling, Scale), "products with a constant"),
)  # fmt: skip
# Additions, averages, comparisons and look-ups.
_WITHOUT_PRODUCTS = (
    layers.InputLayer, layers.Add, layers.Subtract, layers.Average, layers.Maximum, layers.Minimum,
    layers.CategoryEncoding, layers.Discretization, layers.Hashing, layers.HashedCrossing,
    layers.IntegerLookup, layers.StringLookup, layers.TextVectorization,
)  # fmt: skip


def reason_not_counted(layer: keras.layers.Layer) -> str | None:
    """Return why the products of a known layer are left out; None if they are counted."""
    if isinstance(layer, layers.TimeDistributed):
        layer = layer.layer
    return next((why for kind, why in _NOT_COUNTED if isinstance(layer, kind)), None)


def without_products(layer: keras.layers.Layer) -> bool:
    """Return whether a layer is known to make no products."""
    return isinstance(layer, _WITHOUT_PRODUCTS)


# Layers of Keras.


@_register(layers.Dense)
def _dense(layer, call, tape):
    tape.product("kernel", ProductItem("", "", weight=layer.kernel), call.x)
    _output(layer, call, tape)


@_register(layers.Conv1D, layers.Conv2D, layers.Conv3D)
def _convolution(layer, call, tape):
    _record_convolution(layer, call, tape, lambda x, kernel: _convolve(layer, x, kernel))


@_register(layers.DepthwiseConv1D, layers.DepthwiseConv2D)
def _depthwise(layer, call, tape):
    options = {
        "strides": layer.strides,
        "padding": layer.padding,
        "dilation_rate": layer.dilation_rate,
        "data_format": layer.data_format,
    }
    _record_convolution(
        layer, call, tape, lambda x, kernel: ops.depthwise_conv(x, kernel, **options)
    )


def _record_convolution(layer, call, tape, convolve):
    if call.mask is not None:
        raise ValueError(
            f"Layer {layer.name!r} is a convolution that receives a mask; expected none. Use "
            f"`skip=({layer.name!r},)` to leave it out."
        )
    tape.convolution(ProductItem("", "", weight=layer.kernel), call.x, convolve)
    _output(layer, call, tape)


def _convolve(layer, x, kernel):
    if layer.padding != "causal":
        return layer.convolution_op(x, kernel)
    left = layer.dilation_rate[0] * (layer.kernel_size[0] - 1)
    time = 1 if layer.data_format == "channels_last" else 2
    x = ops.pad(x, [[left, 0] if axis == time else [0, 0] for axis in range(3)])
    return ops.conv(
        x,
        kernel,
        strides=list(layer.strides),
        padding="valid",
        dilation_rate=layer.dilation_rate,
        data_format=layer.data_format,
    )


def _output(layer, call, tape):
    """Add the output of a weight layer with an activation, whose numbers are real."""
    if layer.activation is not keras.activations.linear:
        tape.output("output", Code(call.output, None, call.mask))


@_register(layers.Activation, layers.ReLU, layers.LeakyReLU, layers.ELU, layers.Softmax)
def _activation(layer, call, tape):
    linear = getattr(layer, "activation", None) is keras.activations.linear
    if not linear and not is_known(call.x.resolution):
        tape.output("output", Code(call.output, None, call.mask))
    return propagate(layer, call.inputs)


@_register(layers.TimeDistributed, EachStep)
def _each_step(layer, call, tape):
    tape.sequence(call.x.tensor)
    if not is_known_layer(layer.layer) or reason_not_counted(layer.layer) is not None:
        return None

    def flat(x):
        return ops.reshape(x, (-1, *x.shape[2:]))

    resolution, mask = call.x.resolution, call.mask
    if is_known(resolution) and rank(resolution) == len(call.x.tensor.shape):
        resolution = flat(resolution)
    x = replace(call.x, tensor=flat(call.x.tensor), resolution=resolution)
    mask = None if mask is None else ops.reshape(mask, (-1,))
    resolution = record(layer.layer, Call([x], flat(call.first_output), mask), tape)
    return resolution if not is_known(resolution) or is_scalar(resolution) else None


@_register(layers.RNN, HybridRNN)
def _rnn(layer, call, tape, prefix=""):
    states = call.initial_state
    if states is not None and hasattr(layer.cell, "complete_states"):
        states = layer.cell.complete_states(as_list(states))
    return record_loop(
        layer.cell, call.x, tape, states,
        go_backwards=layer.go_backwards, prefix=prefix, last=steps_that_are_read(layer),
    )  # fmt: skip


@_register(HybridLMU)
def _hybrid_lmu(layer, call, tape):
    resolution = record_sequence(layer, call, tape)
    return _rnn(layer, call, tape) if resolution is NotImplemented else resolution


@_register(layers.Bidirectional)
def _bidirectional(layer, call, tape):
    initial, found = call.initial_state, []
    half = 0 if initial is None else len(initial) // 2
    parts = [None, None] if initial is None else [initial[:half], initial[half:]]
    for direction, states in zip(("forward", "backward"), parts, strict=True):
        inner = getattr(layer, f"{direction}_layer")
        one = Call([call.x], None, call.mask, None, {"initial_state": states})
        found.append(_rnn(inner, one, tape, direction))
    if layer.merge_mode == "concat" and all(is_known(one) for one in found):
        units = call.first_output.shape[-1] // 2
        return ops.concatenate([ops.broadcast_to(one, (units,)) for one in found])
    return None


# Layers of this package.


@_register(StatefulActivation)
def _stateful_activation(layer, call, tape):
    def timed(x):
        return ops.expand_dims(x, 1) if len(x.shape) == 2 else x  # one step

    products, output = layer.products(), timed(call.first_output)
    if layer.keeps_state:
        tape.state(len(layer.state_names) * math.prod(timed(call.x.tensor).shape[2:]))
    tape.sequence(output)
    signals = {"input": call.x.tensor, "output": output}
    resolution = tape.declared(products, signals, call.x, call.mask)
    known = is_known(resolution)
    return resolution if not known or rank(resolution) <= 1 else None


@_register(RepeatSteps, PoissonEncoder)
def _encoder(layer, call, tape):
    tape.sequence(call.output)
    signals = {"input": call.x.tensor, "output": call.output}
    return tape.declared(layer.products(), signals, call.x, None)


@_register(SpikingLayer)
def _spiking(layer, call, tape):
    if layer.return_sequences:
        return _stateful_activation(layer, call, tape)
    # The layer has put out the last step alone: run it once more for the others.
    x, states = call.x.tensor, call.initial_state
    if states is None:
        shape = ops.shape(x)
        states = layer.initial_states((shape[0], *shape[2:]))
    spikes, _ = layer.cell.sequence(x, as_list(states), mask=call.mask)
    return _stateful_activation(layer, replace(call, output=spikes), tape)


@_register(QuantizedWeights)
def _quantized_weights(layer, call, tape):
    if not is_known_layer(layer.layer) or reason_not_counted(layer.layer) is not None:
        return None
    with tape.low_bit(layer.quantized()), layer.hard_scope():
        return record(layer.layer, call, tape)


def _register_keras_lmu():
    """Register the classes of keras-lmu if a program has imported it; it is slow to import."""
    keras_lmu = sys.modules.get("keras_lmu")
    if keras_lmu is None or keras_lmu.LMU in record.registry:
        return
    from hybrid_lmu.accounting._keras_lmu import FeedforwardLMU

    def loop(cell, call, tape):
        return record_loop(cell, call.x, tape, None)

    def feedforward(layer, call, tape):
        last = steps_that_are_read(layer)
        return record_loop(FeedforwardLMU(layer), call.x, tape, None, last=last)

    def lmu(layer, call, tape):
        if isinstance(layer.layer, layers.RNN):
            return _rnn(layer.layer, call, tape)
        return feedforward(layer.layer, call, tape)

    record.register(keras_lmu.LMUFeedforward, feedforward)
    record.register(keras_lmu.LMU, lmu)
