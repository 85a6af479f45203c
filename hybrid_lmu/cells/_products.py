"""Which products a cell makes: what cells of this package say, and what is known of Keras's cells.

`cell_products` and `cell_signals` choose by the type of the cell, so that a subclass is treated as
its base class. Further classes are added with ``cell_products.register(SomeCell)``.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import keras
from keras import ops

from hybrid_lmu.cells.contract import (
    INPUT,
    Activity,
    Cell,
    Gates,
    Product,
    Products,
    Signal,
    as_list,
)

# Products of two activations per unit and step: f*c, i*g, o*tanh(c) of an LSTM, and r*h, z*h,
# (1-z)*g of a GRU.
_GATE_PRODUCTS = 3
_STATE = Signal("state_0")
_OUTPUT = Signal("output")
_NOTHING_IN_INFERENCE = (
    keras.layers.Dropout,
    keras.layers.GaussianNoise,
    keras.layers.GaussianDropout,
    keras.layers.AlphaDropout,
    keras.layers.ActivityRegularization,
    keras.layers.Identity,
)


@functools.singledispatch
def cell_products(cell: keras.layers.Layer, inputs: tuple[Signal, ...] = (INPUT,)) -> Products:
    """Return the products of one step of a cell, or of a feed-forward layer inside a cell.

    Args:
        cell: a cell of this package, a recurrent cell of Keras, or a layer.
        inputs: the signals that together are its input. Default: the input of the layer.

    Raises:
        ValueError: for a cell with weights whose products are not known.
    """
    if cell.weights:
        raise ValueError(
            f"The products of cell {cell.name!r} ({type(cell).__name__}), which has weights, are "
            "not known. Give it a method `products` by making it a `hybrid_lmu.cells.Cell`, or "
            f"leave the layer out of the report with `skip=({cell.name!r},)`."
        )
    return Products(_output_of(cell), _OUTPUT)


@cell_products.register
def _(cell: Cell, inputs=(INPUT,)):
    return cell.products(inputs)


@cell_products.register
def _(cell: keras.layers.Dense, inputs=(INPUT,)):
    return Products((_kernel(cell, inputs), *_output_of(cell)), _OUTPUT)


@cell_products.register
def _(cell: keras.layers.SimpleRNNCell, inputs=(INPUT,)):
    return Products((*_two_kernels(cell, inputs), *_output_of(cell)), _OUTPUT)


@cell_products.register
def _(cell: keras.layers.LSTMCell, inputs=(INPUT,)):
    return Products((*_two_kernels(cell, inputs), _gates(cell), *_output_of(cell)), _OUTPUT)


@cell_products.register
def _(cell: keras.layers.GRUCell, inputs=(INPUT,)):
    if cell.reset_after:
        products = _two_kernels(cell, inputs)
    else:
        name, kernel, units = "recurrent_kernel", cell.recurrent_kernel, cell.units
        # The candidate meets r * h, which is a real number even if h is a count.
        gated = Signal("reset * state_0", compute=_gated_state(cell, inputs))
        products = (
            _kernel(cell, inputs),
            Product(f"{name} (z, r)", "recurrent", kernel, (_STATE,), (None, 2 * units)),
            Product(f"{name} (candidate)", "recurrent", kernel, (gated,), (2 * units, None)),
        )
    return Products((*products, _gates(cell), *_output_of(cell)), _OUTPUT)


@cell_products.register
def _(cell: keras.layers.StackedRNNCells, inputs=(INPUT,)):
    items = []
    for index, inner in enumerate(cell.cells):
        products = _in_stack(cell_products(inner, inputs), f"cell {index}", inputs)
        items += products.items
        inputs = (products.output,)
    return Products(tuple(items), inputs[0])


@cell_products.register
def _(cell: keras.layers.EinsumDense, inputs=(INPUT,)):
    given, weight, output = re.split(",|->", cell.equation.replace(" ", "").replace("...", "."))
    if given[-1] + output[-1] != weight:
        raise ValueError(
            f"The products of cell {cell.name!r} (EinsumDense) are known for equations such as "
            f"'ab,bc->ac'; received {cell.equation!r}."
        )
    return Products((_kernel(cell, inputs), *_output_of(cell)), _OUTPUT)


@cell_products.register
def _(cell: keras.Sequential, inputs=(INPUT,)):
    """Between the layers the activity is real."""
    items, before = [], []
    for layer in cell.layers:
        if not isinstance(layer, _NOTHING_IN_INFERENCE):
            met = (_after(before, inputs, f"{layer.name} input"),) if before else inputs
            products = cell_products(layer, met).prefixed(layer.name)
            items += [item for item in products.items if isinstance(item, Product)]
            before = [*before, layer]
    return Products(tuple(items), _OUTPUT)


def _after(layers, inputs, name) -> Signal:
    """Return the activity behind feed-forward layers."""

    def compute(signals):
        x = ops.concatenate([part.value(signals) for part in inputs], axis=-1)
        leading = ops.shape(x)[:-1]
        x = ops.reshape(x, (-1, x.shape[-1]))
        for layer in layers:
            x = layer(x)
        return ops.reshape(x, (*leading, x.shape[-1]))

    return Signal(name, compute=compute)


@functools.singledispatch
def cell_signals(
    cell: keras.layers.Layer, inputs: Any, states: Sequence
) -> tuple[dict[str, Any], list]:
    """Run one step of a cell; return the tensors named in `cell_products`, and the new states.

    Args:
        cell: a recurrent cell, as in `cell_products`.
        inputs: [batch, features].
        states: the states before the step.
    """
    states = as_list(states)
    before = {f"state_{index}": state for index, state in enumerate(states)}
    output, after = cell(inputs, states)
    return {"input": inputs, **before, "output": output}, as_list(after)


@cell_signals.register
def _(cell: Cell, inputs, states):
    return cell.signals(inputs, states)


@cell_signals.register
def _(cell: keras.layers.StackedRNNCells, inputs, states):
    signals, after, output = {"input": inputs}, [], inputs
    for index, (inner, inner_states) in enumerate(zip(cell.cells, states, strict=True)):
        inner_signals, inner_after = cell_signals(inner, output, as_list(inner_states))
        after.append(inner_after)
        signals.update({f"cell {index} {name}": x for name, x in inner_signals.items()})
        output = cell_products(inner).output.value(inner_signals)
    return signals, after


def with_state(products: Products, state: Signal, name: str = _STATE.name) -> Products:
    """Return the products of a cell with the given signal as the state `name`, the first one."""

    def change(signal):
        if signal.name == name:
            return replace(state, label=signal.label)
        if signal.compute is None:
            return signal
        compute = signal.compute
        return replace(signal, compute=lambda s: compute({**s, name: state.value(s)}))

    return products.map_signals(change)


def _in_stack(products: Products, prefix: str, inputs: tuple[Signal, ...]) -> Products:
    """Return the products of one cell of a stack, with its number before each name."""

    def inner(signals: Mapping[str, Any]):
        own = {n.removeprefix(f"{prefix} "): x for n, x in signals.items() if n.startswith(prefix)}
        return {**own, **{part.name: part.value(signals) for part in inputs}}

    def change(signal):
        if any(signal.name == part.name for part in inputs):
            return signal
        compute = signal.compute and (lambda s, compute=signal.compute: compute(inner(s)))
        return replace(signal, name=f"{prefix} {signal.name}", compute=compute)

    return products.map_signals(change).prefixed(prefix)


def _kernel(cell, inputs) -> Product:
    return Product("kernel", "input", cell.kernel, inputs)


def _two_kernels(cell, inputs) -> tuple[Product, Product]:
    recurrent = Product("recurrent_kernel", "recurrent", cell.recurrent_kernel, (_STATE,))
    return _kernel(cell, inputs), recurrent


def _gates(cell) -> Gates:
    return Gates("gates", _STATE, _GATE_PRODUCTS * cell.units)


def _output_of(cell) -> tuple[Activity, ...]:
    """Return the output of a neuron; a cell without an activation is none."""
    return (Activity("output", _OUTPUT),) if hasattr(cell, "activation") else ()


def _gated_state(cell, inputs):
    """Return a function that computes ``r * h`` of a GRU with ``reset_after=False``."""
    reset = slice(cell.units, 2 * cell.units)

    def compute(signals):
        x = ops.concatenate([part.value(signals) for part in inputs], axis=-1)
        state = ops.cast(_STATE.value(signals), x.dtype)
        r = ops.matmul(x, cell.kernel[:, reset])
        r = r + ops.matmul(state, cell.recurrent_kernel[:, reset])
        if cell.use_bias:
            r = r + cell.bias[reset]
        return cell.recurrent_activation(r) * state

    return compute
