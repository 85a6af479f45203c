"""Connections: how the traces of a layer's inputs become currents, and the gradient to its weights.

A connection has no variables. Its methods are functions of a list of weights, a kernel and perhaps
a bias, which the network owns.
"""

import abc
import math

import keras
from keras import ops

from hybrid_lmu._internal.checks import check_positive_integer


class Connection(abc.ABC):
    """Base of the connections, and the contract for one of your own.

    A subclass defines the kernel: its shape, its number of inputs per neuron, the shape of the
    neurons, the current through the kernel, and the gradient to the kernel. `inputs` is the shape
    of the inputs without the batch. A bias, if there is one, has one entry per channel (last axis
    of the neurons). The base pools nothing: `pooled`, `unpooled` and `outputs` are for a subclass
    whose spikes leave the layer for several neurons at once.

    Attributes:
        use_bias: whether there is a bias.
        arguments: names of the arguments of the constructor, which are attributes too.
    """

    use_bias = False
    arguments: tuple[str, ...] = ()

    @abc.abstractmethod
    def kernel_shape(self, inputs: tuple) -> tuple:
        """Return the shape of the kernel."""

    @abc.abstractmethod
    def fan_in(self, inputs: tuple) -> int:
        """Return the number of inputs of one neuron."""

    @abc.abstractmethod
    def neurons(self, inputs: tuple) -> tuple:
        """Return the shape of the potentials."""

    @abc.abstractmethod
    def through_kernel(self, kernel, traces):
        """Return the current without bias, [batch, neurons...], of traces [batch, inputs...]."""

    @abc.abstractmethod
    def kernel_gradient(self, traces, by_current):
        """Return the gradient to the kernel, of a loss whose gradient to the current is given."""

    def weight_shapes(self, inputs: tuple) -> dict[str, tuple]:
        """Return the shapes of the weights by name: the kernel, then the bias if there is one."""
        bias = {"bias": self.neurons(inputs)[-1:]} if self.use_bias else {}
        return {"kernel": self.kernel_shape(inputs), **bias}

    def current(self, weights, traces):
        """Return the current, [batch, neurons...]."""
        kernel, *bias = weights
        current = self.through_kernel(kernel, traces)
        return current + bias[0] if bias else current

    def gradients(self, traces, by_current):
        """Return the gradients to the weights, of a loss whose gradient to the current is given."""
        kernel = self.kernel_gradient(traces, by_current)
        if not self.use_bias:
            return [kernel]
        return [kernel, ops.sum(by_current, axis=tuple(range(len(by_current.shape) - 1)))]

    def outputs(self, inputs: tuple) -> tuple:
        """Return the shape of the spikes that leave the layer."""
        return self.neurons(inputs)

    def pooled(self, potential):
        """Return the potentials that set the spikes that leave the layer."""
        return potential

    def unpooled(self, potential, by_pooled):
        """Return the gradient to the potentials, from the gradient to the pooled potentials."""
        return by_pooled

    def get_config(self) -> dict:
        return {name: getattr(self, name) for name in self.arguments}

    @classmethod
    def from_config(cls, config: dict):
        return cls(**config)


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class DenseConnection(Connection):
    """Every input to every neuron: ``W P + b``.

    Args:
        units: number of neurons.
        use_bias: whether there is a bias. Default False.

    Raises:
        ValueError: if `units` is not an integer >= 1.
    """

    arguments = ("units", "use_bias")

    def __init__(self, units: int, *, use_bias: bool = False):
        self.units = check_positive_integer("units", units)
        self.use_bias = bool(use_bias)

    def kernel_shape(self, inputs):
        return math.prod(inputs), self.units

    def fan_in(self, inputs):
        return math.prod(inputs)

    def neurons(self, inputs):
        return (self.units,)

    def through_kernel(self, kernel, traces):
        return ops.matmul(_flat(traces), kernel)

    def kernel_gradient(self, traces, by_current):
        return ops.matmul(ops.transpose(_flat(traces)), by_current)


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class Conv2DConnection(Connection):
    """A two-dimensional convolution of inputs [height, width, channels], padded to their size.

    Args:
        filters: number of channels of the neurons.
        kernel_size: side of the square kernel, odd. Default 7.
        pool_size: side of the square windows. The largest potential of a window sets the spike that
            leaves the layer; each neuron recovers from its own spikes. If a side of the image is
            not a multiple of `pool_size`, its last rows or columns are lost. Default 1: no pooling.
        use_bias: whether there is a bias. Default True.

    Raises:
        ValueError: if a number is not an integer >= 1, or `kernel_size` is even.
    """

    arguments = ("filters", "kernel_size", "pool_size", "use_bias")

    def __init__(
        self, filters: int, kernel_size: int = 7, *, pool_size: int = 1, use_bias: bool = True
    ):
        self.filters = check_positive_integer("filters", filters)
        self.kernel_size = check_positive_integer("kernel_size", kernel_size)
        self.pool_size = check_positive_integer("pool_size", pool_size)
        self.use_bias = bool(use_bias)
        if self.kernel_size % 2 == 0:
            raise ValueError(f"`kernel_size` must be odd; received: {kernel_size!r}")

    def kernel_shape(self, inputs):
        if len(inputs) != 3 or min(inputs[:2]) < self.pool_size:
            raise ValueError(
                "A convolution expects inputs of shape (height, width, channels), no side below "
                f"pool_size={self.pool_size}; received: {tuple(inputs)}"
            )
        return self.kernel_size, self.kernel_size, inputs[2], self.filters

    def fan_in(self, inputs):
        return self.kernel_size**2 * inputs[2]

    def neurons(self, inputs):
        return (*inputs[:2], self.filters)

    def outputs(self, inputs):
        return (*(side // self.pool_size for side in inputs[:2]), self.filters)

    def through_kernel(self, kernel, traces):
        return ops.conv(traces, kernel, padding="same", data_format="channels_last")

    def kernel_gradient(self, traces, by_current):
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
        return ops.transpose(kernel, (1, 2, 0, 3))

    def pooled(self, potential):
        if self.pool_size == 1:
            return potential
        return ops.max(self._windows(potential), axis=3)

    def unpooled(self, potential, by_pooled):
        """Give the gradient of a window to its largest potential, the first one of equals."""
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


def as_connection(value) -> Connection:
    """Return a `Connection` as it is, and a number of units as a `DenseConnection`.

    Raises:
        ValueError: for anything else.
    """
    if isinstance(value, dict):  # of a saved model
        value = keras.saving.deserialize_keras_object(value)
    if isinstance(value, Connection):
        return value
    return DenseConnection(check_positive_integer("hidden", value))


def _flat(x):
    return ops.reshape(x, (-1, math.prod(x.shape[1:])))
