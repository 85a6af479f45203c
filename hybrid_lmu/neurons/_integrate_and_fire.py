"""IF: integrate and fire, with the threshold subtracted at a spike."""

import keras
import numpy as np
from keras import ops

from hybrid_lmu.neurons._cell import SpikingCell, SpikingLayer

_NAMED_POTENTIALS = {"zeros": 0.0, "half": 0.5}  # in thresholds


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class IFCell(SpikingCell):
    """One step of integrate-and-fire neurons.

    ::

        u_t = v_{t-1} + x_t;    s_t = [u_t >= threshold];    v_t = u_t - threshold s_t

    No leak, no lower bound, at most one spike a step. What is above the threshold is kept, so that
    the spikes count the input: for a constant input ``0 <= x <= threshold`` there are
    ``floor((T x + v_0) / threshold)`` of them in T steps. For any inputs up to the threshold,
    negative ones too, the spikes up to step t are a prefix sum and a running maximum,
    ``max(0, max_{s <= t} floor((x_1 + ... + x_s + v_0) / threshold))``. Larger inputs make spikes
    wait, as there is one a step at most, and what waits can still be taken back by negative ones:
    then only the loop gives them.

    Args:
        units: number of neurons.
        threshold: > 0; a number or one per neuron. Default 1.
        initial_potential: ``v_0``: ``"zeros"`` (default), ``"half"`` (of the threshold) or numbers
            that broadcast to the shape of the neurons.
        surrogate: gradient of a spike, by ``u_t - threshold``; see `hybrid_lmu.neurons.surrogates`.
            Default ``"arctan"``.
        detach_reset: leave the subtraction out of the gradient (default): ``dv_t/du_t = 1``, so
            that the gradient of a rate is that of the sum that the spikes count. Else it has the
            surrogate in it once for every spike in between, a product of guesses that
            vanishes or grows with time.

    Inputs: ``x_t``, [batch, units]. State: ``v_t``, float32 (float64 under a float64 policy).
    Output: ``s_t``, 0 or 1, [batch, units].

    Raises:
        ValueError: if an argument is out of range.

    Source: the neuron of Lu & Sengupta (2020), arXiv:2002.10064.
    """

    def __init__(
        self,
        units,
        threshold=1.0,
        initial_potential="zeros",
        surrogate="arctan",
        detach_reset=True,
        **kwargs,
    ):
        super().__init__(units, threshold, surrogate, detach_reset, **kwargs)
        self.initial_potential = _check_potential(initial_potential)

    def initial_states(self, shape):
        potential = self.initial_potential
        if isinstance(potential, str):
            potential = _NAMED_POTENTIALS[potential] * self.threshold
        zeros = ops.zeros(shape, dtype=self.compute_dtype)
        return [zeros + ops.convert_to_tensor(potential, dtype=self.compute_dtype)]

    def charge(self, x, v):
        return v + x

    def after(self, u, s, v):
        return u - self.threshold_like(u) * s

    def reset_slopes(self, u, s):
        return 1.0, -self.threshold_like(u)

    def arguments(self):
        return {**super().arguments(), "initial_potential": self.initial_potential}


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class IF(SpikingLayer):
    """Integrate-and-fire neurons as an activation over whole sequences, see `IFCell`.

    The loop over time is elementwise; its gradient is a linear recurrence
    (`hybrid_lmu.neurons._membrane`).

    Args:
        threshold, initial_potential, surrogate, detach_reset: see `IFCell`.
        return_sequences: all spikes (default) or those of the last step.
        return_state: also return the potential after the last step.
        stateful: keep the potential from one call to the next; needs a fixed batch size.
            `reset_state()` starts anew.

    Inputs: floating [batch, time, neurons...], and optionally an `initial_state`. Masked steps emit
    0 and leave the potential alone.
    Output: spikes, 0 or 1, of the same shape; with `return_state`, ``(spikes, potential)``.

    Example:

    >>> layer = IF()
    >>> [int(s) for s in layer(np.full((1, 10, 1), 0.3, "float32"))[0, :, 0]]
    [0, 0, 0, 1, 0, 0, 1, 0, 0, 1]

    Source: the neuron of Lu & Sengupta (2020), arXiv:2002.10064.
    """

    def __init__(
        self,
        threshold=1.0,
        initial_potential="zeros",
        surrogate="arctan",
        detach_reset=True,
        return_sequences=True,
        return_state=False,
        stateful=False,
        **kwargs,
    ):
        cell = IFCell(
            None, threshold, initial_potential, surrogate, detach_reset, dtype=kwargs.get("dtype")
        )
        super().__init__(cell, return_sequences, return_state, stateful, **kwargs)


def _check_potential(potential):
    if isinstance(potential, str) and potential in _NAMED_POTENTIALS:
        return potential
    try:
        value = np.asarray(potential, dtype="float64")
    except (TypeError, ValueError):
        value = None
    if value is None or isinstance(potential, (str, bool)) or not np.all(np.isfinite(value)):
        raise ValueError(
            "`initial_potential` must be 'zeros', 'half' or finite numbers; "
            f"received: {potential!r}"
        )
    return value.tolist()
