"""Connections: how the traces of a layer's inputs become currents, and the gradient to its weights.

A connection has no variables. It is a few functions of a list of weights, a kernel and perhaps a
bias, given to it; a network owns them and asks for their shapes.
"""

import math

import keras
from keras import ops

from hybrid_lmu._internal.checks import check_positive_integer


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class DenseConnection:
    """Every input to every neuron: ``W P + b``.

    Args:
        units: number of neurons.
        use_bias: whether there is a bias. Default False.

    Raises:
        ValueError: if `units` is not a positive integer.
    """

    def __init__(self, units, use_bias=False):
        self.units = check_positive_integer("units", units)
        self.use_bias = bool(use_bias)

    def weight_shapes(self, inputs):
        """Shapes of the kernel and the bias for inputs of shape `inputs`, without the batch."""
        shapes = {"kernel": (math.prod(inputs), self.units), "bias": (self.units,)}
        return shapes if self.use_bias else {"kernel": shapes["kernel"]}

    def fan_in(self, inputs):
        return math.prod(inputs)

    def neurons(self, inputs):
        """Shape of the potentials."""
        return (self.units,)

    def outputs(self, inputs):
        """Shape of the spikes that leave the layer."""
        return (self.units,)

    def current(self, weights, traces):
        kernel, *bias = weights
        current = ops.matmul(_flat(traces), kernel)
        return current + bias[0] if bias else current

    def gradients(self, traces, by_current):
        """Gradients to the weights, of a loss whose gradient to the current is given."""
        kernel = ops.matmul(ops.transpose(_flat(traces)), by_current)
        return [kernel, ops.sum(by_current, axis=0)] if self.use_bias else [kernel]

    def pooled(self, potential):
        """The potentials that set the spikes that leave the layer."""
        return potential

    def unpooled(self, potential, by_pooled):
        """The gradient to the potentials, of that to the pooled ones."""
        return by_pooled

    def get_config(self):
        return {"units": self.units, "use_bias": self.use_bias}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class Conv2DConnection:
    """A two-dimensional convolution of inputs [height, width, channels], padded to their size.

    Args:
        filters: number of channels of the neurons.
        kernel_size: side of the square kernel, odd. Default 7.
        pool_size: side of the square windows whose largest potential sets the spike that leaves
            the layer; the neurons themselves recover from the spikes of all. Sides that are not
            multiples lose their last rows and columns. Default 1: no pooling.
        use_bias: whether there is a bias. Default True.

    Raises:
        ValueError: if a number is not a positive integer, or `kernel_size` is even.
    """

    def __init__(self, filters, kernel_size=7, pool_size=1, use_bias=True):
        self.filters = check_positive_integer("filters", filters)
        self.kernel_size = check_positive_integer("kernel_size", kernel_size)
        self.pool_size = check_positive_integer("pool_size", pool_size)
        self.use_bias = bool(use_bias)
        if self.kernel_size % 2 == 0:
            raise ValueError(f"`kernel_size` must be odd; received: {kernel_size!r}")

    def weight_shapes(self, inputs):
        if len(inputs) != 3 or min(inputs[:2]) < self.pool_size:
            raise ValueError(
                "A convolution expects inputs of shape (height, width, channels), no side below "
                f"pool_size={self.pool_size}; received: {tuple(inputs)}"
            )
        side = self.kernel_size
        shapes = {"kernel": (side, side, inputs[2], self.filters), "bias": (self.filters,)}
        return shapes if self.use_bias else {"kernel": shapes["kernel"]}

    def fan_in(self, inputs):
        return self.kernel_size**2 * inputs[2]

    def neurons(self, inputs):
        return (*inputs[:2], self.filters)

    def outputs(self, inputs):
        return (*(side // self.pool_size for side in inputs[:2]), self.filters)

    def current(self, weights, traces):
        kernel, *bias = weights
        current = ops.conv(traces, kernel, padding="same", data_format="channels_last")
        return current + bias[0] if bias else current

    def gradients(self, traces, by_current):
        margin = self.kernel_size // 2
        padded = ops.pad(traces, [[0, 0], [margin, margin], [margin, margin], [0, 0]])
        # dW[i, j, c, d] = sum of padded[n, y + i, x + j, c] by_current[n, y, x, d] over n, y, x: a
        # convolution too, in which samples take the place of channels.
        kernel = ops.conv(
            ops.transpose(padded, (3, 1, 2, 0)),
            ops.transpose(by_current, (1, 2, 0, 3)),
            padding="valid",
            data_format="channels_last",
        )
        kernel = ops.transpose(kernel, (1, 2, 0, 3))
        return [kernel, ops.sum(by_current, axis=(0, 1, 2))] if self.use_bias else [kernel]

    def pooled(self, potential):
        if self.pool_size == 1:
            return potential
        return ops.max(self._windows(potential), axis=3)

    def unpooled(self, potential, by_pooled):
        """To the largest of each window alone, the first where several are."""
        if self.pool_size == 1:
            return by_pooled
        size = self.pool_size
        rows, columns = (side // size for side in potential.shape[1:3])
        largest = ops.argmax(self._windows(potential), axis=3)
        share = ops.one_hot(largest, size * size, axis=3, dtype=by_pooled.dtype)
        by_window = share * ops.expand_dims(by_pooled, 3)
        shape = (-1, rows, columns, size, size, self.filters)
        whole = ops.transpose(ops.reshape(by_window, shape), (0, 1, 3, 2, 4, 5))
        whole = ops.reshape(whole, (-1, rows * size, columns * size, self.filters))
        lost = [side - kept for side, kept in zip(potential.shape[1:3], whole.shape[1:3])]  # noqa: B905
        return ops.pad(whole, [[0, 0], [0, lost[0]], [0, lost[1]], [0, 0]])

    def _windows(self, potential):
        """[batch, rows, columns, size * size, channels]."""
        size = self.pool_size
        rows, columns = (side // size for side in potential.shape[1:3])
        kept = potential[:, : rows * size, : columns * size]
        kept = ops.reshape(kept, (-1, rows, size, columns, size, self.filters))
        kept = ops.transpose(kept, (0, 1, 3, 2, 4, 5))
        return ops.reshape(kept, (-1, rows, columns, size * size, self.filters))

    def get_config(self):
        return {
            "filters": self.filters, "kernel_size": self.kernel_size,
            "pool_size": self.pool_size, "use_bias": self.use_bias,
        }  # fmt: skip

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def as_connection(value):
    """A connection as it is, a number of units as a dense one; ValueError for anything else."""
    if isinstance(value, (DenseConnection, Conv2DConnection)):
        return value
    if isinstance(value, dict):  # of a saved model
        return keras.saving.deserialize_keras_object(value)
    return DenseConnection(check_positive_integer("hidden", value))


def _flat(x):
    return ops.reshape(x, (-1, math.prod(x.shape[1:])))
