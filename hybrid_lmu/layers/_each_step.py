"""EachStep: a layer at every step of a sequence, all steps at once."""

import keras
from keras import ops

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

    Inputs: [batch, time, ...]. A mask [batch, time] goes to the layers after this one.
    Output: [batch, time, ...].

    Raises:
        ValueError: for inputs without a time axis.

    Example:

    >>> layer = EachStep(keras.layers.Conv2D(4, 3))
    >>> tuple(layer(np.ones((2, 10, 8, 8, 1), "float32")).shape)
    (2, 10, 6, 6, 4)
    """

    def call(self, inputs, training=None, mask=None):
        steps, size = ops.shape(inputs)[1], inputs.shape[2:]
        flat = ops.reshape(inputs, (-1, *size))
        outputs = call_layer(self.layer, flat, training=training)
        return ops.reshape(outputs, (-1, steps, *outputs.shape[1:]))
