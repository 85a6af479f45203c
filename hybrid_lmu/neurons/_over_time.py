"""Sequences with time on the first axis, and a loop over them."""

from keras import ops


def swap_time(x):
    """Exchange the axes of batch and time."""
    return ops.transpose(x, (1, 0, *range(2, len(x.shape))))


def scan(step, start, sequences, reverse=False):
    """Run `ops.scan` over a list of sequences, also if their length is not known beforehand.

    (Keras 3.15 on TensorFlow takes only one sequence of unknown length.) The outputs of `step` must
    have the shapes of its states.
    """
    if sequences[0].shape[0] is not None:
        return ops.scan(step, start, sequences, reverse=reverse)
    steps = ops.arange(ops.shape(sequences[0])[0])

    def step_at(states, t):
        return step(states, [x[t] for x in sequences])

    return ops.scan(step_at, start, steps, reverse=reverse)
