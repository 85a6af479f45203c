"""Back to keras-lmu: a network whose LMUs are non-spiking, in the layers of that package."""

import inspect

import keras

from hybrid_lmu.accounting.cells import class_key
from hybrid_lmu.conversion.graph import as_functional, copy_layer, describe, rebuild
from hybrid_lmu.conversion.hybrid_rules import copy_lmu, non_spiking
from hybrid_lmu.traversal import freeze

_LMU = ("hybrid_lmu", "HybridLMU")
# Options that `keras_lmu.LMU` has not, with the value that does without them.
_WITHOUT = dict(memory_dropout=0, return_last=None, return_state=False, go_backwards=False,
                stateful=False, unroll=False, zero_output_for_mask=False)  # fmt: skip


def to_keras_lmu(model):
    """Put the `HybridLMU` layers of a non-spiking model into ``keras_lmu.LMU``, with their weights.

    The way back from `to_hybrid`, and a check of it: the outputs are the same, but for the rounding
    of keras-lmu in float32, which grows with the order (at 256, 6e-4 of the largest value). Other
    layers stay what they are. Needs the TensorFlow backend and keras-lmu.

    Args:
        model: Sequential or functional, built, without models inside it.

    Returns:
        a functional model, not compiled.

    Raises:
        ValueError: if an LMU has a resolution or an option that keras-lmu has not, or if there is
            no `HybridLMU` at all.
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
            copy_lmu(layer.cell, inner)
        else:
            new.set_weights(layer.get_weights())
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
    given["return_sequences"] = layer.return_sequences
    hidden = cell.hidden_cell
    given["hidden_cell"] = None if hidden is None else copy_layer(hidden)
    return keras_lmu.LMU(**given, name=layer.name, dtype=layer.dtype_policy)


def _without_mask(layer, kwargs):
    if kwargs.get("mask") is not None:
        raise ValueError(f"{describe(layer)} gets a mask; keras_lmu.LMU takes none.")
    return {key: value for key, value in kwargs.items() if key != "mask"}
