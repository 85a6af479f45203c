"""A linear recurrence cut into chunks: how long they are, and where each one starts."""

import math

from keras import ops

_SMALLEST, _LARGEST = 32, 64


def length(time):
    """Return the length of the chunks into which a sequence of `time` steps is cut.

    The length is near the root of `time`, between 32 and 64, and divides `time` if a divisor is
    near.
    """
    best = max(_SMALLEST, min(math.isqrt(time), _LARGEST))
    if time <= best:
        return time
    divisors = [c for c in range(best // 2, 2 * best) if time % c == 0]
    return min(divisors, key=lambda c: abs(c - best), default=best)


def starts(start, ends, jump):
    """The memory before each chunk, ``s_{c+1} = s_c J + e_c``: [n, chunks, order].

    Many chunks are taken in groups: all groups at once from zero, then the start of each group.

    Args:
        start: ``s_0``, [n, order].
        ends: what the input of each chunk leaves at its end, [n, chunks, order].
        jump: ``J``, [order, order].
    """
    chunks, order = ends.shape[1], ends.shape[2]
    if chunks <= _LARGEST:
        states = [start]
        for c in range(chunks - 1):
            states.append(ops.matmul(states[-1], jump) + ends[:, c])
        return ops.stack(states, axis=1)
    group = math.isqrt(chunks)
    groups = -(-chunks // group)
    ends = ops.pad(ends, [[0, 0], [0, groups * group - chunks], [0, 0]])
    ends = ops.reshape(ends, (-1, groups, group, order))
    inside, jumps = [ops.zeros_like(ends[:, :, 0])], [ops.eye(order, dtype=jump.dtype)]
    for c in range(group):
        inside.append(ops.matmul(inside[-1], jump) + ends[:, :, c])
        jumps.append(ops.matmul(jumps[-1], jump))
    firsts = starts(start, inside[-1], jumps[-1])
    decayed = ops.matmul(firsts, ops.concatenate(jumps[:-1], axis=1))
    states = ops.stack(inside[:-1], axis=2) + ops.reshape(decayed, ops.shape(ends))
    return ops.reshape(states, (-1, groups * group, order))[:, :chunks]
