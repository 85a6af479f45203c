"""What the ReLUs of a trained network put out on data, as histograms."""

from __future__ import annotations

import keras

from hybrid_lmu._internal.batches import batches
from hybrid_lmu._internal.copies import copy_layer
from hybrid_lmu._internal.traversal import copy_weights
from hybrid_lmu.conversion._graph import as_functional, rebuild
from hybrid_lmu.conversion._histogram import StreamingHistogram
from hybrid_lmu.conversion._spiking_layers import ends_with_relu


class ActivationRecord:
    """Histograms of the activity of each ReLU and of the size of the inputs.

    Attributes:
        layers: ``{name of the layer: StreamingHistogram}``; the second call of a layer has the name
            ``name#2``, and so on.
        inputs: the `StreamingHistogram` of ``|x|``.
    """

    def __init__(self):
        self.layers: dict[str, StreamingHistogram] = {}
        self.inputs = StreamingHistogram()


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
    model = as_functional(model)
    found, copies = {}, {}

    def visit(layer, path, *args, **kwargs):
        copy = copies.setdefault(layer.name, copy_layer(layer))
        output = copy(*args, **kwargs)
        if ends_with_relu(layer):
            found[path] = output
        return output

    copy = rebuild(model, visit)
    if not found:
        raise ValueError(
            f"{model.name!r} has no ReLU to be replaced by spiking neurons; its layers are "
            f"{[layer.name for layer in model.layers]}."
        )
    copy_weights(model, copy)
    probe = keras.Model(copy.input, list(found.values()))
    record = ActivationRecord()
    record.layers = {path: StreamingHistogram() for path in found}
    for batch in batches(x, batch_size):
        record.inputs.update(abs(keras.tree.flatten(batch)[0]))
        outputs = keras.tree.flatten(probe.predict_on_batch(batch))
        for histogram, values in zip(record.layers.values(), outputs, strict=True):
            histogram.update(values)
    return record
