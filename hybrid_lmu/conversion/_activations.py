"""What the ReLUs of a trained network put out on data, as histograms."""

from __future__ import annotations

import keras

from hybrid_lmu._internal.batches import batches
from hybrid_lmu._internal.copies import copy_layer
from hybrid_lmu._internal.traversal import copy_weights
from hybrid_lmu.conversion._graph import as_functional, layers_of, rebuild
from hybrid_lmu.conversion._histogram import StreamingHistogram
from hybrid_lmu.conversion._spiking_layers import negative_slope_of


class ActivationRecord:
    """Histograms of the activity of each ReLU and of the size of the inputs.

    Attributes:
        layers: ``{name of the layer: StreamingHistogram}`` of the size of the activity; the second
            call of a layer has the name ``name#2``, and a layer in a model inside the model the
            name ``model/name``.
        inputs: the `StreamingHistogram` of ``|x|`` for each input of the model.
    """

    def __init__(self):
        self.layers: dict[str, StreamingHistogram] = {}
        self.inputs: list[StreamingHistogram] = []


def record_activations(model: keras.Model, x, *, batch_size: int = 32) -> ActivationRecord:
    """Run a trained network over data and record what its ReLUs put out.

    Memory does not grow with the data: one histogram is kept for each layer.

    Args:
        model: see `hybrid_lmu.conversion.to_spiking`.
        x: an array, or an object that yields batches, as for `hybrid_lmu.activity_report`.
        batch_size: number of samples in a batch of `x`, if `x` is arrays. Default 32.

    Raises:
        ValueError: if the model is of another kind or has no ReLU; if `x` is empty or has NaN.
    """
    model = as_functional(model, nested=True)
    found, copies = {}, {}

    def visit(layer, path, *args, **kwargs):
        if id(layer) not in copies:  # layers of several models may have one name
            copies[id(layer)] = layer, copy_layer(layer, name=path.replace("/", "_"))
        output = copies[id(layer)][1](*args, **kwargs)
        if negative_slope_of(layer) is not None:
            found[path] = output
        return output

    copy = rebuild(model, visit)
    if not found:
        raise ValueError(
            f"{model.name!r} has no ReLU to be replaced by spiking neurons; its layers are "
            f"{[layer.name for layer in layers_of(model)]}. Put relu or leaky_relu in the place of "
            "other activations, train a few epochs, and convert then."
        )
    for layer, own in copies.values():
        if isinstance(layer, keras.layers.Layer):
            copy_weights(layer, own)
    probe = keras.Model(copy.input, list(found.values()))
    record = ActivationRecord()
    record.layers = {path: StreamingHistogram() for path in found}
    record.inputs = [StreamingHistogram() for _ in model.inputs]
    for batch in batches(x, batch_size):
        given = [batch[k] for k in _input_names(model)] if isinstance(batch, dict) else batch
        for histogram, values in zip(record.inputs, keras.tree.flatten(given), strict=True):
            histogram.update(abs(values))
        outputs = keras.tree.flatten(probe.predict_on_batch(batch))
        for histogram, values in zip(record.layers.values(), outputs, strict=True):
            histogram.update(abs(values))
    return record


def _input_names(model):
    return [tensor.name for tensor in model.inputs]
