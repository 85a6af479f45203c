"""What the weights of a recurrent layer meet: in a loop over its steps, or in one parallel run."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from hybrid_lmu._internal.masks import Compacted
from hybrid_lmu._internal.traversal import all_layers
from hybrid_lmu.accounting._items import Tape
from hybrid_lmu.cells._products import cell_products, cell_signals
from hybrid_lmu.cells.contract import Product, Products, as_list
from hybrid_lmu.codes import Code, coarsest, is_known, rank


def record_loop(
    cell: Any, x: Code, tape: Tape, initial_state: Any, *, go_backwards=False, prefix="", last=None
) -> Any:
    """Run a cell once more over its inputs and put what its weights meet on the tape.

    The loop only collects tensors; they are counted after it.

    Args:
        cell: a recurrent cell.
        x: its input, [batch, time, features], with its mask.
        tape: the `Tape`.
        initial_state: the states before the first step; None for those of the cell.
        go_backwards: whether the cell reads the last step first.
        prefix: put before the name of each item.
        last: number of last steps whose output is read; None for all.

    Returns:
        the resolution of the output.
    """
    products = cell_products(cell)
    loop = _SignalsCell(cell, products, coarsest(x.dtype, *_dtypes(cell)))
    rnn = keras.layers.RNN(
        loop, return_sequences=True, go_backwards=go_backwards, dtype="float32", autocast=False
    )
    if initial_state is None:
        initial_state = loop.get_initial_state(batch_size=ops.shape(x.tensor)[0])
    states = loop.prepare(x.tensor, as_list(initial_state))
    every = rnn(x.tensor, initial_state=states, mask=x.mask)
    signals, start = {}, 0
    for name, width in loop.widths.items():
        signals[name] = every[..., start : start + width]
        start += width
    # A state may be wider than the activity that it holds: take the coarsest dtype on the way.
    code = Code(x.tensor, _flipped(x.resolution, x.tensor, go_backwards), None, loop.dtype)
    mask = ops.flip(x.mask, axis=1) if go_backwards and x.mask is not None else x.mask
    return _declared(products, signals, code, mask, loop.inner_size, tape, prefix, last)


def record_sequence(layer: Any, call: Any, tape: Tape) -> Any:
    """Put what the weights of a `HybridLMU` meet on the tape, from one run over all its steps.

    The run starts from the states from which the call of the layer has started, so that its counts
    are those of the layer. Where the layer has computed its last steps alone, it starts anew.

    Returns:
        the resolution of the output; NotImplemented if the cell has to be run step by step.
    """
    cell, x = layer.cell, call.x.tensor
    plan = layer.plan(x.shape, mask=call.mask is not None, initial_state=_given(call))
    if not plan.takes_sequences:
        return NotImplemented
    resolution = _flipped(call.x.resolution, x, layer.go_backwards)
    if layer.go_backwards:
        x = ops.flip(x, axis=1)
    mask = call.mask
    if mask is not None:
        steps = Compacted(ops.flip(mask, axis=1) if layer.go_backwards else mask)
        x, mask = steps.take(x), steps.valid
    after = [(variable, ops.copy(variable)) for variable, _ in call.seeds or []]
    if not plan.takes_last_steps:
        for variable, value in call.seeds or []:
            variable.assign(value)
    states = call.initial_state
    if states is None:
        states = cell.get_initial_state(ops.shape(x)[0])
    signals = cell.sequence_signals(x, cell.complete_states(as_list(states)))
    if not plan.takes_last_steps or signals is None:
        for variable, value in after:
            variable.assign(value)
    if signals is None:
        return NotImplemented
    dtype = coarsest(call.x.dtype, *_dtypes(cell))
    code = Code(x, resolution, None, dtype)
    return _declared(
        cell.products(), signals, code, mask, cell.state_size, tape, "", steps_that_are_read(layer)
    )


def _declared(products, signals, code, mask, state_size, tape, prefix, last):
    tape.sequence(code.tensor)
    tape.state(sum(keras.tree.flatten(state_size)))
    resolution = tape.declared(products, signals, code, mask, prefix, last)
    return ops.convert_to_tensor(resolution) if is_known(resolution) else None


def steps_that_are_read(layer: Any) -> int | None:
    """Return the number of last steps whose output a recurrent layer returns; None for all."""
    last = getattr(layer, "return_last", None)
    return last or (None if layer.return_sequences else 1)


def _given(call):
    return (call.kwargs or {}).get("initial_state") is not None


def _flipped(resolution, x, go_backwards):
    """Return a resolution in the order in which the steps are read."""
    each = go_backwards and is_known(resolution) and rank(resolution) == len(x.shape)
    return ops.flip(resolution, axis=1) if each else resolution


def _dtypes(cell):
    """Return the dtypes that a cell and the layers inside it compute in."""
    within = all_layers(cell) if isinstance(cell, keras.layers.Layer) else [cell]
    return [one.dtype_policy.compute_dtype for one in within if hasattr(one, "dtype_policy")]


class _SignalsCell:
    """A cell for `keras.layers.RNN` that runs another one and puts out its signals side by side.

    Args:
        cell: the cell.
        products: what it declares; the signals in it are put out.
        dtype: the coarsest dtype on the way of the inputs.

    Attributes:
        widths: ``{name of the signal: width}`` in the order of the output.
        dtype: the coarsest dtype of all signals too.
    """

    def __init__(self, cell: Any, products: Products, dtype: str):
        self.cell, self.dtype = cell, dtype
        self.signals = {signal.name: signal for signal in _all_signals(products)}
        inner = cell.state_size
        self.inner_size = list(inner) if isinstance(inner, (list, tuple)) else [inner]
        self.output_size = self.width = 1
        self.compute_dtype = cell.compute_dtype
        self.widths: dict[str, int] = {}

    @property
    def state_size(self):
        return [self.width, *self.inner_size]

    def get_initial_state(self, batch_size=None):
        """Return the initial states of the cell inside."""
        if hasattr(self.cell, "get_initial_state"):
            return as_list(self.cell.get_initial_state(batch_size=batch_size))
        return [ops.zeros((batch_size, size), self.compute_dtype) for size in self.inner_size]

    def prepare(self, x, states):
        """Run one step to learn the width of the output; return all states to start from.

        Keras takes the first state for the output before the first step if there is a mask.
        """
        output, _ = self.call(x[:, 0], [None, *states])
        self.width = self.output_size = output.shape[-1]
        return [ops.zeros_like(output), *states]

    def __call__(self, inputs, states):
        return self.call(inputs, states)

    def call(self, inputs, states):
        signals, after = cell_signals(self.cell, inputs, list(states)[1:])
        values = {name: signal.value(signals) for name, signal in self.signals.items()}
        self.dtype = coarsest(self.dtype, inputs.dtype, *(x.dtype for x in values.values()))
        self.widths = {name: x.shape[-1] for name, x in values.items()}
        flat = ops.concatenate([ops.cast(x, "float32") for x in values.values()], axis=-1)
        return flat, [ops.cast(flat, self.compute_dtype), *after]


def _all_signals(products):
    for item in products.items:
        yield from item.inputs if isinstance(item, Product) else (item.signal,)
