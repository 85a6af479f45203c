"""What the cells of spiking neurons share, and the layer around one."""

import abc
import numbers

import keras
import numpy as np
from keras import ops

from hybrid_lmu._internal.checks import (
    check_choice,
    check_entries,
    check_flag,
    check_positive_integer,
    check_positive_per_neuron,
)
from hybrid_lmu._internal.masks import zero_masked_steps
from hybrid_lmu.cells.contract import INPUT, Activity, Cell, Products, Signal
from hybrid_lmu.layers._stateful_activation import StatefulActivation
from hybrid_lmu.neurons import surrogates
from hybrid_lmu.neurons._membrane import potentials, potentials_by_the_backend


class SpikingCell(Cell, abc.ABC):
    """Base of the spiking neurons, and the contract for a neuron of your own.

    All are of one form, elementwise, with coefficients a, b and q::

        u_t = a v_{t-1} + b x_t + const;   s_t = [u_t >= threshold];   v_t = q v_{t-1} + r(u_t, s_t)

    A subclass sets the three coefficients and defines `charge`, `after` and `reset_slopes`. The
    base then has the step, the whole sequence and the gradient of both. A spiking cell makes no
    products with weights: it receives a current and emits spikes, an activity of resolution 1.
    Where ``u_t`` is NaN or infinite, it comes out in place of a spike.

    Args:
        units: number of neurons; None in a layer, which learns it from its inputs.
        threshold: > 0; a number or one per neuron (last axis). None: a threshold of 0.
        surrogate: derivative of a spike by ``u_t - threshold``, see
            `hybrid_lmu.neurons.surrogates`.
        detach_reset: whether the gradient leaves out the effect of a spike on the neuron's own
            later potentials.
        learn_threshold: whether the threshold is trained, through its logarithm. Default False.

    Attributes:
        state_names: names of the states, each [batch, units]; the last one is ``v``.
        potential_by_state: a, a number. Default 1.
        potential_by_input: b, a number. Default 1.
        state_by_state: q, a number. Default 0.

    Raises:
        ValueError: if an argument is out of range.
    """

    takes_sequences = True  # `sequence` has a gradient of its own
    state_names = ("potential",)
    potential_by_state = 1.0
    potential_by_input = 1.0
    state_by_state = 0.0

    def __init__(self, units, threshold, surrogate, detach_reset, learn_threshold=False, **kwargs):
        super().__init__(**kwargs)
        self.units = None if units is None else check_positive_integer("units", units)
        self.threshold = (
            None if threshold is None else check_positive_per_neuron("threshold", threshold)
        )
        self.learn_threshold = check_choice("learn_threshold", learn_threshold, (True, False))
        self.log_threshold = None
        self.surrogate = surrogates.get(surrogate)
        self.detach_reset = check_flag("detach_reset", detach_reset)
        self.output_size = self.units
        single = len(self.state_names) == 1
        self.state_size = self.units if single else [self.units] * len(self.state_names)

    @abc.abstractmethod
    def charge(self, x, v):
        """Return the potential ``u_t`` from the input ``x_t`` and the state ``v_{t-1}``."""

    @abc.abstractmethod
    def after(self, u, s, v):
        """Return the state ``v_t`` from ``u_t``, the spikes ``s_t`` and ``v_{t-1}``."""

    @abc.abstractmethod
    def reset_slopes(self, u, s):
        """Return the partial derivatives of `after` by u and by s, numbers or tensors."""

    def build(self, input_shape):
        if self.units not in (None, input_shape[-1]):
            raise ValueError(
                f"`{self.name}` expects {self.units} inputs (`units`), one for each neuron; "
                f"received inputs of shape {tuple(input_shape)}."
            )
        if self.threshold is not None:
            check_entries("threshold", self.threshold, input_shape)
        if self.learn_threshold:
            self.log_threshold = self._learned("log_threshold", np.log(self.threshold))

    def _learned(self, name, value):
        return self.add_weight(
            name=name,
            shape=np.shape(value),
            initializer=lambda shape, dtype: ops.convert_to_tensor(value, dtype=dtype),
        )

    @property
    def learns(self) -> bool:
        """Whether a constant of the neuron is trained."""
        return self.learn_threshold

    @property
    def present_threshold(self):
        """The threshold, as it is now if it is trained; a NumPy number or array."""
        if self.log_threshold is None:
            return self.threshold
        return np.exp(ops.convert_to_numpy(self.log_threshold))

    def products(self, inputs: tuple[Signal, ...] = (INPUT,)) -> Products:
        spikes = Signal("output", 1.0)
        return Products((Activity("output", spikes),), spikes)

    def initial_states(self, shape):
        """Return the states before the first step, each of `shape`, (batch, neurons...)."""
        return [ops.zeros(shape, dtype=self.compute_dtype) for _ in self.state_names]

    def get_initial_state(self, batch_size=None):
        return self.initial_states((batch_size, self.units))

    def threshold_like(self, u):
        """Return the threshold, a number or a tensor in the dtype of u."""
        if self.log_threshold is not None:
            return ops.exp(ops.cast(self.log_threshold, u.dtype))
        if self.threshold.ndim == 0:
            return float(self.threshold)
        return ops.convert_to_tensor(self.threshold, dtype=u.dtype)

    def excess(self, u):
        """Return ``u - threshold``."""
        return u if self.threshold is None else u - self.threshold_like(u)

    def fires(self, u):
        """Return the spikes at the potentials u, without a gradient."""
        return ops.cast(self.excess(u) >= 0, u.dtype)

    def shown(self, spikes, u):
        """Return the spikes, or u itself where it is NaN or infinite, so that it does not hide."""
        return ops.where(ops.isfinite(u), spikes, ops.stop_gradient(u))

    def state_slope(self, u):
        """Return ``dv_t/du_t`` at the potentials u of all steps; a number if all are equal."""
        by_potential, by_spike = self.reset_slopes(u, self.fires(u))
        if self.detach_reset:
            return by_potential
        return by_potential + by_spike * self.surrogate.derivative(self.excess(u))

    def filtered(self, x, states):
        """Run one step of a filter between input and membrane, if there is one.

        Returns:
            ``(x, states)``: what reaches the membrane, and all states.
        """
        return x, states

    def filtered_sequence(self, x, states, mask):
        """Run all steps of `filtered`."""
        return x, states

    def call(self, inputs, states, training=False):
        x = ops.cast(inputs, self.compute_dtype)
        x, (*filters, v) = self.filtered(x, list(states))
        u = self.charge(x, v)
        s = self.surrogate.spike(self.excess(u))
        v = self.after(u, ops.stop_gradient(s) if self.detach_reset else s, v)
        return ops.cast(self.shown(s, u), self.dtype_policy.compute_dtype), [*filters, v]

    def sequence(self, x, states, training=False, mask=None):
        """Run all steps of `call`.

        Args:
            x: [batch, time, neurons...].
            states: list of [batch, neurons...].
            mask: optional booleans [batch, time]; a step that is False emits nothing and leaves
                the states alone.

        Returns:
            ``(spikes, states)``: the spikes have the shape of x, the states are those after the
            last step.
        """
        spikes, _, states = self.with_potentials(x, states, mask)
        return spikes, states

    def with_potentials(self, x, states, mask=None):
        """Return ``(spikes, potentials, states)`` of all steps, see `sequence`.

        The potentials are ``u_t``, before a spike resets them; 0 at masked steps.
        """
        dtype = self.dtype_policy.compute_dtype
        if x.shape[1] == 0:
            return ops.cast(x, dtype), ops.cast(x, dtype), states
        x = ops.cast(x, self.compute_dtype)
        x, (*filters, v) = self.filtered_sequence(x, list(states), mask)
        run = potentials_by_the_backend if self.learns else potentials
        u, v = run(self, x, v, mask)
        spikes = self.shown(self.surrogate.spike(self.excess(u)), u)
        spikes, u = (ops.cast(zero_masked_steps(one, mask), dtype) for one in (spikes, u))
        return spikes, u, [*filters, v]

    def arguments(self):
        """Return the arguments of the neuron that a cell and a layer share, for `get_config`."""
        threshold = {} if self.threshold is None else {"threshold": self.threshold.tolist()}
        return {
            **threshold,
            "surrogate": keras.saving.serialize_keras_object(self.surrogate),
            "detach_reset": self.detach_reset,
            **({"learn_threshold": True} if self.learn_threshold else {}),
        }

    def get_config(self):
        return {**super().get_config(), "units": self.units, **self.arguments()}


