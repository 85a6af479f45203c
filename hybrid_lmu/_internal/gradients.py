"""Gradients by hand, in one form for all backends."""

import functools

from keras import ops


def custom_gradient(function):
    """Decorator: `keras.ops.custom_gradient`, with ``gradient(upstream)`` on every backend.

    (Keras passes the upstream gradient by position on some backends and by keyword on others.)

    Args:
        function: of tensors, by position; returns ``(value, gradient)`` with one tensor as value,
            and `gradient` from the gradient of the value to those of the arguments: one tensor, or
            a tuple.
    """

    @functools.wraps(function)
    def by_backend(*args):
        value, gradient = function(*args)

        def on_backend(*args, upstream=None):
            return gradient(args[0] if upstream is None else upstream)

        return value, on_backend

    return ops.custom_gradient(by_backend)


@custom_gradient
def straight_through(value, other):
    """``value``, with the gradient of ``other`` (both of one shape)."""

    def gradient(upstream):
        return ops.zeros_like(upstream), upstream

    return value, gradient
