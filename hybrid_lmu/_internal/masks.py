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
