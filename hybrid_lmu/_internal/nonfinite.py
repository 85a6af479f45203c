"""NaN and infinity in parallel forms of a recurrence: at their step and later, as step by step.

A parallel form multiplies all steps with a matrix that has 0 where an input is later than an
output. NaN times 0 is NaN, so that a NaN would reach the steps before it.
"""

from keras import ops


def set_apart(x, axis: int = 1):
    """Split x in finite numbers and a mark of the steps that a NaN or an infinity reaches.

    Args:
        x: floating, with at least one step.
        axis: the axis of time. Default 1.

    Returns:
        ``(finite, marks)``: x with 0 in place of what is not finite; and for each step and one
        more, of the shape of x with ``time + 1`` steps, NaN if a number before the step is not
        finite and 0 if all are. To be added to the output: entry t to what depends on t inputs.
    """
    x = ops.convert_to_tensor(x)
    time, finite = ops.shape(x)[axis], ops.isfinite(x)
    shape = [1] * len(x.shape)
    shape[axis] = -1
    steps = ops.reshape(ops.arange(time + 1, dtype="int32"), shape)
    inputs = ops.take(steps, ops.arange(time), axis=axis)
    first = ops.min(ops.where(finite, time, inputs), axis=axis, keepdims=True)
    marks = ops.where(steps > first, ops.cast(float("nan"), x.dtype), ops.cast(0.0, x.dtype))
    return ops.where(finite, x, ops.zeros_like(x)), marks
