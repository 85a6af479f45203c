"""Quantizers without memory, the controls to the sigma-delta quantizer: what does its error do?

They emit integer counts of the same resolution, but what a step leaves over is lost::

    RoundingQuantizer:    n_t = floor(w * f(x_t) + 1/2)
    StochasticQuantizer:  n_t = floor(w * f(x_t) + U_t),   U_t uniform on [0, 1), new at each step

With ``p`` the fraction of ``w * f(x)``, the mean square error of a step, in levels, is
``min(p, 1 - p) ** 2`` for rounding and ``p * (1 - p)`` for stochastic rounding and for the
sigma-delta quantizer. Over many steps the errors of rounding add up with their bias, the errors of
stochastic rounding add up as white noise, and the errors of the sigma-delta quantizer cancel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from hybrid_lmu._internal.checks import check_choice
from hybrid_lmu.quantizers import _fixed_point
from hybrid_lmu.quantizers._fixed_point import ONE
from hybrid_lmu.quantizers._seeded import WHEN_DRAWN, SeededQuantizer
from hybrid_lmu.quantizers.contract import Quantizer

# u <- (u * a + c) mod 2**24 runs through all 2**24 values (a % 4 == 1, c odd).
_FACTOR, _SHIFT = 1_140_671_485, 12_820_163


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class RoundingQuantizer(Quantizer):
    """Rounding to the nearest level, ``n = floor(w * f(x) + 1/2)``: no memory, no noise.

    The arguments are those of `Quantizer`: `activation`, `resolution`, `learn_resolution`, `limit`
    and `gain`. The state is the constant 1/2.

    Example:

    >>> quantizer = RoundingQuantizer(resolution=4.0)
    >>> quantizer.build((None, 1))
    >>> error = quantizer.get_initial_error((1, 1))
    >>> y, error = quantizer.step(np.array([[0.3]], "float32"), error)
    >>> float(y[0, 0])  # floor(4 * 0.3 + 0.5) / 4
    0.25
    """

    stationary = True

    def get_initial_error(self, shape):
        """Return 1/2, of the given shape; 0 if non-spiking."""
        return ops.full(shape, 0.5 if self.spiking else 0.0, dtype="float32")

    def round(self, levels, state):
        return _fixed_point.floor_with(state, levels)[0], state

    def round_sequence(self, levels, state, mask=None):
        whole, added = _fixed_point.split(levels)
        first = _fixed_point.to_grid(state)
        counts = whole + ops.cast(added >= ONE - first, "float32")
        return counts, _fixed_point.from_grid(first[:, 0])


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class StochasticQuantizer(SeededQuantizer):
    """Stochastic rounding, ``n = floor(w * f(x) + U)``: unbiased at each step, without memory.

    ``U`` comes from a linear congruential generator in each neuron, ``U <- frac(a U + c)`` on the
    grid of 2**-24. So a step is a pure function of its state, and a step and a sequence give the
    same counts. In training, the generator of each sample and neuron starts from a uniform draw; in
    inference, that of each neuron starts from a fixed number, the same for all samples.

    Args:
        activation: ``f``, a name or callable of Keras. Default ``None``: identity.
        resolution: ``w`` > 0, levels per unit of activation per step: a number, one per neuron, or
            ``None`` for a non-spiking ``y = f(x)``. Default 1.
        seed: integer seed of the first draws and of the fixed numbers. Default ``None``: a random
            seed for the draws, and 0 for the fixed numbers.
        initial_error: ``"uniform"``, or ``"uniform_each_call"`` for draws in inference too. Default
            ``"uniform"``.
        kwargs: `learn_resolution`, `limit` and `gain` of `Quantizer`.

    Raises:
        ValueError: if `initial_error` is neither of the two; for the rest, see `Quantizer`.
    """

    stationary = True

    def __init__(
        self,
        activation: Any = None,
        resolution: float | Sequence[float] | None = 1.0,
        *,
        seed: int | None = None,
        initial_error: str = "uniform",
        **kwargs,
    ):
        self.initial_error = check_choice("initial_error", initial_error, tuple(WHEN_DRAWN))
        super().__init__(
            activation, resolution, seed=seed, draws=WHEN_DRAWN[initial_error], **kwargs
        )

    def get_config(self):
        return {**super().get_config(), "initial_error": self.initial_error}

    def round(self, levels, state):
        drawn = ops.cast(state * ONE, "int32") * _FACTOR + _SHIFT
        after = _fixed_point.from_grid(ops.bitwise_and(drawn, ONE - 1))
        return _fixed_point.floor_with(state, levels)[0], after

    def round_sequence(self, levels, state, mask=None):
        whole, added = _fixed_point.split(levels)
        steps = added.shape[1] if added.shape[1] is not None else ops.shape(added)[1]
        if mask is None:
            done = ops.arange(steps + 1)  # draws before each step
            done = ops.reshape(done, (1, -1, *(1,) * (len(added.shape) - 2)))
        else:
            done = ops.cumsum(ops.cast(mask, "int32"), axis=1)
            done = ops.concatenate([ops.zeros_like(done[:, :1]), done], axis=1)
        factors, shifts = _powers(steps)
        first = _fixed_point.to_grid(state)
        drawn = ops.take(factors, done, axis=0) * first + ops.take(shifts, done, axis=0)
        drawn = ops.bitwise_and(drawn, ONE - 1)
        counts = whole + ops.cast(added >= ONE - drawn[:, :-1], "float32")
        return counts, _fixed_point.from_grid(drawn[:, -1])


def _powers(steps):
    """Return factors and shifts of 0 to `steps` draws at once, int32 [steps + 1], mod 2**32."""
    factors, shifts = np.ones(steps + 1, "uint32"), np.zeros(steps + 1, "uint32")
    with np.errstate(over="ignore"):
        for k in range(steps):
            factors[k + 1] = factors[k] * np.uint32(_FACTOR)
            shifts[k + 1] = shifts[k] * np.uint32(_FACTOR) + np.uint32(_SHIFT)
    return (ops.convert_to_tensor(x.astype("int32"), dtype="int32") for x in (factors, shifts))
