"""Annealing the temperature of weight quantizers, by the mechanism of the resolutions."""

import keras
import numpy as np
from keras import ops

from hybrid_lmu._internal.checks import check_positive
from hybrid_lmu.schedules._anneal import ScheduledVariable


class AnnealTemperature(ScheduledVariable):
    """Raise the temperature of `SumOfSigmoids` weights during training, from smooth to staircase.

    Args:
        schedule: temperature as a function of the step or epoch, counted from 0, such as
            `LinearTemperature` or `hybrid_lmu.GeometricDecay` (which grows if it ends higher).
        per, name, log_name: see `hybrid_lmu.ScheduledVariable`. `log_name` defaults to
            ``"temperature"``.

    Example:

    >>> anneal = AnnealTemperature(LinearTemperature(20.0), per="epoch")

    Raises:
        ValueError: if the model has no such weights, or a value is not finite and > 0.
    """

    def __init__(
        self, schedule, *, per: str = "step", name: str = "*", log_name: str | None = None
    ):
        super().__init__("temperature", schedule, per=per, name=name, log_name=log_name)

    def check(self, value):
        if not np.all(np.isfinite(value) & (value > 0)):
            raise ValueError(f"A scheduled temperature must be finite and > 0; received: {value}")


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class LinearTemperature(keras.optimizers.schedules.LearningRateSchedule):
    """``T_e = min((e + 1) * initial, largest)``, e the epoch (or step) from 0.

    Args:
        initial: T in epoch 0, and what each epoch adds; > 0.
        largest: default 2000, that of the code of "Quantization Networks" (CVPR 2019).
    """

    def __init__(self, initial: float, largest: float = 2000.0):
        super().__init__()
        self.initial = check_positive("initial", initial)
        self.largest = check_positive("largest", largest)

    def __call__(self, step):
        return ops.minimum((ops.cast(step, "float32") + 1.0) * self.initial, self.largest)

    def get_config(self):
        return {"initial": self.initial, "largest": self.largest}
