"""Sequences with time on the first axis, and a loop over them."""

from keras import ops


def swap_time(x):
    """Exchange the axes of batch and time."""
    return ops.transpose(x, (1, 0, *range(2, len(x.shape))))


def time_mask(mask, x):
    """The mask [batch, time] as booleans [time, batch, 1...] with the rank of x."""
    mask = ops.transpose(ops.cast(mask, "bool"))
    return ops.reshape(mask, (*ops.shape(mask), *(1,) * (len(x.shape) - 2)))


def scan(step, start, sequences, reverse=False):
    """`ops.scan` over a list of sequences, also of a length that is not known beforehand.

    (Keras 3.15 on TensorFlow takes no more than one of those.) As there, `step` has to put out what
    has the shapes of its carry.
    """
    if sequences[0].shape[0] is not None:
        return ops.scan(step, start, sequences, reverse=reverse)
    steps = ops.arange(ops.shape(sequences[0])[0])
    return ops.scan(lambda c, t: step(c, [x[t] for x in sequences]), start, steps, reverse=reverse)
