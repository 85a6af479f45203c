"""Annealing: scheduled scalars of a model, the resolution of its quantizers first of all.

A schedule is a function of the training step (or the epoch) alone, and the step is that of the
optimizer, which is saved with the model. So training that is resumed from a checkpoint goes on with
the right value, and nothing has to be saved here. The value is assigned to a variable, so nothing
is traced again.
"""

from fnmatch import fnmatchcase

import keras
import numpy as np
from keras import ops

from hybrid_lmu._internal.checks import check_choice


class ScheduledVariable(keras.callbacks.Callback):
    """Set variables of the model, found by name, to a scheduled value during training.

    Args:
        variable: name of the variables, such as ``"resolution"``; non-trainable ones, as a rule.
        schedule: a `keras.optimizers.schedules.LearningRateSchedule` or any callable that takes the
            step (or epoch), counted from 0, and returns a number, or an array of the variables'
            shape. The step is that of the optimizer when training starts, and then counts batches.
            Give Keras's schedules floats (64.0): they compute in the dtype of their arguments.
        per: ``"step"`` (default): the value changes at each training step (each execution, if the
            model is compiled with `steps_per_execution`); ``"epoch"``: at the start of each epoch.
        name: shell pattern (``*``, ``?``, ``[...]``) for the variables to set; it must match their
            whole path (``"hybrid_lmu/lmu_cell/memory_quantizer/resolution"``) or one part of it
            (``"memory_quantizer"``). Default ``"*"``: all.
        log_name: key under which the value (the mean, if an array) stands in the logs of each
            epoch, so in `History`, TensorBoard and so on; put it before a callback that is to see
            it. Default: `variable`.

    A model that is not built yet runs its first batch with the value it was made with. A clone, and
    a layer made from its configuration, start from that value too; a saved model keeps its own.

    Raises:
        ValueError: when training starts, if no variable matches; when a value is not finite.
    """

    def __init__(self, variable, schedule, per="step", name="*", log_name=None):
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
        self.value = None
        self._epoch_start = self._seen = 0

    def on_train_begin(self, logs=None):
        self.value = None
        self._epoch_start, self._seen = training_steps(self.model.optimizer), 0
        if self.model.built:
            self._found()

    def on_epoch_begin(self, epoch, logs=None):
        if self.per == "epoch" and self.model.built:
            self._set(epoch)
        self._epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if self.per == "step" and self.model.built:
            self._set(self._epoch_start + batch)

    def on_train_batch_end(self, batch, logs=None):
        self._seen = batch + 1
        if self.value is None:  # the first batch has built the model
            self._set(self._epoch if self.per == "epoch" else self._epoch_start + batch)

    def on_epoch_end(self, epoch, logs=None):
        self._epoch_start, self._seen = self._epoch_start + self._seen, 0
        if logs is not None and self.value is not None:
            logs[self.log_name] = float(np.mean(self.value))

    def check(self, value):
        """Raise ValueError unless `value`, an array, may be assigned."""
        if not np.all(np.isfinite(value)):
            raise ValueError(f"A scheduled {self.variable} must be finite; received: {value}")

    def _set(self, step):
        value = np.asarray(ops.convert_to_numpy(self.schedule(step)), dtype="float32")
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

    def _found(self):
        found = matching_variables(self.model, self.variable, self.name)
        if not found:
            known = sorted(v.path for v in self.model.variables if v.name == self.variable)
            raise ValueError(
                f"No variable named {self.variable!r} matches name={self.name!r}; "
                f"the model has {known or 'none of that name'}."
            )
        return found


class AnnealResolution(ScheduledVariable):
    """Anneal the resolution of quantizers during training, from non-spiking to spiking.

    A large resolution makes an ordinary network, a small one a spiking one, and the same weights
    are moved smoothly from the first to the second (Voelker, Rasmussen & Eliasmith 2020,
    arXiv:2002.03553, whose own schedule is not known).

    Args:
        schedule: resolution as a function of the step or epoch, counted from 0, such as
            `GeometricDecay` or any `keras.optimizers.schedules.LearningRateSchedule`.
        per, name, log_name: see `ScheduledVariable`. `log_name` defaults to ``"resolution"``.

    Example:

    >>> anneal = AnnealResolution(GeometricDecay(64.0, 2.0, decay_steps=1000))
    >>> hidden_only = AnnealResolution(lambda epoch: 2.0 ** (6 - epoch), per="epoch", name="hidden")

    Raises:
        ValueError: if the model has no quantizer of that name, or a value is not finite and > 0.
    """

    def __init__(self, schedule, per="step", name="*", log_name=None):
        super().__init__("resolution", schedule, per=per, name=name, log_name=log_name)

    def check(self, value):
        if not np.all(np.isfinite(value) & (value > 0)):
            raise ValueError(f"A scheduled resolution must be finite and > 0; received: {value}")


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class GeometricDecay(keras.optimizers.schedules.LearningRateSchedule):
    """``initial * (final / initial) ** min(step / decay_steps, 1)``: geometric, then constant.

    Args:
        initial, final: values at step 0 and from step `decay_steps` on; > 0.
        decay_steps: number of steps (or epochs) between them; > 0.
    """

    def __init__(self, initial, final, decay_steps):
        super().__init__()
        for key, value in (("initial", initial), ("final", final), ("decay_steps", decay_steps)):
            if not np.isfinite(value) or value <= 0:
                raise ValueError(f"`{key}` must be finite and > 0; received: {value!r}")
        self.initial, self.final, self.decay_steps = initial, final, decay_steps

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


def training_steps(optimizer):
    """The number of batches that an optimizer has been given, as far as it knows.

    It counts updates: one for several batches with gradient accumulation, none for a batch that
    loss scaling has skipped.
    """
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    accumulated = getattr(optimizer, "gradient_accumulation_steps", None) or 1
    return int(ops.convert_to_numpy(optimizer.iterations)) * accumulated


def matching_variables(model, variable, name="*"):
    """Return ``{path: variable}`` of the model's variables named `variable` whose path, or a part
    of it, matches the shell pattern `name`."""
    return {
        v.path: v
        for v in model.variables
        if v.name == variable
        and any(fnmatchcase(part, name) for part in (v.path, *v.path.split("/")))
    }


def resolution_variables(model, name="*"):
    """Return ``{path: variable}`` of the resolutions of the quantizers in `model`.

    Assign to them to evaluate a trained network at another resolution:

    >>> model = keras.Sequential([keras.Input((5, 2)), SigmaDelta(resolution=4.0)])
    >>> for variable in resolution_variables(model).values():
    ...     _ = variable.assign(8.0)
    """
    return matching_variables(model, "resolution", name)
