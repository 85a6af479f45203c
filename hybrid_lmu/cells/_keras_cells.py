"""Loops over time, with all that does not depend on the recurrence outside of them.

Of Keras's own recurrent cells, the product of the input with the kernel is one large product over
all steps (`project`); the loop goes on from there (`advance`). For `SimpleRNNCell` the gradient is
not left to the backend either (`simple_rnn`): every backend differentiates a loop by another loop
that carries the gradients of all weights, which XLA on TensorFlow does ten times slower than
forward.
"""

import keras
from keras import ops

from hybrid_lmu._internal.gradients import custom_gradient

# The derivative of an activation, from its output.
_SLOPES = (
    (keras.activations.tanh, lambda a: 1.0 - a * a),
    (keras.activations.relu, lambda a: ops.cast(a > 0, a.dtype)),
    (keras.activations.sigmoid, lambda a: a * (1.0 - a)),
    (keras.activations.linear, ops.ones_like),
)


def can_project(cell):
    """Whether `project` and `advance` do all that a call of the cell does.

    No subclasses, which may do other things; no regularizer of the activity, which is added by a
    call; not the form of GRU and LSTM that multiplies gate by gate.
    """
    plain = getattr(cell, "activity_regularizer", None) is None
    return type(cell) in _STEPS and plain and getattr(cell, "implementation", 2) == 2


def project(cell, inputs, training):
    """The part of all steps that comes from the input: [batch, time, features] to
    [batch, time, k * units], with k gates."""
    inputs = ops.cast(inputs, cell.compute_dtype)
    if training and cell.dropout:
        inputs = inputs * ops.expand_dims(cell.get_dropout_mask(inputs[:, 0]), 1)
    shape = ops.shape(inputs)
    z = ops.matmul(ops.reshape(inputs, (-1, shape[2])), _weight(cell, "kernel"))
    if cell.use_bias:
        bias = _weight(cell, "bias")
        z = z + (bias[0] if len(bias.shape) == 2 else bias)
    return ops.reshape(z, (shape[0], shape[1], z.shape[-1]))


def can_carry(cell):
    """Whether `advance` takes what the cell carries over as a second state, apart from the first,
    which meets the weights."""
    return type(cell) is keras.layers.GRUCell and can_project(cell)


def advance(cell, z, states, training):
    """One step of the cell: from ``z_t`` of `project` and the states to output and new states."""
    states = [ops.cast(state, cell.compute_dtype) for state in states]
    h = states[0]
    if training and cell.recurrent_dropout:
        h = h * cell.get_recurrent_dropout_mask(h)
    return _STEPS[type(cell)](cell, z, h, states)


def _simple_rnn_step(cell, z, h, states):
    h = cell.activation(z + ops.matmul(h, _weight(cell, "recurrent_kernel")))
    return h, [h]


def _lstm_step(cell, z, h, states):
    i, f, g, o = ops.split(z + ops.matmul(h, _weight(cell, "recurrent_kernel")), 4, axis=-1)
    gate = cell.recurrent_activation
    c = gate(f) * states[1] + gate(i) * cell.activation(g)
    h = gate(o) * cell.activation(c)
    return h, [h, c]


def _gru_step(cell, z, h, states):
    kernel, units = _weight(cell, "recurrent_kernel"), cell.units
    update, reset, candidate = ops.split(z, 3, axis=-1)
    gate = cell.recurrent_activation
    if cell.reset_after:
        inner = ops.matmul(h, kernel)
        if cell.use_bias:
            inner = inner + _weight(cell, "bias")[1]
        reset = gate(reset + inner[:, units : 2 * units])
        candidate = candidate + reset * inner[:, 2 * units :]
    else:
        inner = ops.matmul(h, kernel[:, : 2 * units])
        reset = gate(reset + inner[:, units:])
        candidate = candidate + ops.matmul(reset * h, kernel[:, 2 * units :])
    update = gate(update + inner[:, :units])
    carried = states[-1]  # h, or the second state
    h = update * carried + (1 - update) * cell.activation(candidate)
    return h, [h]


_STEPS = {
    keras.layers.SimpleRNNCell: _simple_rnn_step,
    keras.layers.LSTMCell: _lstm_step,
    keras.layers.GRUCell: _gru_step,
}


def has_adjoint(cell, training):
    """Whether `simple_rnn` may run the cell."""
    return (
        type(cell) is keras.layers.SimpleRNNCell
        and can_project(cell)
        and _slope(cell.activation) is not None
        and not (training and cell.recurrent_dropout)
    )


