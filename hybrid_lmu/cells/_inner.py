"""What a `HybridCell` asks of the cell or layer inside it: its size, its states, its masks.

Cells in a stack have a list of states each. A `HybridCell` holds them in one flat list, those of
the last cell first, because its output is the output of the stack.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from hybrid_lmu._internal.traversal import all_layers
from hybrid_lmu.cells.contract import as_list, zeros


def check_inner(cell: Any, argument: str = "cell") -> None:
    """Raise ValueError if a cell or layer cannot be inside a `HybridCell`."""
    if not isinstance(cell, keras.layers.Layer):
        raise ValueError(f"`{argument}` must be a Keras cell or layer; received: {cell!r}")
    recurrent = (keras.layers.RNN, keras.layers.Bidirectional)
    if not any(isinstance(one, recurrent) for one in all_layers(cell)):
        return
    if isinstance(cell, recurrent):
        raise ValueError(
            f"`{argument}` must be a cell, such as keras.layers.LSTMCell(4), or a feed-forward "
            f"layer; received the recurrent layer {cell.name!r} ({type(cell).__name__})."
        )
    raise ValueError(
        f"`{argument}` must be a cell or consist of feed-forward layers; received {cell.name!r} "
        f"({type(cell).__name__}) with a recurrent layer inside. Expected cells in "
        "keras.layers.StackedRNNCells, such as keras.layers.LSTMCell(4)."
    )


def output_size(cell: keras.layers.Layer) -> int | None:
    """Return the number of outputs; None for a feed-forward layer that must be built to know it."""
    size = getattr(cell, "output_size", None) or getattr(cell, "units", None)
    if size is None and hasattr(cell, "state_size"):
        size = as_list(cell.state_size)[0]
    if size is None and not hasattr(cell, "state_size"):
        return None
    if not isinstance(size, int):
        raise ValueError(
            f"`{cell.name}` ({type(cell).__name__}) has no integer `units` or `output_size`; "
            f"received size: {size!r}"
        )
    return size


def size_for(layer: keras.layers.Layer, input_shape: tuple) -> int:
    """Return the number of outputs of a feed-forward layer for inputs [batch, features].

    Raises:
        ValueError: if it does not make [batch, units] of them.
    """
    try:
        inputs = keras.KerasTensor(tuple(input_shape), dtype=layer.compute_dtype)
        shape = tuple(layer.compute_output_spec(inputs).shape)
    except Exception as e:  # whatever the layer says of inputs that it does not take
        raise ValueError(_makes_no_vector(layer, input_shape, f"an error, {e}")) from e
    if len(shape) != 2 or not isinstance(shape[-1], int):
        raise ValueError(_makes_no_vector(layer, input_shape, f"the shape {shape}"))
    return shape[-1]


def _makes_no_vector(layer, input_shape, received):
    return (
        f"Expected a recurrent cell (`state_size`) or a layer that makes [batch, units] of inputs "
        f"of shape {tuple(input_shape)}; received `{layer.name}` ({type(layer).__name__}), which "
        f"gives {received}."
    )


def is_stack(cell: keras.layers.Layer) -> bool:
    """Return whether a cell is a stack of cells, each with states of its own."""
    return isinstance(cell, keras.layers.StackedRNNCells)


def flat_states(cell: Any, states: Any) -> list:
    """Return the states of a cell, or their sizes, as a flat list, the output first."""
    if not is_stack(cell):
        return as_list(states)
    # Keras leaves the list out that has the states of one cell alone.
    each = [states] if len(cell.cells) == 1 and len(as_list(states)) != 1 else as_list(states)
    found = [flat_states(one, own) for one, own in zip(cell.cells, each, strict=True)]
    return [state for own in reversed(found) for state in own]


def packed_states(cell: Any, flat: list) -> list:
    """Return the states of `flat_states` as the cell takes them."""
    if not is_stack(cell):
        return list(flat)
    packed = []
    for one in reversed(cell.cells):
        count = len(flat_states(one, one.state_size))
        packed.insert(0, packed_states(one, flat[:count]))
        flat = flat[count:]
    return packed


def initial_state(cell: Any, batch_size: int | None) -> list:
    """Return the initial states of any cell of Keras, as a flat list."""
    if hasattr(cell, "get_initial_state"):
        return flat_states(cell, cell.get_initial_state(batch_size=batch_size))
    return zeros(cell.state_size, batch_size, cell.compute_dtype)


def output_state_name(cell: Any) -> str:
    """Return the name of the signal of the state that is the output, see `cell_signals`."""
    if not is_stack(cell):
        return "state_0"
    return f"cell {len(cell.cells) - 1} {output_state_name(cell.cells[-1])}"


def draw_dropout_masks(cell: Any, step_input: Any) -> None:
    """Draw the masks of the inputs, of a cell or of each in a stack."""
    if is_stack(cell):
        for one in cell.cells:
            draw_dropout_masks(one, step_input)
            step_input = ops.ones((ops.shape(step_input)[0], output_size(one)))
    elif hasattr(cell, "get_dropout_mask"):
        cell.get_dropout_mask(ops.cast(step_input, cell.compute_dtype))


def draw_recurrent_dropout_masks(cell: Any, state: Any) -> None:
    """Draw the masks of the recurrent inputs, of a cell or of each in a stack."""
    if is_stack(cell):
        for one in cell.cells:
            own = ops.ones((ops.shape(state)[0], output_size(one)))
            draw_recurrent_dropout_masks(one, own)
    elif hasattr(cell, "get_recurrent_dropout_mask"):
        cell.get_recurrent_dropout_mask(ops.cast(state, cell.compute_dtype))


def forget_masks(cell: Any, method: str) -> None:
    """Call ``reset_dropout_mask`` or ``reset_recurrent_dropout_mask`` where there is one."""
    for one in cell.cells if is_stack(cell) else [cell]:
        if one is not cell and is_stack(one):
            forget_masks(one, method)
        elif hasattr(one, method):
            getattr(one, method)()
