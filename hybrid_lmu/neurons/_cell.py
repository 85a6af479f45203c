"""What the cells of spiking neurons share, and the layer around one."""

import numbers

import keras
import numpy as np
from keras import ops

from hybrid_lmu._internal.checks import check_positive_integer
from hybrid_lmu.cells.contract import Cell
from hybrid_lmu.layers._stateful_activation import StatefulActivation
from hybrid_lmu.neurons import surrogates
from hybrid_lmu.neurons._membrane import potentials


class SpikingCell(Cell):
    """Base of the neurons of the form in `hybrid_lmu.neurons._membrane`.

    A subclass sets `carry`, `gain` and `keep`, and defines ``charge(x, v) -> u``,
    ``after(u, s, v) -> v`` and ``reset_slopes(u, s)``: the partial derivatives of `after` by u and
    by s.

    Args:
        units: number of neurons; None in a layer, which learns it from its inputs.
        threshold: > 0, a number or one per neuron (last axis); None for a threshold of 0.
        surrogate: see `hybrid_lmu.neurons.surrogates`.
        detach_reset: whether the gradient leaves out what a spike does to the neuron's own future.

    Attributes:
        state_names: the states, each [batch, units].
    """

    takes_sequences = True  # with a gradient of our own
    state_names = ("potential",)
    carry = gain = 1.0
    keep = 0.0

    def __init__(self, units, threshold, surrogate, detach_reset, **kwargs):
        super().__init__(**kwargs)
        self.units = None if units is None else check_positive_integer("units", units)
        self.threshold = None if threshold is None else check_threshold(threshold)
        self.surrogate = surrogates.get(surrogate)
        self.detach_reset = bool(detach_reset)
        self.output_size = self.units
        single = len(self.state_names) == 1
        self.state_size = self.units if single else [self.units] * len(self.state_names)

    def build(self, input_shape):
        if self.units not in (None, input_shape[-1]):
            raise ValueError(
                f"`{self.name}` expects {self.units} inputs (`units`), one for each neuron; "
                f"received inputs of shape {tuple(input_shape)}."
            )
        threshold = self.threshold
        if threshold is not None and threshold.ndim and len(threshold) != input_shape[-1]:
            raise ValueError(
                f"`threshold` must be a number or have one entry per neuron, {input_shape[-1]} for "
                f"inputs of shape {tuple(input_shape)}; received {len(threshold)} entries."
            )

    def initial_states(self, shape):
        """The states before the first step, each of `shape`, (batch, neurons...)."""
        return [ops.zeros(shape, dtype=self.compute_dtype) for _ in self.state_names]

    def get_initial_state(self, batch_size=None):
        return self.initial_states((batch_size, self.units))

    def threshold_like(self, u):
        """The threshold in the dtype of u."""
        if self.threshold.ndim == 0:
            return float(self.threshold)
        return ops.convert_to_tensor(self.threshold, dtype=u.dtype)

    def excess(self, u):
        """``u - threshold``."""
        return u if self.threshold is None else u - self.threshold_like(u)

    def fires(self, u):
        """Spikes at the potentials u, without a gradient."""
        return ops.cast(self.excess(u) >= 0, u.dtype)

    def state_slope(self, u):
        """``dv_t/du_t`` at the potentials u of all steps; a number if it is the same at all."""
        by_potential, by_spike = self.reset_slopes(u, self.fires(u))
        if self.detach_reset:
            return by_potential
        return by_potential + by_spike * self.surrogate.derivative(self.excess(u))

    def filtered(self, x, states):
        """One step of what is between the input and the membrane: ``(x, states)``; nothing here."""
        return x, states

    def filtered_sequence(self, x, states, mask):
        """All steps of `filtered`."""
        return x, states

    def call(self, inputs, states, training=False):
        x = ops.cast(inputs, self.compute_dtype)
        x, (*filters, v) = self.filtered(x, list(states))
        u = self.charge(x, v)
        s = self.surrogate.spike(self.excess(u))
        v = self.after(u, ops.stop_gradient(s) if self.detach_reset else s, v)
        return ops.cast(s, self.dtype_policy.compute_dtype), [*filters, v]

    def sequence(self, x, states, training=False, mask=None):
        """All steps of `call`.

        Args:
            x: [batch, time, neurons...].
            states: list of [batch, neurons...].
            mask: optional booleans [batch, time]; a step that is False emits nothing and leaves
                the states alone.

        Returns:
            ``(spikes, states)``: of the shape of x, and after the last step.
        """
        dtype = self.dtype_policy.compute_dtype
        if x.shape[1] == 0:
            return ops.cast(x, dtype), states
        x = ops.cast(x, self.compute_dtype)
        x, (*filters, v) = self.filtered_sequence(x, list(states), mask)
        u, v = potentials(self, x, v, mask)
        spikes = self.surrogate.spike(self.excess(u))
        return ops.cast(emitted(spikes, mask), dtype), [*filters, v]

    def arguments(self):
        """The arguments of the neuron, without those of a cell."""
        threshold = {} if self.threshold is None else {"threshold": self.threshold.tolist()}
        return {
            **threshold,
            "surrogate": keras.saving.serialize_keras_object(self.surrogate),
            "detach_reset": self.detach_reset,
        }

    def get_config(self):
        return {**super().get_config(), "units": self.units, **self.arguments()}


