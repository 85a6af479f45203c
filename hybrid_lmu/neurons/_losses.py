"""Losses and accuracy of spiking outputs, one neuron for each class."""

from typing import Any

import keras
from keras import ops

from hybrid_lmu._internal.checks import check_rate


class _OfSpikes(keras.losses.Loss):
    """Base of the losses of spikes [batch, time, classes] and labels, one integer a sample."""

    def call(self, y_true, y_pred):
        labels = _labels(y_true, y_pred)
        return self.of(ops.one_hot(labels, y_pred.shape[-1], dtype=y_pred.dtype), y_pred)


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class RateCrossentropy(_OfSpikes):
    """Cross-entropy at every step, averaged over time.

    With the outputs ``s_t`` and the class c of a sample::

        L = -(1 / T) sum_t log softmax(s_t)_c

    It asks the right neuron to fire at every step and the others to be silent.

    Args:
        reduction, name, dtype: as of `keras.losses.Loss`.

    Labels: integers, [batch] or [batch, 1]. Outputs: spikes, or potentials, [batch, time, classes].

    Raises:
        ValueError: for labels or outputs of another shape.

    Example:

    >>> spikes = np.zeros((1, 4, 2), "float32")
    >>> f"{float(RateCrossentropy()(np.array([1]), spikes)):.3f}"
    '0.693'

    Source: snnTorch (Eshraghian et al. 2023, arXiv:2109.12894) calls it ``ce_rate_loss``.
    """

    def __init__(self, reduction: str = "sum_over_batch_size", name: str | None = None, **kwargs):
        super().__init__(name=name or "rate_crossentropy", reduction=reduction, **kwargs)

    def of(self, right, spikes):
        return ops.mean(_crossentropy(ops.expand_dims(right, 1), spikes), axis=1)


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class CountCrossentropy(_OfSpikes):
    """Cross-entropy of the numbers of spikes.

    With the outputs ``s_t`` and the class c of a sample::

        L = -log softmax(s_1 + ... + s_T)_c

    It asks the right neuron to fire more often than the others.

    Args:
        reduction, name, dtype: as of `keras.losses.Loss`.

    Labels: integers, [batch] or [batch, 1]. Outputs: spikes, [batch, time, classes].

    Raises:
        ValueError: for labels or outputs of another shape.

    Source: snnTorch (Eshraghian et al. 2023, arXiv:2109.12894) calls it ``ce_count_loss``.
    """

    def __init__(self, reduction: str = "sum_over_batch_size", name: str | None = None, **kwargs):
        super().__init__(name=name or "count_crossentropy", reduction=reduction, **kwargs)

    def of(self, right, spikes):
        return _crossentropy(right, ops.sum(spikes, axis=1))


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class CountMeanSquaredError(_OfSpikes):
    """Squared distance of the numbers of spikes from those wanted.

    With the numbers ``n = s_1 + ... + s_T``, and r the wanted rate of a neuron, `correct_rate` for
    that of the right class and `incorrect_rate` for the others::

        L = mean over classes of (n - r T)**2 / T

    Args:
        correct_rate: spikes a step of the neuron of the right class, in [0, 1]. Default 1.
        incorrect_rate: spikes a step of the others, in [0, 1). Default 0.
        reduction, name, dtype: as of `keras.losses.Loss`.

    Labels: integers, [batch] or [batch, 1]. Outputs: spikes, [batch, time, classes].

    Raises:
        ValueError: for a rate out of range, labels or outputs of another shape.

    Source: snnTorch (Eshraghian et al. 2023, arXiv:2109.12894) calls it ``mse_count_loss``.
    """

    def __init__(
        self,
        correct_rate: float = 1.0,
        incorrect_rate: float = 0.0,
        *,
        reduction: str = "sum_over_batch_size",
        name: str | None = None,
        **kwargs: Any,
    ):
        super().__init__(name=name or "count_mean_squared_error", reduction=reduction, **kwargs)
        # Rates of dropout are below 1; a neuron may fire at every step.
        one = isinstance(correct_rate, (int, float)) and correct_rate == 1
        self.correct_rate = 1.0 if one else check_rate("correct_rate", correct_rate)
        self.incorrect_rate = check_rate("incorrect_rate", incorrect_rate)

    def of(self, right, spikes):
        steps = ops.cast(ops.shape(spikes)[1], spikes.dtype)
        wanted = self.incorrect_rate + (self.correct_rate - self.incorrect_rate) * right
        off = ops.sum(spikes, axis=1) - wanted * steps
        return ops.mean(off * off, axis=-1) / steps

    def get_config(self):
        rates = {"correct_rate": self.correct_rate, "incorrect_rate": self.incorrect_rate}
        return {**super().get_config(), **rates}


@keras.saving.register_keras_serializable(package="hybrid_lmu")
def count_accuracy(y_true, y_pred):
    """Return 1 for each sample whose right neuron fires most, else 0; for ``metrics=[...]``.

    Args:
        y_true: the labels, integers, [batch] or [batch, 1].
        y_pred: the spikes, [batch, time, classes]. Of neurons that fire alike, the first one wins.

    Raises:
        ValueError: for labels or outputs of another shape.
    """
    labels = _labels(y_true, y_pred)
    fired = ops.argmax(ops.sum(y_pred, axis=1), axis=-1)
    return ops.cast(ops.equal(ops.cast(fired, labels.dtype), labels), "float32")


def _labels(y_true, y_pred):
    """Return the labels, [batch]; raise ValueError for other shapes than are expected."""
    y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
    shape = tuple(y_true.shape)
    if len(y_pred.shape) != 3 or not (len(shape) == 1 or (len(shape) == 2 and shape[1] == 1)):
        raise ValueError(
            "Expected labels [batch] or [batch, 1] and outputs [batch, time, classes] "
            f"(`return_sequences=True`); received shapes {shape} and {tuple(y_pred.shape)}."
        )
    return ops.cast(ops.reshape(y_true, (-1,)), "int32")


def _crossentropy(right, logits):
    return -ops.sum(right * ops.log_softmax(logits, axis=-1), axis=-1)
