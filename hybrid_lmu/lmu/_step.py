"""One step of a `HybridLMUCell`."""

from collections.abc import Sequence
from typing import Any

from keras import ops

from hybrid_lmu.cells._inner import is_stack


def run_step(cell, inputs, states: Sequence, training: bool = False) -> tuple[dict[str, Any], list]:
    """Return ``(signals, states)`` of one step; see `HybridLMUCell.signals`."""
    hidden_states, state = cell.split_states(states)
    h, memory = hidden_states[0], state["memory"]
    dtype = cell.dtype_policy.compute_dtype
    u = inputs = ops.cast(inputs, dtype)
    signals = {"input": inputs, "hidden_before": h}
    if cell.hidden_to_memory:
        u = ops.concatenate([u, ops.cast(h, dtype)], axis=-1)
    u = encode(cell, u, training)
    if cell.memory_to_memory:
        q = cell.drop_recurrent(state.get("memory_output", memory), training)
        signals["memory_recurrent"] = q
        u = u + ops.matmul(ops.cast(q, dtype), ops.cast(cell.recurrent_kernel, dtype))
    signals["memory_input"] = u
    feedback = cell.memory_feedback if cell.feeds_back_counts else "exact"
    met = state["memory_output"] if feedback == "integrated" else memory
    signals["memory_before"] = met
    m = cell.memory.advance(memory, met, u, feedback)
    if feedback == "integrated":
        m = cell.memory_quantizer.saturated(m)  # or what q lacks would add up without bound
    q, error = cell.memory_quantizer.step(m, state.get("memory_error"))
    new = {
        "memory": q if feedback == "quantized" else m,
        "memory_output": q,
        "memory_error": error,
    }
    signals["memory"] = q
    signals["memory_to_hidden"] = q = cell.drop_memory(ops.cast(q, dtype), training)
    x = hidden_input(cell, q, inputs)
    if is_stack(cell.hidden.cell) and not training:  # a report wants what is between its cells
        inner, hidden_states = cell.hidden.signals(x, hidden_states)
        output = inner.pop("output")
        signals |= {name: value for name, value in inner.items() if name not in signals}
    else:
        output, hidden_states = cell.hidden(x, hidden_states, training=training)
    signals["hidden"] = output
    return signals, hidden_states + [new[name] for name in cell.memory_states]


def complete_states(cell, states: Sequence) -> list:
    """Return all states of a cell, given all of them or its `source_states`."""
    states, count = list(states), len(cell.hidden.source_states)
    if len(states) != count + 1 or len(states) == len(cell.state_size):
        return states
    hidden, m = cell.hidden.complete_states(states[:count]), states[count]
    if not cell.memory_quantizer.spiking:
        return [*hidden, m]
    _, start = cell.split_states(cell.get_initial_state(ops.shape(m)[0]))
    q, error = cell.memory_quantizer.step(m, start["memory_error"])
    memory = q if cell.memory_feedback == "quantized" else m
    new = {"memory": memory, "memory_output": q, "memory_error": error}
    return hidden + [ops.cast(new[name], cell.compute_dtype) for name in cell.memory_states]


def encode(cell, x, training: bool):
    """Return ``kernel x + bias``, for inputs of any rank."""
    if cell.kernel is not None:
        x = cell.drop_input(x, training)
        x = ops.matmul(x, ops.cast(cell.kernel, x.dtype))
    return x if cell.bias is None else x + ops.cast(cell.bias, x.dtype)


def hidden_input(cell, q, inputs):
    """Return the input of the hidden cell: ``[q_t, x_t]`` or ``q_t``."""
    return ops.concatenate([q, inputs], axis=-1) if cell.input_to_hidden else q
