"""Membrane potentials of whole sequences, and their exact gradient by a linear recurrence.

All neurons here are of one form, elementwise. It has three coefficients, which are attributes of
the cell: a (`potential_by_state`), b (`potential_by_input`) and q (`state_by_state`)::

    u_t = a v_{t-1} + b x_t + const;    s_t = [u_t >= threshold];    v_t = q v_{t-1} + r(u_t, s_t)

Forward this is a loop over time, because each spike acts on later steps. Backward it is a *linear*
recurrence with known coefficients. With ``g_t`` the gradient that comes to u_t from above and
``m_t = dL/dv_t``::

    m_{t-1} = (a dv_t/du_t + q) m_t + a g_t;    dL/dx_t = b (g_t + dv_t/du_t m_t)

So the loop backward has one product and one sum an element, and all else is done for all steps at
once. The backends differentiate a loop slowly (784 steps, 256 neurons, batch 32, one CPU core):
with TensorFlow under XLA a training step takes 1.4 s with `keras.layers.RNN(LIFCell(256))` and
0.05 s with `LIF()`; the gradient alone takes PyTorch 1.2 s with the loop and 0.1 s with this one.
"""

from keras import ops

from hybrid_lmu._internal.gradients import custom_gradient
from hybrid_lmu._internal.masks import with_rank_of
from hybrid_lmu.neurons._over_time import scan, swap_time


def potentials(neuron, x, v, mask=None):
    """Return all ``u_t`` and the last ``v_t`` of a neuron, with gradients to x and v.

    Args:
        neuron: a `hybrid_lmu.neurons._cell.SpikingCell`.
        x: [batch, time, neurons...], in the dtype of `v`; at least one step.
        v: the state before, [batch, neurons...].
        mask: optional booleans [batch, time]; a step that is False leaves the state alone.

    Returns:
        ``(u, v)``, of the shapes of x and v. Masked steps of u mean nothing.
    """
    stop = ops.stop_gradient
    mask = None if mask is None else swap_time(with_rank_of(mask, x))
    x = swap_time(x)

    def step(v, at):
        u = neuron.charge(at[0], v)
        after = neuron.after(u, neuron.fires(u), v)
        return (after if mask is None else ops.where(at[1], after, v)), u

    last, u = scan(step, stop(v), [stop(x)] if mask is None else [stop(x), mask])
    slopes = neuron.state_slope(u)
    u_t = _with_adjoint(neuron, x, v, u, slopes, mask, of_last=False)
    return swap_time(u_t), _with_adjoint(neuron, x, v, last, slopes, mask, of_last=True)


def potentials_by_the_backend(neuron, x, v, mask=None):
    """Return what `potentials` does, with the gradient that the backend finds.

    Slower; for a neuron whose constants are trained, which get a gradient too.
    """
    mask = None if mask is None else swap_time(with_rank_of(mask, x))
    x = swap_time(x)

    def step(v, at):
        u = neuron.charge(at[0], v)
        s = neuron.surrogate.spike(neuron.excess(u))
        after = neuron.after(u, ops.stop_gradient(s) if neuron.detach_reset else s, v)
        return (after if mask is None else ops.where(at[1], after, v)), u

    last, u = scan(step, v, [x] if mask is None else [x, mask])
    return swap_time(u), last


def _with_adjoint(neuron, x, v, value, slopes, mask, of_last):
    """Return `value` with the gradient of all ``u_t``, or of the last ``v_t`` if `of_last`.

    The two are separate, so that a state that nobody differentiates costs nothing.
    """
    slopes = ops.convert_to_tensor(slopes, dtype=x.dtype)
    valid = ops.convert_to_tensor(1.0) if mask is None else mask
    valid = ops.cast(valid, x.dtype)
    a, b, q = neuron.potential_by_state, neuron.potential_by_input, neuron.state_by_state

    @custom_gradient
    def attach(x, v, value, slopes, valid):
        def gradient(upstream):
            g, m = (ops.zeros_like(x), upstream) if of_last else (upstream, ops.zeros_like(v))
            g = g * valid
            slope = slopes * valid
            factor = a * slope + q * valid + (1.0 - valid)
            before, after = _linear_recurrence(factor, a * g, m)
            dx = b * (g + slope * after)
            nothing = [ops.zeros_like(one) for one in (value, slopes, valid)]
            return dx, before, *nothing

        return value, gradient

    return attach(x, v, value, slopes, valid)


def _linear_recurrence(factor, added, last):
    """``m_{t-1} = factor_t m_t + added_t`` from the last m backwards in time.

    Returns:
        ``(m_0, m)``, m [time, ...] without m_0. `factor` is [time, ...] or a single number.
    """
    constant = len(factor.shape) == 0

    def step(m, at):
        f = factor if constant else at[1]
        return f * m + at[0], m

    return scan(step, last, [added] if constant else [added, factor], reverse=True)
