"""Bytes of a model: as stored, and as few as its values need."""

import keras
import numpy as np

from hybrid_lmu.weights._models import quantized_layers

_LARGEST_CODEBOOK = 256


def tensor_bytes(array):
    """Return ``(stored, packed)`` bytes of one weight tensor.

    Packed: if the tensor holds at most 256 different values, ``b = ceil(log2(values))`` bits per
    entry (at least 1) and a table of the values; else, or if that is larger, as stored. So weights
    of a binary layer take one bit each, ternary ones two, without the layer having to say so.
    """
    values = np.unique(array)
    stored = array.nbytes
    if not 1 <= len(values) <= _LARGEST_CODEBOOK:
        return stored, stored
    bits = max(1, int(np.ceil(np.log2(len(values)))))
    packed = -(-array.size * bits // 8) + values.nbytes
    return stored, min(stored, packed)


def low_bit_bytes(layers):
    """Return ``{id: packed bytes}`` of the latent kernels and of the variables of their rules."""
    packed = {}
    for layer in layers:
        for kernel, rule in layer.quantized():
            packed.update({id(variable): 0 for variable in rule.weights})
            packed[id(kernel)] = rule.packed(kernel).bytes
    return packed


def _is_copied(layer, copy):
    return all(copy.of(kernel) is not kernel for kernel, _ in layer.quantized())


def _weight_bytes(weight, packed):
    stored, smallest = tensor_bytes(keras.ops.convert_to_numpy(weight))
    return stored, packed.get(id(weight), smallest)


def footprint(model, copy, constants, state_entries, activities):
    """Return the ``footprint`` entry of a report.

    Args:
        model: the model; all of its weights count, non-trainable ones too. Low-bit kernels are
            packed as their codes and scales; what else their rules hold only serves training.
        copy: the `ModelCopy` of it; its weights stand for those of the model, which another thread
            may be using.
        constants: arrays that are no variables but are stored (A and B of an LMU), as float32.
        state_entries: numbers kept from step to step, per sample, as float32.
        activities: rows of the quantized activities held as recurrent states: packed, they take
            their provisioned bits.
    """
    copied = [one for layer in copy.layers for one in quantized_layers(layer)]
    rest = [one for one in quantized_layers(model) if not _is_copied(one, copy)]
    packed = low_bit_bytes([*copied, *rest])
    pairs = [_weight_bytes(copy.of(weight), packed) for weight in model.weights]
    pairs += [tensor_bytes(np.asarray(array, dtype="float32")) for array in constants]
    state = 4 * state_entries
    saved = sum(row["neurons"] * (32 - min(32, row["provisioned_bits"])) for row in activities) // 8
    return {
        "stored_bytes": int(sum(stored for stored, _ in pairs)),
        "packed_bytes": int(sum(packed for _, packed in pairs)),
        "parameters": int(model.count_params()),
        "state_bytes": int(state),
        "packed_state_bytes": int(state - saved),
    }
