"""The parts of a `HybridLMUCell`, made from its arguments: quantizers, hidden cell, dropout."""

from __future__ import annotations

from typing import Any

import keras

from hybrid_lmu._internal.checks import check_no_hidden_cell, check_no_other, check_rate
from hybrid_lmu._internal.dropout import SequenceDropout
from hybrid_lmu.cells._hybrid_cell import HybridCell
from hybrid_lmu.cells._inner import check_inner
from hybrid_lmu.quantizers._sigma_delta import SigmaDeltaQuantizer
from hybrid_lmu.quantizers.contract import check_quantizer, own_quantizer

# Dropout has a seed of its own. With the seed of the diffusion errors, a unit would be dropped
# depending on its diffusion error.
_SEED_OF_DROPOUT = 1_000_003


def check_quantizers(
    memory_quantizer: Any, memory_resolution: Any, hidden_quantizer: Any, hidden_resolution: Any
) -> list[str]:
    """Return the parts ("memory", "hidden") whose quantizer is given.

    Raises:
        ValueError: if a quantizer is none, or is given together with a resolution for its part.
    """
    check_quantizer("memory_quantizer", memory_quantizer)
    check_quantizer("hidden_quantizer", hidden_quantizer)
    check_no_other(
        "memory_quantizer", memory_quantizer, memory_resolution=(memory_resolution, None)
    )
    check_no_other(
        "hidden_quantizer", hidden_quantizer, hidden_resolution=(hidden_resolution, None)
    )
    quantizers = {"memory": memory_quantizer, "hidden": hidden_quantizer}
    return [name for name, quantizer in quantizers.items() if quantizer is not None]


def make_memory_quantizer(quantizer, resolution, initial_error, seed) -> keras.layers.Layer:
    """Return the quantizer of the memory: the given one, or a sigma-delta quantizer."""
    return own_quantizer("memory_quantizer", quantizer) or SigmaDeltaQuantizer(
        resolution=resolution,
        initial_error=initial_error,
        seed=seed,
        dtype="float32",
        name="memory_quantizer",
    )


def make_hidden(hidden_cell, quantizer, resolution, initial_error, seed, dtype) -> HybridCell:
    """Return the hidden cell with its quantizer.

    Args:
        hidden_cell: the cell or layer.
        quantizer: the given quantizer, or None.
        resolution: the resolution if no quantizer is given.
        initial_error: the initial diffusion errors if no quantizer is given.
        seed: the seed of the LMU; an integer or None.
        dtype: the compute dtype.
    """
    check_inner(hidden_cell, "hidden_cell")
    if quantizer is None:
        # Memory and hidden cell draw different diffusion errors.
        own_seed = None if seed is None else seed + 1
        options = {"resolution": resolution, "initial_error": initial_error, "seed": own_seed}
    else:
        options = {"quantizer": quantizer}
    hidden = HybridCell(hidden_cell, **options, dtype=dtype, name="hidden")
    hidden.names_of_parts["quantizer"] = "hidden_quantizer"
    return hidden


def make_pass_on(memory_size, hidden_to_memory, quantized, input_to_hidden, input_d) -> PassOn:
    """Return what stands for the hidden cell of an LMU that has none.

    Args:
        memory_size: size of the memory.
        hidden_to_memory: must be False.
        quantized: the resolution or quantizer of the hidden cell; must be None.
        input_to_hidden: whether ``x_t`` is part of the output.
        input_d: size of ``x_t``; None if it is not known yet.

    Raises:
        ValueError: for arguments that an LMU without a hidden cell cannot have.
    """
    check_no_hidden_cell(hidden_to_memory, quantized)
    size = memory_size + (input_d or 0) if input_to_hidden else memory_size
    known = input_d is not None or not input_to_hidden
    return PassOn(size if known else None, name="memory_output")


def make_dropout(seed: int | None, **rates: float) -> tuple[Any, list[SequenceDropout]]:
    """Return the generator of random numbers (None if all rates are 0) and a dropout per rate.

    Args:
        seed: the seed of the LMU; an integer or None.
        **rates: the rates by the names of their arguments, each in [0, 1).

    Raises:
        ValueError: if a rate is not in [0, 1).
    """
    checked = [check_rate(name, rate) for name, rate in rates.items()]
    drawn = None if seed is None else seed + _SEED_OF_DROPOUT
    generator = keras.random.SeedGenerator(drawn) if any(checked) else None
    return generator, [SequenceDropout(rate, generator) for rate in checked]


@keras.saving.register_keras_serializable(package="hybrid_lmu", name="_PassOn")
class PassOn(keras.layers.Layer):
    """The hidden cell of an LMU that has none: it passes its input on."""

    def __init__(self, units: int | None, **kwargs: Any):
        super().__init__(**kwargs)
        self.units = units

    def call(self, inputs):
        return inputs

    def compute_output_shape(self, input_shape):
        return input_shape
