"""How each class of layers gets quantized activities: recurrent layers and activations.

A rule is a function ``rule(layer, make) -> (layers, copy)``: the new layers, to be called one after
the other, and a function that copies the weights to them once they are built. ``make(part, size)``
is a new quantizer for an activity of that size; `part` names it.
"""

import inspect

import keras
import numpy as np
from keras import ops

from hybrid_lmu._internal.keras_compat import mask_of
from hybrid_lmu.accounting.cells import class_key
from hybrid_lmu.cells._hybrid_cell import HybridCell
from hybrid_lmu.cells._keras_cells import can_carry
from hybrid_lmu.cells._rnn import HybridRNN
from hybrid_lmu.conversion._graph import copy_layer, describe
from hybrid_lmu.layers._each_step import EachStep
from hybrid_lmu.lmu._cell import HybridLMUCell
from hybrid_lmu.lmu._layer import HybridLMU
from hybrid_lmu.memory._discrete_system import DiscreteSystem
from hybrid_lmu.quantizers._layer import SigmaDelta

RULES = {}
_OF_RNN = ("return_sequences", "go_backwards", "stateful", "unroll", "zero_output_for_mask",
           "activity_regularizer", "name", "dtype", "trainable")  # fmt: skip
_LINEAR = (None, keras.activations.linear)


def _rule(package, *names):
    def decorate(rule):
        RULES.update({(package, name): rule for name in names})
        return rule

    return decorate


def quantized(layer, make):
    """``(layers, copy)`` in place of a layer, None if it has no activity to be quantized.

    Raises:
        ValueError: for a recurrent layer or cell without a rule.
    """
    rule = RULES.get(class_key(layer)) if isinstance(layer, keras.layers.Layer) else None
    if rule is not None:
        return rule(layer, make)
    hybrid = class_key(layer)[0] == "hybrid_lmu"
    if not hybrid and (isinstance(layer, keras.layers.RNN) or hasattr(layer, "cell")):
        raise _unknown(layer)
    return None


def is_activation(layer):
    """Whether what gets quantized of a layer is its activation alone, without a recurrence."""
    return RULES.get(class_key(layer)) in (_dense, _each_step, _activation)


def over_space(layer):
    """Whether a layer of Keras works on the rows and columns of images."""
    package, name = class_key(layer)
    return package == "keras" and ("2D" in name or "3D" in name)


def without_mask(layer, x):
    """The input of what takes the place of a layer; without its mask, if the layer ignores that."""
    ignores = class_key(layer) in (("keras_lmu", "LMU"), ("keras_lmu", "LMUFeedforward"))
    return ops.copy(x) if ignores and mask_of(x) is not None else x


def starts_elsewhere(layer):
    """ValueError for a recurrent layer whose initial state is given by another layer."""
    return ValueError(
        f"{describe(layer)} is called with an initial state; expected none, as the converted layer "
        "has more states. Name it in `exempt` to leave it as it is."
    )


def images_not_steps(layer, shape):
    """ValueError for an activation whose counts would be taken over the rows of images."""
    return ValueError(
        f"The activation of {describe(layer)}, of shape {tuple(shape)}, is that of images; "
        "expected activations of [batch, features] or [batch, time, ...]. Name the layer in "
        "`exempt`, put what is before it into `TimeDistributed` or `EachStep` if there is an image "
        "at each step, or convert networks of images with `to_spiking`."
    )


def _unknown(layer):
    known = sorted({name for _, name in [*RULES, *_CELLS]})
    return ValueError(
        f"{describe(layer)} is recurrent and cannot be converted; expected layers and cells of the "
        f"classes {', '.join(known)}. Wrap a cell of your own in `hybrid_lmu.HybridCell`."
    )


# Cells: functions (cell, make) -> (new cell, copy).


def _plain_cell(cell, make):
    new = HybridCell(
        copy_layer(cell),
        quantizer=make("hidden", cell.units),
        carry="exact" if can_carry(cell) else "quantized",
        name=f"hybrid_{cell.name}",
        dtype=cell.dtype_policy,
    )
    return new, lambda new: new.cell.set_weights(cell.get_weights())


def _lmu_cell(cell, make):
    new = HybridLMUCell(**_lmu_arguments(cell, make), name="lmu_cell", dtype=cell.dtype_policy)
    return new, lambda new: copy_lmu(cell, new)


