"""Sigma-delta quantizer: a rounding whose error is carried to the next step.

One step of a neuron with resolution ``w``, diffusion error ``v`` in [0, 1), activation ``f``::

    v <- v + w * f(x);    n = floor(v);    v <- v - n;    y = n / w

so that ``n`` is an integer of any size and sign, ``|y - f(x)| < 1 / w`` at each step and, in exact
arithmetic, ``|sum(y) - sum(f(x))| < 1 / w`` over any number of steps. Summing the first line gives
the same counts without a loop over time (the *sequence form*)::

    S_t = v_0 + w * (f(x_1) + ... + f(x_t));    n_t = floor(S_t) - floor(S_{t-1})

Both forms are computed in fixed point, with the fraction of ``w * f(x)`` rounded to a multiple of
2**-24 (a float32 in [0, 1) holds no more). Sums of such fractions, kept modulo 1, have no rounding
error at all. So the two forms agree bit for bit, on any finite input and for any number of steps,
and a sequence may be cut into chunks anywhere. The rounding to the grid shifts the bound above by
at most ``2**-25 / w`` a step.

Source: Voelker, Rasmussen & Eliasmith (2020), "A Spike in Performance: Training Hybrid-Spiking
Neural Networks with Quantized Activation Functions", arXiv:2002.03553.
"""

import keras
import numpy as np
from keras import ops

from hybrid_lmu._internal.gradients import straight_through

_FRACTION_BITS = 24
ONE = 2**_FRACTION_BITS  # the errors' grid has this many points in [0, 1)

