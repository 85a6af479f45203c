"""Masks of time steps, in the rank of the values that they mask."""

from keras import ops


def with_rank_of(mask, x):
    """Return the mask [batch, time] as booleans [batch, time, 1...] with the rank of `x`."""
    mask = ops.cast(mask, "bool")
    return ops.reshape(mask, (*ops.shape(mask), *(1,) * (len(x.shape) - len(mask.shape))))


def zero_masked_steps(outputs, mask):
    """Return `outputs` [batch, time, ...], with 0 at the steps where the mask is False.

    A mask of None leaves `outputs` as they are.
    """
    if mask is None:
        return outputs
    return ops.where(with_rank_of(mask, outputs), outputs, ops.zeros_like(outputs))


def last_steps(x, mask, steps: int):
    """Return booleans [batch, time], True at the last `steps` steps that the mask leaves.

    Args:
        x: [batch, time, ...].
        mask: booleans [batch, time], or None for no mask.
        steps: number of steps.
    """
    mask = ops.ones(ops.shape(x)[:2], dtype="bool") if mask is None else ops.cast(mask, "bool")
    counts = ops.cumsum(ops.cast(mask, "int32"), axis=1)
    return ops.logical_and(mask, counts > counts[:, -1:] - steps)


class Compacted:
    """The steps that a mask leaves, moved together, so that a sequence needs no mask.

    A masked step leaves the states of a recurrent layer as they are. So a layer over the steps that
    are left gives the outputs at those steps, and may compute them in parallel.

    Args:
        mask: booleans [batch, time].
        to_end: whether the steps stand at the end of the sequences, in place of the start. Default
            False.

    Attributes:
        valid: booleans [batch, time]: whether a step of the compacted sequence is one of the mask.
    """

    def __init__(self, mask, to_end: bool = False):
        self._mask = ops.cast(mask, "bool")
        time = ops.shape(mask)[1]
        steps = ops.arange(time, dtype="int32")[None, :]
        counts = ops.cumsum(ops.cast(self._mask, "int32"), axis=1)
        number = counts[:, -1:]
        self.valid = steps >= time - number if to_end else steps < number
        # Keys that are all different, so that the order of equal ones does not matter.
        later = self._mask if to_end else ops.logical_not(self._mask)
        self._order = ops.argsort(steps + time * ops.cast(later, "int32"), axis=1)
        self._last_valid = counts - 1

    def take(self, x):
        """Return the sequences x [batch, time, features], compacted, and 0 at the other steps."""
        return zero_masked_steps(_steps_of(x, self._order), self.valid)

    def put_back(self, outputs, zeros: bool = False, last: bool = False):
        """Return the outputs of sequences compacted to the start, at the steps of the mask.

        A masked step repeats the output before it, which is 0 at the start of the sequence.

        Args:
            outputs: [batch, time, features].
            zeros: whether the output of every masked step is 0. Default False.
            last: whether to return the last step alone, [batch, 1, features]. Default False.
        """
        steps = slice(-1, None) if last else slice(None)
        index, mask = self._last_valid[:, steps], self._mask[:, steps]
        back = _steps_of(outputs, ops.maximum(index, 0))
        return zero_masked_steps(back, mask if zeros else index >= 0)

    def last_output(self, output, zeros: bool = False):
        """Return the output [batch, features] after the last step: see `put_back`."""
        valid = self._mask[:, -1:] if zeros else self._last_valid[:, -1:] >= 0
        return ops.where(valid, output, ops.zeros_like(output))


def _steps_of(x, index):
    """Return x[b, index[b, k]] for x of shape [batch, time, features]."""
    time = ops.shape(x)[1]
    first = ops.arange(ops.shape(x)[0], dtype="int32")[:, None] * time
    # One gather of whole rows: the gradient of `take_along_axis` goes through every number.
    return ops.take(ops.reshape(x, (-1, x.shape[-1])), first + index, axis=0)
