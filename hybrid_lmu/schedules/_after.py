"""What all schedules have in common, and callbacks that wait until the schedules are at their end.

Schedules of a model that is trained are known by the model, so that no callback needs to know the
others, and their order does not matter.
"""

from __future__ import annotations

import weakref

import keras
from keras import ops

# Weak on both sides: a callback holds its model.
_running: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


class Schedule(keras.callbacks.Callback):
    """Base of the callbacks that take something to a last value: where training is, and its end.

    Attributes:
        epoch: the present epoch, from 0; None before the first.
        start: number of training steps before the present epoch.
    """

    epoch: int | None = None
    start = 0
    _seen = 0

    def on_train_begin(self, logs=None):
        self.epoch, self.start, self._seen = None, 0, 0
        _running.setdefault(self.model, weakref.WeakSet()).add(self)

    def on_epoch_begin(self, epoch, logs=None):
        # Not when training begins: `BackupAndRestore` may come later in the list of callbacks.
        first = self.epoch is None
        steps = training_steps(getattr(self.model, "optimizer", None)) if first else self._seen
        self.start, self._seen, self.epoch = self.start + steps, 0, epoch

    def on_train_batch_end(self, batch, logs=None):
        self._seen = batch + 1

    @property
    def steps(self) -> int | None:
        """Number of steps of an epoch, None if Keras does not know it."""
        return (self.params or {}).get("steps")

    @property
    def last_epoch(self) -> int:
        """The last epoch of this training, from 0."""
        return (self.params or {}).get("epochs", 1) - 1

    @property
    def last_step(self) -> int:
        """The last step of this training, if all epochs have as many steps as this one."""
        steps = self.steps or self._seen
        return self.start + steps * (1 + self.last_epoch - (self.epoch or 0)) - 1

    @property
    def at_end(self) -> bool:
        """Whether this epoch is the last one, and all its steps are done."""
        return self.epoch == self.last_epoch and self._seen >= (self.steps or 1)

    def settled(self) -> bool:
        """Return whether the present value is the last one of this training."""
        return True


class AfterAnnealing(keras.callbacks.Callback):
    """Give a callback only the epochs that end with every schedule at its last value.

    An epoch in mid annealing has a higher resolution, so that its score belongs to another network
    than the one that training is about. The callback that is wrapped neither sees nor keeps such an
    epoch. So the best epoch is the best one at the final resolution (or budget of bits, or
    temperature), and an early stop waits for the end of annealing. The last epoch always counts.

    Args:
        callback: a callback that compares epochs, such as `keras.callbacks.EarlyStopping` or
            `keras.callbacks.ModelCheckpoint`.

    The schedules are all `ScheduledVariable`, `AnnealResolution`, `AnnealTemperature` and
    `BitBudget` of the same `fit`, before or after this callback in the list. The last value is that
    at the last step of the last epoch of `fit`. Without a schedule, every epoch counts.

    Example:

    >>> best = AfterAnnealing(
    ...     keras.callbacks.EarlyStopping("val_loss", patience=5, restore_best_weights=True)
    ... )
    >>> keep = AfterAnnealing(keras.callbacks.ModelCheckpoint("best.keras", save_best_only=True))

    Raises:
        ValueError: if `callback` is no callback of Keras.
    """

    def __init__(self, callback: keras.callbacks.Callback):
        super().__init__()
        if not isinstance(callback, keras.callbacks.Callback):
            raise ValueError(
                "`callback` must be a keras.callbacks.Callback such as EarlyStopping; received: "
                f"{callback!r}"
            )
        self.callback = callback

    def set_params(self, params):
        super().set_params(params)
        self.callback.set_params(params)

    def set_model(self, model):
        super().set_model(model)
        self.callback.set_model(model)
        # Keras does this before training begins, when the schedules add themselves.
        _running[model] = weakref.WeakSet()

    def on_train_begin(self, logs=None):
        self.callback.on_train_begin(logs)

    def on_train_end(self, logs=None):
        self.callback.on_train_end(logs)

    def on_epoch_begin(self, epoch, logs=None):
        self.callback.on_epoch_begin(epoch, logs)

    def on_epoch_end(self, epoch, logs=None):
        if annealed(self.model):
            self.callback.on_epoch_end(epoch, logs)

    def on_train_batch_begin(self, batch, logs=None):
        self.callback.on_train_batch_begin(batch, logs)

    def on_train_batch_end(self, batch, logs=None):
        if annealed(self.model):
            self.callback.on_train_batch_end(batch, logs)


def annealed(model: keras.Model) -> bool:
    """Return whether all schedules of a model that is trained are at their last values."""
    return all(one.settled() for one in _running.get(model, ()))


def training_steps(optimizer) -> int:
    """Return the number of batches that an optimizer has been given, as far as it knows.

    The optimizer counts updates: one for several batches with gradient accumulation, none for a
    batch that loss scaling has skipped. Without an optimizer, 0.
    """
    if optimizer is None:
        return 0
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    accumulated = getattr(optimizer, "gradient_accumulation_steps", None) or 1
    return int(ops.convert_to_numpy(optimizer.iterations)) * accumulated