def _hybrid_lmu_cell(cell, make):
    if not non_spiking(cell):
        return None  # it has its quantizers
    new = copy_layer(cell, **_serialized(_lmu_quantizers(cell, make)))
    return new, lambda new: copy_lmu(cell, new)


_CELLS = {
    ("keras", "SimpleRNNCell"): _plain_cell,
    ("keras", "GRUCell"): _plain_cell,
    ("keras", "LSTMCell"): _plain_cell,
    ("keras_lmu", "LMUCell"): _lmu_cell,
    ("hybrid_lmu", "HybridLMUCell"): _hybrid_lmu_cell,
}


def _cell(cell, make):
    made = _CELLS[class_key(cell)](cell, make) if class_key(cell) in _CELLS else None
    if made is not None:
        return made
    if class_key(cell)[0] == "hybrid_lmu":
        new = copy_layer(cell)
        return new, lambda new: new.set_weights(cell.get_weights())
    if isinstance(cell, keras.layers.StackedRNNCells):
        made = [_cell(one, make) for one in cell.cells]

        def copy_each(new):
            for one, (_, copy) in zip(new.cells, made, strict=True):
                copy(one)

        stacked = [one for one, _ in made]
        return keras.layers.StackedRNNCells(stacked, dtype=cell.dtype_policy), copy_each
    raise _unknown(cell)


# Layers.


@_rule("keras", "RNN")
@_rule("hybrid_lmu", "HybridRNN")
def _rnn(layer, make):
    return _around(_cell(layer.cell, make), layer)


@_rule("keras", "SimpleRNN", "GRU", "LSTM")
def _rnn_of_its_own_cell(layer, make):
    return _around(_plain_cell(layer.cell, make), layer)


def _around(made, layer):
    if layer.return_state:
        raise ValueError(
            f"{describe(layer)} has return_state=True; expected False, as the converted layer has "
            "the diffusion error as one more state."
        )
    cell, copy = made
    return [HybridRNN(cell, **_chosen(layer, _OF_RNN))], lambda rnn: copy(rnn.cell)


@_rule("keras", "Bidirectional")
def _bidirectional(layer, make):
    made = [quantized(one, make) for one in (layer.forward_layer, layer.backward_layer)]
    if None in made:
        return None  # they have their quantizers
    ((forward,), copy_forward), ((backward,), copy_backward) = made
    options = dict(backward_layer=backward, **_chosen(layer, ("merge_mode", "name", "dtype")))

    def copy(new):
        copy_forward(new.forward_layer)
        copy_backward(new.backward_layer)

    return [keras.layers.Bidirectional(forward, **options)], copy


@_rule("keras_lmu", "LMU", "LMUFeedforward")
def _lmu(layer, make):
    new = HybridLMU(
        **_lmu_arguments(layer, make),
        return_sequences=layer.return_sequences,
        name=layer.name,
        dtype=layer.dtype_policy,
    )
    inner = getattr(layer, "layer", layer)  # an LMU is a layer around one or the other
    inner = inner.cell if isinstance(inner, keras.layers.RNN) else inner
    return [new], lambda new: copy_lmu(inner, new.cell)


@_rule("hybrid_lmu", "HybridLMU")
def _hybrid_lmu(layer, make):
    if not non_spiking(layer.cell):
        return None  # it has its quantizers
    new = copy_layer(layer, **_serialized(_lmu_quantizers(layer.cell, make)))
    return [new], lambda new: copy_lmu(layer.cell, new.cell)


@_rule("keras", "Dense", "Conv1D")
def _dense(layer, make):
    if layer.activation in _LINEAR:
        return None
    new = copy_layer(layer, activation="linear", activity_regularizer=None)
    size = layer.units if hasattr(layer, "units") else layer.filters
    neurons = _activity(layer, layer.activation, make, size)
    return [new, neurons], lambda new, _: new.set_weights(layer.get_weights())


@_rule("keras", "TimeDistributed")
@_rule("hybrid_lmu", "EachStep")
def _each_step(layer, make):
    found = quantized(layer.layer, make)
    if found is None:
        return None
    (new, *neurons), copy = found
    each = EachStep(new, name=layer.name, dtype=layer.dtype_policy)
    return [each, *neurons], lambda new, *rest: copy(new.layer, *rest)


