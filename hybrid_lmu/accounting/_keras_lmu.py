"""The cells of keras-lmu, by their attributes: which products they make, and one step of them.

Imported only where keras-lmu is.
"""

from __future__ import annotations

from dataclasses import replace

import keras_lmu
from keras import ops

from hybrid_lmu.cells._inner import (
    flat_states,
    is_stack,
    output_size,
    packed_states,
    size_for,
)
from hybrid_lmu.cells._products import cell_products, cell_signals, with_state
from hybrid_lmu.cells.contract import INPUT, Activity, Product, Products, Signal
from hybrid_lmu.memory import legendre


class FeedforwardLMU:
    """The step form of `keras_lmu.LMUFeedforward`, which computes its memory by convolution."""

    hidden_to_memory = memory_to_memory = False

    def __init__(self, layer):
        self.layer = layer
        self.kernel, self.bias = layer.kernel, layer.bias
        self.order, self.discretizer = layer.order, layer.discretizer
        self.hidden_cell, self.input_to_hidden = layer.hidden_cell, layer.input_to_hidden
        self.compute_dtype, self.dtype_policy = layer.compute_dtype, layer.dtype_policy
        hidden, memory_size = layer.hidden_cell, layer.memory_d * layer.order
        if hidden is None:
            sizes = []
        elif hasattr(hidden, "state_size"):
            sizes = flat_states(hidden, hidden.state_size)
        else:
            input_d = layer.memory_d if self.kernel is None else self.kernel.shape[0]
            features = memory_size + (input_d if layer.input_to_hidden else 0)
            sizes = [output_size(hidden) or size_for(hidden, (None, features))]
        self.state_size = [memory_size, *sizes]

    def get_config(self):
        return self.layer.get_config()

    def __call__(self, x, states):
        dtype = self.compute_dtype
        matrices = legendre.discretize(self.order, float(self.layer.theta), self.discretizer)
        a_bar, b_bar = (ops.convert_to_tensor(matrix, dtype=dtype) for matrix in matrices)
        u = x if self.kernel is None else ops.matmul(x, self.kernel)
        u = u if self.bias is None else u + self.bias
        memory = ops.reshape(states[0], (-1, self.layer.memory_d, self.order))
        memory = ops.matmul(memory, ops.transpose(a_bar)) + ops.expand_dims(u, -1) * b_bar
        memory = ops.reshape(memory, ops.shape(states[0]))
        h = ops.concatenate([memory, x], axis=-1) if self.input_to_hidden else memory
        if self.hidden_cell is None:
            return h, [memory]
        if hasattr(self.hidden_cell, "state_size"):
            h, after = self.hidden_cell(h, packed_states(self.hidden_cell, states[1:]))
            return h, [memory, *flat_states(self.hidden_cell, after)]
        h = self.hidden_cell(h)
        return h, [memory, h]


@cell_products.register(keras_lmu.LMUCell)
@cell_products.register(FeedforwardLMU)
def _products(cell, inputs=(INPUT,)):
    memory, hidden = Signal("state_0"), Signal("state_1", label="hidden")
    items = []
    if cell.kernel is not None:
        met = (*inputs, hidden) if cell.hidden_to_memory else inputs
        items.append(Product("kernel", "input", cell.kernel, met))
    if cell.memory_to_memory:
        items.append(Product("recurrent_kernel", "recurrent", cell.recurrent_kernel, (memory,)))
    key = (cell.order, float(cell.get_config()["theta"]), cell.discretizer)
    a_bar, b_bar = legendre.discretize(*key)
    structured = legendre.step_operations(cell.order, cell.discretizer)["structured"]
    u = (Signal("memory_input"),)
    items += [
        Product("memory A", "memory", a_bar.T, (memory,), constant=True, structured=structured),
        Product("memory B", "memory", b_bar[None, :], u, constant=True),
    ]
    if cell.hidden_cell is not None:
        met = (Signal("memory", label="memory"), *(inputs if cell.input_to_hidden else ()))
        inner = cell_products(cell.hidden_cell, met)
        if not is_stack(cell.hidden_cell):
            inner = with_state(inner, hidden)
        inner = inner.prefixed("hidden")
        if not (hasattr(cell.hidden_cell, "state_size") or cell.hidden_to_memory):
            inner = inner.when_read()
        items += [_of_hidden(item) for item in inner.items if not isinstance(item, Activity)]
        items.append(Activity("hidden", Signal("output")))
    return Products(tuple(items), Signal("output"))


def _of_hidden(item):
    inputs = isinstance(item, Product) and item.kind == "input"
    return replace(item, kind="hidden") if inputs else item


@cell_signals.register(keras_lmu.LMUCell)
@cell_signals.register(FeedforwardLMU)
def _signals(cell, inputs, states):
    """The states are the memory, then those of the hidden cell."""
    states = list(states)
    u = ops.concatenate([inputs, states[1]], axis=-1) if cell.hidden_to_memory else inputs
    if cell.kernel is not None:
        u = ops.matmul(u, cell.kernel)
    if cell.memory_to_memory:
        u = u + ops.matmul(states[0], cell.recurrent_kernel)
    if cell.bias is not None:
        u = u + cell.bias
    before = {f"state_{index}": state for index, state in enumerate(states)}
    output, after = cell(inputs, states)
    signals = {"input": inputs, **before, "memory_input": u, "memory": after[0], "output": output}
    if is_stack(cell.hidden_cell):
        met = [after[0], inputs] if cell.input_to_hidden else [after[0]]
        hidden_states = packed_states(cell.hidden_cell, states[1:])
        between, _ = cell_signals(cell.hidden_cell, ops.concatenate(met, -1), hidden_states)
        signals = {**between, **signals}
    return signals, list(after)