class SpikingLayer(StatefulActivation):
    """Base of the layers: the neuron of a `SpikingCell` at each place of [batch, time, neurons...].

    The loop over time is elementwise. Its gradient is a linear recurrence
    (`hybrid_lmu.neurons._membrane`), which is much faster than the gradient that a backend finds.

    Args:
        cell: the `SpikingCell`, with ``units=None``.
        return_sequences: return the spikes of all steps, as an activation does, or those of the
            last step (with a mask, of the last valid step). Default True.
        return_state: also return the states after the last step. Default False.
        return_potentials: also return the potentials ``u_t`` of all steps, before a spike resets
            them, in the shape of the inputs. Default False.
        stateful: keep the states from one call to the next; needs a fixed batch size.
            `reset_state()` starts anew. Default False.
        **kwargs: `name`, `dtype` and `trainable` of `keras.layers.Layer`.

    Inputs: floating [batch, time, neurons...]; optionally `initial_state`, a list of the states,
    each [batch, neurons...]; optionally `mask`, booleans [batch, time]. A masked step emits 0 and
    leaves the states alone.
    Output: spikes, 0 or 1, of the shape of the inputs (without the axis of time if not
    `return_sequences`); with `return_state`, ``(spikes, *states)``; with `return_potentials`,
    ``(spikes, potentials)`` or ``(spikes, potentials, *states)``.

    Raises:
        ValueError: for inputs or states of another shape or dtype.
    """

    def __init__(
        self,
        cell: SpikingCell,
        *,
        return_sequences: bool = True,
        return_state: bool = False,
        return_potentials: bool = False,
        stateful: bool = False,
        **kwargs,
    ):
        super().__init__(return_state=return_state, stateful=stateful, **kwargs)
        self.cell = cell
        self.return_potentials = return_potentials
        self.return_sequences = return_sequences
        self.state_names = cell.state_names
        self.state_dtype = cell.compute_dtype

    def build(self, input_shape):
        self.check_shape(input_shape)
        self.cell.build((input_shape[0], *input_shape[2:]))
        if self.stateful:
            self.add_states(input_shape)

    def products(self) -> Products:
        spikes = Signal("output", 1.0)
        return Products((Activity("", spikes),), spikes)

    def initial_states(self, shape):
        return self.cell.initial_states(shape)

    def sequence(self, inputs, states, mask):
        spikes, potentials, states = self.cell.with_potentials(inputs, states, mask)
        spikes = spikes if self.return_sequences else _last(spikes, mask)
        return ((spikes, potentials) if self.return_potentials else spikes), states

    def call(self, inputs, initial_state=None, mask=None):
        result = super().call(inputs, initial_state, mask)
        if self.return_potentials and self.return_state:
            (spikes, potentials), *states = result
            return spikes, potentials, *states
        return result

    def compute_mask(self, inputs, previous_mask=None):
        if previous_mask is None or not self.return_sequences:
            return None
        return [previous_mask] * 2 if self.return_potentials else previous_mask

    def compute_output_spec(self, inputs, initial_state=None, mask=None):
        spec = super().compute_output_spec(inputs, initial_state, mask)
        potentials = keras.KerasTensor(inputs.shape, dtype=self.compute_dtype)
        return self._with_potentials(spec, potentials)

    def compute_output_shape(self, input_shape, initial_state_shape=None):
        shape = super().compute_output_shape(input_shape, initial_state_shape)
        return self._with_potentials(shape, tuple(input_shape))

    def _with_potentials(self, outputs, potentials):
        if not self.return_potentials:
            return outputs
        spikes, *states = outputs if self.return_state else [outputs]
        return spikes, potentials, *states

    def shape_of_outputs(self, input_shape):
        input_shape = tuple(input_shape)
        return input_shape if self.return_sequences else (input_shape[0], *input_shape[2:])

    def get_config(self):
        return {
            **super().get_config(),
            **self.cell.arguments(),
            "return_sequences": self.return_sequences,
            "return_potentials": self.return_potentials,
        }


def _last(spikes, mask):
    """Return the spikes of the last valid step; 0 if the mask is False at all steps."""
    if mask is None:
        return spikes[:, -1]
    left = ops.flip(ops.cumsum(ops.flip(ops.cast(mask, "int32"), axis=1), axis=1), axis=1)
    chosen = ops.logical_and(ops.cast(mask, "bool"), left == 1)
    return ops.sum(zero_masked_steps(spikes, chosen), axis=1)


def check_time_constant(name: str, tau: float, smallest: float | None = None) -> float:
    """Return `tau`; raise ValueError unless it is finite and > 0, or at least `smallest`."""
    number = isinstance(tau, numbers.Real) and not isinstance(tau, bool) and np.isfinite(tau)
    if not number or tau <= 0 or (smallest is not None and tau < smallest):
        bound = "> 0" if smallest is None else f">= {smallest}"
        raise ValueError(f"`{name}` must be a finite number of steps {bound}; received: {tau!r}")
    return float(tau)
