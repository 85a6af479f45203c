"""The LMUs of keras-lmu: how `to_hybrid` converts them, and how weights move between the two.

keras-lmu is imported by the user alone: its import is slow and needs TensorFlow.
"""

from __future__ import annotations

import sys
import warnings

import keras
import numpy as np
from keras import ops

from hybrid_lmu._internal.copies import copy_layer
from hybrid_lmu.cells._inner import output_size, size_for
from hybrid_lmu.conversion._replacement import Replacement
from hybrid_lmu.lmu._cell import HybridLMUCell
from hybrid_lmu.lmu._layer import HybridLMU
from hybrid_lmu.memory import legendre
from hybrid_lmu.memory._discrete_system import DiscreteSystem

# Arguments that have the same name and meaning there and here. Its LMUFeedforward lacks some.
_SAME = ("memory_d", "order", "trainable_theta", "hidden_to_memory", "memory_to_memory",
         "input_to_hidden", "kernel_initializer", "recurrent_initializer", "kernel_regularizer",
         "recurrent_regularizer", "use_bias", "bias_initializer", "bias_regularizer", "dropout",
         "recurrent_dropout", "input_d")  # fmt: skip


def keras_lmu_is_new(hybrid_layer, hybrid_cell) -> bool:
    """Register the classes of keras-lmu if it has been imported since the last call.

    Args:
        hybrid_layer, hybrid_cell: the dispatching functions to register the classes with.

    Returns:
        whether the classes were registered by this call.
    """
    keras_lmu = sys.modules.get("keras_lmu")
    if keras_lmu is None:
        return False
    classes = (
        (hybrid_layer, keras_lmu.LMU, _layer_of_keras_lmu),
        (hybrid_layer, keras_lmu.LMUFeedforward, _layer_of_keras_lmu),
        (hybrid_cell, keras_lmu.LMUCell, _cell_of_keras_lmu),
    )
    new = [one for one in classes if one[1] not in one[0].registry]
    for dispatch, one, implementation in new:
        dispatch.register(one, implementation)
    return bool(new)


def _layer_of_keras_lmu(layer, build):
    new = HybridLMU(
        **_arguments(layer, build),
        return_sequences=layer.return_sequences,
        name=layer.name,
        dtype=layer.dtype_policy,
    )
    source = _inside(layer)
    if getattr(source, "conv_mode", None) == "raw" and source.truncate_ir is not None:
        warnings.warn(
            f"{layer.name!r} truncates its impulse response (conv_mode='raw', "
            f"truncate_ir={source.truncate_ir}, {source.impulse_response.shape[0]} steps kept). "
            "HybridLMU does not: its memory is the more exact one, and its outputs differ by about "
            "what was cut off.",
            stacklevel=2,
        )
    # keras-lmu ignores masks.
    return Replacement((new,), lambda new: copy_lmu(source, new.cell), takes_mask=False)


def _cell_of_keras_lmu(cell, build):
    new = HybridLMUCell(**_arguments(cell, build), name="lmu_cell", dtype=cell.dtype_policy)
    return Replacement((new,), lambda new: copy_lmu(cell, new))


def _inside(layer):
    """Return the cell, or LMUFeedforward, that a layer of keras-lmu computes with."""
    inner = getattr(layer, "layer", layer)  # an LMU is a layer around one or the other
    return inner.cell if isinstance(inner, keras.layers.RNN) else inner


def _arguments(layer, build):
    """Return the arguments of a `HybridLMU`, or its cell, for a layer or cell of keras-lmu."""
    hidden = layer.hidden_cell
    given = {name: getattr(layer, name) for name in _SAME if hasattr(layer, name)}
    given["hidden_cell"] = None if hidden is None else copy_layer(hidden)
    given["theta"] = float(ops.convert_to_numpy(layer.theta))
    given["discretizer"] = discretizer_of(layer)
    if isinstance(given["discretizer"], DiscreteSystem):
        given["trainable_theta"] = False  # the matrices are those of the present theta
    kernel, memory_size = _inside(layer).kernel, layer.memory_d * layer.order
    input_d = layer.memory_d if kernel is None else kernel.shape[0]
    if hidden is None and layer.input_to_hidden:
        given["input_d"] = input_d
    size = None if hidden is None else output_size(hidden)
    if hidden is not None and size is None:
        size = size_for(hidden, (None, memory_size + (input_d if layer.input_to_hidden else 0)))
    given.update(build.lmu_quantizers(layer, memory_size, size))
    return given


def discretizer_of(layer):
    """Return the `discretizer` of a built layer or cell of keras-lmu.

    Where keras-lmu computes its matrices once and in float32, the result is a `DiscreteSystem` of
    these matrices. So it is for a theta that is too small for Euler's rule to be stable, which
    keras-lmu takes; the window is trained no more then.
    """
    if layer.discretizer == "euler":
        theta = float(ops.convert_to_numpy(layer.theta))
        if theta < legendre.smallest_euler_theta(layer.order):
            return DiscreteSystem(*legendre.discretize(layer.order, theta, "euler"))
    if layer.discretizer != "zoh" or getattr(layer, "trainable_theta", False):
        return layer.discretizer
    inner = getattr(layer, "layer", layer)
    inner = getattr(inner, "delay_layer", inner)  # of LMUFeedforward
    cell = inner.cell if isinstance(inner, keras.layers.RNN) else inner
    if keras.backend.standardize_dtype(cell.A.dtype) != "float32":
        return layer.discretizer
    return DiscreteSystem(np.transpose(cell.A), np.reshape(cell.B, -1))


def non_spiking(cell: HybridLMUCell) -> bool:
    """Return whether no quantizer of the cell has a resolution."""
    return not (cell.memory_quantizer.spiking or cell.hidden.quantizer.spiking)


def copy_lmu(source, target) -> None:
    """Copy the weights of an LMU's cell, or of keras-lmu's `LMUFeedforward`, to another one."""
    for name in ("kernel", "recurrent_kernel", "bias"):
        if getattr(source, name, None) is not None:
            getattr(target, name).assign(ops.convert_to_numpy(getattr(source, name)))
    if source.hidden_cell is not None:
        target.hidden_cell.set_weights(source.hidden_cell.get_weights())
    theirs, ours = (getattr(cell, "memory", cell) for cell in (source, target))
    if getattr(theirs, "trainable_theta", False) and ours.theta_inv is not None:
        ours.theta_inv.assign(ops.convert_to_numpy(theirs.theta_inv))
