"""Which signals meet which weights in one step of a recurrent cell.

A rule for a class of cells is a function ``rule(cell, parts, h) -> pairs``: `parts` are the
`Signal`s that make up the input, `h` is the first state before the step, as a Signal, and the pairs
are ``(Meeting, tensor)`` (see `hybrid_lmu.accounting.signals`). It is called inside the loop
over time, so it may compute tensors but must not keep any.

Counted are all products with weights; the products of two activations in the gates of LSTM and GRU
are in `GATES`, 3 per unit and step: ``f*c``, ``i*g``, ``o*tanh(c)`` and ``r*h``, ``z*h``,
``(1-z)*g``.
"""

from keras import ops

from hybrid_lmu.accounting.signals import Meeting, Signal, matrix
from hybrid_lmu.memory import legendre

CELLS = {}
GATES = {("keras", "LSTMCell"): 3, ("keras", "GRUCell"): 3}


def class_key(layer):
    """Return (top-level package, class name): how rules are found without importing peers."""
    cls = type(layer)
    return cls.__module__.split(".")[0], cls.__name__


def register_cell(package, name):
    """Decorator: use the function as rule for the cells of this exact class."""

    def decorate(rule):
        CELLS[package, name] = rule
        return rule

    return decorate


def cell_pairs(cell, parts, h):
    """Apply the rule of the cell's class.

    Raises:
        ValueError: for a cell with weights whose class has no rule.
    """
    check_cell(cell)
    rule = CELLS.get(class_key(cell))
    if rule is None:
        return []
    gates = GATES.get(class_key(cell), 0)
    pairs = rule(cell, parts, h)
    if gates:
        pairs.append((Meeting("gates", "gates", weight=gates * cell.units), h.tensor))
    return pairs


def check_cell(cell):
    """Raise ValueError if the cell, or one inside it, has weights but no rule."""
    key = class_key(cell)
    if key in INSIDE:
        for inner in INSIDE[key](cell):
            check_cell(inner)
    elif key not in CELLS and cell.weights:
        raise unknown(cell)


def unknown(layer):
    """Return the error for a layer whose products nobody has described."""
    return ValueError(
        f"Don't know the products of layer {layer.name!r} of class {type(layer).__name__}, which "
        f"has weights. Leave it out of the report with `skip=({layer.name!r},)`, or describe it "
        "with `hybrid_lmu.accounting.register_layer` or `register_cell`."
    )


@register_cell("keras", "SimpleRNNCell")
@register_cell("keras", "LSTMCell")
def _plain(cell, parts, h):
    return matrix("kernel", "input", cell.kernel, parts) + matrix(
        "recurrent_kernel", "recurrent", cell.recurrent_kernel, [h]
    )


@register_cell("keras", "Dense")
def _dense(cell, parts, h):
    return matrix("kernel", "input", cell.kernel, parts)


@register_cell("keras", "GRUCell")
def _gru(cell, parts, h):
    if cell.reset_after:
        return _plain(cell, parts, h)
    units = cell.units
    gates = (None, 2 * units)
    x = ops.concatenate([part.tensor for part in parts], axis=-1)
    reset = slice(units, 2 * units)
    state = ops.cast(h.tensor, x.dtype)
    r = ops.matmul(x, cell.kernel[:, reset]) + ops.matmul(state, cell.recurrent_kernel[:, reset])
    if cell.use_bias:
        r = r + cell.bias[reset]
    # The candidate sees r * h, which is real even if h is an integer code.
    gated = Signal(cell.recurrent_activation(r) * state)
    return (
        matrix("kernel", "input", cell.kernel, parts)
        + matrix("recurrent_kernel (z, r)", "recurrent", cell.recurrent_kernel, [h], gates)
        + matrix(
            "recurrent_kernel (candidate)",
            "recurrent",
            cell.recurrent_kernel,
            [gated],
            (2 * units, None),
        )
    )


def memory_pairs(order, theta, discretizer, state, u):
    """The A and B products of a Legendre memory; both are constants of the model.

    The matrices ``A^T``, [order, order], and ``B^T``, [1, order], for row vectors from the left,
    serve to count non-zero entries only, so that the initial theta will do if it is trained.
    """
    a_bar, b_bar = legendre.discretize(order, float(theta), discretizer)
    shared = {"role": "product", "kind": "memory", "constant": True}
    structured = legendre.step_operations(order, discretizer)["structured"]
    return [
        (
            Meeting(
                name="memory A",
                resolution=state.resolution,
                weight=a_bar.T,
                structured=structured,
                **shared,
            ),
            state.tensor,
        ),
        (
            Meeting(name="memory B", resolution=u.resolution, weight=b_bar[None, :], **shared),
            u.tensor,
        ),
    ]


@register_cell("hybrid_lmu", "LegendreMemoryCell")
def _legendre_memory(cell, parts, h):
    u = ops.concatenate([part.tensor for part in parts], axis=-1)
    u = Signal(u, parts[0].resolution if len(parts) == 1 else None)
    return memory_pairs(cell.order, cell.initial_theta, cell.discretizer, h, u)


# The cells that a cell runs, for the check before anything runs.
INSIDE = {
    ("keras", "StackedRNNCells"): lambda cell: cell.cells,
    ("hybrid_lmu", "HybridCell"): lambda cell: [cell.cell],
    ("hybrid_lmu", "HybridLMUCell"): lambda cell: [cell.hidden.cell],
    ("keras_lmu", "LMUCell"): lambda cell: [] if cell.hidden_cell is None else [cell.hidden_cell],
}