@_rule("keras", "Activation", "ReLU")
def _activation(layer, make):
    function = getattr(layer, "activation", keras.activations.relu)
    if class_key(layer)[1] == "ReLU" and (
        layer.max_value is not None or layer.negative_slope or layer.threshold
    ):
        raise ValueError(
            f"Layer {describe(layer)} has max_value={layer.max_value}, "
            f"negative_slope={layer.negative_slope}, threshold={layer.threshold}; expected a plain "
            "ReLU, or `keras.layers.Activation` of a function."
        )
    if function in (*_LINEAR, keras.activations.softmax):
        return None
    return [_activity(layer, function, make, None)], lambda new: None


def _activity(layer, function, make, size):
    quantizer = make("activity", size)
    config = quantizer.get_config()
    own = {key: config[key] for key in ("resolution", "seed")}
    own["activity_regularizer"] = layer.activity_regularizer
    return SigmaDelta(function, name=f"{layer.name}_counts", dtype=layer.dtype_policy, **own)


def _lmu_arguments(layer, make):
    """Arguments of a `HybridLMU` or its cell after a layer or cell of keras-lmu."""
    names = list(inspect.signature(HybridLMUCell.__init__).parameters)[1:]
    given = {n: getattr(layer, n) for n in names if hasattr(layer, n) and n not in _NOT_OF_LMU}
    hidden = layer.hidden_cell
    given["hidden_cell"] = None if hidden is None else copy_layer(hidden)
    given["theta"] = float(ops.convert_to_numpy(layer.theta))
    given["discretizer"] = discretizer_of(layer)
    given.update(_lmu_quantizers(layer, make, layer.memory_d * layer.order))
    if hidden is None and layer.input_to_hidden:
        given["input_d"] = layer.kernel.shape[0] if layer.kernel is not None else layer.memory_d
    return given


def discretizer_of(layer):
    """The `discretizer` of a built layer or cell of keras-lmu; where that computes its matrices in
    float32, and once, a `DiscreteSystem` of them."""
    if layer.discretizer != "zoh" or getattr(layer, "trainable_theta", False):
        return layer.discretizer
    inner = getattr(layer, "layer", layer)
    inner = getattr(inner, "delay_layer", inner)  # of LMUFeedforward
    cell = inner.cell if isinstance(inner, keras.layers.RNN) else inner
    if keras.backend.standardize_dtype(cell.A.dtype) != "float32":
        return layer.discretizer
    return DiscreteSystem(np.transpose(cell.A), np.reshape(cell.B, -1))


def _lmu_quantizers(cell, make, memory_size=None):
    """Arguments of a `HybridLMU` or its cell: the quantizers in place of the resolutions."""
    hidden = cell.hidden_cell
    given = {"memory_quantizer": make("memory", memory_size or cell.memory.output_size)}
    if hidden is not None:
        size = getattr(hidden, "units", None) or getattr(hidden, "output_size", None)
        given["hidden_quantizer"] = make("hidden", size)
    return given


def _serialized(objects):
    return {k: keras.saving.serialize_keras_object(one) for k, one in objects.items()}


def non_spiking(cell):
    """Whether no quantizer of the `HybridLMUCell` has a resolution."""
    return not (cell.memory_quantizer.spiking or cell.hidden.quantizer.spiking)


_NOT_OF_LMU = ("name", "dtype", "trainable", "theta", "hidden_cell", "seed", "kwargs")


def copy_lmu(source, target):
    """Weights of an LMU's cell, or of keras-lmu's `LMUFeedforward`, to another of the kinds."""
    for name in ("kernel", "recurrent_kernel", "bias"):
        if getattr(source, name, None) is not None:
            getattr(target, name).assign(ops.convert_to_numpy(getattr(source, name)))
    if source.hidden_cell is not None:
        target.hidden_cell.set_weights(source.hidden_cell.get_weights())
    theirs, ours = (getattr(cell, "memory", cell) for cell in (source, target))
    if getattr(theirs, "trainable_theta", False):
        ours.theta_inv.assign(ops.convert_to_numpy(theirs.theta_inv))


def _chosen(layer, names):
    config = layer.get_config()
    return {name: config[name] for name in names if name in config}
