"""Arithmetic of diffusion errors in fixed point, which the quantizers of this package share.

Errors and the fractions of ``w * f(x)`` are multiples of 2**-24: a float32 in [0, 1) holds no more.
Sums of such fractions, kept modulo 1, have no rounding error at all. So a step and a sequence agree
bit for bit, on any finite input and for any number of steps, and a sequence may be cut into chunks
anywhere. Rounding to the grid changes ``f(x)`` by at most ``2**-25 / w`` a step.
"""

import itertools

from keras import ops

FRACTION_BITS = 24
ONE = 2**FRACTION_BITS  # the grid has this many points in [0, 1)


def floor_with(error, levels):
    """Return ``(floor(levels + error), what is left over)``, both float32, for one step.

    Levels of NaN or infinity are returned themselves, and leave the error as it is.
    """
    whole = ops.floor(levels)
    fraction = levels - whole  # NaN of infinity too
    fraction = ops.where(fraction >= 0.0, fraction, 0.0)
    # The fraction less 1 is in [-1, 0], where float32 itself rounds to multiples of 2**-24, and
    # adding the error is exact.
    excess = (fraction - 1.0) + error
    borrow = ops.floor(excess)  # -1 or 0
    return whole + (borrow + 1.0), excess - borrow


def split(levels):
    """Split the levels of a sequence, float32 [batch, time, neurons...].

    Returns:
        ``(whole, added)``: ``floor(levels)``, float32; the fractions in units of 2**-24, int32, 0
        where the levels are NaN or infinite.
    """
    whole = ops.floor(levels)
    # Never below 0, also where a compiler contracts the product and the difference.
    fraction = ops.round((levels - whole) * ONE)
    return whole, ops.cast(ops.where(fraction >= 0.0, fraction, 0.0), "int32")


def on_grid(error):
    """Return an error, rounded down to a multiple of 2**-24."""
    return ops.floor(error * ONE) / ONE


def to_grid(error):
    """Return an error in units of 2**-24, int32, with an axis of time: [batch, 1, neurons...]."""
    return ops.expand_dims(ops.cast(error * ONE, "int32"), 1)


def from_grid(error):
    """Return an error in units of 2**-24 as float32 in [0, 1)."""
    return ops.cast(error, "float32") / ONE


def errors_after(added, first):
    """Return the errors after each step, int32 in [0, 2**24), for the fractions `added`.

    Args:
        added: fractions, int32 [batch, time, neurons...].
        first: the error before them, int32 [batch, 1, neurons...].
    """
    # int32 wraps modulo 2**32, a multiple of the 2**24 that we keep. By default, ONNX and LiteRT
    # have `mod` but no `bitwise_and`. It is as fast, or 1.2 times slower on TensorFlow without XLA.
    return ops.mod(_running_sum(added, first)[:, : ops.shape(added)[1]], ONE)


def _running_sum(x, start):
    """Return `start` plus the cumulative sum of x over axis 1, zero-padded to whole chunks.

    Chunks make this several times faster than one long `ops.cumsum`. Adding `start` before the sum
    over chunks keeps XLA from drawing `start` anew, from its random generator, at each step.
    """
    time, chunk = x.shape[1], _chunk(x.shape[1])
    if time is None or time % chunk:
        x = ops.pad(x, [[0, 0], [0, -ops.shape(x)[1] % chunk]] + [[0, 0]] * (len(x.shape) - 2))
    shape = ops.shape(x)
    x = ops.reshape(x, (shape[0], shape[1] // chunk, chunk, *shape[2:]))
    sums = list(itertools.accumulate(ops.unstack(x, chunk, axis=2)))
    starts = ops.cumsum(ops.concatenate([start, sums[-1][:, :-1]], axis=1), axis=1)
    return ops.reshape(ops.stack(sums, axis=2) + ops.expand_dims(starts, 2), shape)


def _chunk(time):
    """Return a divisor of the number of steps between 16 and 48 if there is one, else 32."""
    if time is not None and 0 < time <= 48:
        return time
    return next((c for c in range(48, 15, -1) if time and time % c == 0), 32)
