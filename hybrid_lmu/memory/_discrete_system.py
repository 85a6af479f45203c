"""A discrete system of given matrices, in place of a rule that computes them from theta."""

import base64

import keras
import numpy as np

from hybrid_lmu._internal.checks import check_choice, deserialized
from hybrid_lmu.memory import legendre


@keras.saving.register_keras_serializable(package="hybrid_lmu")
class DiscreteSystem:
    """The matrices of ``m_t = Abar m_{t-1} + Bbar u_t``, as `discretizer` of a Legendre memory.

    For weights that were trained with other matrices than those of the exact rule.
    `hybrid_lmu.conversion.to_hybrid` takes those of keras-lmu, which computes its matrix
    exponential in float32: at order 256 its Abar is off by 2e-5, and the memory by 6e-4 of its
    largest value. Saved with the model, in its configuration. The theta of the memory does nothing
    then but to say what window the matrices are meant for.

    Args:
        a_bar: Abar, [order, order]; finite. Kept in float32.
        b_bar: Bbar, [order].

    Raises:
        ValueError: for other shapes, or values that are not finite.

    Example:

    >>> a_bar, b_bar = legendre.discretize(order=4, theta=20, discretizer="zoh")
    >>> memory = LegendreMemory(4, 20, discretizer=DiscreteSystem(a_bar, b_bar))
    """

    def __init__(self, a_bar, b_bar):
        a_bar, b_bar = (np.array(matrix, dtype="float32") for matrix in (a_bar, b_bar))
        if b_bar.ndim != 1 or not len(b_bar) or a_bar.shape != 2 * b_bar.shape:
            raise ValueError(
                "`a_bar` and `b_bar` must be of shapes [order, order] and [order], order >= 1; "
                f"received shapes {a_bar.shape} and {b_bar.shape}."
            )
        if not (np.isfinite(a_bar).all() and np.isfinite(b_bar).all()):
            raise ValueError("`a_bar` and `b_bar` must be finite; received NaN or infinity.")
        self.order = len(b_bar)
        self._pair = a_bar, b_bar
        self._bytes = a_bar.tobytes() + b_bar.tobytes()

    def matrices(self):
        """``(Abar, Bbar)`` in float64, as those of `hybrid_lmu.memory.legendre.discretize`."""
        return tuple(matrix.astype("float64") for matrix in self._pair)

    def __eq__(self, other):
        return isinstance(other, DiscreteSystem) and self._bytes == other._bytes

    def __hash__(self):
        return hash(self._bytes)

    def __repr__(self):
        return f"<DiscreteSystem of order {self.order}>"

    def get_config(self):
        a_bar, b_bar = (
            base64.b64encode(matrix.astype("<f4").tobytes()).decode() for matrix in self._pair
        )
        return {"order": self.order, "a_bar": a_bar, "b_bar": b_bar}

    @classmethod
    def from_config(cls, config):
        a_bar, b_bar = (
            np.frombuffer(base64.b64decode(config[name]), dtype="<f4")
            for name in ("a_bar", "b_bar")
        )
        return cls(a_bar.reshape(config["order"], -1), b_bar)


def check_discretizer(discretizer, order, trainable_theta):
    """Return the name of a rule or a `DiscreteSystem`, also from its configuration; ValueError."""
    discretizer = deserialized("discretizer", discretizer)
    if isinstance(discretizer, str):
        return check_choice("discretizer", discretizer, legendre.DISCRETIZERS)
    if not isinstance(discretizer, DiscreteSystem):
        raise ValueError(
            f"`discretizer` must be one of {legendre.DISCRETIZERS} or a `DiscreteSystem` of two "
            f"matrices; received: {repr(discretizer)[:80]}"
        )
    if discretizer.order != order:
        raise ValueError(
            f"`discretizer` must be of the order of the memory, {order}; received {discretizer!r}."
        )
    if trainable_theta:
        raise ValueError(
            "`trainable_theta` needs a `discretizer` by name, as the matrices depend on theta; "
            f"received {discretizer!r}."
        )
    return discretizer
