"""What a recording is made of: tensors with their resolution, and their meetings with weights."""

from dataclasses import dataclass, replace
from typing import Any

import keras

EPSILON = {"float16": 2.0**-10, "bfloat16": 2.0**-7, "float32": 2.0**-23, "float64": 2.0**-52}


@dataclass(frozen=True)
class Signal:
    """A tensor ``y`` and the resolution ``w`` that makes ``n = y * w`` an integer.

    `resolution` broadcasts against the tensor; None: real numbers (or not known to be integers).
    `label` names the part that the tensor is of an input made of several; `dtype` is the coarsest
    that the values went through, if not that of the tensor.
    """

    tensor: Any
    resolution: Any = None
    label: str | None = None
    dtype: str = "float32"


@dataclass(frozen=True)
class Meeting:
    """A tensor worth counting; nothing here depends on data, except the tensor (absent at first).

    `role` is ``"product"`` (the input of a weight tensor), ``"activity"`` (quantized, its counts
    get statistics), ``"output"`` (real, only its zeros are counted) or ``"gates"`` (`weight` is the
    number of products of two activations per step). `dtype` is that of the tensor when it was
    made: the grid of integers is as fine as that. An activity is `held` if it is also a state, and
    `variable` is the path of the one that holds its resolution; a `raw` product has an input of the
    model as input.

    For a product: `kind` is ``input | hidden | recurrent | memory``; `weight` the variable or array
    of shape [inputs, outputs], or a function that returns the array after the run; `rows` and
    `columns` are the part of it that meets this signal. A signal wider than the rows holds several
    inputs side by side, each of them multiplied (the memories of an LMU share A and B). `constant`
    weights are not variables of the model, but are stored. Low-bit weights have `weight_bits` and
    are integer codes; None: float32. `structured` is the number of operations
    per step of another form of the same product, if there is one.
    """

    role: str
    name: str
    resolution: Any = None
    kind: str | None = None
    weight: Any = None
    rows: tuple = (None, None)
    columns: tuple = (None, None)
    constant: bool = False
    structured: int | None = None
    dtype: str = "float32"
    held: bool = False
    variable: str | None = None
    raw: bool = False
    weight_bits: int | None = None

    def block(self, weight):
        """Return the part of the weight that meets the signal."""
        return weight[slice(*self.rows), slice(*self.columns)]


def coarsest(*dtypes):
    """Return the floating dtype with the largest rounding error, as a string."""
    names = [keras.backend.standardize_dtype(dtype) for dtype in dtypes]
    return max(names, key=lambda name: EPSILON.get(name, 0.0))


class FromInput:
    """Resolution of a signal that is the input of a loop over time: filled in after the loop."""


class Learned:
    """Resolution that a quantizer has learned: a tensor, so it is computed after the loop."""

    def __init__(self, quantizer):
        self.quantizer = quantizer
        self.path = quantizer.resolution_variable.path


def resolution_of(quantizer):
    """The variable of a quantizer's resolution, `Learned`, or None if it is non-spiking."""
    return quantizer.resolution_variable if quantizer.log_factor is None else Learned(quantizer)


class Raw:
    """Resolution of an input of the model: 1 if it turns out to be integers, of at most 15, in all
    of the data, else none."""


def matrix(name, kind, weight, parts, columns=(None, None)):
    """Pair each `Signal` of `parts` (one after another the input of `weight`) with its rows.

    Returns:
        a list of ``(Meeting, tensor)``.
    """
    pairs, start = [], 0
    for part in parts:
        stop = start + part.tensor.shape[-1]
        label = name if len(parts) == 1 else f"{name} ({part.label})"
        meeting = Meeting(
            "product",
            label,
            part.resolution,
            kind,
            weight,
            rows=(start, stop),
            columns=columns,
            dtype=part.dtype,
        )
        pairs.append((meeting, part.tensor))
        start = stop
    return pairs


def prefixed(pairs, prefix):
    """Return the pairs with `prefix` and a space before the names of the meetings."""
    return [(replace(meeting, name=f"{prefix} {meeting.name}"), x) for meeting, x in pairs]
