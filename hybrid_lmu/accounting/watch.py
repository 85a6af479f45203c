"""Running a cell step by step so that everything its weights meet comes out.

A watcher for a class of cells runs one step, ``watcher(cell, x, states) -> (output, states,
pairs)``, with `x` and `output` as `Signal`s; classes without one run as they are, and their first
state is the recurrent input.
"""

from dataclasses import replace

from keras import ops

from hybrid_lmu.accounting.cells import (
    INSIDE,
    cell_pairs,
    class_key,
    memory_pairs,
)
from hybrid_lmu.accounting.signals import (
    FromInput,
    Meeting,
    Signal,
    coarsest,
    matrix,
    prefixed,
    resolution_of,
)
from hybrid_lmu.memory import legendre


def policies(cell):
    """Return the dtypes that a cell and those inside it compute in."""
    inner = INSIDE.get(class_key(cell), lambda cell: [])(cell)
    own = [cell.dtype_policy.compute_dtype] if hasattr(cell, "dtype_policy") else []
    return own + [dtype for one in inner for dtype in policies(one)]


class WatchedCell:
    """A cell for `keras.layers.RNN` that runs another one and outputs all signals side by side.

    Args:
        cell: the cell.
        integer: whether its input has a resolution (which one, is filled in after the loop).
        dtype: the coarsest that the input went through.

    After a call, `layout` holds ``(Meeting, width)`` for each slice of the output.
    """

    def __init__(self, cell, integer, dtype="float32"):
        self.cell = cell
        self.resolution = FromInput if integer else None
        inner = cell.state_size
        self.inner_size = list(inner) if isinstance(inner, (list, tuple)) else [inner]
        self.output_size = self.width = 1
        self.compute_dtype = cell.compute_dtype
        self.dtypes = [dtype, *policies(cell)]
        self.layout = []

    @property
    def state_size(self):
        return [self.width, *self.inner_size]

    def get_initial_state(self, batch_size=None):
        """Return the initial states of the cell inside."""
        if hasattr(self.cell, "get_initial_state"):
            states = self.cell.get_initial_state(batch_size=batch_size)
            return list(states) if isinstance(states, (list, tuple)) else [states]
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
        states = list(states)[1:]
        output, states, pairs = watch(self.cell, Signal(inputs, self.resolution), states)
        # A state may be wider than the activity it holds: take the coarsest dtype on the way.
        self.layout = [
            (replace(m, dtype=coarsest(x.dtype, inputs.dtype, *self.dtypes)), x.shape[-1])
            for m, x in pairs
        ]
        flat = ops.concatenate([ops.cast(x, "float32") for _, x in pairs], axis=-1)
        return flat, [ops.cast(flat, self.compute_dtype), *states]


def watch(cell, x, states):
    """Run one step of any known cell; return ``(output Signal, new states, pairs)``."""
    rule = WATCHERS.get(class_key(cell))
    if rule is not None:
        return rule(cell, x, states)
    states = list(states) if isinstance(states, (list, tuple)) else [states]
    pairs = cell_pairs(cell, [x], Signal(states[0]))
    output, states = cell(x.tensor, states)
    if hasattr(cell, "activation"):  # a linear memory is no neuron
        pairs.append((Meeting("output", "output"), output))
    return Signal(output), states, pairs


def _watch_stack(cell, x, states):
    new_states, pairs = [], []
    for index, (inner, state) in enumerate(zip(cell.cells, states, strict=True)):
        x, state, inner_pairs = watch(inner, x, state)
        new_states.append(state)
        pairs += prefixed(inner_pairs, f"cell {index}")
    return x, new_states, pairs


def _watch_hybrid(cell, x, states):
    resolution = resolution_of(cell.quantizer)
    pairs = cell_pairs(cell.cell, [x], Signal(states[0], _fed_back(cell)))
    output, states = cell(x.tensor, states)
    return (
        Signal(output, resolution),
        states,
        pairs + [_activity("output", output, resolution, cell.output_state in (None, 0))],
    )


def _activity(name, tensor, resolution, held):
    role = "output" if resolution is None else "activity"
    variable = getattr(resolution, "path", None)
    return Meeting(role, name, resolution, held=held, variable=variable), tensor


def _watch_hybrid_lmu(cell, x, states):
    signals, states = cell.signals(x.tensor, states)
    output, pairs = hybrid_lmu_pairs(cell, x, signals)
    return output, states, pairs


