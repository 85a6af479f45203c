"""Back to keras-lmu: a network whose LMUs are non-spiking, in the layers of that package."""

import inspect

import keras
import numpy as np

from hybrid_lmu._internal.traversal import copy_weights, freeze
from hybrid_lmu.accounting.cells import class_key
from hybrid_lmu.conversion._graph import as_functional, copy_layer, describe, rebuild
from hybrid_lmu.conversion._hybrid_rules import copy_lmu, discretizer_of, non_spiking
from hybrid_lmu.memory import legendre
from hybrid_lmu.memory._discrete_system import DiscreteSystem

_LMU = ("hybrid_lmu", "HybridLMU")
# Options that `keras_lmu.LMU` has not, with the value that does without them.
_WITHOUT = dict(memory_dropout=0, return_last=None, return_state=False, go_backwards=False,
                stateful=False, unroll=False, zero_output_for_mask=False)  # fmt: skip
# Of impulse responses. Of keras-lmu's own float32 up to 2e-3 of the largest, at order 512.
_SYSTEMS_DIFFER = 5e-3
_LONGEST = 4096


def to_keras_lmu(model):
    """Put the `HybridLMU` layers of a non-spiking model into ``keras_lmu.LMU``, with their weights.

    The way back from `to_hybrid`. Of a network that was trained with exact matrices the outputs
    change, as keras-lmu computes its own in float32: the more, the higher the order (at 256 the
    memory by 6e-4 of its largest value). Other layers stay what they are. Needs the TensorFlow
    backend and keras-lmu.

    Args:
        model: Sequential or functional, built, without models inside it.

    Returns:
        a functional model, not compiled.

    Raises:
        ValueError: if an LMU has a resolution, an option or matrices that keras-lmu has not, or if
            there is no `HybridLMU` at all.
        ImportError: without keras-lmu.

    Example (TensorFlow)::

        rnn = HybridLMU(1, 8, 50, keras.layers.SimpleRNNCell(16))
        model = keras.Sequential([keras.Input((100, 1)), rnn])
        to_keras_lmu(model).layers[-1]      # <keras_lmu.layers.LMU>
    """
    import keras_lmu

    model = as_functional(model)
    made = {}

    def visit(layer, path, *args, **kwargs):
        if not hasattr(layer, "weights"):  # an operation
            return layer(*args, **kwargs)
        if layer.name not in made:
            is_lmu = class_key(layer) == _LMU
            made[layer.name] = layer, _theirs(layer, keras_lmu) if is_lmu else copy_layer(layer)
        if class_key(layer) == _LMU:
            kwargs = _without_mask(layer, kwargs)
        return made[layer.name][1](*args, **kwargs)

    converted = rebuild(model, visit)
    for layer, new in made.values():
        if not layer.trainable:
            freeze(new)
        if class_key(layer) == _LMU:
            inner = new.layer.cell if isinstance(new.layer, keras.layers.RNN) else new.layer
            _check_system(layer, inner)
            copy_lmu(layer.cell, inner)
        else:
            copy_weights(layer, new)
    if not any(class_key(layer) == _LMU for layer, _ in made.values()):
        names = [describe(layer) for layer in model.layers]
        raise ValueError(f"`model` must have a HybridLMU; its layers are {', '.join(names)}.")
    return converted


def _theirs(layer, keras_lmu):
    config = layer.get_config()
    other = {k: config[k] for k, plain in _WITHOUT.items() if config[k] != plain}
    if other or not non_spiking(layer.cell):
        found = ", ".join(f"{k}={v!r}" for k, v in other.items()) or "a resolution"
        raise ValueError(f"{describe(layer)} has {found}; keras_lmu.LMU has no such option.")
    cell, memory = layer.cell, layer.cell.memory
    names = list(inspect.signature(keras_lmu.LMU.__init__).parameters)[1:-1]
    given = {n: getattr(memory if hasattr(memory, n) else cell, n, None) for n in names}
    if isinstance(memory.discretizer, DiscreteSystem):
        given["discretizer"] = "zoh"
    given["return_sequences"] = layer.return_sequences
    hidden = cell.hidden_cell
    given["hidden_cell"] = None if hidden is None else copy_layer(hidden)
    return keras_lmu.LMU(**given, name=layer.name, dtype=layer.dtype_policy)


def _check_system(layer, theirs):
    memory = layer.cell.memory
    if not isinstance(memory.discretizer, DiscreteSystem):
        return
    steps = min(int(np.ceil(memory.initial_theta)), _LONGEST)
    ours, other = (
        legendre.impulse_response(memory.order, memory.initial_theta, one, steps)
        for one in (memory.discretizer, discretizer_of(theirs))
    )
    off = np.abs(ours - other).max() / np.abs(other).max()
    if off > _SYSTEMS_DIFFER:
        raise ValueError(
            f"{describe(layer)} has the matrices of a `DiscreteSystem`, whose impulse response is "
            f"{100 * off:.2g} % off that of the ones that keras_lmu.LMU computes for "
            f"theta={memory.theta:g}."
        )


def _without_mask(layer, kwargs):
    if kwargs.get("mask") is not None:
        raise ValueError(f"{describe(layer)} gets a mask; keras_lmu.LMU takes none.")
    return {key: value for key, value in kwargs.items() if key != "mask"}
