"""A spiking network runs over data: its outputs, classes and spikes at every step."""

from __future__ import annotations

from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

from hybrid_lmu._internal.batches import batches
from hybrid_lmu.neurons._cell import SpikingLayer


@dataclass(frozen=True, eq=False)
class Simulation:
    """What a spiking network put out at every step, for every sample.

    Attributes:
        sums: ``S_t = z_1 + ... + z_t``, the sums of the readout, [samples, T, outputs], float32.
        spikes: number of spikes of all neurons up to each step, [samples, T], float64.
        by_layer: ``{layer of neurons: number}``, the mean number of spikes of a sample in T steps.
        neurons: number of neurons.
        depth: the largest number of layers of neurons that follow one another on the way to the
            output. Default 1.
    """

    sums: np.ndarray
    spikes: np.ndarray
    by_layer: dict
    neurons: int
    depth: int = 1

    def predictions(self) -> np.ndarray:
        """Return the class at each step, [samples, T].

        The class is the index of the largest output. A single output gives class 1 if it is > 0.
        """
        single = self.sums.shape[-1] == 1
        return (self.sums[..., 0] > 0).astype("int64") if single else self.sums.argmax(axis=-1)

    def accuracy(self, labels) -> np.ndarray:
        """Return the share of right classes at each step, [T].

        Args:
            labels: the right class of each sample, [samples] or [samples, 1].
        """
        return (self.predictions() == as_labels(labels, len(self.sums))[:, None]).mean(axis=0)

    def steps_to(self, labels, accuracy: float) -> int | None:
        """Return the first step, counted from 1, from which on an accuracy is kept, or None.

        Args:
            labels: see `accuracy`.
            accuracy: the accuracy to be kept.
        """
        below = np.flatnonzero(self.accuracy(labels) < accuracy)
        first = 1 if not len(below) else int(below[-1]) + 2
        return first if first <= self.sums.shape[1] else None


def simulate(model: keras.Model, x, *, batch_size: int = 32) -> Simulation:
    """Run a network of `to_spiking` over data and keep its outputs and its numbers of spikes.

    Args:
        model: made by `to_spiking`, not stateful.
        x: as for `hybrid_lmu.activity_report`. All steps of a batch are in memory at once.
        batch_size: number of samples in a batch of `x`, if `x` is arrays. Default 32.

    Raises:
        ValueError: if the model has no spiking layers, is stateful, or has inputs of unknown size.
    """
    layers = _spiking_layers(model)
    every = [_per_step(layer.output) for layer in layers]
    probe = keras.Model(model.input, [model.outputs[0], ops.stack(every, axis=-1)])
    sums, spikes = [], []
    for batch in batches(x, batch_size):
        output, counted = probe.predict_on_batch(batch)
        sums.append(output)
        spikes.append(np.cumsum(counted.astype("float64"), axis=1))
    sums, spikes = np.concatenate(sums), np.concatenate(spikes)
    means = spikes[:, -1].mean(axis=0).tolist()
    return Simulation(
        sums,
        spikes.sum(axis=-1),
        by_layer={layer.name: mean for layer, mean in zip(layers, means, strict=True)},
        neurons=sum(int(np.prod(layer.output.shape[2:])) for layer in layers),
        depth=_depth(model),
    )


def _depth(model):
    """Return how many layers of neurons follow one another in a model at most."""
    depths: dict[str, int] = {}
    for config in model.get_config()["layers"]:
        before = max((depths.get(name, 0) for name in _inbound(config["inbound_nodes"])), default=0)
        own = isinstance(model.get_layer(config["name"]), SpikingLayer)
        depths[config["name"]] = before + own
    return max(depths.values())


def _inbound(nodes):
    """Yield the names of the layers whose outputs occur in the configuration of nodes."""
    if isinstance(nodes, dict):
        if "keras_history" in nodes:
            yield nodes["keras_history"][0]
        nodes = list(nodes.values())
    for one in nodes if isinstance(nodes, (list, tuple)) else ():
        yield from _inbound(one)


def _spiking_layers(model):
    """Return the layers of neurons of a model; raise ValueError if it cannot be simulated."""
    if len(model.outputs) != 1:
        raise ValueError(
            f"`model` must have one output; received {model.name!r} with {len(model.outputs)}. "
            "Expected a model of one of them, keras.Model(model.input, model.outputs[0])."
        )
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
    return layers


def _per_step(spikes):
    return ops.sum(ops.cast(spikes, "float32"), axis=list(range(2, len(spikes.shape))))


def as_labels(labels, samples: int) -> np.ndarray:
    """Return labels as an array [samples]; raise ValueError if there are more or fewer."""
    labels = np.asarray(labels)
    if labels.size != samples:
        raise ValueError(
            f"`labels` must hold one class for each of {samples} samples; received shape "
            f"{labels.shape}."
        )
    return labels.reshape(-1)
