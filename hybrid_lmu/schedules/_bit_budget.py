"""A budget of activity bits: the user states the bits, training finds who gets them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from hybrid_lmu._internal.batches import check_can_be_read_again
from hybrid_lmu._internal.checks import check_choice, check_positive, check_positive_integer
from hybrid_lmu.accounting import count_ranges
from hybrid_lmu.quantizers._find import quantizers_of
from hybrid_lmu.quantizers.contract import Quantizer
from hybrid_lmu.schedules._after import Schedule


class BitBudget(Schedule):
    """Hold the activity bits of a model at a budget during training, annealed from many bits.

    The activity bits of neuron j are ``log2(w_j s_j + 1)``, with ``w_j`` its resolution and ``s_j``
    the range of its activity, in units of activity, over all steps of the samples `x`. A simulation
    measures the ranges at the start of an epoch. Before each training step one common factor
    multiplies all resolutions, so that the mean over neurons, averaged over the quantized
    activities, is the budget of the step. With `per_activity`, each activity has a factor of its
    own and keeps the budget by itself. With `provisioned`, the bits of an activity are those of a
    register that holds any count of any of its neurons, ``log2(max_j n_j - min_j n_j + 1)``.
    Quantizers with ``learn_resolution=True`` learn at the same time which neurons need more bits;
    the others keep their proportions. The budget is a constraint, so there is no strength of a
    penalty to choose.

    Callbacks that compare epochs belong into `AfterAnnealing`: an epoch of a larger budget is
    better for no merit of its weights.

    When training starts from step 0, every activity gets the same bits. Within an activity, every
    neuron gets the same bits if each neuron has its own resolution or learns it.

    Args:
        bits: activity bits > 0, a number or a function of the training step, such as
            ``keras.optimizers.schedules.PolynomialDecay(8.0, 5000, 3.74)``, which is linear. (With
            8, an integer, all values of the schedule would be integers.)
        x: data to measure the ranges on, as for `hybrid_lmu.activity_report`, except a generator:
            they are read at each epoch. A few hundred training samples. Larger data have
            larger ranges: 10,000 sequences of psMNIST need 0.1 to 0.2 bits more than 500.
        batch_size: batch size of the measurement. Default 100.
        per_activity: whether each activity keeps the budget, in place of their mean. Default False.
        provisioned: whether `bits` are provisioned bits, in place of activity bits. Default False.
        measure_every: number of epochs from one measurement to the next, >= 1. Default 1. A
            measurement simulates all steps of `x`; with few training steps an epoch it may cost
            more than they do.
        name: shell pattern for the path of the resolutions that share the budget, or one part of
            the path, such as ``"memory_quantizer"``. Default ``"*"``: all quantizers.
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

    Source: the abstract of Voelker, Rasmussen & Eliasmith (2020), arXiv:2002.03553, reports 3.74
    activity bits; how they train for this number is not known. The gradient of a step size straight
    through the rounding is from Esser et al. (2020), "Learned Step Size Quantization".
    """

    def __init__(
        self,
        bits: float | Callable[[int], Any],
        x: Any,
        *,
        batch_size: int = 100,
        per_activity: bool = False,
        provisioned: bool = False,
        measure_every: int = 1,
        name: str = "*",
        log_name: str = "activity_bits",
    ):
        super().__init__()
        if not callable(bits):
            bits = check_positive("bits", bits, ", or a function of the step")
        check_can_be_read_again(x, "by a budget")
        self.bits, self.x, self.batch_size = bits, x, batch_size
        self.per_activity = check_choice("per_activity", per_activity, (True, False))
        self.provisioned = check_choice("provisioned", provisioned, (True, False))
        self.measure_every = check_positive_integer("measure_every", measure_every)
        self.name, self.log_name = name, log_name
        self.value = None

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        self.value = None
        self._measure()  # an error about the model or the data comes before the first epoch

    def on_epoch_begin(self, epoch, logs=None):
        first = self.epoch is None
        super().on_epoch_begin(epoch, logs)
        # `BackupAndRestore` may have given the model other weights since training began.
        if self.start and (first or epoch % self.measure_every == 0):
            self._measure()
        if not self.start:
            self._level()

    def on_train_batch_begin(self, batch, logs=None):
        self._apply(self.start + batch)

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        if self.steps is None or batch + 1 >= self.steps:
            # The last step has moved the learned factors once more: before it is validated.
            self._apply(self.start + batch)

    def on_epoch_end(self, epoch, logs=None):
        if logs is not None and self.value is not None:
            logs[self.log_name] = self.value

    def settled(self):
        return self.value is not None and (
            self.at_end or np.isclose(self.value, self._budget(self.last_step), rtol=1e-6, atol=0.0)
        )

    def _budget(self, step):
        bits = float(ops.convert_to_numpy(self.bits(step))) if callable(self.bits) else self.bits
        if not (np.isfinite(bits) and bits > 0):
            raise ValueError(f"`bits` gave {bits!r} at step {step}; expected a finite number > 0")
        return bits

    def _measure(self):
        self._activities = measured_activities(self.model, self.x, self.batch_size, self.name)

    def _level(self):
        level_activities(self._activities, self._budget(0), self.provisioned)

    def _apply(self, step):
        self.model  # noqa: B018 (on JAX, writes the state of training to the variables)
        self.value = self._budget(step)
        sharing = [[a] for a in self._activities] if self.per_activity else [self._activities]
        for activities in sharing:
            factor = common_factor(activities, self.value, self.provisioned)
            for activity in activities:
                activity.scale_by(factor)


class QuantizedActivity:
    """A quantizer, and the ranges of its neurons on some data.

    Args:
        quantizer: a spiking quantizer that is built.
        low: smallest count of each neuron, at the present resolutions.
        high: largest count of each neuron.

    Attributes:
        span: ranges in units of activity, one per neuron.
    """

    def __init__(self, quantizer: Quantizer, low: np.ndarray, high: np.ndarray):
        self.quantizer = quantizer
        resolutions = quantizer.resolutions()
        # A neuron that never fired spans less than a level.
        self.span = np.maximum(high - low, 0.5) / resolutions
        self._low, self._high = low / resolutions, high / resolutions

    def levels(self, provisioned: bool = False) -> np.ndarray:
        """Return the range of counts of each neuron, or with `provisioned` of all at once, [1]."""
        resolutions = self.quantizer.resolutions()
        if not provisioned:
            return np.ravel(resolutions * self.span)
        low, high = np.min(resolutions * self._low), np.max(resolutions * self._high)
        return np.maximum([high - low], 0.5)

    def level(self) -> None:
        """Give every neuron the same range of counts, if it has a resolution of its own."""
        relative = np.exp(np.mean(np.log(self.span))) / self.span
        resolution, factor = self.quantizer.resolution_variable, self.quantizer.log_factor
        if factor is not None:
            resolution.assign(np.ones(resolution.shape))
            factor.assign(np.log(relative))
        elif len(resolution.shape):
            resolution.assign(relative)

    def scale_by(self, factor: float) -> None:
        """Multiply the resolution of all neurons by one factor."""
        resolution = self.quantizer.resolution_variable
        resolution.assign(ops.convert_to_numpy(resolution) * np.float32(factor))


def measured_activities(
    model: keras.Model, x: Any, batch_size: int = 100, name: str = "*"
) -> list[QuantizedActivity]:
    """Measure the ranges of each quantizer of a name on the data x.

    Raises:
        ValueError: if there are none, or one of them is not used by the model.
    """
    ranges = count_ranges(model, x, batch_size)  # builds the model
    named = quantizers_of(model, name)
    if not named or any(path not in ranges for path in named):
        raise ValueError(
            f"A bit budget needs a model with quantizers that are in use; `{model.name}` "
            f"has {len(quantizers_of(model))} quantizers, {len(named)} of them named {name!r}, and "
            f"{len(ranges)} quantized activities."
        )
    return [QuantizedActivity(quantizer, *ranges[path]) for path, quantizer in named.items()]


def level_activities(
    activities: list[QuantizedActivity], bits: float, provisioned: bool = False
) -> None:
    """Give each activity `bits` bits, and all its neurons the same range of counts."""
    for activity in activities:
        activity.level()
        activity.scale_by(common_factor([activity], bits, provisioned))


def common_factor(
    activities: list[QuantizedActivity], bits: float, provisioned: bool = False
) -> float:
    """Return the factor of all resolutions that makes the mean bits of activities `bits`, to 1e-6.

    Args:
        activities: the activities that share the budget.
        bits: the budget.
        provisioned: whether `bits` are provisioned bits, in place of activity bits. Default False.
    """
    ranges = [activity.levels(provisioned) for activity in activities]
    shares = np.concatenate([np.full(r.size, 1.0 / (r.size * len(ranges))) for r in ranges])
    levels = np.concatenate(ranges).astype("float64")
    low, high = -40.0, 40.0  # log2 of the factor
    while high - low > 1e-6:
        middle = (low + high) / 2
        found = shares @ np.log2(2.0**middle * levels + 1.0)
        low, high = (middle, high) if found < bits else (low, middle)
    return 2.0 ** ((low + high) / 2)
