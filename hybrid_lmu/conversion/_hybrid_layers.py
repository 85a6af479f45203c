"""How each class of layers gets quantized activities: recurrent layers, their cells, activations.

`hybrid_layer` and `hybrid_cell` are functions with one implementation for each class. Register
your own class with ``@hybrid_layer.register(MyLayer)`` or ``@hybrid_cell.register(MyCell)``.
"""

from __future__ import annotations

import functools

import keras
from keras import layers

from hybrid_lmu._internal.copies import copy_layer
from hybrid_lmu.cells._hybrid_cell import HybridCell
from hybrid_lmu.cells._keras_cells import can_carry
from hybrid_lmu.cells._rnn import CarriedState, HybridRNN
from hybrid_lmu.cells.contract import Cell, as_list
from hybrid_lmu.conversion._graph import describe
from hybrid_lmu.conversion._keras_lmu import copy_lmu, keras_lmu_is_new, non_spiking
from hybrid_lmu.conversion._replacement import Replacement
from hybrid_lmu.layers._each_step import EachStep
from hybrid_lmu.lmu._cell import HybridLMUCell
from hybrid_lmu.lmu._layer import HybridLMU
from hybrid_lmu.memory._memory import LegendreMemory
from hybrid_lmu.quantizers._layer import SigmaDelta

# What a `HybridRNN` takes over from a layer of Keras.
_OF_RNN = ("return_sequences", "return_state", "go_backwards", "stateful", "unroll",
           "zero_output_for_mask", "activity_regularizer", "name", "dtype",
           "trainable")  # fmt: skip
_LINEAR = (None, keras.activations.linear)


@functools.singledispatch
def hybrid_layer(layer, build) -> Replacement | None:
    """Return the layers with quantized activities that take the place of a layer.

    `to_hybrid` calls this function for each layer, and the class of the layer chooses the
    implementation. A subclass is converted like its base class. A subclass of a recurrent layer of
    Keras is an error if it has a `call` of its own, since only its cell would be kept.

    Args:
        layer: the layer of the source network; read it and do not call it.
        build: the `hybrid_lmu.conversion.HybridBuilder` of the new network.
            ``build.quantizer(part, size)`` is a new quantizer for an activity of `size` neurons.
            ``build.is_output`` tells whether the layer puts out what the model does.

    Returns:
        a `Replacement`, or None if the layer has no activity to quantize and stays as it is.

    Raises:
        ValueError: for a recurrent layer of an unknown class or with an unsupported option.
    """
    if keras_lmu_is_new(hybrid_layer, hybrid_cell):
        return hybrid_layer(layer, build)
    if hasattr(layer, "cell"):  # a recurrent layer of somebody else
        raise _unknown(layer)
    return None


@functools.singledispatch
def hybrid_cell(cell, build) -> Replacement:
    """Return the cell with quantized activities that takes the place of a recurrent cell.

    `to_hybrid` calls this function for the cell of each recurrent layer, and the class of the cell
    chooses the implementation. A subclass is converted like its base class: a `HybridCell` runs a
    copy of it, with its own `call`. A cell that follows `hybrid_lmu.cells.contract.Cell` has its
    quantizers and is copied.

    Args:
        cell: the cell of the source network.
        build: see `hybrid_layer`.

    Raises:
        ValueError: if no implementation is registered for the class of the cell.

    Example: a cell of your own whose output is its first state.

    >>> class Leaky(keras.layers.Layer):
    ...     state_size = output_size = 3
    ...     def call(self, inputs, states):
    ...         h = 0.9 * states[0] + inputs
    ...         return h, [h]
    >>> @hybrid_cell.register(Leaky)
    ... def _(cell, build):
    ...     new = HybridCell(cell.from_config(cell.get_config()),
    ...                      quantizer=build.quantizer("hidden", 3))
    ...     return Replacement((new,), lambda new: new.cell.set_weights(cell.get_weights()))
    """
    if keras_lmu_is_new(hybrid_layer, hybrid_cell):
        return hybrid_cell(cell, build)
    raise _unknown(cell)


def _unknown(layer):
    found = {*hybrid_layer.registry, *hybrid_cell.registry} - {object, CarriedState, Cell}
    known = sorted(one.__name__ for one in found)
    return ValueError(
        f"{describe(layer)} is recurrent and cannot be converted; expected layers and cells of the "
        f"classes {', '.join(known)}. Wrap a cell of your own in `hybrid_lmu.HybridCell`, or "
        "register its class with `hybrid_lmu.conversion.hybrid_cell`."
    )


# Cells.


@hybrid_cell.register(layers.SimpleRNNCell)
@hybrid_cell.register(layers.GRUCell)
@hybrid_cell.register(layers.LSTMCell)
def _cell_of_keras(cell, build):
    new = HybridCell(
        copy_layer(cell),
        quantizer=build.quantizer("hidden", cell.units),
        carry="exact" if can_carry(cell) else "quantized",
        name=f"hybrid_{cell.name}",
        dtype=cell.dtype_policy,
    )
    return Replacement((new,), lambda new: new.cell.set_weights(cell.get_weights()))


@hybrid_cell.register(layers.StackedRNNCells)
def _stacked_cells(cell, build):
    made = [hybrid_cell(one, build) for one in cell.cells]

    def copy_each(new):
        for one, replacement in zip(new.cells, made, strict=True):
            replacement.copy_weights(one)

    stacked = [replacement.parts[0] for replacement in made]
    new = layers.StackedRNNCells(stacked, dtype=cell.dtype_policy)
    return Replacement((new,), copy_each)


@hybrid_cell.register(Cell)
def _own_cell(cell, build):
    return Replacement((copy_layer(cell),), lambda new: new.set_weights(cell.get_weights()))


