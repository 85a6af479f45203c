"""Sigma-delta quantizer: a rounding whose error is carried to the next step.

One step of a neuron with resolution ``w``, diffusion error ``v`` in [0, 1), activation ``f``::

    v <- v + w * f(x);    n = floor(v);    v <- v - n;    y = n / w

so that ``n`` is an integer of any size and sign, ``|y - f(x)| < 1 / w`` at each step and, in exact
arithmetic, ``|sum(y) - sum(f(x))| < 1 / w`` over any number of steps. Summing the first line gives
the same counts without a loop over time (the *sequence form*)::

    S_t = v_0 + w * (f(x_1) + ... + f(x_t));    n_t = floor(S_t) - floor(S_{t-1})

Both forms are computed in fixed point (`_fixed_point`), so they agree bit for bit.

Source: Voelker, Rasmussen & Eliasmith (2020), "A Spike in Performance: Training Hybrid-Spiking
Neural Networks with Quantized Activation Functions", arXiv:2002.03553.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from hybrid_lmu.quantizers import _fixed_point
from hybrid_lmu.quantizers._seeded import WHEN_DRAWN, SeededQuantizer

_NAMED_ERRORS = {"zeros": 0.0, "half": 0.5}


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class SigmaDeltaQuantizer(SeededQuantizer):
    """Carry the rounding error of each step to the next: ``n = floor(v + w * f(x))``.

    Args:
        activation: ``f``, a name or callable of Keras. Default ``None``: identity.
        resolution: ``w`` > 0, levels per unit of activation per step: a number, one per neuron, or
            ``None`` for a non-spiking ``y = f(x)``. Default 1.
        initial_error: ``v_0``. ``"uniform"`` (default): in training, drawn uniformly on [0, 1) for
            each sample and neuron; in inference, a fixed number for each neuron, made from `seed`,
            the same for all samples. ``"uniform_each_call"``: drawn in inference too, so that two
            predictions differ. ``"zeros"``, ``"half"``, or numbers in [0, 1) that broadcast to the
            shape of the neurons.
        seed: integer seed of the draws and of the fixed numbers. Default ``None``: a random seed
            for the draws, and 0 for the fixed numbers.
        learn_resolution: True trains the resolution of each neuron. Default False.
        limit: size at which the activity saturates, > 0: a number, or one per neuron. Counts are
            then at most ``ceil(w limit)`` in size, for any data. So the activity bits are at most
            ``log2(2 ceil(w limit) + 1)``, or ``log2(ceil(w limit) + 1)`` after a ReLU. Default
            ``None``: no limit.
        gain: factor of the activity, > 0: a number, or one per neuron. Default ``None``: 1.

    `Quantizer` says more about `learn_resolution`, `limit`, `gain` and the gradient. For a memory
    with quantized feedback, only the error of the outputs has a gradient to the learned resolution;
    the error that is fed back has none.

    NaN or infinity passes through at its step and leaves the error as it is, in `step` and in
    `sequence`.

    Example:

    >>> quantizer = SigmaDeltaQuantizer(resolution=4.0)
    >>> quantizer.build((None, 1))
    >>> y, error = quantizer.step(np.array([[0.3]], "float32"), np.array([[0.5]], "float32"))
    >>> float(y[0, 0])  # floor(0.5 + 4 * 0.3) / 4
    0.25

    Raises:
        ValueError: if `resolution`, `limit` or `gain` is not finite and positive or has the wrong
            length, or if `initial_error` is not one of the above.
    """

    def __init__(
        self,
        activation: Any = None,
        resolution: float | Sequence[float] | None = 1.0,
        initial_error: str | float | Sequence[float] = "uniform",
        seed: int | None = None,
        *,
        learn_resolution: bool = False,
        limit: float | Sequence[float] | None = None,
        gain: float | Sequence[float] | None = None,
        **kwargs,
    ):
        initial_error = _check_initial_error(initial_error)
        super().__init__(
            activation,
            resolution,
            seed=seed,
            draws=WHEN_DRAWN[initial_error] if isinstance(initial_error, str) else "never",
            learn_resolution=learn_resolution,
            limit=limit,
            gain=gain,
            **kwargs,
        )
        self.initial_error = initial_error

    @property
    def per_neuron(self):
        return super().per_neuron or isinstance(self.initial_error, list)

    def build(self, input_shape):
        errors = self.initial_error
        if isinstance(errors, list) and len(errors) != input_shape[-1]:
            raise ValueError(
                f"`initial_error` must be a number or have one entry per neuron, {input_shape[-1]} "
                f"for inputs of shape {tuple(input_shape)}; received {len(errors)} entries."
            )
        super().build(input_shape)

    @property
    def stationary(self):
        return not self.spiking or isinstance(self.initial_error, str)

    def get_initial_error(self, shape):
        """Return ``v_0`` of the given shape, (batch, neurons...), float32, in [0, 1)."""
        if not self.spiking or self.seed_generator is not None:
            return super().get_initial_error(shape)
        error = ops.convert_to_tensor(self.initial_error, dtype="float32")
        return _fixed_point.on_grid(ops.broadcast_to(error, shape))

    def round(self, levels, state):
        return _fixed_point.floor_with(state, levels)

    def round_sequence(self, levels, state, mask=None):
        whole, added = _fixed_point.split(levels)
        first = _fixed_point.to_grid(state)
        errors = _fixed_point.errors_after(added, first)
        last = ops.concatenate([first, errors[:, -1:]], axis=1)[:, -1]  # `first` if no steps
        counts = whole + ops.cast(errors < added, "float32")
        return counts, _fixed_point.from_grid(last)

    def get_config(self):
        return {**super().get_config(), "initial_error": self.initial_error}


def _check_initial_error(initial_error):
    if isinstance(initial_error, str):
        if initial_error in WHEN_DRAWN:
            return initial_error
        if initial_error in _NAMED_ERRORS:
            return _NAMED_ERRORS[initial_error]
    else:
        try:
            value = np.asarray(initial_error, dtype="float32")
        except (TypeError, ValueError):
            value = None
        if value is not None and np.all((value >= 0) & (value < 1)):
            return value.tolist()
    raise ValueError(
        "`initial_error` must be 'uniform', 'uniform_each_call', 'zeros', 'half' or numbers in "
        f"[0, 1); received: {initial_error!r}"
    )
