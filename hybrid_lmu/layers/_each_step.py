"""EachStep: a layer at every step of a sequence, all steps at once."""

import inspect

import keras
from keras import ops

from hybrid_lmu._internal.checks import check_mask
from hybrid_lmu.cells._hybrid_cell import call_layer


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class EachStep(keras.layers.TimeDistributed):
    """``y_t = layer(x_t)`` at every step: `keras.layers.TimeDistributed` as one call of the layer.

    Batch and time are one axis during the call. (`TimeDistributed` of Keras 3 calls the layer once
    a step, or maps over the steps if their number is unknown.) For this reason batch statistics,
    such as BatchNormalization takes in training, are over all steps, and dropout draws anew for
    every step.

    Args:
        layer: a layer of one input without a state of its own, such as `Conv2D`.

    Inputs: [batch, time, ...]. A mask [batch, time, ...] goes to the layers after this one,
    and as [batch * time, ...] to `layer` if its `call` takes a mask.
    Output: [batch, time, ...], in the compute dtype of this layer if floating.

    Raises:
        ValueError: for inputs without a time axis, or a mask of other steps.

    Example:

    >>> layer = EachStep(keras.layers.Conv2D(4, 3))
    >>> tuple(layer(np.ones((2, 10, 8, 8, 1), "float32")).shape)
    (2, 10, 6, 6, 4)
    """

    def __init__(self, layer: keras.layers.Layer, **kwargs):
        if not isinstance(layer, keras.layers.Layer):
            raise ValueError(f"`layer` must be a keras.layers.Layer; received: {layer!r}")
        super().__init__(layer, **kwargs)

    def call(self, inputs, training=None, mask=None):
        check_mask(self, inputs, mask)
        steps, size = ops.shape(inputs)[1], inputs.shape[2:]
        options = {}
        if mask is not None and "mask" in inspect.signature(self.layer.call).parameters:
            options["mask"] = ops.reshape(mask, (-1, *mask.shape[2:]))
        flat = ops.reshape(inputs, (-1, *size))
        outputs = call_layer(self.layer, flat, training=training, **options)
        if "float" in keras.backend.standardize_dtype(outputs.dtype):
            outputs = ops.cast(outputs, self.compute_dtype)
        return ops.reshape(outputs, (-1, steps, *outputs.shape[1:]))