@hybrid_cell.register(HybridLMUCell)
def _hybrid_lmu_cell(cell, build):
    if not non_spiking(cell):
        return _own_cell(cell, build)
    new = copy_layer(cell, **_serialized(build.lmu_quantizers(cell)))
    return Replacement((new,), lambda new: copy_lmu(cell, new))


# Recurrent layers.


@hybrid_layer.register(CarriedState)
@hybrid_layer.register(LegendreMemory)
def _own_layer(layer, build):
    return None  # a stateful layer of this package has its quantizers or needs none


@hybrid_layer.register(layers.RNN)
@hybrid_layer.register(HybridRNN)
def _rnn(layer, build):
    if layer.return_state and isinstance(layer.cell, layers.StackedRNNCells):
        raise ValueError(
            f"{describe(layer)} has return_state=True and stacked cells; expected False, or a "
            "layer for each cell."
        )
    if type(layer).call not in _CALLS_OF_RNN:
        raise ValueError(
            f"{describe(layer)} has a `call` of its own; expected that of keras.layers.RNN. "
            "Register the class with `hybrid_lmu.conversion.hybrid_layer`."
        )
    replacement = hybrid_cell(layer.cell, build)
    cell = replacement.parts[0]
    new = HybridRNN(cell, **_chosen(layer, _OF_RNN))
    states = _kept_states(layer.cell, cell) if isinstance(cell, Cell) else None
    return Replacement((new,), lambda new: replacement.copy_weights(new.cell), states=states)


def _kept_states(cell, new):
    """Return the indices of the states of a new cell that the source has too."""
    count = len(as_list(cell.state_size))
    same = count == len(new.state_size)  # it had its quantizers
    return tuple(range(count)) if same else new.source_states


_CALLS_OF_RNN = {
    one.call
    for one in (layers.RNN, layers.SimpleRNN, layers.GRU, layers.LSTM, HybridRNN)
    + (layers.ConvLSTM1D, layers.ConvLSTM2D, layers.ConvLSTM3D)  # their cells are unknown
}


@hybrid_layer.register(layers.Bidirectional)
def _bidirectional(layer, build):
    made = [hybrid_layer(one, build) for one in (layer.forward_layer, layer.backward_layer)]
    if None in made:
        return None  # the two layers have their quantizers
    forward, backward = made
    options = _chosen(layer, ("merge_mode", "name", "dtype"))
    new = layers.Bidirectional(forward.parts[0], backward_layer=backward.parts[0], **options)

    def copy(new):
        forward.copy_weights(new.forward_layer)
        backward.copy_weights(new.backward_layer)

    states = None
    if forward.states is not None and backward.states is not None:
        later = len(forward.parts[0].cell.state_size)
        states = (*forward.states, *(later + index for index in backward.states))
    return Replacement((new,), copy, states=states)


@hybrid_layer.register(HybridLMU)
def _hybrid_lmu(layer, build):
    if not non_spiking(layer.cell):
        return None  # it has its quantizers
    new = copy_layer(layer, **_serialized(build.lmu_quantizers(layer.cell)))
    states = _kept_states(layer.cell, new.cell)
    return Replacement((new,), lambda new: copy_lmu(layer.cell, new.cell), states=states)


# Activations.


@hybrid_layer.register(layers.Dense)
def _dense(layer, build):
    return _with_activity(layer, build, layer.units)


@hybrid_layer.register(layers.Conv1D)
def _convolution(layer, build):
    return _with_activity(layer, build, layer.filters)


def _with_activity(layer, build, size):
    """Return a layer of weights with a linear activation, followed by its quantized activity."""
    if build.is_output or layer.activation in _LINEAR:
        return None
    new = copy_layer(layer, activation="linear", activity_regularizer=None)
    neurons = _activity(layer, layer.activation, build, size)
    return Replacement((new, neurons), lambda new, _: new.set_weights(layer.get_weights()))


@hybrid_layer.register(layers.TimeDistributed)
def _each_step(layer, build):
    found = None if build.is_output else hybrid_layer(layer.layer, build)
    if found is None:
        return None
    new, *neurons = found.parts
    each = EachStep(new, name=layer.name, dtype=layer.dtype_policy)
    return Replacement(
        (each, *neurons), lambda new, *rest: found.copy_weights(new.layer, *rest), found.takes_mask
    )


@hybrid_layer.register(layers.ReLU)
def _relu(layer, build):
    if build.is_output:
        return None
    if layer.max_value is not None or layer.negative_slope or layer.threshold:
        raise ValueError(
            f"Layer {describe(layer)} has max_value={layer.max_value}, "
            f"negative_slope={layer.negative_slope}, threshold={layer.threshold}; expected a plain "
            "ReLU, or `keras.layers.Activation` of a function."
        )
    return _activity_alone(layer, keras.activations.relu, build)


@hybrid_layer.register(layers.Activation)
def _activation(layer, build):
    if build.is_output or layer.activation in (*_LINEAR, keras.activations.softmax):
        return None
    return _activity_alone(layer, layer.activation, build)


def _activity_alone(layer, function, build):
    return Replacement((_activity(layer, function, build, None),), lambda new: None)


def _activity(layer, function, build, size):
    return SigmaDelta(
        quantizer=build.quantizer("", size, function),
        activity_regularizer=layer.activity_regularizer,
        name=f"{layer.name}_counts",
        dtype=layer.dtype_policy,
    )


def _serialized(objects):
    return {k: keras.saving.serialize_keras_object(one) for k, one in objects.items()}


def _chosen(layer, names):
    config = layer.get_config()
    return {name: config[name] for name in names if name in config}
