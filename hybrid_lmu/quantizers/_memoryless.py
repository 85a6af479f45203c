"""Quantizers without memory, the controls to the sigma-delta quantizer: what does its error do?

They emit integer counts of the same resolution, but what a step leaves over is lost::

    RoundingQuantizer:    n_t = floor(w * f(x_t) + 1/2)
    StochasticQuantizer:  n_t = floor(w * f(x_t) + U_t),   U_t uniform on [0, 1), new at each step

Both keep the interface of `SigmaDeltaQuantizer`, so any cell of this package takes them. The mean
square error of a step, in levels, with ``p`` the fraction of ``w * f(x)``: ``min(p, 1 - p) ** 2``
and ``p * (1 - p)``, the latter also that of the sigma-delta quantizer. Over many steps the errors
of the first add up with their bias, those of the second as white noise, those of the sigma-delta
quantizer not at all.
"""

import keras
import numpy as np
from keras import ops

from hybrid_lmu.quantizers._sigma_delta import ONE, SigmaDeltaQuantizer

# u <- (u * a + c) mod 2**24 runs through all 2**24 values (a % 4 == 1, c odd).
_FACTOR, _SHIFT = 1_140_671_485, 12_820_163


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class RoundingQuantizer(SigmaDeltaQuantizer):
    """Rounding to the nearest level, ``n = floor(w * f(x) + 1/2)``: no memory, no noise.

    Args:
        activation, resolution, learn_resolution, limit: see `SigmaDeltaQuantizer`.

    Example:

    >>> quantizer = RoundingQuantizer(resolution=4.0)
    >>> quantizer.build((None, 1))
    >>> error = quantizer.get_initial_error((1, 1))
    >>> y, error = quantizer.step(np.array([[0.3]], "float32"), error)
    >>> float(y[0, 0])  # floor(4 * 0.3 + 0.5) / 4
    0.25
    """

    stationary = True

    def __init__(self, activation=None, resolution=1.0, learn_resolution=False, **kwargs):
        super().__init__(
            activation, resolution, "half", learn_resolution=learn_resolution, **kwargs
        )

    def _error_after(self, error, left_over):
        return error

    def _carries(self, added, first, mask):
        return added >= ONE - first, first[:, 0]

    def get_config(self):
        config = super().get_config()
        del config["initial_error"], config["seed"]
        return config


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class StochasticQuantizer(SigmaDeltaQuantizer):
    """Stochastic rounding, ``n = floor(w * f(x) + U)``, unbiased at each step, without memory.

    ``U`` comes from a linear congruential generator in each neuron, ``U <- frac(a U + c)`` on the
    grid of 2**-24, that starts from a uniform draw; so a step is a pure function of its state, and
    the step form and the sequence form give the same counts.

    Args:
        activation, resolution, learn_resolution, limit: see `SigmaDeltaQuantizer`.
        seed: integer seed of the first draw.
    """

    stationary = True

    def __init__(
        self, activation=None, resolution=1.0, learn_resolution=False, seed=None, **kwargs
    ):
        super().__init__(
            activation, resolution, "uniform", seed, learn_resolution=learn_resolution, **kwargs
        )

    def _error_after(self, error, left_over):
        drawn = ops.cast(ops.stop_gradient(error) * ONE, "int32") * _FACTOR + _SHIFT
        return ops.cast(ops.bitwise_and(drawn, ONE - 1), error.dtype) / ONE

    def _carries(self, added, first, mask):
        steps = added.shape[1] if added.shape[1] is not None else ops.shape(added)[1]
        if mask is None:
            done = ops.expand_dims(ops.arange(steps + 1), 0)  # draws before each step
        else:
            done = ops.cumsum(ops.cast(mask, "int32"), axis=1)
            done = ops.concatenate([ops.zeros_like(done[:, :1]), done], axis=1)
        factors, shifts = _powers(steps)
        done = ops.reshape(done, (*ops.shape(done)[:2], *(1,) * (len(added.shape) - 2)))
        drawn = ops.take(factors, done, axis=0) * first + ops.take(shifts, done, axis=0)
        drawn = ops.bitwise_and(drawn, ONE - 1)
        return added >= ONE - drawn[:, :-1], drawn[:, -1]

    def get_config(self):
        config = super().get_config()
        del config["initial_error"]
        return config


def _powers(steps):
    """Factors and shifts of 0 to `steps` draws at once, int32 [steps + 1] (modulo 2**32)."""
    factors, shifts = np.ones(steps + 1, "uint32"), np.zeros(steps + 1, "uint32")
    with np.errstate(over="ignore"):
        for k in range(steps):
            factors[k + 1] = factors[k] * np.uint32(_FACTOR)
            shifts[k + 1] = shifts[k] * np.uint32(_FACTOR) + np.uint32(_SHIFT)
    return (ops.convert_to_tensor(x.astype("int32"), dtype="int32") for x in (factors, shifts))
