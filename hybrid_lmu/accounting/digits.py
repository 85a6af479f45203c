"""Integers as signed digits: as few additions and shifts as a product with them can take."""

import numpy as np


def digit_planes(codes):
    """Return ``[(shift, plane)]`` with planes of -1, 0, +1 and ``codes = sum(plane << shift)``.

    With as few nonzero digits as there can be (no two neighbours): 7 = 8 - 1. Reitwiesner 1960.

    >>> [(shift, plane.tolist()) for shift, plane in digit_planes(np.array([7, -2]))]
    [(0, [-1, 0]), (1, [0, -1]), (3, [1, 0])]
    """
    left, shift, planes = np.asarray(codes, "int64"), 0, []
    while np.any(left):
        # An odd number ends in +1, or in -1 where that leaves a multiple of 4.
        digit = np.where(left % 2 == 0, 0, np.where(left % 4 == 3, -1, 1))
        if np.any(digit):
            planes.append((shift, digit.astype("int8")))
        left = (left - digit) >> 1
        shift += 1
    return planes


def signed_digits(codes):
    """Number of nonzero digits of each integer, in the digits of `digit_planes`, as int64.

    >>> signed_digits(np.array([0, 1, -3, 7, 11])).tolist()  # 3 = 4 - 1, 11 = 8 + 4 - 1
    [0, 1, 2, 2, 3]
    """
    digits = np.zeros(np.shape(codes), "int64")
    for _, plane in digit_planes(codes):
        digits += plane != 0
    return digits