_WITHOUT = {"resolution": "non-spiking", "limit": "no limit", "gain": "a gain of 1"}
_NAMED_ERRORS = {"zeros": 0.0, "half": 0.5}


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class SigmaDeltaQuantizer(keras.layers.Layer):
    """The quantizer as an object that a layer or a cell owns; it holds a resolution and no state.

    Args:
        activation: ``f``: a name or callable of Keras, applied before the quantizer. Default
            ``None``: identity.
        resolution: ``w`` > 0, levels per unit of activation per step: a number, a sequence with one
            number per neuron (last axis), or ``None`` for a non-spiking ``y = f(x)``. It is kept
            in the non-trainable float32 variable `resolution`, saved with the model and changed
            during training by `hybrid_lmu.AnnealResolution`.
        initial_error: ``v_0``: ``"uniform"`` on [0, 1), drawn independently for each sample and
            neuron (default), ``"zeros"``, ``"half"``, or numbers in [0, 1) that broadcast to the
            shape of the neurons.
        seed: integer seed of the uniform draw.
        learn_resolution: train the resolution of each neuron, ``w_j = resolution * exp(g_j)``, with
            the trainable weight `log_gain` g (zeros at first); `hybrid_lmu.BitBudget` sets the
            common factor. Default False.
        limit: size at which the activation saturates before it is quantized, > 0: a number or one
            per neuron. Counts are then at most ``ceil(w limit)`` in size, for any data, and so the
            activity bits at most ``log2(2 ceil(w limit) + 1)``, or ``log2(ceil(w limit) + 1)``
            after a ReLU; a few outliers would set them otherwise. Default ``None``: no limit.
        gain: the activity is ``f(x) * gain``, > 0: a number or one per neuron, such as 1 / standard
            deviation. Neurons of different size then share one resolution, so that the layer behind
            them, whose weights have one scale, sees plain counts. Default ``None``: 1.

    Backward: ``dy/dx = f'(x)``; there is no gradient into the diffusion error. To the learned gain,
    straight through the rounding, ``dy/dg = -(y - f(x))``: the error of an output is inverse to its
    resolution. (Of a memory that recurs on its counts, the outputs alone count, not what they feed
    back.)
    The diffusion error is float32 whatever the dtype policy.

    Example:

    >>> quantizer = SigmaDeltaQuantizer(resolution=4.0)
    >>> quantizer.build((None, 1))
    >>> y, error = quantizer.step(np.array([[0.3]], "float32"), np.array([[0.5]], "float32"))
    >>> float(y[0, 0])  # floor(0.5 + 4 * 0.3) / 4
    0.25

    Raises:
        ValueError: if `resolution` is not finite and positive or has the wrong length, or if
            `initial_error` is not one of the above.
    """

    def __init__(
        self,
        activation=None,
        resolution=1.0,
        initial_error="uniform",
        seed=None,
        learn_resolution=False,
        limit=None,
        gain=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.activation = keras.activations.get(activation)
        self._initial_resolution = _check_resolution(resolution)
        self.initial_error = _check_initial_error(initial_error)
        self.seed = None if seed is None else int(seed)
        self.learn_resolution = learn_resolution
        self.limit = None if limit is None else _check_positive("limit", limit)
        self.gain = None if gain is None else _check_positive("gain", gain)
        self.scale = self.log_gain = None
        uniform = self.spiking and self.initial_error == "uniform"
        self.seed_generator = keras.random.SeedGenerator(self.seed) if uniform else None

    @property
    def spiking(self):
        """Whether there is a resolution (and so a diffusion error) at all."""
        return self._initial_resolution is not None

    @property
    def stationary(self):
        """Whether the error has the same distribution at all steps, for any input."""
        return not self.spiking or self.initial_error == "uniform"

    @property
    def linear(self):
        """Whether an output is its input, quantized: no activation, limit or gain."""
        plain = self.limit is None and self.gain is None
        return plain and self.activation is keras.activations.linear

    @property
    def resolution(self):
        """``w``: the variable, or what is learned; None if non-spiking or not built."""
        if self.log_gain is None:
            return self.scale
        return self.scale * ops.exp(ops.stop_gradient(ops.convert_to_tensor(self.log_gain)))

    def build(self, input_shape):
        value = self._initial_resolution
        for name, given in (("resolution", value), ("limit", self.limit), ("gain", self.gain)):
            if given is not None and given.ndim and given.shape[0] != input_shape[-1]:
                raise ValueError(
                    f"`{name}` must be a number or have one entry per neuron, "
                    f"{input_shape[-1]} for inputs of shape {tuple(input_shape)}; "
                    f"received {given.shape[0]} entries."
                )
        if not self.spiking:
            return
        self.scale = self.add_weight(
            name="resolution",
            shape=value.shape,
            initializer=lambda shape, dtype: ops.convert_to_tensor(value, dtype),
            trainable=False,
            dtype="float32",
            autocast=False,
        )
        if self.learn_resolution:
            self.log_gain = self.add_weight(
                name="log_gain",
                shape=input_shape[-1:],
                initializer="zeros",
                dtype="float32",
                autocast=False,
            )

    def get_build_config(self):
        """Nothing: the layer that owns the quantizer builds it, also one read from a file."""

    def get_initial_error(self, shape):
        """Return ``v_0`` of the given shape, (batch, neurons...), float32, in [0, 1)."""
        if not self.spiking:
            return ops.zeros(shape, dtype="float32")
        if self.initial_error == "uniform":
            error = keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)
        else:
            error = ops.broadcast_to(
                ops.convert_to_tensor(self.initial_error, dtype="float32"), shape
            )
        return ops.floor(error * ONE) / ONE

    def step(self, x, error):
        """Quantize one step.

        Args:
            x: [batch, neurons...].
            error: ``v`` of the same shape.

        Returns:
            ``(y, error)``: ``y`` in the dtype of `x`, and the new error in the dtype of `error`.
        """
        a = self.saturated(self._activity(x))
        if not self.spiking:
            return a, error
        y, error = self.emit(a, ops.convert_to_tensor(error))
        return self.with_gradient(y, a), error

    def with_gradient(self, y, a):
        """The output y with the gradients of an output: that of a, and that to the gain."""
        result = straight_through(y, a)
        if self.log_gain is None:
            return result
        gain = ops.convert_to_tensor(self.log_gain)
        lost = ops.cast(ops.stop_gradient(y - a), "float32")
        return result - ops.cast(lost * (gain - ops.stop_gradient(gain)), result.dtype)

    def _activity(self, x):
        a = self.activation(ops.convert_to_tensor(x))
        return a if self.gain is None else a * ops.convert_to_tensor(self.gain, dtype=a.dtype)

    def saturated(self, a):
        """The activity within `limit`."""
        if self.limit is None:
            return a
        limit = ops.convert_to_tensor(self.limit, dtype=a.dtype)
        return ops.minimum(ops.maximum(a, -limit), limit)

    def emit(self, a, error):
        """The forward part of a spiking `step`, after the activation, without a gradient to it."""
        a = self.saturated(a)  # for callers that leave out `step`
        levels = self.resolution * ops.cast(ops.stop_gradient(a), "float32")
        whole = ops.floor(levels)
        # The fraction less 1 is in [-1, 0], where float32 itself rounds to multiples of 2**-24, and
        # adding the error is exact.
        excess = ((levels - whole) - 1.0) + ops.cast(ops.stop_gradient(error), "float32")
        borrow = ops.floor(excess)  # -1 or 0
        y = (whole + (borrow + 1.0)) / self.resolution
        return ops.cast(y, a.dtype), self._error_after(error, excess - borrow)

    def _error_after(self, error, left_over):
        """The error after a step that has not emitted `left_over`."""
        return ops.cast(left_over, error.dtype)

    def sequence(self, x, error, mask=None):
        """Quantize all steps of a sequence at once.

        Args:
            x: [batch, time, neurons...].
            error: ``v_0``, [batch, neurons...].
            mask: optional booleans [batch, time]; a step that is False emits nothing and leaves
                the error as it is. A non-spiking quantizer has no use for it.

        Returns:
            ``(y, error)`` after the last step, as a loop over `step` would for finite input. (NaN
            or infinity is passed on at its step and makes the last error NaN; `step` emits NaN
            from then on.)
        """
        a = self.saturated(self._activity(x))
        if not self.spiking:
            return a, error
        if mask is not None:
            mask = ops.reshape(mask, ops.shape(mask) + (1,) * (len(x.shape) - 2))
            a = ops.where(mask, a, ops.zeros_like(a))
        levels = self.resolution * ops.cast(ops.stop_gradient(a), "float32")
        whole = ops.floor(levels)
        # Never below 0, also where a compiler contracts the product and the difference.
        fraction = ops.maximum(ops.round((levels - whole) * ONE), 0.0)
        added = ops.cast(fraction, "int32")
        first = ops.expand_dims(ops.cast(error * ONE, "int32"), 1)
        carry, last = self._carries(added, first, mask)
        y = ops.cast((whole + ops.cast(carry, "float32")) / self.resolution, a.dtype)
        nothing = ops.cast(0.0 * ops.sum(fraction, axis=1), error.dtype)  # NaN if any step is
        return self.with_gradient(y, a), ops.cast(last, error.dtype) / ONE + nothing

    def _carries(self, added, first, mask):
        """Whether error and fraction pass an integer at each step, and the last error.

        Args:
            added: fractions in units of 2**-24, int32 [batch, time, neurons...], 0 where masked.
            first: the error before them, int32 [batch, 1, neurons...].
            mask: as in `sequence`, with the rank of `added`, or None.
        """
        # int32 wraps modulo 2**32, a multiple of the 2**24 that we keep.
        errors = ops.bitwise_and(_running_sum(added, first)[:, : ops.shape(added)[1]], ONE - 1)
        last = ops.concatenate([first, errors[:, -1:]], axis=1)[:, -1]  # `first` if no steps
        return errors < added, last

    def save_own_variables(self, store):
        """Save the resolution, and the state of the random draw: a loaded model goes on alike."""
        if self.spiking:
            store["0"] = ops.convert_to_numpy(self.scale)
        if self.log_gain is not None:
            store["log_gain"] = ops.convert_to_numpy(self.log_gain)
        if self.seed_generator is not None:
            store["seed"] = ops.convert_to_numpy(self.seed_generator.state)

    def load_own_variables(self, store):
        """Load what `save_own_variables` saved, as far as both have it.

        So weights move between spiking and non-spiking models, from one resolution for all neurons
        to one for each, and from learned resolutions to fixed ones.
        """
        if self.spiking and "0" in store.keys():
            value, shape = np.asarray(store["0"]), tuple(self.scale.shape)
            if "log_gain" in store.keys():
                gain = np.asarray(store["log_gain"])
                if self.log_gain is None:
                    value = value * np.exp(gain)
                else:
                    self.log_gain.assign(gain)
            elif self.log_gain is not None:
                self.log_gain.assign(np.zeros(self.log_gain.shape))
            if value.shape not in ((), shape):
                raise ValueError(
                    f"`{self.path}` expects a resolution of shape {shape}, or a single one; "
                    f"received shape {value.shape} in the file."
                )
            self.scale.assign(np.broadcast_to(value, shape))
        if self.seed_generator is not None and "seed" in store.keys():
            self.seed_generator.state.assign(store["seed"])

    def get_config(self):
        resolution = self._initial_resolution
        return {
            **super().get_config(),
            "activation": keras.activations.serialize(self.activation),
            "resolution": None if resolution is None else resolution.tolist(),
            "initial_error": self.initial_error,
            "seed": self.seed,
            "learn_resolution": self.learn_resolution,
            "limit": None if self.limit is None else self.limit.tolist(),
            "gain": None if self.gain is None else self.gain.tolist(),
        }


