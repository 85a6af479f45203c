"""A Legendre memory that gets its own counts back, over a whole sequence."""

from __future__ import annotations

from keras import ops


def run_with_counts_fed_back(
    memory, quantizer, feedback: str, u, states: tuple, *, return_sequences: bool
):
    """Return the quantized memory under quantized or integrated feedback.

    The forward pass is a loop. The backward pass needs none: because ``dQ/dm = 1``, the gradient is
    that of the linear memory, which is computed in parallel. A trained theta is not supported,
    because its gradient needs the memory of each step.

    Args:
        memory: `LegendreMemoryCell`.
        quantizer: its quantizer; spiking and linear.
        feedback: ``"quantized"`` or ``"integrated"``, see `LegendreMemoryCell.advance`.
        u: input of the memory, [batch, time, memory_d].
        states: the memory, its quantized value and the diffusion error before the sequence, each
            [batch, memory_d * order].
        return_sequences: whether the output is [batch, time, memory_d * order] or that of the last
            step.

    Returns:
        ``(outputs, memory, quantized memory, error)``, the last three after the last step. The
        error has no gradient.
    """
    stop = ops.stop_gradient
    m, q, error = states
    linear = memory.all_steps(u, m) if return_sequences else memory.last(u, m)
    inputs = stop(ops.transpose(ops.cast(u, m.dtype), (1, 0, 2)))

    def step(carried, u):
        m = memory.advance(carried[0], carried[1], u, feedback)
        q, error = quantizer.emit(m, carried[2])
        return [m, q, error]

    start = [stop(m), stop(q), stop(error)]
    if return_sequences:
        # On TensorFlow, the outputs of `ops.scan` must have the structure of what is carried.
        after, (m, y, _) = ops.scan(lambda c, u: (step(c, u),) * 2, start, inputs)
        m, y = (ops.transpose(x, (1, 0, 2)) for x in (m, y))
        last = linear[:, -1]
    else:
        after = ops.fori_loop(0, u.shape[1], lambda t, c: step(c, inputs[t]), start)
        m, y = after[:2]
        last = linear
    y = quantizer.with_gradient(stop(y), stop(m)) + (linear - stop(linear))
    m, q, error = after
    of_last = last - stop(last)
    return y, m + of_last, q + of_last, error
