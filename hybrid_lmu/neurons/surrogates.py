"""Surrogate gradients: a spike forward, the derivative of another function backward.

A spike ``s = [u >= 0]`` has no useful derivative: it is 0 everywhere except at the threshold.
Training replaces it by a surrogate derivative, ``ds/du := g(u)``, which is large near the
threshold. Every neuron of this package takes it as argument `surrogate`: a `Surrogate`, its name
(with the default steepness), its configuration, or any function of ``u``.

Sources: Neftci, Mostafa & Zenke (2019), arXiv:1901.09948, for the method; Fang et al. (2021),
arXiv:2007.05785, for the arctangent; Jang, Skatchkovsky & Simeone (2020), arXiv:2012.08300, for
the neurons that use `Boxcar`.
"""

import abc
import math
from collections.abc import Callable

import keras
from keras import ops

from hybrid_lmu._internal.checks import check_positive, deserialized
from hybrid_lmu._internal.gradients import custom_gradient


class Surrogate(abc.ABC):
    """Base of the surrogates, and the contract for one of your own.

    A subclass defines `derivative`. A saved model keeps a surrogate that is registered with Keras
    (`keras.saving.register_keras_serializable`) and has `get_config`.
    """

    @abc.abstractmethod
    def derivative(self, u):
        """Return ``g(u)``, elementwise, in the shape and dtype of u; u is potential - threshold."""

    def spike(self, u):
        """Return ``[u >= 0]`` in the shape and dtype of u; backward ``dL/du = dL/ds g(u)``."""

        @custom_gradient
        def fire(u):
            def gradient(upstream):
                return upstream * self.derivative(u)

            return ops.cast(u >= 0, u.dtype), gradient

        return fire(ops.convert_to_tensor(u))

    @classmethod
    def from_config(cls, config: dict):
        return cls(**config)


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class ArcTan(Surrogate):
    """``g(u) = (alpha / 2) / (1 + (pi alpha u / 2)**2)``, the slope of an arctangent.

    Args:
        alpha: steepness, > 0; the derivative at the threshold is alpha / 2. Default 2.

    Example:

    >>> float(ArcTan(alpha=2.0).derivative(np.zeros((), "float32")))
    1.0
    """

    def __init__(self, alpha: float = 2.0):
        self.alpha = check_positive("alpha", alpha)

    def derivative(self, u):
        scaled = (0.5 * math.pi * self.alpha) * u
        return (0.5 * self.alpha) / (1.0 + scaled * scaled)

    def get_config(self) -> dict:
        return {"alpha": self.alpha}


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class Sigmoid(Surrogate):
    """``g(u) = alpha sigma(alpha u) (1 - sigma(alpha u))``, the slope of a logistic function.

    Args:
        alpha: steepness, > 0; the derivative at the threshold is alpha / 4. Default 4.

    Example:

    >>> float(Sigmoid(alpha=4.0).derivative(np.zeros((), "float32")))
    1.0
    """

    def __init__(self, alpha: float = 4.0):
        self.alpha = check_positive("alpha", alpha)

    def derivative(self, u):
        y = ops.sigmoid(self.alpha * u)
        return self.alpha * y * (1.0 - y)

    def get_config(self) -> dict:
        return {"alpha": self.alpha}


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class Boxcar(Surrogate):
    """``g(u) = 1 / width if -width / 2 < u <= width / 2 else 0``, the slope of a ramp.

    Args:
        width: width of the window around the threshold, > 0. Default 1.

    Example:

    >>> [float(g) for g in Boxcar().derivative(np.array([-0.5, 0.0, 0.5, 0.6], "float32"))]
    [0.0, 1.0, 1.0, 0.0]
    """

    def __init__(self, width: float = 1.0):
        self.width = check_positive("width", width)

    def derivative(self, u):
        inside = ops.logical_and(u > -0.5 * self.width, u <= 0.5 * self.width)
        return ops.cast(inside, u.dtype) / self.width

    def get_config(self) -> dict:
        return {"width": self.width}


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class FastSigmoid(Surrogate):
    """``g(u) = 1 / (1 + slope |u|)**2``, the slope of ``u / (1 + slope |u|)``.

    The derivative at the threshold is 1 whatever the slope, so that its integral is 2 / slope, and
    not 1 as that of the other surrogates.

    Args:
        slope: how fast the derivative falls, > 0. Default 25.

    Example:

    >>> [float(g) for g in FastSigmoid(slope=2.0).derivative(np.array([-0.5, 0.0], "float32"))]
    [0.25, 1.0]

    Source: Zenke & Ganguli (2018), arXiv:1705.11146.
    """

    def __init__(self, slope: float = 25.0):
        self.slope = check_positive("slope", slope)

    def derivative(self, u):
        below = 1.0 + self.slope * ops.abs(u)
        return 1.0 / (below * below)

    def get_config(self) -> dict:
        return {"slope": self.slope}


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class FunctionSurrogate(Surrogate):
    """A function of your own as ``g(u)``; a function given as `surrogate` becomes this.

    Args:
        function: from ``u``, a tensor of potential - threshold, to the derivative of the same
            shape, by operations of `keras.ops`. A model that is saved needs it to be registered
            with `keras.saving.register_keras_serializable`.

    Example:

    >>> triangle = FunctionSurrogate(lambda u: keras.ops.relu(1.0 - keras.ops.abs(u)))
    >>> [float(g) for g in triangle.derivative(np.array([-0.5, 0.0, 2.0], "float32"))]
    [0.5, 1.0, 0.0]
    """

    def __init__(self, function: Callable):
        if not callable(function) or isinstance(function, type):
            raise ValueError(f"`function` must be a function of u; received: {function!r}")
        self.function = function

    def derivative(self, u):
        return self.function(u)

    def get_config(self) -> dict:
        return {"function": keras.saving.serialize_keras_object(self.function)}

    @classmethod
    def from_config(cls, config):
        function = config["function"]
        if isinstance(function, dict):
            function = keras.saving.deserialize_keras_object(function)
        return cls(function)


NAMED = {"arctan": ArcTan, "sigmoid": Sigmoid, "boxcar": Boxcar, "fast_sigmoid": FastSigmoid}


def get(surrogate: str | dict | Surrogate | Callable) -> Surrogate:
    """Return a `Surrogate` from itself, its name, its serialization, or a function of u.

    A name stands for the default arguments.

    Example:

    >>> get("boxcar").width
    1.0

    Raises:
        ValueError: for anything else.
    """
    surrogate = deserialized("surrogate", surrogate)
    if isinstance(surrogate, str) and surrogate in NAMED:
        return NAMED[surrogate]()
    if isinstance(surrogate, Surrogate):
        return surrogate
    if callable(surrogate) and not isinstance(surrogate, type):
        return FunctionSurrogate(surrogate)
    raise ValueError(
        "`surrogate` must be a Surrogate, a function of u, or one of "
        f"{', '.join(map(repr, NAMED))}; received: {surrogate!r}"
    )
