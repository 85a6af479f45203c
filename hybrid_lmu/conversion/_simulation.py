"""Running a converted network: accuracy and spikes at every step, and leaving early."""

from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

from hybrid_lmu._internal.batches import batches
from hybrid_lmu._internal.checks import check_choice, check_positive, check_positive_integer
from hybrid_lmu.neurons._cell import SpikingLayer


@dataclass(frozen=True, eq=False)
class Simulation:
    """What a spiking network put out at every step, for every sample.

    Attributes:
        sums: ``S_t = z_1 + ... + z_t``, [samples, T, outputs], float32.
        spikes: spikes of all neurons up to each step, [samples, T], float64.
        by_layer: mean spikes per sample in all T steps, ``{layer of neurons: number}``.
        neurons: number of neurons.
    """

    sums: np.ndarray
    spikes: np.ndarray
    by_layer: dict
    neurons: int

    def predictions(self):
        """The class at each step, [samples, T]: the largest output, or the sign of a single one."""
        return _classes(self.sums)

    def accuracy(self, labels):
        """Share of right classes at each step, [T]."""
        return (self.predictions() == _labels(labels, len(self.sums))[:, None]).mean(axis=0)

    def steps_to(self, labels, accuracy):
        """The first step, from 1, from which on the accuracy is never below a number, or None."""
        below = np.flatnonzero(self.accuracy(labels) < accuracy)
        first = 1 if not len(below) else int(below[-1]) + 2
        return first if first <= self.sums.shape[1] else None


def simulate(model, x, batch_size=32):
    """Run a network of `to_spiking` over data and keep its outputs and its numbers of spikes.

    Args:
        model: made by `to_spiking`, not stateful.
        x: as for `hybrid_lmu.activity_report`. All steps of a batch are in memory at once.
        batch_size: of arrays.

    Returns:
        a `Simulation`.

    Raises:
        ValueError: if the model has no spiking layers or is stateful, or inputs of unknown size.
    """
    layers = [layer for layer in model.layers if isinstance(layer, SpikingLayer)]
    if not layers or any(layer.stateful for layer in layers):
        raise ValueError(
            "`model` must be a spiking network that is not stateful, as `to_spiking` makes it; "
            f"received {model.name!r} with {len(layers)} layers of neurons"
            f"{', stateful' if layers else ''}."
        )
    sizes = [layer.output.shape[2:] for layer in layers]
    if any(None in size for size in sizes):
        raise ValueError(
            f"`model` must have neurons of known number; received {model.name!r} with layers of "
            f"shapes {sizes}. Give its source inputs of fixed size."
        )
    every = [_per_step(layer.output) for layer in layers]
    probe = keras.Model(model.input, [model.outputs[0], ops.stack(every, axis=-1)])
    sums, spikes = [], []
    for batch in batches(x, batch_size):
        one, counted = probe.predict_on_batch(batch)
        sums.append(one)
        spikes.append(np.cumsum(counted.astype("float64"), axis=1))
    sums, spikes = np.concatenate(sums), np.concatenate(spikes)
    return Simulation(
        sums,
        spikes.sum(axis=-1),
        dict(
            zip((layer.name for layer in layers), spikes[:, -1].mean(axis=0).tolist(), strict=True)
        ),
        sum(int(np.prod(size)) for size in sizes),
    )


def _per_step(spikes):
    return ops.sum(ops.cast(spikes, "float32"), axis=list(range(2, len(spikes.shape))))


@dataclass(frozen=True, eq=False)
class Exit:
    """Where each sample has left, and with which class.

    Attributes:
        steps: the step, from 1, [samples].
        classes: [samples].
        spikes: spikes up to that step, [samples].
    """

    steps: np.ndarray
    classes: np.ndarray
    spikes: np.ndarray

    def accuracy(self, labels):
        """Share of right classes."""
        return float((self.classes == _labels(labels, len(self.classes))).mean())


def early_exit(simulation, confidence, kappa=1.0, norm="rate", first=1):
    """Let each sample leave at the first step at which the network is sure of its class.

    A sample stops at the first ``t >= first`` with::

        max softmax(kappa * S_t / norm_t) >= confidence

    and, if there is none, at the last step. With one output: ``sigmoid`` of it, or of its negative.

    Args:
        simulation: of `simulate`.
        confidence: in (0, 1]; 1: never leave early.
        kappa: > 0. Default 1: the softmax of the source network.
        norm: ``"rate"`` (default): ``norm_t = t``, so that ``S_t / t`` approaches the outputs of
            the source network; ``"sum"``: 1, the raw sums, whose confidence grows with t by itself.
            A rate's error is at most of the order of 1/t, so a margin of the sums says how many
            such errors the first class is ahead: on MNIST fewer steps for the same accuracy.
        first: the first step at which a sample may leave; >= 1.

    Returns:
        an `Exit`.

    Source: the definition is ours; Lu & Sengupta (2020), arXiv:2002.10064, only say that run-time
    techniques shorten the latency.
    """
    if not 0 < check_positive("confidence", confidence) <= 1:
        raise ValueError(f"`confidence` must be in (0, 1]; received: {confidence!r}")
    check_positive("kappa", kappa)
    check_choice("norm", norm, ("rate", "sum"))
    if simulation.sums.ndim != 3:
        raise ValueError(
            "`simulation` must be of a network with one class for each sample, sums of shape "
            f"[samples, T, outputs]; received {simulation.sums.shape}."
        )
    sums = simulation.sums.astype("float64")
    steps = np.arange(1, sums.shape[1] + 1)
    first = min(check_positive_integer("first", first), len(steps))
    z = kappa * (sums / steps[:, None] if norm == "rate" else sums)
    if z.shape[-1] == 1:
        sure = 1.0 / (1.0 + np.exp(-np.abs(z[..., 0])))
    else:
        sure = 1.0 / np.exp(z - z.max(axis=-1, keepdims=True)).sum(axis=-1)
    leaves = (sure >= confidence) & (steps >= first) & (confidence < 1)
    leaves[:, -1] = True
    at = leaves.argmax(axis=1)
    rows = np.arange(len(at))
    return Exit(at + 1, _classes(simulation.sums)[rows, at], simulation.spikes[rows, at])


def _classes(sums):
    return (sums[..., 0] > 0).astype("int64") if sums.shape[-1] == 1 else sums.argmax(axis=-1)


def _labels(labels, samples):
    labels = np.asarray(labels)
    if labels.size != samples:
        raise ValueError(
            f"`labels` must hold one class for each of {samples} samples; received shape "
            f"{labels.shape}."
        )
    return labels.reshape(-1)
