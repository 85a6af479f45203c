"""Annealing: scheduled scalars of a model, the resolution of its quantizers first of all.

A schedule is a function of the training step (or the epoch) alone. The step is that of the
optimizer, and the model saves it. So training that resumes from a checkpoint goes on with the right
value, and the callbacks save nothing. They assign the value to a variable, so nothing is traced
again.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from hybrid_lmu._internal.checks import check_choice, check_positive
from hybrid_lmu._internal.traversal import path_matches, variable_paths
from hybrid_lmu.quantizers._find import quantizers_of
from hybrid_lmu.schedules._after import Schedule


class ScheduledVariable(Schedule):
    """Set variables of the model, found by name, to a scheduled value during training.

    Args:
        variable: name of the variables, such as ``"temperature"``. They should not be trainable.
        schedule: a `keras.optimizers.schedules.LearningRateSchedule` or any callable that takes the
            step (or epoch), counted from 0, and returns a number, or an array of the variables'
            shape. The step is that of the optimizer when the first epoch begins, so that the order
            of this callback and `BackupAndRestore` does not matter, and then counts batches. Give
            Keras's schedules floats (64.0): they compute in the dtype of their arguments.
        per: ``"step"`` (default): the value changes at each training step (each execution, if the
            model is compiled with `steps_per_execution`); ``"epoch"``: at the start of each epoch.
        name: shell pattern (``*``, ``?``, ``[...]``) for the variables to set. The pattern must
            match the whole path of a variable (``"lmu/lmu_cell/memory_quantizer/resolution"``) or
            one part of the path (``"memory_quantizer"``). The path has the names of layers and
            arguments from the model on; it is the same after a file is loaded. Default ``"*"``:
            all.
        log_name: key of the value (the mean, if an array) in the logs of each epoch, so in
            `History`, TensorBoard and so on. A callback that reads the key must come later in the
            list of callbacks. Default ``None``: `variable`.

    A model that is not built yet runs its first batch with its initial value. A clone of a model,
    and a layer made from a configuration, start from the initial value too. A saved model keeps the
    present value.

    Callbacks that compare epochs, such as `EarlyStopping` and best-only checkpoints, belong into
    `AfterAnnealing`: they then compare epochs at the last value alone. A warning says so if
    training ends at another value than the last one of the schedule.

    Raises:
        ValueError: when training starts, if no variable matches; when a value is not finite.
    """

    def __init__(
        self,
        variable: str,
        schedule: Callable[[int], Any],
        *,
        per: str = "step",
        name: str = "*",
        log_name: str | None = None,
    ):
        super().__init__()
        if not callable(schedule):
            raise ValueError(
                "`schedule` must be a LearningRateSchedule or a callable of the step; "
                f"received: {schedule!r}"
            )
        self.variable = variable
        self.schedule = schedule
        self.per = check_choice("per", per, ("step", "epoch"))
        self.name = name
        self.log_name = log_name or variable
        self.value = self._variables = None

    def on_train_begin(self, logs=None):
        super().on_train_begin(logs)
        self.value = self._variables = None
        if self.model.built:
            self._found()

    def on_epoch_begin(self, epoch, logs=None):
        super().on_epoch_begin(epoch, logs)
        if self.per == "epoch" and self.model.built:
            self._set(epoch)

    def on_train_batch_begin(self, batch, logs=None):
        if self.per == "step" and self.model.built:
            self._set(self.start + batch)

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, logs)
        if self.value is None:  # the first batch has built the model
            self._set(self.epoch if self.per == "epoch" else self.start + batch)

    def on_epoch_end(self, epoch, logs=None):
        if logs is not None and self.value is not None:
            logs[self.log_name] = float(np.mean(self.value))

    def on_train_end(self, logs=None):
        if self.value is None or not self._variables:
            return
        left = [ops.convert_to_numpy(v) for v in self._found().values()]
        if not self.settled() or not all(np.allclose(v, self.value) for v in left):
            mean = np.mean([np.mean(v) for v in left])
            warnings.warn(
                f"Training ends with a {self.variable} of {mean:.4g}, before the last value of its "
                "schedule. A callback that stops early or restores the best epoch belongs into "
                "`hybrid_lmu.AfterAnnealing`.",
                stacklevel=2,
            )

    def settled(self):
        last = self.last_epoch if self.per == "epoch" else self.last_step
        return self.value is not None and (
            self.at_end or np.allclose(self.value, self._value(last), rtol=1e-6, atol=0.0)
        )

    def check(self, value):
        """Raise ValueError unless the array `value` may be assigned."""
        if not np.all(np.isfinite(value)):
            raise ValueError(f"A scheduled {self.variable} must be finite; received: {value}")

    def _value(self, step):
        return np.asarray(ops.convert_to_numpy(self.schedule(step)), dtype="float32")

    def _set(self, step):
        value = self._value(step)
        if self.value is not None and np.array_equal(value, self.value):
            return
        self.check(value)
        for path, variable in self._found().items():
            if value.ndim and value.shape != tuple(variable.shape):
                raise ValueError(
                    f"The schedule of {path} must give a number or an array of shape "
                    f"{tuple(variable.shape)}; received shape {value.shape}."
                )
            variable.assign(np.broadcast_to(value, variable.shape))
        self.value = value

    def variables(self) -> dict[str, keras.Variable]:
        """Return ``{path: variable}`` of the variables to set."""
        return {p: v for p, v in self._of_the_name() if path_matches(p, self.name)}

    def _of_the_name(self):
        paths = variable_paths(self.model)
        return [(paths[id(v)], v) for v in self.model.variables if v.name == self.variable]

    def _found(self):
        """Return the variables to set, looked up once a training."""
        self.model  # noqa: B018 (on JAX, writes the state of training to the variables)
        if self._variables is None:
            self._variables = self.variables()
        if not self._variables:
            known = sorted(path for path, _ in self._of_the_name())
            raise ValueError(
                f"No variable named {self.variable!r} matches name={self.name!r}; "
                f"the model has {known or 'none of that name'}."
            )
        return self._variables


class AnnealResolution(ScheduledVariable):
    """Anneal the resolution of quantizers during training, from non-spiking to spiking.

    A large resolution makes an ordinary network, a small one a spiking network. Annealing moves the
    same weights smoothly from the first to the second. Voelker, Rasmussen & Eliasmith (2020,
    arXiv:2002.03553) anneal too; their schedule is not known.

    Args:
        schedule: resolution as a function of the step or epoch, counted from 0, such as
            `GeometricDecay` or any `keras.optimizers.schedules.LearningRateSchedule`. It returns a
            number > 0, or one per neuron.
        per: ``"step"`` (default) or ``"epoch"``: when the resolution changes.
        name: shell pattern for the path of the resolutions, or one part of the path, such as
            ``"memory_quantizer"`` and ``"hidden_quantizer"``, the arguments of `HybridLMU`, or the
            name of a layer. Default ``"*"``: all quantizers.
        log_name: key of the (mean) resolution in the logs of each epoch. Default ``None``:
            ``"resolution"``.

    Example:

    >>> anneal = AnnealResolution(GeometricDecay(64.0, 2.0, decay_steps=1000))
    >>> hidden_only = AnnealResolution(lambda epoch: 2.0 ** (6 - epoch), per="epoch", name="hidden")

    Raises:
        ValueError: if the model has no quantizer of that name, or a value is not finite and > 0.
    """

    def __init__(
        self,
        schedule: Callable[[int], Any],
        *,
        per: str = "step",
        name: str = "*",
        log_name: str | None = None,
    ):
        super().__init__("resolution", schedule, per=per, name=name, log_name=log_name)

    def variables(self):
        return resolution_variables(self.model, self.name)

    def check(self, value):
        if not np.all(np.isfinite(value) & (value > 0)):
            raise ValueError(f"A scheduled resolution must be finite and > 0; received: {value}")


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class GeometricDecay(keras.optimizers.schedules.LearningRateSchedule):
    """``initial * (final / initial) ** min(step / decay_steps, 1)``: geometric, then constant.

    Args:
        initial: value at step 0; > 0.
        final: value from step `decay_steps` on; > 0.
        decay_steps: number of steps (or epochs) between the two values; > 0.

    Raises:
        ValueError: if an argument is not a finite number > 0.
    """

    def __init__(self, initial: float, final: float, decay_steps: float):
        super().__init__()
        self.initial = check_positive("initial", initial)
        self.final = check_positive("final", final)
        self.decay_steps = check_positive("decay_steps", decay_steps)

    def __call__(self, step):
        share = ops.minimum(ops.cast(step, "float32") / self.decay_steps, 1.0)
        # Exactly `final` at the end, whatever the rounding of the power.
        value = self.initial * ops.power(self.final / self.initial, share)
        return ops.where(share < 1.0, value, ops.convert_to_tensor(self.final, "float32"))

    def get_config(self):
        return {
            "initial": self.initial,
            "final": self.final,
            "decay_steps": self.decay_steps,
        }


def resolution_variables(model: keras.Model, name: str = "*") -> dict[str, keras.Variable]:
    """Return ``{path: variable}`` of the resolutions of the quantizers in `model`.

    Args:
        model: a model that is built.
        name: shell pattern for the path of a resolution, or one part of the path. Default ``"*"``:
            all.

    Assign to the variables to evaluate a trained network at another resolution:

    >>> model = keras.Sequential([keras.Input((5, 2)), SigmaDelta(resolution=4.0)])
    >>> for variable in resolution_variables(model).values():
    ...     _ = variable.assign(8.0)
    """
    quantizers = quantizers_of(model, name)
    return {path: one.resolution_variable for path, one in quantizers.items()}
