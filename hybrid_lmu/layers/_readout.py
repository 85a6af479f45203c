"""Readouts of spiking networks over several steps."""

import keras
from keras import ops

from hybrid_lmu._internal.checks import check_positive, check_rank


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class LeakyAverage(keras.layers.Layer):
    """Average over time with exponentially fading weights, newest step first.

    ``y = sum_k d**k x_{T-k} / sum_k d**k`` with ``d = exp(-1 / time_constant)``. A leaky integrator
    ``r <- d r + x`` holds this value at the end, up to the divisor. The layer belongs after the
    `Dense` readout of a spiking layer: both are linear, so their order does not change the result,
    and in this order every product with a weight meets a count.

    Args:
        time_constant: in steps; > 0.

    Inputs: [batch, time, features], without a mask. Output: [batch, features].

    Raises:
        ValueError: if `time_constant` is not a finite number > 0, or for inputs of another rank.

    Example:

    >>> tuple(LeakyAverage(4.0)(np.ones((2, 16, 10), "float32")).shape)
    (2, 10)
    """

    def __init__(self, time_constant: float, **kwargs):
        super().__init__(**kwargs)
        self.time_constant = check_positive("time_constant", time_constant)

    def build(self, input_shape):
        check_rank(self, input_shape, 3, "[batch, time, features]")

    def call(self, inputs):
        age = ops.cast(ops.flip(ops.arange(ops.shape(inputs)[1])), self.compute_dtype)
        weights = ops.exp(-age / self.time_constant)
        return ops.einsum("btf,t->bf", inputs, weights / ops.sum(weights))

    def compute_output_shape(self, input_shape):
        return (input_shape[0], *input_shape[2:])

    def get_config(self):
        return {**super().get_config(), "time_constant": self.time_constant}
