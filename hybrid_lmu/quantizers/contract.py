"""The contract of a quantizer: how one step is rounded, and how a whole sequence is.

A quantizer turns an activation into integer counts. A cell or a layer owns it, keeps its state and
passes the state to each step::

    a = limited(gain * f(x))            the activity
    n, state = round(w * a, state)      the count, an integer of any size and sign
    y = n / w                           the output

A quantizer of your own is a subclass of `Quantizer` that defines `round`. Everything else is here:
the activation f, the resolution w, the learned factor of the resolution, the limit, the gain, the
gradient, masks, dtypes and files. The subclass then works in `HybridCell`, `HybridLMU`,
`SigmaDelta`, `AnnealResolution`, `BitBudget`, reports and conversion.

Example: counts of -1, 0 and 1 only.

    @keras.saving.register_keras_serializable("mine")
    class Ternary(Quantizer):
        stationary = True  # there is no state

        def round(self, levels, state):
            return ops.clip(ops.round(levels), -1.0, 1.0), state

A subclass may define more:

- `get_initial_error`: the state before the first step. Default: zeros.
- `round_sequence`: all steps at once. Default: a loop over `round`.
- `stationary`: whether a step may be computed without the steps before it. Default False.
- `get_config`: arguments of its own, beside those of `Quantizer`.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from hybrid_lmu._internal.checks import check_activation, check_flag, check_positive_array
from hybrid_lmu._internal.gradients import straight_through

_owned: weakref.WeakSet = weakref.WeakSet()
_OLD_FACTOR_KEY = "log_gain"  # in files of versions up to 0.1


def check_quantizer(name: str, quantizer: Any) -> None:
    """Raise ValueError unless an argument is a quantizer or None."""
    if quantizer is not None and not isinstance(quantizer, Quantizer):
        raise ValueError(
            f"`{name}` must be a quantizer such as hybrid_lmu.SigmaDeltaQuantizer(resolution=4.0) "
            f"(an object, not a layer or a class), or None; received: {quantizer!r}"
        )


def own_quantizer(name: str, quantizer: Any) -> Quantizer | None:
    """Return a given quantizer for one owner: the object, or a copy if it has an owner already.

    One object may so be given to several layers, or to memory and hidden cell of an LMU. A copy
    starts from the arguments of the quantizer; resolutions and draws are each owner's own.

    Raises:
        ValueError: if it is neither a quantizer nor None.
    """
    check_quantizer(name, quantizer)
    if quantizer is None:
        return None
    if quantizer in _owned or quantizer.built:
        quantizer = type(quantizer).from_config(quantizer.get_config())
    _owned.add(quantizer)
    return quantizer


class Quantizer(keras.layers.Layer):
    """Base of all quantizers: ``y = round(w * f(x)) / w``, with a gradient as if not rounded.

    The state of a quantizer, such as the diffusion error, belongs to its owner. The quantizer
    itself holds the resolution and no state.

    Args:
        activation: ``f``: a name or callable of Keras, applied before the rounding. Default
            ``None``: identity.
        resolution: ``w`` > 0, levels per unit of activation per step: a number, a sequence with one
            number per neuron (last axis), or ``None`` for a non-spiking ``y = f(x)``. Default 1. A
            non-trainable float32 variable named ``resolution`` holds it. The model saves the
            variable, and `hybrid_lmu.AnnealResolution` changes it during training.
        learn_resolution: True trains the resolution of each neuron, ``w_j = resolution *
            exp(g_j)``. The trainable weight `log_factor` holds g, zeros at first.
            `hybrid_lmu.BitBudget` sets the common factor. Default False.
        limit: size at which the activity saturates before it is rounded, > 0: a number, or one per
            neuron. Without it, a few outliers set the activity bits. Default ``None``: no limit.
        gain: the activity is ``f(x) * gain``, > 0: a number, or one per neuron, such as 1 /
            standard deviation. Neurons of different size then share one resolution, so the next
            layer sees plain counts. Default ``None``: 1.

    Gradient: ``dy/dx = gain * f'(x)`` within the limit, 0 beyond it. There is no gradient into the
    state. The gradient to `log_factor` is ``dy/dg = -(y - f(x))``, because the rounding error is
    inversely proportional to the resolution.

    The state is float32 whatever the dtype policy. A level ``w f(x)`` beyond the range of float32,
    3.4e38, is infinite, and so is its output. A quantizer that is given to a second owner is
    copied, as it starts from its arguments, and each owner has resolutions of its own.

    Raises:
        ValueError: if `resolution`, `limit` or `gain` is not finite and positive, or has the wrong
            length when the quantizer is built.

    Source: straight-through gradient: Bengio, Leonard & Courville (2013), arXiv:1308.3432; learned
    resolution: Esser et al. (2020), arXiv:1902.08153.
    """

    named_by_owner = True  # paths have the name of the argument, as `memory_quantizer`

    def __init__(
        self,
        activation: Any = None,
        resolution: float | Sequence[float] | None = 1.0,
        *,
        learn_resolution: bool = False,
        limit: float | Sequence[float] | None = None,
        gain: float | Sequence[float] | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.activation = check_activation("activation", activation)
        self.initial_resolution = check_positive_array("resolution", resolution, "non-spiking")
        self.limit = check_positive_array("limit", limit, "no limit")
        self.gain = check_positive_array("gain", gain, "a gain of 1")
        self.learn_resolution = check_flag("learn_resolution", learn_resolution)
        self.resolution_variable = self.log_factor = None

    def round(self, levels, state):
        """Round one step. A subclass defines this.

        Args:
            levels: ``w * f(x)``, float32 [batch, neurons...]. It has no gradient.
            state: the state before the step, float32, of the same shape.

        Returns:
            ``(counts, state)``: integers as float32 and the state after the step.
        """
        raise ValueError(
            f"Quantizer {self.name!r} ({type(self).__name__}) does not say how it rounds; expected "
            "a method `round` (see `hybrid_lmu.quantizers.contract`)."
        )

    def round_sequence(self, levels, state, mask=None):
        """Round all steps of a sequence, as a loop over `round` would.

        Args:
            levels: float32 [batch, time, neurons...]; 0 where masked.
            state: the state before the first step, float32 [batch, neurons...].
            mask: booleans [batch, time, 1, ...] with the rank of `levels`, or None. A step that is
                False has a count of 0 and leaves the state as it is.

        Returns:
            ``(counts, state)``: float32 [batch, time, neurons...] and the state after the last
            step.
        """
        axes = (1, 0, *range(2, len(levels.shape)))
        inputs = ops.transpose(levels, axes)
        if mask is not None:
            # One tensor: Keras on TensorFlow cannot scan over two of unknown length.
            valid = ops.transpose(ops.cast(mask, "float32"), axes) + ops.zeros_like(inputs)
            inputs = ops.stack([inputs, valid], axis=1)

        def step(carry, now):
            before = carry[1]
            if mask is None:
                carry = list(self.round(now, before))
            else:
                valid = now[1] > 0.0
                counts, after = self.round(now[0], before)
                counts = ops.where(valid, counts, ops.zeros_like(counts))
                carry = [counts, ops.where(valid, after, before)]
            return carry, carry  # TensorFlow's scan wants outputs like the carry

        (_, state), (counts, _) = ops.scan(step, [ops.zeros_like(state), state], inputs)
        return ops.transpose(counts, axes), state

    def get_initial_error(self, shape):
        """Return the state before the first step, float32 of the given shape (batch, neurons...).

        It is zeros, unless a subclass says otherwise.
        """
        return ops.zeros(shape, dtype="float32")

    @property
    def stationary(self) -> bool:
        """Whether the state has the same distribution at all steps, for any input.

        If True, layers after the last step of a sequence compute the last step alone, from a fresh
        initial state. False unless a subclass says otherwise or the quantizer is non-spiking.
        """
        return not self.spiking

    @property
    def spiking(self) -> bool:
        """Whether there is a resolution, and so a state."""
        return self.initial_resolution is not None

    @property
    def linear(self) -> bool:
        """Whether an output is its input, quantized: no activation, limit or gain."""
        plain = self.limit is None and self.gain is None
        return plain and self.activation is keras.activations.linear

    @property
    def resolution(self):
        """``w``: the variable, times the learned factor if there is one.

        None if the quantizer is non-spiking or not built.
        """
        if self.log_factor is None:
            return self.resolution_variable
        factor = ops.exp(ops.stop_gradient(ops.convert_to_tensor(self.log_factor)))
        return self.resolution_variable * factor

    @property
    def per_neuron(self) -> bool:
        """Whether neurons have numbers of their own, so that there can be no others."""
        given = (self.initial_resolution, self.limit, self.gain)
        return self.learn_resolution or any(one is not None and one.ndim for one in given)

    def resolutions(self) -> np.ndarray | None:
        """Return the present ``w`` as a NumPy array: one number, or one per neuron.

        None if the quantizer is non-spiking or not built.
        """
        if self.resolution_variable is None:
            return None
        resolution = ops.convert_to_numpy(self.resolution_variable)
        if self.log_factor is None:
            return resolution
        return resolution * np.exp(ops.convert_to_numpy(self.log_factor))

    def build(self, input_shape):
        value = self.initial_resolution
        for name, given in (("resolution", value), ("limit", self.limit), ("gain", self.gain)):
            if given is not None and given.ndim and given.shape[0] != input_shape[-1]:
                raise ValueError(
                    f"`{name}` must be a number or have one entry per neuron, "
                    f"{input_shape[-1]} for inputs of shape {tuple(input_shape)}; "
                    f"received {given.shape[0]} entries."
                )
        if not self.spiking:
            return
        self.resolution_variable = self.add_weight(
            name="resolution",
            shape=value.shape,
            initializer=lambda shape, dtype: ops.convert_to_tensor(value, dtype),
            trainable=False,
            dtype="float32",
            autocast=False,
        )
        if self.learn_resolution:
            self.log_factor = self.add_weight(
                name="log_factor",
                shape=input_shape[-1:],
                initializer="zeros",
                dtype="float32",
                autocast=False,
            )

    def get_build_config(self):
        """Return nothing: the owner builds its quantizer, also when it is read from a file."""

    def activity(self, x):
        """Return ``gain * f(x)`` within the limit, in the dtype of `x`."""
        a = self.activation(ops.convert_to_tensor(x))
        if self.gain is not None:
            a = a * ops.convert_to_tensor(self.gain, dtype=a.dtype)
        return self.saturated(a)

    def saturated(self, a):
        """Return the activity `a` within `limit`."""
        if self.limit is None:
            return a
        limit = ops.convert_to_tensor(self.limit, dtype=a.dtype)
        return ops.minimum(ops.maximum(a, -limit), limit)

    def step(self, x, error):
        """Quantize one step.

        Args:
            x: [batch, neurons...].
            error: the state before the step, of the same shape.

        Returns:
            ``(y, error)``: ``y`` in the dtype of `x`, and the new state in the dtype of `error`.
            The counts behind ``y`` are exact, but ``y = n / w`` is rounded to the dtype of `x`:
            float16 tells counts up to 1,024 apart, bfloat16 up to 128, float32 up to 8 million.
        """
        a = self.activity(x)
        if not self.spiking:
            return a, error
        y, error = self.emit(a, ops.convert_to_tensor(error))
        return self.with_gradient(y, a), error

    def emit(self, a, error):
        """Return ``(y, error)`` of one step without a gradient, for a spiking quantizer.

        Args:
            a: the activity, within `limit`, as `activity` or `saturated` returns it.
            error: the state before the step.
        """
        resolution = self.resolution
        counts, after = self.round(
            resolution * ops.cast(ops.stop_gradient(a), "float32"),
            ops.cast(ops.stop_gradient(error), "float32"),
        )
        return ops.cast(counts / resolution, a.dtype), ops.cast(after, error.dtype)

    def sequence(self, x, error, mask=None):
        """Quantize all steps of a sequence.

        Args:
            x: [batch, time, neurons...].
            error: the state before the first step, [batch, neurons...].
            mask: optional booleans [batch, time]. A step that is False emits 0 and leaves the state
                as it is. A non-spiking quantizer ignores the mask.

        Returns:
            ``(y, error)``: the outputs, and the state after the last step, as a loop over `step`
            gives them. NaN or infinity passes through at its step.
        """
        a = self.activity(x)
        if not self.spiking:
            return a, error
        error = ops.convert_to_tensor(error)
        if mask is not None:
            mask = ops.reshape(mask, ops.shape(mask) + (1,) * (len(x.shape) - 2))
            a = ops.where(mask, a, ops.zeros_like(a))
        resolution = self.resolution
        levels = resolution * ops.cast(ops.stop_gradient(a), "float32")
        state = ops.cast(ops.stop_gradient(error), "float32")
        counts, after = self.round_sequence(levels, state, mask)
        y = ops.cast(counts / resolution, a.dtype)
        return self.with_gradient(y, a), ops.cast(after, error.dtype)

    def with_gradient(self, y, a):
        """Return the output `y` with the gradient of the activity `a` and that to `log_factor`."""
        result = straight_through(y, a)
        if self.log_factor is None:
            return result
        factor = ops.convert_to_tensor(self.log_factor)
        lost = ops.cast(ops.stop_gradient(y - a), "float32")
        return result - ops.cast(lost * (factor - ops.stop_gradient(factor)), result.dtype)

    def save_own_variables(self, store):
        """Save the resolution and its learned factor; nothing before the quantizer is built."""
        if self.resolution_variable is not None:
            store["0"] = ops.convert_to_numpy(self.resolution_variable)
        if self.log_factor is not None:
            store["log_factor"] = ops.convert_to_numpy(self.log_factor)

    def load_own_variables(self, store):
        """Load what `save_own_variables` saved, as far as both have it.

        So weights move between spiking and non-spiking models, from one resolution for all neurons
        to one for each, and from learned resolutions to fixed ones.
        """
        if not self.spiking or "0" not in store.keys():
            return
        if self.resolution_variable is None:
            raise ValueError(
                f"`{self.path}` is not built, so its resolution cannot be loaded; expected its "
                "owner to call `build` of the quantizer in its own `build`."
            )
        value, shape = np.asarray(store["0"]), tuple(self.resolution_variable.shape)
        key = next((k for k in ("log_factor", _OLD_FACTOR_KEY) if k in store.keys()), None)
        if self.log_factor is not None:
            learned = np.asarray(store[key]) if key else np.zeros(self.log_factor.shape)
            self.log_factor.assign(learned)
        elif key:
            value = value * np.exp(np.asarray(store[key]))
        if value.shape not in ((), shape):
            raise ValueError(
                f"`{self.path}` expects a resolution of shape {shape}, or a single one; "
                f"received shape {value.shape} in the file."
            )
        self.resolution_variable.assign(np.broadcast_to(value, shape))

    def get_config(self):
        def listed(value):
            return None if value is None else value.tolist()

        return {
            **super().get_config(),
            "activation": keras.activations.serialize(self.activation),
            "resolution": listed(self.initial_resolution),
            "learn_resolution": self.learn_resolution,
            "limit": listed(self.limit),
            "gain": listed(self.gain),
        }
