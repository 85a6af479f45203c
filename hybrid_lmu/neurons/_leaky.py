"""LIF: leaky integrate and fire."""

import numbers

import keras
import numpy as np
from keras import ops

from hybrid_lmu._internal.checks import check_choice, check_flag, check_positive_per_neuron
from hybrid_lmu.neurons._cell import SpikingCell, SpikingLayer, check_time_constant
from hybrid_lmu.neurons.surrogates import Surrogate


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class LIFCell(SpikingCell):
    """One step of leaky integrate-and-fire neurons.

    ::

        u_t = v_{t-1} + (x_t - (v_{t-1} - v_reset)) / tau
        s_t = [u_t >= threshold]
        v_t = v_reset if s_t else u_t          (reset="hard")
        v_t = u_t - threshold s_t              (reset="subtract")

    Args:
        units: number of neurons.
        tau: time constant in steps, >= 1 (1: no memory). Default 2.
        threshold: > 0; a number or one per neuron. Default 1.
        reset: what a spike does to the potential, ``"hard"`` (default) or ``"subtract"``.
        reset_potential: ``v_reset``, below the threshold. The potential starts there and leaks
            towards it, and a hard reset sets it. Default 0.
        decay_input: divide the input by tau, as above (default). With False ``x_t`` is added
            whole, so that a weight means the same at any tau.
        surrogate: derivative of a spike by ``u_t - threshold``, see
            `hybrid_lmu.neurons.surrogates`. Default ``"arctan"``.
        detach_reset: leave the reset out of the gradient (default). With False the gradient
            contains the surrogate derivative once for every step in between, a product that
            vanishes or grows with time.
        learn_tau: train tau, one for all neurons, as ``1 / tau = sigmoid(w)``; `present_tau` is
            what it has become. `tau`, where it starts, must be > 1. Training is slower. Default
            False.
        learn_threshold: train the threshold, through its logarithm; `present_threshold` is what it
            has become. Default False.

    Inputs: ``x_t``, [batch, units]. State: ``v_t``, float32 (float64 under a float64 policy).
    Output: ``s_t``, 0 or 1, [batch, units].

    Raises:
        ValueError: if an argument is out of range.

    Sources: the discrete neuron of SpikingJelly, Fang et al. (2023), doi:10.1126/sciadv.adi1480;
    the trained tau of Fang et al. (2021), arXiv:2007.05785.
    """

    def __init__(
        self,
        units: int | None,
        tau: float = 2.0,
        threshold=1.0,
        *,
        reset: str = "hard",
        reset_potential: float = 0.0,
        decay_input: bool = True,
        surrogate: str | Surrogate = "arctan",
        detach_reset: bool = True,
        learn_tau: bool = False,
        learn_threshold: bool = False,
        **kwargs,
    ):
        check_positive_per_neuron("threshold", threshold)
        super().__init__(units, threshold, surrogate, detach_reset, learn_threshold, **kwargs)
        self.tau = check_time_constant("tau", tau, smallest=1)
        self.learn_tau = check_choice("learn_tau", learn_tau, (True, False))
        if learn_tau and self.tau == 1:
            raise ValueError("`tau` must be > 1 to be trained (`learn_tau`); received: 1")
        self.rate_logit = None
        self.reset = check_choice("reset", reset, ("hard", "subtract"))
        self.reset_potential = _check_reset_potential(reset_potential, self.threshold)
        self.decay_input = check_flag("decay_input", decay_input)
        self.potential_by_state = 1.0 - 1.0 / self.tau
        self.potential_by_input = 1.0 / self.tau if self.decay_input else 1.0

    def initial_states(self, shape):
        return [ops.full(shape, self.reset_potential, dtype=self.compute_dtype)]

    def build(self, input_shape):
        super().build(input_shape)
        if self.learn_tau:
            self.rate_logit = self._learned("rate_logit", -np.log(self.tau - 1.0))

    @property
    def learns(self):
        return self.learn_tau or self.learn_threshold

    @property
    def present_tau(self) -> float:
        """The time constant, as it is now if it is trained."""
        if self.rate_logit is None:
            return self.tau
        return 1.0 + float(np.exp(-ops.convert_to_numpy(self.rate_logit)))

    def charge(self, x, v):
        rate, by_state, by_input = 1.0 / self.tau, self.potential_by_state, self.potential_by_input
        if self.rate_logit is not None:
            rate = ops.sigmoid(ops.cast(self.rate_logit, v.dtype))
            by_state, by_input = 1.0 - rate, rate if self.decay_input else 1.0
        u = by_state * v + by_input * x
        return u + self.reset_potential * rate if self.reset_potential else u

    def after(self, u, s, v):
        if self.reset == "subtract":
            return u - self.threshold_like(u) * s
        kept = u * (1.0 - s)
        return kept + self.reset_potential * s if self.reset_potential else kept

    def reset_slopes(self, u, s):
        if self.reset == "subtract":
            return 1.0, -self.threshold_like(u)
        return 1.0 - s, self.reset_potential - u

    def arguments(self):
        own = ("tau", "reset", "reset_potential", "decay_input")
        own += ("learn_tau",) if self.learn_tau else ()
        return {**super().arguments(), **{name: getattr(self, name) for name in own}}


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class LIF(SpikingLayer):
    """Leaky integrate-and-fire neurons as an activation over whole sequences, see `LIFCell`.

    ::

        u_t = v_{t-1} + (x_t - (v_{t-1} - v_reset)) / tau;    s_t = [u_t >= threshold]

    Args:
        tau: time constant in steps, >= 1. Default 2.
        threshold: > 0; a number or one per neuron. Default 1.
        reset: ``"hard"`` (default; a spike sets the potential to `reset_potential`) or
            ``"subtract"`` (a spike subtracts the threshold).
        reset_potential: ``v_reset``, below the threshold. Default 0.
        decay_input: divide the input by tau. Default True.
        surrogate: derivative of a spike by ``u_t - threshold``. Default ``"arctan"``.
        detach_reset: leave the reset out of the gradient. Default True.
        learn_tau: train tau; ``layer.cell.present_tau`` is what it has become. Default False.
        learn_threshold: train the threshold; ``layer.cell.present_threshold`` is what it has
            become. Default False.
        **kwargs: `return_sequences`, `return_state`, `return_potentials`, `stateful` and arguments
            of Keras layers, see `SpikingLayer`.

    Inputs, output, masks: see `SpikingLayer`. State: the potential ``v_t``.

    Example:

    >>> layer = LIF(tau=2.0)  # u = 0.75, 1.125 (spike), 0.75, ...
    >>> [int(s) for s in layer(np.full((1, 6, 1), 1.5, "float32"))[0, :, 0]]
    [0, 1, 0, 1, 0, 1]

    Source: see `LIFCell`.
    """

    def __init__(
        self,
        tau: float = 2.0,
        threshold=1.0,
        *,
        reset: str = "hard",
        reset_potential: float = 0.0,
        decay_input: bool = True,
        surrogate: str | Surrogate = "arctan",
        detach_reset: bool = True,
        learn_tau: bool = False,
        learn_threshold: bool = False,
        **kwargs,
    ):
        cell = LIFCell(
            None, tau, threshold, reset=reset, reset_potential=reset_potential,
            decay_input=decay_input, surrogate=surrogate, detach_reset=detach_reset,
            learn_tau=learn_tau, learn_threshold=learn_threshold, dtype=kwargs.get("dtype"),
        )  # fmt: skip
        super().__init__(cell, **kwargs)


def _check_reset_potential(potential, threshold):
    number = isinstance(potential, numbers.Real) and np.isfinite(potential)
    if not number or not np.all(potential < threshold):
        raise ValueError(
            f"`reset_potential` must be a finite number below the threshold, {threshold.tolist()}; "
            f"received: {potential!r}"
        )
    return float(potential)
