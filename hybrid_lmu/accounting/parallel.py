"""A `HybridLMU` that computes all steps at once: what its weights meet, without a loop over time.

The parts of its cell (memory, quantizer of the memory, hidden cell) each compute a whole sequence.
What goes in and out of them is caught, from the run of the layer itself if that computes all steps,
else from one more run.
"""

import contextlib
from dataclasses import replace

from keras import ops

from hybrid_lmu.accounting.cells import class_key
from hybrid_lmu.accounting.signals import Signal, coarsest
from hybrid_lmu.accounting.watch import hybrid_lmu_pairs, policies

_PARTS = ("memory", "memory_quantizer", "hidden")


@contextlib.contextmanager
def replaced(owner, name, function):
    """Give an object another method, and put its own back."""
    object.__setattr__(owner, name, function)
    try:
        yield
    finally:
        object.__delattr__(owner, name)


@contextlib.contextmanager
def caught(layer):
    """Context that gives a dictionary, ``{part: (inputs, result)}`` of the calls of `sequence`
    in it; empty for other layers than `HybridLMU` (which may have quantized weights)."""
    calls = {}
    if class_key(layer) == ("hybrid_lmu", "QuantizedWeights"):
        layer = layer.layer
    with contextlib.ExitStack() as stack:
        if class_key(layer) == ("hybrid_lmu", "HybridLMU"):
            for name in _PARTS:
                part = getattr(layer.cell, name)
                noted = _noted(calls, name, part.sequence)
                stack.enter_context(replaced(part, "sequence", noted))
        yield calls


def _noted(calls, name, original):
    def sequence(*args, **kwargs):
        result = original(*args, **kwargs)
        calls[name] = args, result
        return result

    return sequence


def pairs_at_once(layer, call):
    """Return the ``(Meeting, tensor)`` pairs of all steps, in the order in which they are computed.

    Args:
        layer: a `HybridLMU`.
        call: its `LayerCall`.

    Returns:
        a list with tensors [batch, time, features]; None if the layer has to go step by step.
    """
    cell, x, resolution = layer.cell, call.x.tensor, call.x.resolution
    if not (_is_known(cell) and layer.runs_in_parallel(x, call.mask)):
        return None
    if layer.go_backwards:
        x = ops.flip(x, axis=1)
        if len(getattr(resolution, "shape", ())) == len(x.shape):
            resolution = ops.flip(resolution, axis=1)
    calls = call.caught
    if "memory" not in calls or calls["memory"][1][0].shape[1] != x.shape[1]:
        with caught(layer) as calls:  # the layer computed its last steps alone
            cell.sequence(x, cell.get_initial_state(ops.shape(x)[0]))
    x = ops.cast(x, cell.dtype_policy.compute_dtype)
    _, pairs = hybrid_lmu_pairs(cell, Signal(x, resolution), _signals(x, calls))
    dtype = coarsest(x.dtype, call.x.dtype, *policies(cell))
    return [(replace(m, dtype=coarsest(dtype, tensor.dtype)), tensor) for m, tensor in pairs]


def _is_known(cell):
    """Whether the parts tell all signals: the states before each step are outputs of that before.

    Not so for counts fed back to the memory, and for a hidden cell whose first state is not its
    output.
    """
    exact = cell.memory_feedback == "exact" or not cell.memory_quantizer.spiking
    hidden = cell.hidden
    return (
        cell.takes_sequences
        and exact
        and hidden.takes_sequences
        and hidden.output_state in (None, 0)
    )


def _signals(x, calls):
    """The signals of all steps, under the names of `HybridLMUCell.signals`."""
    (u, (memory, *_), *_), (m, _) = calls["memory"]
    (hidden_input, states, *_), (outputs, _) = calls["hidden"]
    return {
        "input": x,
        "memory_input": u,
        "memory_before": _before(m, memory),
        "memory": calls["memory_quantizer"][1][0],
        "memory_to_hidden": hidden_input[..., : m.shape[-1]],
        "hidden_before": _before(outputs, states[0]),
        "hidden": outputs,
    }


def _before(values, first):
    """The values one step earlier, [batch, time, features], from those before the first step."""
    first = ops.expand_dims(ops.cast(first, values.dtype), 1)
    return ops.concatenate([first, values[:, :-1]], axis=1)
