"""The training loop that all experiments share, with its optimizer and loss."""

from collections.abc import Iterable

import keras

from training.config import Fit
from training.data import EpochBatches, SetEpoch
from training.tasks import Split, TaskData


def fit(
    model: keras.Model,
    batches: keras.utils.PyDataset,
    *,
    epochs: int,
    callbacks: Iterable[keras.callbacks.Callback] = (),
    initial_epoch: int = 0,
    validation: Split | None = None,
) -> dict[str, list[float]]:
    """Train a compiled model without output on the console.

    Args:
        model: the model; its weights change.
        batches: the training data. They set the order of the samples themselves; those of
            `EpochBatches` are told the epoch first.
        epochs: number of the last epoch.
        callbacks: Keras callbacks, called in this order.
        initial_epoch: number of epochs that an earlier call has done. Default: 0.
        validation: data on which Keras computes the metrics after each epoch. Default: none.

    Returns:
        ``{name: value of each epoch}``, Keras's history.
    """
    set_epoch = [SetEpoch(batches)] if isinstance(batches, EpochBatches) else []
    options = {}
    if validation is not None:
        options["validation_data"] = (validation.x, validation.y)
        options["validation_batch_size"] = batches.batch_size
    return model.fit(
        batches,
        initial_epoch=initial_epoch,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=[*set_epoch, *callbacks],
        **options,
    ).history


def make_optimizer(config: Fit, steps: int) -> keras.optimizers.Optimizer:
    """The optimizer of a run of `steps` training steps; `RunConfig` is a `Fit`."""
    kinds = {
        "adam": keras.optimizers.Adam,
        "adamw": keras.optimizers.AdamW,
        "rmsprop": keras.optimizers.RMSprop,
        "sgd": keras.optimizers.SGD,
    }
    rate = config.learning_rate
    if config.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(rate, steps)
    optimizer = kinds[config.optimizer](learning_rate=rate, global_clipnorm=config.clip_norm)
    if config.optimizer == "adamw":  # the scales of low-bit weights must not decay
        optimizer.exclude_from_weight_decay(var_names=["log_alpha", "log_beta"])
    return optimizer


def make_loss(task: TaskData, *, from_logits: bool = True) -> keras.losses.Loss:
    """The loss of a task: a cross entropy of classes, or a mean squared error.

    `from_logits`: whether the outputs of a classifier are logits (default), or probabilities.
    """
    # "mean_with_sample_weight": steps of weight 0 do not lower the mean.
    if task.kind == "classes":
        return keras.losses.SparseCategoricalCrossentropy(
            from_logits=from_logits, reduction="mean_with_sample_weight"
        )
    return keras.losses.MeanSquaredError(reduction="mean_with_sample_weight")


def make_metrics(task: TaskData) -> list[keras.metrics.Metric]:
    """The metrics of a task: the accuracy of classes, none of a regression."""
    if task.kind == "classes":
        return [keras.metrics.SparseCategoricalAccuracy(name="accuracy")]
    return []
