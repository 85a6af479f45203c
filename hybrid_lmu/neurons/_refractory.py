"""Refractory neurons: past spikes lower the potential, and nothing resets it."""

import math

import keras

from hybrid_lmu.neurons._cell import SpikingCell, SpikingLayer, check_time_constant
from hybrid_lmu.neurons.surrogates import Surrogate


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class RefractoryCell(SpikingCell):
    """One step of neurons with a refractory kernel and a threshold of 0.

    ::

        u_t = x_t - R_t;    s_t = [u_t >= 0];    R_{t+1} = gamma R_t + s_t;    R_1 = 0

    with ``gamma = exp(-1 / tau_ref)``: a spike lowers the potential by ``gamma**(k - 1)`` after k
    steps. A spike response model is a `SynapticTrace`, then the weights, then this neuron; `SRM`
    has the trace and the neuron in one layer, behind the weights.

    A potential of 0 fires, so a neuron without input fires once, at the first step. (In float32
    ``R`` is 0 again about ``90 tau_ref`` steps after the last spike, and an input of exactly 0 then
    fires once more.)

    Args:
        units: number of neurons.
        tau_ref: time constant in steps, > 0. Default 2.
        surrogate: derivative of a spike by ``u_t``, see `hybrid_lmu.neurons.surrogates`. Default
            ``"boxcar"``.
        detach_reset: leave the refractory kernel out of the gradient (default). The local learning
            rules of the source do so too: the states are constants to them.

    Inputs: ``x_t``, [batch, units]. State: ``R_{t+1}``, float32 (float64 under a float64 policy).
    Output: ``s_t``, 0 or 1, [batch, units].

    Raises:
        ValueError: if an argument is out of range.

    Source: Jang, Skatchkovsky & Simeone (2020), arXiv:2012.08300.
    """

    state_names = ("refractory trace",)
    potential_by_state = -1.0

    def __init__(
        self,
        units: int | None,
        tau_ref: float = 2.0,
        *,
        surrogate: str | Surrogate = "boxcar",
        detach_reset: bool = True,
        **kwargs,
    ):
        super().__init__(units, None, surrogate, detach_reset, **kwargs)
        self.tau_ref = check_time_constant("tau_ref", tau_ref)
        self.state_by_state = math.exp(-1.0 / self.tau_ref)

    def charge(self, x, v):
        return x - v

    def after(self, u, s, v):
        return self.state_by_state * v + s

    def reset_slopes(self, u, s):
        return 0.0, 1.0

    def arguments(self):
        return {**super().arguments(), "tau_ref": self.tau_ref}


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class Refractory(SpikingLayer):
    """Refractory neurons as an activation over whole sequences, see `RefractoryCell`.

    ::

        u_t = x_t - R_t;    s_t = [u_t >= 0];    R_{t+1} = gamma R_t + s_t

    Args:
        tau_ref: time constant in steps, > 0; ``gamma = exp(-1 / tau_ref)``. Default 2.
        surrogate: derivative of a spike by ``u_t``. Default ``"boxcar"``.
        detach_reset: leave the refractory kernel out of the gradient. Default True.
        **kwargs: `return_sequences`, `return_state`, `return_potentials`, `stateful` and arguments
            of Keras layers, see `SpikingLayer`.

    Inputs, output, masks: see `SpikingLayer`. State: the refractory trace ``R_{t+1}``.

    Example:

    >>> layer = Refractory(tau_ref=2.0)  # R = 0, 1, 0.61, 0.37, 1.22, ...
    >>> [int(s) for s in layer(np.full((1, 8, 1), 0.4, "float32"))[0, :, 0]]
    [1, 0, 0, 1, 0, 0, 0, 1]

    Source: Jang, Skatchkovsky & Simeone (2020), arXiv:2012.08300.
    """

    def __init__(
        self,
        tau_ref: float = 2.0,
        *,
        surrogate: str | Surrogate = "boxcar",
        detach_reset: bool = True,
        **kwargs,
    ):
        cell = RefractoryCell(
            None, tau_ref, surrogate=surrogate, detach_reset=detach_reset,
            dtype=kwargs.get("dtype"),
        )  # fmt: skip
        super().__init__(cell, **kwargs)
