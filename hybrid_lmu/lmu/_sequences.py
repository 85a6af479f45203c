"""Whole sequences of a `HybridLMUCell` whose memory depends on the input alone.

The memory of all steps, or of the last ones, is computed before the hidden cell runs.
"""

from collections.abc import Sequence
from typing import Any

from keras import ops

from hybrid_lmu._internal.masks import zero_masked_steps
from hybrid_lmu.cells.contract import one_step_before
from hybrid_lmu.lmu._feedback import run_with_counts_fed_back
from hybrid_lmu.lmu._step import encode, hidden_input


def sequence_signals(cell, inputs, states: Sequence) -> dict[str, Any] | None:
    """Return the signals of all steps; None if that needs a loop over steps."""
    whole = cell.takes_sequences and cell.hidden.takes_sequences and cell.hidden.feeds_back
    if cell.feeds_back_counts or not whole:
        return None
    hidden_states, state = cell.split_states(states)
    signals, outputs, _ = run_sequence(cell, inputs, states, training=False)
    m = signals.pop("linear_memory")
    return {
        **signals,
        "hidden_before": one_step_before(outputs, hidden_states[0]),
        "memory_before": one_step_before(m, state["memory"]),
        "hidden": outputs,
    }


def run_sequence(cell, inputs, states, training):
    """Return ``(signals, outputs, states)`` of a whole sequence, if `takes_sequences`."""
    hidden_states, state = cell.split_states(states)
    inputs = ops.cast(inputs, cell.dtype_policy.compute_dtype)
    u = encode(cell, inputs, training)
    signals = {"input": inputs, "memory_input": u}
    if cell.feeds_back_counts:
        q, new = _counts_fed_back(cell, u, state, return_sequences=True)
    else:
        m, after = cell.memory.sequence(u, [state["memory"]])
        q, error = cell.memory_quantizer.sequence(m, state.get("memory_error"))
        new = {"memory": after[0], "memory_error": error}
        signals["linear_memory"] = m
    signals["memory"] = q
    signals["memory_to_hidden"] = q = cell.drop_memory(ops.cast(q, inputs.dtype), training)
    x = hidden_input(cell, q, inputs)
    outputs, after = cell.hidden.sequence(x, hidden_states, training)
    return signals, outputs, after + [new[name] for name in cell.memory_states]


def last_step(cell, inputs, states, training: bool = False, valid=None):
    """Return the output after a whole sequence, [batch, units].

    Only if `takes_sequences` and the hidden cell is not recurrent.

    Args:
        inputs: [batch, time, features].
        states: the memory is that before the sequence, and the diffusion errors are those
            before the last step. If the memory gets its counts back, its diffusion error is
            that before the first step.
        training: as in `call`.
        valid: booleans [batch, time], False at steps before the start of a sequence, where the
            memory is still zero. Default None: all sequences start at the first step.
    """
    hidden_states, state = cell.split_states(states)
    inputs = ops.cast(inputs, cell.dtype_policy.compute_dtype)
    u = zero_masked_steps(encode(cell, inputs, training), valid)
    if cell.feeds_back_counts:
        q, _ = _counts_fed_back(cell, u, state, return_sequences=False)
    else:
        m = cell.memory.last(u, state["memory"])
        q, _ = cell.memory_quantizer.step(m, state.get("memory_error"))
    q = cell.drop_memory(ops.cast(q, inputs.dtype), training)
    x = hidden_input(cell, q, inputs[:, -1])
    return cell.hidden(x, hidden_states, training=training)[0]


def last_steps(cell, inputs, states, steps: int, training: bool = False):
    """Return the outputs of the last steps, [batch, steps, units]. Only if `takes_sequences`.

    Args:
        inputs: [batch, time, features].
        states: as in `last_step`; the states of the hidden cell and the diffusion errors are
            those before the last `steps` steps.
        steps: number of steps.
        training: as in `call`.
    """
    hidden_states, state = cell.split_states(states)
    before = ops.cast(inputs[:, :-steps], cell.dtype_policy.compute_dtype)
    if before.shape[1]:
        u = encode(cell, before, training)
        if cell.feeds_back_counts:
            _, state = _counts_fed_back(cell, u, state, return_sequences=False)
        else:
            state = {**state, "memory": cell.memory.last(u, state["memory"])}
    states = hidden_states + [state[name] for name in cell.memory_states]
    return run_sequence(cell, inputs[:, -steps:], states, training)[1]


def _counts_fed_back(cell, u, state, return_sequences):
    """Return the quantized memory, and its states after the sequence by name."""
    feedback = cell.memory_feedback
    q = state.get("memory_output", state["memory"])
    outputs, m, q, error = run_with_counts_fed_back(
        cell.memory,
        cell.memory_quantizer,
        feedback,
        u,
        (state["memory"], q, state["memory_error"]),
        return_sequences=return_sequences,
    )
    kept = q if feedback == "quantized" else m
    return outputs, {"memory": kept, "memory_output": q, "memory_error": error}
