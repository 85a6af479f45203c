"""SRM: the spike response model, a synaptic filter and a refractory kernel around a threshold."""

import keras

from hybrid_lmu.neurons._cell import SpikingLayer
from hybrid_lmu.neurons._refractory import RefractoryCell
from hybrid_lmu.neurons._synaptic_filter import SynapticFilter


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class SRMCell(RefractoryCell):
    """One step of neurons of the spike response model.

    ::

        P_t = alpha P_{t-1} + Q_{t-1};    Q_t = beta Q_{t-1} + x_t
        u_t = P_t - R_t;    s_t = [u_t >= 0];    R_{t+1} = gamma R_t + s_t

    with ``alpha, beta, gamma = exp(-1 / tau)`` of `tau_mem`, `tau_syn` and `tau_ref`: a
    `SynapticTrace` of the input and then a `RefractoryCell`. The source filters the spikes before
    the weights; as both are linear it is the same to filter what comes out of them, but for a
    bias, which is then filtered too.

    Args:
        units: number of neurons.
        tau_mem, tau_syn, tau_ref: time constants in steps, > 0. Defaults 10, 6 and 2.
        surrogate, detach_reset: see `RefractoryCell`.

    Inputs: ``x_t``, [batch, units]. States: ``P_t``, ``Q_t`` and ``R_{t+1}``, float32 (float64
    under a float64 policy). Output: ``s_t``, 0 or 1, [batch, units].

    Raises:
        ValueError: if an argument is out of range.

    Source: Jang, Skatchkovsky & Simeone (2020), arXiv:2012.08300.
    """

    state_names = ("membrane trace", "synaptic trace", "refractory trace")

    def __init__(
        self,
        units,
        tau_mem=10.0,
        tau_syn=6.0,
        tau_ref=2.0,
        surrogate="boxcar",
        detach_reset=True,
        **kwargs,
    ):
        super().__init__(units, tau_ref, surrogate, detach_reset, **kwargs)
        self.filter = SynapticFilter(tau_mem, tau_syn)

    def filtered(self, x, states):
        p, q = self.filter.step(x, *states[:2])
        return p, [p, q, states[2]]

    def filtered_sequence(self, x, states, mask):
        x, p, q = self.filter.sequence(x, *states[:2], mask)
        return x, [p, q, states[2]]

    def arguments(self):
        taus = {"tau_mem": self.filter.tau_mem, "tau_syn": self.filter.tau_syn}
        return {**super().arguments(), **taus}


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class SRM(SpikingLayer):
    """Neurons of the spike response model as an activation over whole sequences, see `SRMCell`.

    The feed-forward kernel is computed for all steps in parallel; the loop over time has the
    refractory part alone. It agrees with the cell to float32 rounding of P: a spike may differ
    where ``u`` is 0 to seven digits.

    Args:
        tau_mem, tau_syn, tau_ref, surrogate, detach_reset: see `SRMCell`.
        return_sequences: all spikes (default) or those of the last step.
        return_state: also return the three traces after the last step.
        stateful: keep the traces from one call to the next; needs a fixed batch size.
            `reset_state()` starts anew.

    Inputs: floating [batch, time, neurons...], and optionally an `initial_state`, [P, Q, R]. Masked
    steps emit 0 and leave the states alone.
    Output: spikes, 0 or 1, of the same shape; with `return_state`, ``(spikes, P, Q, R)``.

    Example:

    >>> layer = SRM(tau_mem=10, tau_syn=6, tau_ref=2)
    >>> [int(s) for s in layer(np.full((1, 8, 1), 0.1, "float32"))[0, :, 0]]
    [1, 0, 0, 1, 0, 1, 0, 1]

    Source: Jang, Skatchkovsky & Simeone (2020), arXiv:2012.08300.
    """

    def __init__(
        self,
        tau_mem=10.0,
        tau_syn=6.0,
        tau_ref=2.0,
        surrogate="boxcar",
        detach_reset=True,
        return_sequences=True,
        return_state=False,
        stateful=False,
        **kwargs,
    ):
        dtype = kwargs.get("dtype")
        cell = SRMCell(None, tau_mem, tau_syn, tau_ref, surrogate, detach_reset, dtype=dtype)
        super().__init__(cell, return_sequences, return_state, stateful, **kwargs)
