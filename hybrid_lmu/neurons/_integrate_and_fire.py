"""IF: integrate and fire, with the threshold subtracted at a spike."""

import keras
import numpy as np
from keras import ops

from hybrid_lmu._internal.checks import as_numbers, check_positive_per_neuron
from hybrid_lmu.neurons._cell import SpikingCell, SpikingLayer
from hybrid_lmu.neurons.surrogates import Surrogate

_NAMED_POTENTIALS = {"zeros": 0.0, "half": 0.5}  # in thresholds


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class IFCell(SpikingCell):
    """One step of integrate-and-fire neurons.

    ::

        u_t = v_{t-1} + x_t;    s_t = [u_t >= threshold];    v_t = u_t - threshold s_t

    There is no leak, no lower bound, and at most one spike a step. A spike keeps what is above the
    threshold, so that the spikes count the input. A constant input ``0 <= x <= threshold`` gives
    ``floor((T x + v_0) / threshold)`` spikes in T steps. Inputs of either sign up to the threshold
    give ``max(0, max_{s <= t} floor((x_1 + ... + x_s + v_0) / threshold))`` spikes up to step t.
    Larger inputs make spikes wait, because there is one a step at most, and negative inputs can
    still take back a spike that waits.

    Args:
        units: number of neurons.
        threshold: > 0; a number or one per neuron. Default 1.
        initial_potential: ``v_0``: ``"zeros"`` (default), ``"half"`` (of the threshold) or numbers
            that broadcast to the shape of the neurons.
        surrogate: derivative of a spike by ``u_t - threshold``, see
            `hybrid_lmu.neurons.surrogates`. Default ``"arctan"``.
        detach_reset: leave the subtraction out of the gradient (default): ``dv_t/du_t = 1``, so
            that the gradient of a rate is the gradient of the sum that the spikes count. With
            False the gradient contains the surrogate derivative once for every spike in between,
            a product that vanishes or grows with time.
        learn_threshold: train the threshold, through its logarithm; `present_threshold` of the cell
            is what it has become. Training is slower. Default False.

    Inputs: ``x_t``, [batch, units]. State: ``v_t``, float32 (float64 under a float64 policy).
    Output: ``s_t``, 0 or 1, [batch, units].

    Raises:
        ValueError: if an argument is out of range.

    Source: the neuron of Lu & Sengupta (2020), arXiv:2002.10064.
    """

    def __init__(
        self,
        units: int | None,
        threshold=1.0,
        initial_potential="zeros",
        *,
        surrogate: str | Surrogate = "arctan",
        detach_reset: bool = True,
        learn_threshold: bool = False,
        **kwargs,
    ):
        check_positive_per_neuron("threshold", threshold)
        super().__init__(units, threshold, surrogate, detach_reset, learn_threshold, **kwargs)
        self.initial_potential = _check_potential(initial_potential)

    def initial_states(self, shape):
        potential = self.initial_potential
        zeros = ops.zeros(shape, dtype=self.compute_dtype)
        if isinstance(potential, str):
            return [zeros + _NAMED_POTENTIALS[potential] * self.threshold_like(zeros)]
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

    ::

        u_t = v_{t-1} + x_t;    s_t = [u_t >= threshold];    v_t = u_t - threshold s_t

    Args:
        threshold: > 0; a number or one per neuron. Default 1.
        initial_potential: ``v_0``: ``"zeros"`` (default), ``"half"`` (of the threshold) or numbers.
        surrogate: derivative of a spike by ``u_t - threshold``. Default ``"arctan"``.
        detach_reset: leave the subtraction out of the gradient. Default True.
        learn_threshold: train the threshold; ``layer.cell.present_threshold`` is what it has
            become. Default False.
        **kwargs: `return_sequences`, `return_state`, `return_potentials`, `stateful` and arguments
            of Keras layers, see `SpikingLayer`.

    Inputs, output, masks: see `SpikingLayer`. State: the potential ``v_t``.

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
        *,
        surrogate: str | Surrogate = "arctan",
        detach_reset: bool = True,
        learn_threshold: bool = False,
        **kwargs,
    ):
        cell = IFCell(
            None, threshold, initial_potential, surrogate=surrogate, detach_reset=detach_reset,
            learn_threshold=learn_threshold, dtype=kwargs.get("dtype"),
        )  # fmt: skip
        super().__init__(cell, **kwargs)


def _check_potential(potential):
    if isinstance(potential, str) and potential in _NAMED_POTENTIALS:
        return potential
    array = as_numbers(potential)
    if array is None or not np.all(np.isfinite(array)):
        raise ValueError(
            "`initial_potential` must be 'zeros', 'half' or finite numbers; "
            f"received: {potential!r}"
        )
    return array.tolist()