def hybrid_lmu_pairs(cell, x, signals):
    """Return ``(output Signal, pairs)`` from the `HybridLMUCell.signals` of one step or of all.

    Args:
        cell: a `HybridLMUCell`.
        x: its input as a Signal.
        signals: dictionary of tensors [batch, features] or [batch, time, features].
    """
    memory = resolution_of(cell.memory_quantizer)
    hidden = resolution_of(cell.hidden.quantizer)

    pairs = []
    if cell.kernel is not None:
        parts = [Signal(signals["input"], x.resolution, "input")]
        if cell.hidden_to_memory:
            parts.append(Signal(signals["hidden_before"], hidden, "hidden"))
        pairs += matrix("kernel", "input", cell.kernel, parts)
    if cell.memory_to_memory:
        recurrent = Signal(signals["memory_recurrent"], memory)
        pairs += matrix("recurrent_kernel", "recurrent", cell.recurrent_kernel, [recurrent])
    direct = not (cell.use_bias or cell.memory_to_memory) and cell.kernel is None
    pairs += memory_pairs(
        cell.memory.order,
        cell.memory.initial_theta,
        cell.memory.discretizer,
        Signal(signals["memory_before"], memory if cell.memory_feedback != "exact" else None),
        Signal(signals["memory_input"], x.resolution if direct else None),
    )
    if memory is not None:
        held = cell.memory_to_memory or cell.memory_feedback != "exact"
        pairs.append(_activity("memory", signals["memory"], memory, held))
    if cell.hidden_cell is None:
        resolution = None if cell.input_to_hidden else memory
        return Signal(signals["hidden"], resolution), pairs
    parts = [Signal(signals["memory_to_hidden"], memory, "memory")]
    if cell.input_to_hidden:
        parts.append(Signal(signals["input"], x.resolution, "input"))
    h = Signal(signals["hidden_before"], _fed_back(cell.hidden))
    pairs += _hidden(cell_pairs(cell.hidden.cell, parts, h))
    held = cell.hidden.output_state in (None, 0)
    pairs.append(_activity("hidden", signals["hidden"], hidden, held))
    return Signal(signals["hidden"], hidden), pairs


def _fed_back(hybrid):
    """Resolution of the first state of a `HybridCell`."""
    return resolution_of(hybrid.quantizer) if hybrid.output_state in (None, 0) else None


def _hidden(pairs):
    """Name the products of a hidden cell: its input is the memory, not that of the layer."""
    return prefixed(
        [(replace(m, kind="hidden") if m.kind == "input" else m, tensor) for m, tensor in pairs],
        "hidden",
    )


def _watch_keras_lmu(cell, x, states):
    """`keras_lmu.LMUCell`, by its attributes; the states are the memory, then those of the hidden
    cell."""
    states = list(states)
    encoder = [replace(x, label="input")]
    if cell.hidden_to_memory:
        encoder.append(Signal(states[1], label="hidden"))
    u = ops.concatenate([part.tensor for part in encoder], axis=-1)
    pairs = [] if cell.kernel is None else matrix("kernel", "input", cell.kernel, encoder)
    if cell.kernel is not None:
        u = ops.matmul(u, cell.kernel)
    if cell.memory_to_memory:
        recurrent = Signal(states[0])
        pairs += matrix("recurrent_kernel", "recurrent", cell.recurrent_kernel, [recurrent])
        u = u + ops.matmul(states[0], cell.recurrent_kernel)
    if cell.bias is not None:
        u = u + cell.bias
    theta = cell.get_config()["theta"]
    pairs += memory_pairs(cell.order, theta, cell.discretizer, Signal(states[0]), Signal(u))
    output, new_states = cell(x.tensor, states)
    memory = new_states[0]
    if cell.hidden_cell is not None:
        parts = [Signal(memory, label="memory")]
        if cell.input_to_hidden:
            parts.append(replace(x, label="input"))
        pairs += _hidden(cell_pairs(cell.hidden_cell, parts, Signal(states[1])))
        pairs.append((Meeting("output", "hidden"), output))
    return Signal(output), new_states, pairs


class FeedforwardLMU:
    """The step form of `keras_lmu.LMUFeedforward`, which computes its memory by convolution."""

    hidden_to_memory = memory_to_memory = False

    def __init__(self, layer):
        self.layer = layer
        self.kernel, self.bias = layer.kernel, layer.bias
        self.order, self.discretizer = layer.order, layer.discretizer
        self.hidden_cell, self.input_to_hidden = layer.hidden_cell, layer.input_to_hidden
        self.compute_dtype = layer.compute_dtype
        hidden = layer.hidden_cell
        size = [] if hidden is None else getattr(hidden, "state_size", None) or hidden.units
        size = list(size) if isinstance(size, (list, tuple)) else [size]
        self.state_size = [layer.memory_d * layer.order, *size]

    def get_config(self):
        return self.layer.get_config()

    def get_initial_state(self, batch_size=None):
        return [ops.zeros((batch_size, size), self.compute_dtype) for size in self.state_size]

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
            h, hidden_states = self.hidden_cell(h, states[1:])
            return h, [memory, *hidden_states]
        h = self.hidden_cell(h)
        return h, [memory, h]


WATCHERS = {
    ("keras", "StackedRNNCells"): _watch_stack,
    ("hybrid_lmu", "HybridCell"): _watch_hybrid,
    ("hybrid_lmu", "HybridLMUCell"): _watch_hybrid_lmu,
    ("keras_lmu", "LMUCell"): _watch_keras_lmu,
    ("hybrid_lmu", "FeedforwardLMU"): _watch_keras_lmu,
}
