"""Theta, the length of the window: which values it may have, at first and while it is trained."""

import numbers

import keras
import numpy as np
from keras import ops

from hybrid_lmu.memory import legendre

_TIMES = 16.0


def check_theta(theta, order, discretizer):
    """Return theta as float; ValueError if it is out of range or Euler's rule is unstable."""
    number = isinstance(theta, numbers.Real) and not isinstance(theta, bool)
    if not number or not np.isfinite(theta) or theta <= 0:
        raise ValueError(f"`theta` must be a finite number of steps > 0; received: {theta!r}")
    if discretizer == "euler":
        smallest = legendre.smallest_euler_theta(order)
        if theta < smallest:
            raise ValueError(
                f"`theta` is too small for discretizer='euler': order {order} needs theta >= "
                f"{smallest:.6g} to be stable; received: {theta!r}. Use 'zoh' or 'bilinear', "
                "which are stable for any theta."
            )
    return float(theta)


def inverse_range(theta, order, discretizer):
    """Return the smallest and the largest ``1 / theta`` that training may reach.

    Theta stays between a 16th of the first theta, where the series of the exact rule is still
    exact to float32, and 16 times it, where a memory has not lost its input yet; with Euler's rule,
    not below the bound of `check_theta`.
    """
    shortest = theta / _TIMES
    if discretizer == "euler":
        shortest = max(shortest, legendre.smallest_euler_theta(order))
    return 1.0 / (theta * _TIMES), 1.0 / shortest


class InRange(keras.constraints.Constraint):
    """Keep a weight between two numbers."""

    def __init__(self, smallest, largest):
        self.smallest, self.largest = smallest, largest

    def __call__(self, w):
        return ops.clip(w, self.smallest, self.largest)