def simple_rnn(cell, z, y, error, quantizer):
    """A quantized `SimpleRNNCell` over a whole sequence, from `project`.

    ``a_t = f(z_t + U y_{t-1}), y_t = Q(a_t)``. Backward, where ``dQ/da = 1``::

        dz_t = f'(a_t) * (dy_t + U^T dz_{t+1}),    dU = sum_t y_{t-1} dz_t

    Args:
        z: [batch, time, units].
        y: the output before, [batch, units].
        error: the diffusion error before, of the same shape; None if `quantizer` is non-spiking.
        quantizer: `SigmaDeltaQuantizer`.

        A learned gain of its resolution gets its gradient too.

    Returns:
        ``(outputs, error)``: [batch, time, units], and the error after the last step.
    """
    stop = ops.stop_gradient
    kernel, y = _weight(cell, "recurrent_kernel"), ops.cast(y, z.dtype)
    fixed_kernel = stop(kernel)

    def forward(carry, z):
        y, *error = carry
        a = cell.activation(z + ops.matmul(y, fixed_kernel))
        if not error:
            return [a], [a]
        y, new_error = quantizer.emit(a, error[0])
        # A scan of Keras wants outputs like the carry.
        return [y, new_error], [y, ops.cast(a, new_error.dtype)]

    start = [stop(y)] if error is None else [stop(y), stop(error)]
    after, outputs = ops.scan(forward, start, stop(ops.transpose(z, (1, 0, 2))))
    exact = ops.cast(outputs[-1], z.dtype)
    slopes = _slope(cell.activation)(exact)
    if error is None or quantizer.log_factor is None:
        result = _with_adjoint(z, kernel, y, outputs[0], slopes)
    else:
        gain = ops.convert_to_tensor(quantizer.log_factor)
        result = _with_gain_adjoint(z, kernel, y, outputs[0], slopes, outputs[0] - exact, gain)
    return result, (None if error is None else after[1])


@custom_gradient
def _with_adjoint(z, kernel, y, outputs, slopes):
    """The outputs [time, batch, units] as [batch, time, units], with a gradient to z, U and y."""

    def gradient(upstream):
        upstream = ops.transpose(upstream, (1, 0, 2))
        dz, dkernel, dy = _adjoint(upstream, kernel, y, outputs, slopes)
        nothing = ops.zeros_like(outputs)
        return ops.transpose(dz, (1, 0, 2)), dkernel, dy, nothing, nothing

    return ops.transpose(outputs, (1, 0, 2)), gradient


@custom_gradient
def _with_gain_adjoint(z, kernel, y, outputs, slopes, lost, gain):
    """`_with_adjoint`, with the gradient of `SigmaDeltaQuantizer.with_gradient` to the gain, where
    ``lost = y_t - a_t``: ``dgain = - sum_t lost_t (dy_t + U^T dz_{t+1})``."""

    def gradient(upstream):
        upstream = ops.transpose(upstream, (1, 0, 2))
        dz, dkernel, dy = _adjoint(upstream, kernel, y, outputs, slopes)
        later = ops.concatenate([dz[1:], ops.zeros_like(dz[:1])], axis=0)
        dy_t = upstream + ops.matmul(later, ops.transpose(kernel))
        dgain = -ops.sum(ops.cast(lost * dy_t, gain.dtype), axis=(0, 1))
        nothing = ops.zeros_like(outputs)
        return ops.transpose(dz, (1, 0, 2)), dkernel, dy, nothing, nothing, nothing, dgain

    return ops.transpose(outputs, (1, 0, 2)), gradient


def _adjoint(upstream, kernel, y, outputs, slopes):
    """``(dz, dU, dy)`` from the gradients of the outputs; all sequences [time, batch, units]."""
    back = ops.transpose(kernel)

    def backward(after, at):
        dz = at[1] * (at[0] + after)
        return ops.matmul(dz, back), dz

    dy, dz = ops.scan(backward, ops.zeros_like(y), [upstream, slopes], reverse=True)
    before = ops.concatenate([ops.expand_dims(y, 0), outputs[:-1]], axis=0)
    units = kernel.shape[0]
    dkernel = ops.matmul(
        ops.transpose(ops.reshape(before, (-1, units))), ops.reshape(dz, (-1, units))
    )
    return dz, dkernel, dy


def _slope(activation):
    return next((slope for function, slope in _SLOPES if function is activation), None)


def _weight(cell, name):
    return ops.cast(getattr(cell, name), cell.compute_dtype)
