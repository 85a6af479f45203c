"""The contract of a cell: how a step runs, how a sequence runs, and which products it makes.

A cell computes one step of a recurrent network. `keras.layers.RNN` and `HybridRNN` run it over
time. This file says what a cell of this package has beyond a cell of Keras, so that a cell of your
own works everywhere: in training, saving, reports, conversion and deployment.

A cell says what it computes in two ways that must agree:

- `Cell.call` computes one step, ``(inputs, states) -> (output, states)``.
- `Cell.products` declares the same step as data: which signals meet which weights. It runs nothing.
  Reports count the products, and deployment writes them as code, from this declaration alone.

A **signal** is a tensor inside a step that meets a weight or leaves the cell. It has a name and,
if its numbers are counts, a resolution. `Cell.signals` runs one step and returns the tensors by
these names.

Example: a cell with two weights and a quantized output.

    class Leaky(Cell):
        def call(self, inputs, states, training=False):
            h = ops.matmul(inputs, self.kernel) + ops.matmul(states[0], self.recurrent_kernel)
            y, error = self.quantizer.step(h, states[1])
            return y, [y, error]

        def products(self, inputs=(INPUT,)):
            output = Signal("output", self.quantizer)
            return Products(
                (
                    Product("kernel", "input", self.kernel, inputs),
                    Product("recurrent_kernel", "recurrent", self.recurrent_kernel,
                            (Signal("state_0", self.quantizer),)),
                    Activity("output", output, held=True),
                ),
                output,
            )
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
from keras import ops

from hybrid_lmu._internal.keras_compat import DropoutRNNCell

_HALF = ("float16", "bfloat16")


@dataclass(frozen=True)
class Signal:
    """A tensor inside a step, [batch, size], or [batch, time, size] over a whole sequence.

    Attributes:
        name: key of the tensor in the dictionary that `Cell.signals` returns.
        resolution: what makes the tensor integer: ``tensor * resolution`` is a count. A
            `hybrid_lmu.quantizers.Quantizer` (its present resolution), a number (1.0 for spikes),
            or None for real numbers. Default None.
        from_input: True for (a part of) the input of the cell; the resolution is then that of the
            layer before, and `resolution` is None. Default False.
        compute: a function that computes the tensor from the dictionary of the other signals, for
            a signal that `Cell.signals` does not return, or None. Default None.
        label: a word that tells this part from others where several signals together are the
            input of one weight, as in ``kernel (hidden)``. Default None.
    """

    name: str
    resolution: Any = None
    from_input: bool = False
    compute: Callable[[Mapping[str, Any]], Any] | None = None
    label: str | None = None

    @property
    def quantizer(self):
        """The quantizer that the resolution belongs to; None if there is none."""
        return self.resolution if isinstance(self.resolution, keras.layers.Layer) else None

    def value(self, signals: Mapping[str, Any]):
        """Return the tensor, from the dictionary that `Cell.signals` returns."""
        return signals[self.name] if self.compute is None else self.compute(signals)


INPUT = Signal("input", from_input=True, label="input")


@dataclass(frozen=True)
class Product:
    """Signals that meet a weight: ``concatenate(inputs) @ weight``, once in a step.

    Attributes:
        name: name in reports, such as ``"kernel"``.
        kind: ``"input"``, ``"hidden"``, ``"recurrent"`` or ``"memory"``.
        weight: variable or NumPy array, [inputs, outputs]. If the inputs are a multiple of its
            rows, each group of that many inputs meets the weight (the memories of an LMU share A).
        inputs: the signals, one after another.
        columns: ``(start, stop)`` of the columns of the weight that are used. Default all.
        constant: True if the weight is not a variable of the model, but has to be stored. Default
            False.
        structured: number of additions and multiplications of one step of a cheaper form of the
            same product, or None.
        when_read: True if only the output of the same step needs the product, so that a network
            whose output is read once makes it once. Default False.
    """

    name: str
    kind: str
    weight: Any
    inputs: tuple[Signal, ...]
    columns: tuple[int | None, int | None] = (None, None)
    constant: bool = False
    structured: int | None = None
    when_read: bool = False


@dataclass(frozen=True)
class Activity:
    """What a neuron puts out: counts get statistics in reports; of real numbers zeros are counted.

    Attributes:
        name: name in reports.
        signal: the output.
        held: True if the output is also kept as a state. Default False.
        when_read: as for a `Product`. Default False.
    """

    name: str
    signal: Signal
    held: bool = False
    when_read: bool = False


@dataclass(frozen=True)
class Gates:
    """Products of two activations, as in the gates of an LSTM.

    Attributes:
        name: name in reports.
        signal: a signal of one number per unit and step; it tells the number of steps.
        count: number of such products in one step of one sample.
    """

    name: str
    signal: Signal
    count: int


@dataclass(frozen=True)
class Products:
    """All that one step of a cell makes.

    Attributes:
        items: `Product`, `Activity` and `Gates`, in the order of computation.
        output: the signal that leaves the cell.
    """

    items: tuple[Product | Activity | Gates, ...]
    output: Signal

    def prefixed(self, prefix: str) -> Products:
        """Return the same with ``prefix`` and a space before the name of each item."""
        items = (replace(item, name=f"{prefix} {item.name}") for item in self.items)
        return replace(self, items=tuple(items))

    def when_read(self) -> Products:
        """Return the same, made only at steps whose output is read."""
        items = (
            item if isinstance(item, Gates) else replace(item, when_read=True)
            for item in self.items
        )
        return replace(self, items=tuple(items))

    def map_signals(self, change: Callable[[Signal], Signal]) -> Products:
        """Return the same with ``change(signal)`` in place of each signal."""
        items = []
        for item in self.items:
            if isinstance(item, Product):
                items.append(replace(item, inputs=tuple(change(part) for part in item.inputs)))
            else:
                items.append(replace(item, signal=change(item.signal)))
        return Products(tuple(items), change(self.output))


class Cell(DropoutRNNCell, keras.layers.Layer):
    """Base of the cells of this package; its states are float32 under mixed precision.

    A subclass has what a cell of Keras has (`state_size`, `output_size`, `call`) and `products`.
    It may have more:

    - `sequence`, with `takes_sequences` True: all steps at once, or a loop of its own.
    - `signals`, if other tensors than input, states and output meet weights.
    - `sequence_signals`, if these can be had for all steps without a loop.

    `keras.layers.RNN` casts states to the compute dtype of the cell when a call starts. A diffusion
    error in half precision would lose counts, and a long memory its content. So `compute_dtype` of
    a cell of this package is the dtype of its *states*: float32 where the dtype policy computes in
    half precision (float64 under a float64 policy). The dtype of inputs, products and outputs is
    ``cell.dtype_policy.compute_dtype``.

    Attributes:
        takes_sequences: whether `sequence` computes a whole sequence better than a loop over
            `call`. Default False.
        needs_gradient_of_loop: whether the backend has to differentiate a loop over time when
            `sequence` is trained. Default False.
    """

    takes_sequences = False
    needs_gradient_of_loop = False

    def __init__(self, **kwargs):
        super().__init__(**{"autocast": False, **kwargs})

    @property
    def compute_dtype(self) -> str:
        return state_dtype(self.dtype_policy)

    def get_initial_state(self, batch_size: int | None = None) -> list:
        """Return the states before the first step: zeros, unless a subclass says otherwise."""
        return zeros(self.state_size, batch_size, self.compute_dtype)

    @property
    def source_states(self) -> tuple[int, ...]:
        """Indices of the states that the cell would have without quantizers."""
        return tuple(range(len(as_list(self.state_size))))

    def complete_states(self, states: Sequence) -> list:
        """Return the states to start from, given all of them or `source_states`.

        Args:
            states: the states before the first step.
        """
        return list(states)

    def sequence(self, inputs, states: Sequence, training: bool = False):
        """Return ``(outputs, states)`` of a whole sequence, what a loop over `call` would give.

        Args:
            inputs: [batch, time, features].
            states: the states before the first step.
            training: as in `call`.
        """
        raise ValueError(
            f"`{type(self).__name__}` has no `sequence`; expected `takes_sequences` to be False, "
            f"received {self.takes_sequences}."
        )

    def products(self, inputs: tuple[Signal, ...] = (INPUT,)) -> Products:
        """Declare the products of one step.

        Args:
            inputs: the signals that together are the input of the cell. Default: the input of the
                layer.
        """
        raise ValueError(
            f"Cell {self.name!r} ({type(self).__name__}) does not say which products it makes; "
            "expected a method `products` (see `hybrid_lmu.cells.contract`)."
        )

    def signals(self, inputs, states: Sequence) -> tuple[dict[str, Any], list]:
        """Run one step and return ``(signals, states)``.

        Args:
            inputs: [batch, features].
            states: the states before the step.

        Returns:
            the tensors by name and the states after the step. The names of this base class are
            ``input``, ``output``, and ``state_0``, ``state_1``, ... for the states before the step.
        """
        before = {f"state_{index}": state for index, state in enumerate(states)}
        output, after = self.call(inputs, states)
        return {"input": inputs, **before, "output": output}, list(after)

    def sequence_signals(self, inputs, states: Sequence) -> dict[str, Any] | None:
        """Return the signals of all steps, [batch, time, size], or None if that needs a loop."""
        return None

    def get_dropout_mask(self, step_input):
        """Draw the masks of the inputs, if there are any and they are not drawn yet."""

    def get_recurrent_dropout_mask(self, step_input):
        """Draw the masks of the recurrent inputs, if there are any and they are not drawn yet."""

    def reset_dropout_mask(self):
        """Forget the masks of the inputs."""

    def reset_recurrent_dropout_mask(self):
        """Forget the masks of the recurrent inputs."""


def resolution_of(quantizer: keras.layers.Layer) -> keras.layers.Layer | None:
    """Return the quantizer as `Signal.resolution`; None if its outputs are real numbers."""
    return quantizer if quantizer.spiking else None


def one_step_before(values, first):
    """Return the values one step earlier, [batch, time, size].

    Args:
        values: [batch, time, size].
        first: the value before the first step, [batch, size].
    """
    first = ops.expand_dims(ops.cast(first, values.dtype), 1)
    return ops.concatenate([first, values[:, :-1]], axis=1)


def state_dtype(policy: keras.DTypePolicy) -> str:
    """Return the dtype of states: float32 where the policy computes in half precision."""
    return "float32" if policy.compute_dtype in _HALF else policy.compute_dtype


def zeros(sizes, batch_size: int | None, dtype: str) -> list:
    """Return a list of zero states of the given sizes, each [batch_size, size]."""
    return [ops.zeros((batch_size, size), dtype=dtype) for size in as_list(sizes)]


def as_list(value) -> list:
    """Return one state or several as a list."""
    return list(value) if isinstance(value, (list, tuple)) else [value]
