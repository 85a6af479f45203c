"""Which products one step of a hybrid-spiking Legendre Memory Unit makes."""

from dataclasses import replace

from hybrid_lmu.cells._inner import is_stack, output_state_name
from hybrid_lmu.cells._products import cell_products, with_state
from hybrid_lmu.cells.contract import Activity, Product, Products, Signal, resolution_of


def lmu_products(cell, inputs: tuple[Signal, ...]) -> Products:
    """Return the products of one step of a `HybridLMUCell`; see `Cell.products`."""
    memory = resolution_of(cell.memory_quantizer)
    hidden = resolution_of(cell.hidden.quantizer)
    h = Signal("hidden_before", hidden if cell.hidden.feeds_back else None, label="hidden")
    x = tuple(replace(part, label="input") for part in inputs)
    items: list = []
    if cell.kernel is not None:
        met = (*x, h) if cell.hidden_to_memory else x
        items.append(Product("kernel", "input", cell.kernel, met))
    if cell.memory_to_memory:
        recurrent = Signal("memory_recurrent", memory)
        weight = cell.recurrent_kernel
        items.append(Product("recurrent_kernel", "recurrent", weight, (recurrent,)))
    met = Signal("memory_before", None if cell.memory_feedback == "exact" else memory)
    items += cell.memory.memory_products(met, _input_of_memory(cell, inputs))
    once = not (cell.hidden.recurrent or cell.hidden_to_memory)
    if memory is not None:
        held = cell.memory_to_memory or cell.memory_feedback != "exact"
        stationary = once and cell.memory_quantizer.stationary
        when_read = stationary and not held
        items.append(Activity("memory", Signal("memory", memory), held, when_read))
    if cell.hidden_cell is None:
        resolution = None if cell.input_to_hidden else memory
        return Products(tuple(items), Signal("hidden", resolution))
    met = (Signal("memory_to_hidden", memory, label="memory"),)
    once = once and cell.hidden.quantizer.stationary
    for item in _hidden_products(cell, met + x if cell.input_to_hidden else met, h):
        items.append(replace(item, when_read=once) if isinstance(item, Product) else item)
    output = Signal("hidden", hidden)
    items.append(Activity("hidden", output, cell.hidden.feeds_back, once))
    return Products(tuple(items), output)


def _input_of_memory(cell, inputs):
    """Return u as a signal: the input of the cell itself if nothing is done to it."""
    changed = cell.use_bias or cell.memory_to_memory or cell.hidden_to_memory
    if cell.kernel is not None or changed or len(inputs) != 1:
        return Signal("memory_input")
    return replace(inputs[0], name="memory_input", compute=None, label=None)


def _hidden_products(cell, inputs, h):
    """Return the products of the hidden cell; its input is no input of the layer."""
    stack, inner = is_stack(cell.hidden.cell), cell_products(cell.hidden.cell, inputs)
    if not stack or h.resolution is not None:
        inner = with_state(inner, h, output_state_name(cell.hidden.cell))
    items = [item for item in inner.prefixed("hidden").items if not isinstance(item, Activity)]
    return [
        replace(item, kind="hidden") if isinstance(item, Product) and item.kind == "input" else item
        for item in items
    ]
