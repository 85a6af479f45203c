"""Back to keras-lmu: non-spiking LMUs become layers of that package."""

import inspect

import keras
import numpy as np

from hybrid_lmu._internal.copies import copy_layer
from hybrid_lmu._internal.traversal import copy_weights, freeze
from hybrid_lmu.conversion._graph import as_functional, describe, rebuild
from hybrid_lmu.conversion._keras_lmu import copy_lmu, discretizer_of, non_spiking
from hybrid_lmu.lmu._layer import HybridLMU
from hybrid_lmu.memory import legendre
from hybrid_lmu.memory._discrete_system import DiscreteSystem

# Options that `keras_lmu.LMU` does not have, each with the value that switches the option off.
_WITHOUT = dict(memory_dropout=0, return_last=None, return_state=False, go_backwards=False,
                stateful=False, unroll=False, zero_output_for_mask=False)  # fmt: skip
# Largest difference between two impulse responses that pass for the same, as a share of their
# largest value. The float32 of keras-lmu causes 2e-3 at order 512.
_SYSTEMS_DIFFER = 5e-3
_LONGEST = 4096


def to_keras_lmu(model: keras.Model) -> keras.Model:
    """Replace the `HybridLMU` layers of a non-spiking model by ``keras_lmu.LMU``, with the weights.

    This is the way back from `to_hybrid`. Other layers are copied. The function needs the
    TensorFlow backend and keras-lmu.

    keras-lmu computes its matrices in float32. The outputs of a network that was trained with exact
    matrices change for that reason, more at a higher order: at order 256 the memory changes by 6e-4
    of its largest value.

    Args:
        model: Sequential or functional, built, without models inside it.

    Returns:
        a functional model, not compiled.

    Raises:
        ValueError: if an LMU has a resolution, an option or matrices that keras-lmu does not have,
            or if there is no `HybridLMU` in the model.
        ImportError: if keras-lmu is not installed.

    Example (TensorFlow)::

        rnn = HybridLMU(1, 8, 50, keras.layers.SimpleRNNCell(16))
        model = keras.Sequential([keras.Input((100, 1)), rnn])
        to_keras_lmu(model).layers[-1]      # <keras_lmu.layers.LMU>
    """
    import keras_lmu

    model = as_functional(model)
    made = {}

    def visit(layer, path, *args, **kwargs):
        if not isinstance(layer, keras.layers.Layer):  # an operation
            return layer(*args, **kwargs)
        if layer.name not in made:
            is_lmu = isinstance(layer, HybridLMU)
            made[layer.name] = layer, _theirs(layer, keras_lmu) if is_lmu else copy_layer(layer)
        if isinstance(layer, HybridLMU):
            kwargs = _without_mask(layer, kwargs)
        return made[layer.name][1](*args, **kwargs)

    converted = rebuild(model, visit)
    for layer, new in made.values():
        if not layer.trainable:
            freeze(new)
        if isinstance(layer, HybridLMU):
            inner = new.layer.cell if isinstance(new.layer, keras.layers.RNN) else new.layer
            _check_system(layer, inner)
            copy_lmu(layer.cell, inner)
        else:
            copy_weights(layer, new)
    if not any(isinstance(layer, HybridLMU) for layer, _ in made.values()):
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
