"""Refractory neurons: what a neuron has fired holds it back, and nothing resets it."""

import math

import keras

from hybrid_lmu.neurons._cell import SpikingCell, SpikingLayer, check_time_constant


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class RefractoryCell(SpikingCell):
    """One step of neurons with a refractory kernel and a threshold of 0.

    ::

        u_t = x_t - R_t;    s_t = [u_t >= 0];    R_{t+1} = gamma R_t + s_t;    R_1 = 0

    with ``gamma = exp(-1 / tau_ref)``: a spike lowers the potential by ``gamma**(k - 1)`` after k
    steps. This is the second half of a spike response model; the first is `SynapticTrace`, and
    between them stand the weights, or the two are one (`SRM`).

    Since ``u = 0`` fires, a neuron without input fires once, at the first step. (In float32 ``R``
    is 0 again about ``90 tau_ref`` steps after the last spike; an input of exactly 0 then fires
    once more.)

    Args:
        units: number of neurons.
        tau_ref: time constant in steps, > 0. Default 2.
        surrogate: gradient of a spike, by ``u_t``; see `hybrid_lmu.neurons.surrogates`. Default
            ``"boxcar"``.
        detach_reset: leave the refractory kernel out of the gradient (default), as the local rule
            of the source does, whose states are constants to it.

    Inputs: ``x_t``, [batch, units]. State: ``R_{t+1}``, float32 (float64 under a float64 policy).
    Output: ``s_t``, 0 or 1, [batch, units].

    Raises:
        ValueError: if an argument is out of range.

    Source: Jang, Skatchkovsky & Simeone (2020), arXiv:2012.08300.
    """

    state_names = ("refractory trace",)
    carry = -1.0

    def __init__(self, units, tau_ref=2.0, surrogate="boxcar", detach_reset=True, **kwargs):
        super().__init__(units, None, surrogate, detach_reset, **kwargs)
        self.tau_ref = check_time_constant("tau_ref", tau_ref)
        self.keep = math.exp(-1.0 / self.tau_ref)

    def charge(self, x, v):
        return x - v

    def after(self, u, s, v):
        return self.keep * v + s

    def reset_slopes(self, u, s):
        return 0.0, 1.0

    def arguments(self):
        return {**super().arguments(), "tau_ref": self.tau_ref}


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class Refractory(SpikingLayer):
    """Refractory neurons as an activation over whole sequences, see `RefractoryCell`.

    Args:
        tau_ref, surrogate, detach_reset: see `RefractoryCell`.
        return_sequences: all spikes (default) or those of the last step.
        return_state: also return the refractory trace after the last step.
        stateful: keep the trace from one call to the next; needs a fixed batch size.
            `reset_state()` starts anew.

    Inputs: floating [batch, time, neurons...], and optionally an `initial_state`. Masked steps emit
    0 and leave the trace alone.
    Output: spikes, 0 or 1, of the same shape; with `return_state`, ``(spikes, trace)``.

    Example:

    >>> layer = Refractory(tau_ref=2.0)  # R = 0, 1, 0.61, 0.37, 1.22, ...
    >>> [int(s) for s in layer(np.full((1, 8, 1), 0.4, "float32"))[0, :, 0]]
    [1, 0, 0, 1, 0, 0, 0, 1]

    Source: Jang, Skatchkovsky & Simeone (2020), arXiv:2012.08300.
    """

    def __init__(
        self,
        tau_ref=2.0,
        surrogate="boxcar",
        detach_reset=True,
        return_sequences=True,
        return_state=False,
        stateful=False,
        **kwargs,
    ):
        cell = RefractoryCell(None, tau_ref, surrogate, detach_reset, dtype=kwargs.get("dtype"))
        super().__init__(cell, return_sequences, return_state, stateful, **kwargs)
