"""Products with low-bit kernels by integer additions and shifts alone, in NumPy int32.

A code is a sum of digits -1, 0, +1 times powers of two, so that a count times a code is the count,
shifted, added or subtracted once for each nonzero digit. Nothing here multiplies.
"""

import numpy as np

_POSITIONS = 512  # columns at a time, so that they stay in the processor's cache


def products_by_addition(counts, codes):
    """``counts @ codes`` without a multiplication.

    Args:
        counts: integers [positions, inputs].
        codes: integers [inputs, outputs].

    Returns:
        int32 [positions, outputs].
    """
    from hybrid_lmu.accounting import digit_planes

    columns = np.ascontiguousarray(np.asarray(counts, "int32").T)
    sums = np.zeros((codes.shape[1], columns.shape[1]), "int32")
    planes = [
        (shift, [(np.flatnonzero(digits == 1), np.flatnonzero(digits == -1)) for digits in plane.T])
        for shift, plane in digit_planes(codes)
    ]
    for start in range(0, columns.shape[1], _POSITIONS):
        part = np.ascontiguousarray(columns[:, start : start + _POSITIONS])
        into = sums[:, start : start + _POSITIONS]
        for shift, rows in planes:
            for output, (plus, minus) in enumerate(rows):
                added = part[plus].sum(axis=0, dtype="int32")
                added -= part[minus].sum(axis=0, dtype="int32")
                into[output] += added << shift
    return sums.T