def _running_sum(x, start):
    """``start`` plus the cumulative sum of x over axis 1; x is zero-padded to whole chunks.

    Chunks make this several times faster than one long `ops.cumsum`. Adding `start` before the sum
    over chunks keeps XLA from drawing it anew, from its random generator, at each step.
    """
    time, chunk = x.shape[1], _chunk(x.shape[1])
    if time is None or time % chunk:
        x = ops.pad(x, [[0, 0], [0, -ops.shape(x)[1] % chunk]] + [[0, 0]] * (len(x.shape) - 2))
    shape = ops.shape(x)
    x = ops.reshape(x, (shape[0], shape[1] // chunk, chunk, *shape[2:]))
    sums = [x[:, :, 0]]
    for i in range(1, chunk):
        sums.append(sums[-1] + x[:, :, i])
    starts = ops.cumsum(ops.concatenate([start, sums[-1][:, :-1]], axis=1), axis=1)
    return ops.reshape(ops.stack(sums, axis=2) + ops.expand_dims(starts, 2), shape)


def _chunk(time):
    """A divisor of the number of steps between 16 and 48 if there is one, else 32."""
    if time is not None and 0 < time <= 48:
        return time
    return next((c for c in range(48, 15, -1) if time and time % c == 0), 32)


def _check_resolution(resolution):
    return None if resolution is None else _check_positive("resolution", resolution)


def _check_positive(name, given):
    try:
        value = np.asarray(given, dtype="float32")
    except (TypeError, ValueError):
        value = None
    if (
        value is None
        or isinstance(given, (bool, str))
        or value.ndim > 1
        or value.size == 0
        or not np.all(np.isfinite(value) & (value > 0))
    ):
        raise ValueError(
            f"`{name}` must be a finite number > 0, a 1-D sequence of them (one per neuron), "
            f"or None for {_WITHOUT[name]}; received: {given!r}"
        )
    return value


def _check_initial_error(initial_error):
    if isinstance(initial_error, str):
        if initial_error == "uniform":
            return initial_error
        if initial_error in _NAMED_ERRORS:
            return _NAMED_ERRORS[initial_error]
    else:
        try:
            value = np.asarray(initial_error, dtype="float32")
        except (TypeError, ValueError):
            value = None
        if value is not None and np.all((value >= 0) & (value < 1)):
            return value.tolist()
    raise ValueError(
        "`initial_error` must be 'uniform', 'zeros', 'half' or numbers in [0, 1); "
        f"received: {initial_error!r}"
    )
