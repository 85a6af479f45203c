"""SRM: the spike response model, a synaptic filter and a refractory kernel around a threshold."""

import keras

from hybrid_lmu.neurons._cell import SpikingLayer
from hybrid_lmu.neurons._refractory import RefractoryCell
from hybrid_lmu.neurons._synaptic_filter import SynapticFilter
from hybrid_lmu.neurons.surrogates import Surrogate


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class SRMCell(RefractoryCell):
    """One step of neurons of the spike response model.

    ::

        P_t = alpha P_{t-1} + Q_{t-1};    Q_t = beta Q_{t-1} + x_t
        u_t = P_t - R_t;    s_t = [u_t >= 0];    R_{t+1} = gamma R_t + s_t

    with ``alpha, beta, gamma = exp(-1 / tau)`` of `tau_mem`, `tau_syn` and `tau_ref`: a
    `SynapticTrace` of the input and then a `RefractoryCell`. The source filters the spikes before
    the weights. The filter and the weights are linear, so the order does not matter for the
    weights; a bias before this cell is filtered too.

    Args:
        units: number of neurons.
        tau_mem: time constant of the membrane in steps, > 0. Default 10.
        tau_syn: time constant of the synapse in steps, > 0. Default 6.
        tau_ref: time constant of the recovery after a spike in steps, > 0. Default 2.
        surrogate: derivative of a spike by ``u_t``, see `hybrid_lmu.neurons.surrogates`. Default
            ``"boxcar"``.
        detach_reset: leave the refractory kernel out of the gradient. Default True.

    Inputs: ``x_t``, [batch, units]. States: ``P_t``, ``Q_t`` and ``R_{t+1}``, float32 (float64
    under a float64 policy). Output: ``s_t``, 0 or 1, [batch, units].

    Raises:
        ValueError: if an argument is out of range.

    Source: Jang, Skatchkovsky & Simeone (2020), arXiv:2012.08300.
    """

    state_names = ("membrane trace", "synaptic trace", "refractory trace")

    def __init__(
        self,
        units: int | None,
        tau_mem: float = 10.0,
        tau_syn: float = 6.0,
        tau_ref: float = 2.0,
        *,
        surrogate: str | Surrogate = "boxcar",
        detach_reset: bool = True,
        **kwargs,
    ):
        super().__init__(units, tau_ref, surrogate=surrogate, detach_reset=detach_reset, **kwargs)
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

    ::

        P_t = alpha P_{t-1} + Q_{t-1};    Q_t = beta Q_{t-1} + x_t
        u_t = P_t - R_t;    s_t = [u_t >= 0];    R_{t+1} = gamma R_t + s_t

    P is computed for all steps in parallel; only R needs a loop over time. P agrees with the cell
    to float32 rounding, so a spike may differ where ``u`` is 0 to seven digits.

    Args:
        tau_mem: time constant of the membrane in steps, > 0; gives alpha. Default 10.
        tau_syn: time constant of the synapse in steps, > 0; gives beta. Default 6.
        tau_ref: time constant of the recovery in steps, > 0; gives gamma. Default 2.
        surrogate: derivative of a spike by ``u_t``. Default ``"boxcar"``.
        detach_reset: leave the refractory kernel out of the gradient. Default True.
        **kwargs: `return_sequences`, `return_state`, `return_potentials`, `stateful` and arguments
            of Keras layers, see `SpikingLayer`.

    Inputs, output, masks: see `SpikingLayer`. States: ``P_t``, ``Q_t`` and ``R_{t+1}``.

    Example:

    >>> layer = SRM(tau_mem=10, tau_syn=6, tau_ref=2)
    >>> [int(s) for s in layer(np.full((1, 8, 1), 0.1, "float32"))[0, :, 0]]
    [1, 0, 0, 1, 0, 1, 0, 1]

    Source: Jang, Skatchkovsky & Simeone (2020), arXiv:2012.08300.
    """

    def __init__(
        self,
        tau_mem: float = 10.0,
        tau_syn: float = 6.0,
        tau_ref: float = 2.0,
        *,
        surrogate: str | Surrogate = "boxcar",
        detach_reset: bool = True,
        **kwargs,
    ):
        cell = SRMCell(
            None, tau_mem, tau_syn, tau_ref, surrogate=surrogate, detach_reset=detach_reset,
            dtype=kwargs.get("dtype"),
        )  # fmt: skip
        super().__init__(cell, **kwargs)
