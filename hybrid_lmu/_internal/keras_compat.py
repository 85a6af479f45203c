"""Everything that this package needs from Keras beyond its documented interface.

Checked with Keras 3.15. A new release of Keras that breaks one of these breaks it here, and
the tests of this file say so; no other file of the package may rely on Keras's insides.
"""

import time

import keras
import numpy as np

# `keras.layers.RNN` draws the dropout masks of a cell before its loop over time, and drops them
# after it, if the cell is of this mixin. Keras does not export it, but its public cells have it.
DropoutRNNCell = next(c for c in keras.layers.GRUCell.__mro__ if c.__name__ == "DropoutRNNCell")


def set_untracked(layer: keras.layers.Layer, name: str, value) -> None:
    """Set an attribute of a layer that Keras does not track.

    Keras would save the variables in a tracked attribute a second time.
    """
    object.__setattr__(layer, name, value)


def in_training(layer: keras.layers.Layer) -> bool:
    """Return whether the call of a model or layer that is under way has ``training=True``.

    False if there is none. Keras hands `training` to `call` alone. The first states of a recurrent
    cell are made in `get_initial_state`, to which `keras.layers.RNN` does not pass it on.

    Args:
        layer: any layer that the call has reached.
    """
    context = layer._get_call_context()
    training = context.get_value("training")
    layer._maybe_reset_call_context()
    return bool(training)


def ensure_shape(tensor, shape: tuple, message: str):
    """Return the tensor; an error with the message, when it is computed, if its shape is another.

    For sizes that are known only when compiled code runs: TensorFlow traces a function anew for
    any batch size at the second one that it meets, and in `fit` from the start. Keras has no
    assertion for this, so that one function of TensorFlow is called here; PyTorch and JAX know all
    sizes, so that callers have checked them already.

    Args:
        tensor: tensor of any backend.
        shape: the expected sizes; None for any size.
        message: what was expected. The error is of TensorFlow and ends with the received shape.
    """
    if keras.backend.backend() != "tensorflow" or None not in tensor.shape:
        return tensor
    import tensorflow as tf

    received = tf.shape(tensor)
    equal = [received[axis] == size for axis, size in enumerate(shape) if size is not None]
    assertion = tf.debugging.Assert(tf.reduce_all(equal), [message, "received shape", received])
    # XLA leaves assertions out, but keeps `ensure_shape`, which has a message of its own. Without
    # the slice, TensorFlow takes the shape that it ensures for granted, and drops the assertion.
    with tf.control_dependencies([assertion]):
        size = tf.identity(received[0])
    return tf.ensure_shape(tensor[:size], shape)


def mask_of(tensor):
    """Return the mask that Keras has attached to a symbolic tensor, or None."""
    return getattr(tensor, "_keras_mask", None)


def values_of(model: keras.Model, variables: list, patience: float = 60.0) -> list[np.ndarray]:
    """Return the values of variables of a model, also while another thread runs the model.

    On JAX, `fit` and `predict` take the values out of the variables for the time that they run, and
    hold them in the model between two batches. In the first batch, and while a step of `fit`
    replaces them, there are none to be had; this function waits then.

    Args:
        model: the model.
        variables: variables of the model.
        patience: seconds to wait at most before the error of Keras is passed on. Default 60.
    """
    last = time.monotonic() + patience
    while True:
        try:
            held = _values_held(model)
            of = keras.ops.convert_to_numpy
            return [np.array(held[id(v)]) if id(v) in held else of(v) for v in variables]
        except (TypeError, ValueError, RuntimeError):  # taken out; given to a step
            if keras.backend.backend() != "jax" or time.monotonic() > last:
                raise
            time.sleep(0.01)


def _values_held(model):
    """Return ``{id of a variable: value}`` of the values that the trainer of JAX holds."""
    state = getattr(model, "_jax_state", None)
    if not state or model._jax_state_synced:
        return {}
    held = {}
    for name in ("trainable_variables", "non_trainable_variables"):
        held.update(zip(map(id, getattr(model, name)), state.get(name) or (), strict=False))
    return held


def operation_class(function, *args) -> type:
    """Return the class of the operation that a function of Keras records for symbolic tensors.

    Args:
        function: a function such as `keras.ops.add`.
        args: its arguments, at least one of them a `keras.KerasTensor`.
    """
    return type(function(*args)._keras_history.operation)


# The classes of Keras's operations are private, so that their names stand for them here. A report
# names an operation that is in none of these sets among the ones whose products are unknown.
ACTIVATION_OPERATIONS = {
    *("Relu", "Relu6", "Sigmoid", "Tanh", "Softplus", "Softsign", "Silu", "LogSigmoid"),
    *("LeakyRelu", "HardSigmoid", "HardSilu", "Elu", "Selu", "Gelu", "Softmax", "LogSoftmax"),
    *("Celu", "HardTanh", "TanhShrink", "HardShrink", "SoftShrink", "Threshold"),
    *("SparseSigmoid", "SparsePlus", "Squareplus", "Sparsemax"),
}
MOVES_AND_SUMS = {
    # Moves of entries.
    *("Reshape", "Transpose", "Squeeze", "ExpandDims", "GetItem", "Concatenate", "Stack"),
    *("Unstack", "Split", "Flip", "Roll", "Repeat", "Tile", "Pad", "BroadcastTo", "Ravel"),
    *("Moveaxis", "Swapaxes", "Take", "TakeAlongAxis", "Slice", "SliceUpdate", "Rot90", "Copy"),
    *("Append", "Cast", "StopGradient", "Where", "Triu", "Tril", "Vstack", "Hstack", "Sort"),
    *("OneHot", "ZerosLike", "OnesLike", "FullLike"),
    # Additions and averages.
    *("Add", "Subtract", "Negative", "Sum", "Cumsum", "Diff", "Mean", "AveragePool"),
    # Comparisons and functions of one number.
    *("Max", "Min", "Maximum", "Minimum", "MaxPool", "Argmax", "Argmin", "Argsort", "TopK"),
    *("Clip", "Abs", "Absolute", "Sign", "Equal", "NotEqual", "Greater", "GreaterEqual", "Less"),
    *("LessEqual", "LogicalAnd", "LogicalOr", "LogicalNot", "LogicalXor", "Any", "All"),
    *("Isnan", "Isinf", "Isfinite", "Round", "Floor", "Ceil", "Trunc", "CountNonzero"),
    *("Exp", "Expm1", "Log", "Log1p", "Sqrt", "Rsqrt", "Sin", "Cos", "Sinh", "Cosh", "Erf"),
}
PRODUCT_OPERATIONS = {
    *("Matmul", "Multiply", "Dot", "Tensordot", "Einsum", "Inner", "Outer", "Vdot", "Cross"),
    *("Square", "Glu", "DotProductAttention", "Kron"),
}


def operation_name(operation) -> str:
    """Return the name of the class of an operation of Keras, such as ``"Matmul"``."""
    return type(operation).__name__
