"""Losses of a readout at one time step, with the derivative that a local rule needs.

``r`` [batch, outputs] is a readout, ``t`` [batch, outputs] its target; each loss is one number a
sample. Names are those of Keras; all three take readouts as they are (``from_logits=True``).
"""

import dataclasses
from collections.abc import Callable

from keras import ops

from hybrid_lmu._internal.checks import check_choice


@dataclasses.dataclass(frozen=True)
class StepLoss:
    """One loss: four functions of a readout ``r`` and a target ``t``.

    `target`: labels as they come from the data, and the number of outputs, to ``t``; `value`:
    [batch]; `gradient`: ``d value / dr``, [batch, outputs]; `prediction`: ``r`` to probabilities
    (or, in regression, to itself). `labels`: numbers of a sample's label, None for one an output.
    """

    target: Callable
    value: Callable
    gradient: Callable
    prediction: Callable
    labels: int | None = None


def _numbers(y, outputs):
    return ops.reshape(ops.cast(y, "float32"), (-1, outputs))


def _one_hot(y, outputs):
    return ops.one_hot(ops.reshape(ops.cast(y, "int32"), (-1,)), outputs, dtype="float32")


def _huber(error):
    size = ops.abs(error)
    return ops.where(size < 1.0, 0.5 * error * error, size - 0.5)


LOSSES = {
    # One probability an output, mean over the outputs.
    "binary_crossentropy": StepLoss(
        _numbers,
        lambda r, t: ops.mean(ops.softplus(r) - t * r, axis=-1),
        lambda r, t: (ops.sigmoid(r) - t) / r.shape[-1],
        ops.sigmoid,
    ),
    # One class of several; a single softmax.
    "sparse_categorical_crossentropy": StepLoss(
        _one_hot,
        lambda r, t: ops.logsumexp(r, axis=-1) - ops.sum(t * r, axis=-1),
        lambda r, t: ops.softmax(r, axis=-1) - t,
        lambda r: ops.softmax(r, axis=-1),
        labels=1,
    ),
    # Smooth L1: the square below an error of 1, mean over the outputs.
    "huber": StepLoss(
        _numbers,
        lambda r, t: ops.mean(_huber(r - t), axis=-1),
        lambda r, t: ops.clip(r - t, -1.0, 1.0) / r.shape[-1],
        lambda r: r,
    ),
}


def get_loss(name):
    """The `StepLoss` of a name; ValueError for an unknown one."""
    return LOSSES[check_choice("loss", name, tuple(LOSSES))]