class SpikingLayer(StatefulActivation):
    """Base of the layers: the neuron of a cell at every position of [batch, time, neurons...].

    Args:
        cell: a `SpikingCell`.
        return_sequences: the spikes of all steps (default, as an activation does), or those of the
            last one (with a mask, of the last valid one).
        return_state, stateful: see `StatefulActivation`.
    """

    def __init__(self, cell, return_sequences=True, return_state=False, stateful=False, **kwargs):
        super().__init__(return_state, stateful, **kwargs)
        self.cell = cell
        self.return_sequences = return_sequences
        self.state_names = cell.state_names
        self.state_dtype = cell.compute_dtype

    def build(self, input_shape):
        self.check_shape(input_shape)
        self.cell.build((input_shape[0], *input_shape[2:]))
        if self.stateful:
            self.add_states(input_shape)

    def initial_states(self, shape):
        return self.cell.initial_states(shape)

    def sequence(self, inputs, states, mask):
        spikes, states = self.cell.sequence(inputs, states, mask=mask)
        return (spikes if self.return_sequences else _last(spikes, mask)), states

    def compute_mask(self, inputs, previous_mask=None):
        return previous_mask if self.return_sequences else None

    def compute_output_spec(self, inputs, initial_state=None, mask=None):
        spec = super().compute_output_spec(inputs, initial_state, mask)
        if self.return_sequences:
            return spec
        outputs, *states = spec if self.return_state else [spec]
        outputs = keras.KerasTensor((inputs.shape[0], *inputs.shape[2:]), dtype=outputs.dtype)
        return (outputs, *states) if self.return_state else outputs

    def get_config(self):
        return {
            **super().get_config(),
            **self.cell.arguments(),
            "return_sequences": self.return_sequences,
        }


def emitted(outputs, mask):
    """The outputs [batch, time, neurons...], 0 at masked steps."""
    if mask is None:
        return outputs
    mask = ops.reshape(ops.cast(mask, "bool"), (*ops.shape(mask), *(1,) * (len(outputs.shape) - 2)))
    return ops.where(mask, outputs, ops.zeros_like(outputs))


def _last(spikes, mask):
    """The spikes of the last step that the mask leaves; 0 if it leaves none."""
    if mask is None:
        return spikes[:, -1]
    left = ops.flip(ops.cumsum(ops.flip(ops.cast(mask, "int32"), axis=1), axis=1), axis=1)
    chosen = ops.logical_and(ops.cast(mask, "bool"), left == 1)
    return ops.sum(emitted(spikes, chosen), axis=1)


def check_threshold(threshold):
    """Return the threshold as an array; raise ValueError unless its entries are finite and > 0."""
    try:
        value = np.asarray(threshold, dtype="float64")
    except (TypeError, ValueError):
        value = None
    wrong = isinstance(threshold, (bool, str)) or value is None or value.ndim > 1 or not value.size
    if wrong or not np.all(np.isfinite(value) & (value > 0)):
        raise ValueError(
            "`threshold` must be a finite number > 0 or a 1-D sequence of them (one per neuron); "
            f"received: {threshold!r}"
        )
    return value


def check_time_constant(name, tau, smallest=None):
    """Return `tau`; raise ValueError unless it is finite and > 0, or at least `smallest`."""
    number = isinstance(tau, numbers.Real) and not isinstance(tau, bool) and np.isfinite(tau)
    if not number or tau <= 0 or (smallest is not None and tau < smallest):
        bound = "> 0" if smallest is None else f">= {smallest}"
        raise ValueError(f"`{name}` must be a finite number of steps {bound}; received: {tau!r}")
    return float(tau)
