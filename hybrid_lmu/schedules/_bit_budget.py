"""A budget of activity bits: the user states the bits, training finds who gets them."""

import numbers

import keras
import numpy as np
from keras import ops

from hybrid_lmu.accounting.ranges import count_ranges
from hybrid_lmu.schedules._anneal import matching_variables, resolution_variables, training_steps


class BitBudget(keras.callbacks.Callback):
    """Hold the activity bits of a model at a budget during training, annealed from many bits.

    The activity bits of neuron j are ``log2(w_j s_j + 1)``, with ``w_j`` its resolution and ``s_j``
    the range of its activity, in units of activity, over all steps of the samples `x`, measured by
    simulation at the start of each epoch. Before each training step all resolutions are multiplied
    by one common factor, so that the mean over neurons, averaged over the quantized activities, is
    the budget of that step. Quantizers with ``learn_resolution=True`` learn meanwhile, straight
    through the rounding, which neurons deserve more of it; the others keep their proportions. No
    strength of a penalty has to be chosen: the budget is a constraint.

    When training starts from step 0, resolutions are set so that every activity has the same bits,
    and every neuron of it that has a resolution of its own or learns it.

    Args:
        bits: activity bits > 0, a number or a function of the training step, such as
            ``keras.optimizers.schedules.PolynomialDecay(8.0, 5000, 3.74)`` (linear; 8, an integer,
            would make all of its values integers).
        x: inputs to measure the ranges on; a few hundred training samples. Larger data have larger
            ranges: 10,000 sequences of psMNIST 0.1 to 0.2 bits more than 500.
        batch_size: of the measurement. Default 100.
        name: shell pattern of the quantizers that share the budget, see
            `hybrid_lmu.ScheduledVariable`. Default ``"*"``: all.
        log_name: key of the budget in the logs of each epoch. Default ``"activity_bits"``.

    Example:

    >>> learned = lambda: SigmaDeltaQuantizer(resolution=64.0, learn_resolution=True)
    >>> model = keras.Sequential([
    ...     keras.Input((50, 1)),
    ...     HybridLMU(1, 8, 50, keras.layers.Dense(16, "relu"),
    ...               memory_quantizer=learned(), hidden_quantizer=learned()),
    ...     keras.layers.Dense(2),
    ... ])
    >>> budget = BitBudget(keras.optimizers.schedules.PolynomialDecay(8.0, 1000, 3.74),
    ...                    np.random.normal(size=(100, 50, 1)).astype("float32"))

    Raises:
        ValueError: if `bits` is not > 0, or, when training starts, if the model has no quantizer.

    Source: 3.74 activity bits are those of the abstract of Voelker, Rasmussen & Eliasmith (2020),
    arXiv:2002.03553, whose own way to them is not known; the gradient of a step size straight
    through the rounding is that of Esser et al. (2020), "Learned Step Size Quantization".
    """

    def __init__(self, bits, x, batch_size=100, name="*", log_name="activity_bits"):
        super().__init__()
        number = isinstance(bits, numbers.Real) and np.isfinite(bits) and bits > 0
        if not callable(bits) and not number:
            raise ValueError(f"`bits` must be > 0, or a function of the step; received: {bits!r}")
        self.bits, self.x, self.batch_size = bits, x, batch_size
        self.name, self.log_name = name, log_name
        self._start = self._seen = 0

    def on_train_begin(self, logs=None):
        self._start, self._seen = training_steps(self.model.optimizer), 0
        self._measure()
        if not self._start:
            self._level()
        self._measured = True

    def on_epoch_begin(self, epoch, logs=None):
        if not self._measured:
            self._measure()

    def on_train_batch_begin(self, batch, logs=None):
        self._apply(self._budget(self._start + batch))

    def on_train_batch_end(self, batch, logs=None):
        self._seen = batch + 1

    def on_epoch_end(self, epoch, logs=None):
        self._start, self._seen, self._measured = self._start + self._seen, 0, False
        # The last step has moved the gains once more.
        bits = self._budget(self._start - 1)
        self._apply(bits)
        if logs is not None:
            logs[self.log_name] = bits

    def _budget(self, step):
        bits = float(ops.convert_to_numpy(self.bits(step))) if callable(self.bits) else self.bits
        if not (np.isfinite(bits) and bits > 0):
            raise ValueError(f"`bits` gave {bits!r} at step {step}; expected a finite number > 0")
        return bits

    def _measure(self):
        self._activities = measured_activities(self.model, self.x, self.batch_size, self.name)

    def _level(self):
        level_activities(self._activities, self._budget(0))

    def _apply(self, bits):
        self.model  # noqa: B018 (on JAX, attaches the state of training to the variables)
        factor = common_factor(self._activities, bits)
        for activity in self._activities:
            activity.scale_by(factor)


def measured_activities(model, x, batch_size=100, name="*"):
    """The `QuantizedActivity` of each quantizer of a name, with its ranges on the data x.

    Raises:
        ValueError: if there are none, or one of them is not used by the model.
    """
    ranges = count_ranges(model, x, batch_size)  # builds the model
    every = quantized_activities(model)
    named = resolution_variables(model, name)
    if not named or any(path not in ranges for path in named):
        raise ValueError(
            f"A bit budget needs a model with quantizers that are in use; `{model.name}` "
            f"has {len(every)} quantizers, {len(named)} of them named {name!r}, and "
            f"{len(ranges)} quantized activities."
        )
    for path in named:
        low, high = ranges[path]
        every[path].measured(high - low)
    return [every[path] for path in named]


def level_activities(activities, bits):
    """Give each activity `bits` activity bits, and all its neurons the same range of counts."""
    for activity in activities:
        activity.level()
        activity.scale_by(common_factor([activity], bits))


class QuantizedActivity:
    """The variables of one quantizer, and the ranges of its neurons in units of activity."""

    def __init__(self, scale, gain):
        self.scale, self.gain = scale, gain
        self.span = None

    def resolutions(self):
        scale = ops.convert_to_numpy(self.scale)
        return scale if self.gain is None else scale * np.exp(ops.convert_to_numpy(self.gain))

    def measured(self, ranges):
        """Set the spans from ranges of counts at the present resolutions."""
        # A neuron that never fired spans less than a level.
        self.span = np.maximum(ranges, 0.5) / self.resolutions()

    def level(self):
        """Give every neuron the same range of counts, if it has a resolution of its own."""
        relative = np.exp(np.mean(np.log(self.span))) / self.span
        if self.gain is not None:
            self.scale.assign(np.ones(self.scale.shape))
            self.gain.assign(np.log(relative))
        elif len(self.scale.shape):
            self.scale.assign(relative)

    def scale_by(self, factor):
        self.scale.assign(ops.convert_to_numpy(self.scale) * np.float32(factor))


def common_factor(activities, bits):
    """The factor of all resolutions that makes the mean activity bits `bits`, to 1e-6 bits."""
    ranges = [a.resolutions() * a.span for a in activities]
    low, high = -40.0, 40.0  # log2 of the factor
    while high - low > 1e-6:
        middle = (low + high) / 2
        found = np.mean([np.log2(2.0**middle * r + 1.0).mean() for r in ranges])
        low, high = (middle, high) if found < bits else (low, middle)
    return 2.0 ** ((low + high) / 2)


def quantized_activities(model):
    """``{path: QuantizedActivity}`` of a model, in the order of its variables."""
    gains = matching_variables(model, "log_gain")
    return {
        path: QuantizedActivity(scale, gains.get(f"{path.rpartition('/')[0]}/log_gain"))
        for path, scale in resolution_variables(model).items()
    }
