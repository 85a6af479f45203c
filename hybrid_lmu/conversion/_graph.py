"""A walk through a trained model: its layers in the order of their calls.

A conversion builds a new model beside the old model and only reads the old one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import keras

from hybrid_lmu._internal.keras_compat import operation_class
from hybrid_lmu.weights._quantized_weights import inside


@functools.cache
def _operations():
    """Return the classes of the operations that have a layer of the same meaning.

    They are looked up when a model has an operation, not at import: each look-up takes a number
    from the counters by which Keras names the layers of the user.
    """
    x = keras.KerasTensor((1, 1))
    add = operation_class(keras.ops.add, x, x)
    functions = (keras.ops.relu, keras.ops.relu6, keras.activations.relu)
    return add, *(operation_class(function, x) for function in functions)


def as_functional(model: keras.Model) -> keras.Model:
    """Return the model as a functional model that shares its layers.

    Raises:
        ValueError: if `model` is not Sequential or functional, not built, or has models inside it.
    """
    if not isinstance(model, keras.Model) or not getattr(model, "outputs", None):
        raise ValueError(
            "`model` must be a Sequential or functional keras.Model, built; received: "
            f"{type(model).__name__}"
        )
    nested = [layer.name for layer in model.layers if isinstance(layer, keras.Model)]
    if nested:
        raise ValueError(
            f"`model` must consist of layers, without models inside it; received {model.name!r} "
            f"with {nested}"
        )
    inputs = model.inputs[0] if len(model.inputs) == 1 else model.input
    outputs = model.outputs[0] if isinstance(model, keras.Sequential) else model.output
    return keras.Model(inputs, outputs, name=model.name)


def rebuild(model: keras.Model, visit: Callable, *, inputs=None) -> keras.Model:
    """Build a new functional model, layer by layer.

    Args:
        model: from `as_functional`.
        visit: function ``visit(layer, path, *tensors, **kwargs)``. It runs once for each call of a
            layer or operation of `model`, in order, and returns the tensor, or the structure of
            tensors, that takes the place of the layer's output. It may read the layer, which
            belongs to `model`, and must not call it. `path` is the name of the layer; the second
            call of a layer has the path ``name#2``, and so on.
        inputs: symbolic tensor or tensors of the new model. Default: like those of `model`.

    Returns:
        a new model, not compiled.
    """
    calls = {}

    def call(layer, *args, **kwargs):
        layer, args = _as_layer(layer, args)
        calls[layer.name] = calls.get(layer.name, 0) + 1
        path = layer.name if calls[layer.name] == 1 else f"{layer.name}#{calls[layer.name]}"
        return visit(layer, path, *args, **kwargs)

    return keras.models.clone_model(
        model, input_tensors=inputs, clone_function=lambda layer: layer, call_function=call
    )


def _as_layer(operation, args):
    """Return a layer that does the same as an operation, and its arguments, if there is one."""
    if isinstance(operation, keras.layers.Layer):
        return operation, args
    if not args or not all(isinstance(x, keras.KerasTensor) for x in args):
        return operation, args
    add, relu, relu6, relu_with_options = _operations()
    options = {"name": operation.name, "dtype": args[0].dtype}
    if isinstance(operation, add):
        one_shape = len({x.shape for x in keras.tree.flatten(operation.input)}) == 1
        return (keras.layers.Add(**options), (list(args),)) if one_shape else (operation, args)
    if isinstance(operation, relu):
        return keras.layers.ReLU(**options), args
    if isinstance(operation, relu6):
        return keras.layers.Activation("relu6", **options), args
    if isinstance(operation, relu_with_options):
        given = {n: getattr(operation, n) for n in ("max_value", "negative_slope", "threshold")}
        return keras.layers.ReLU(**given, **options), args
    return operation, args


def activation_of(layer: keras.layers.Layer) -> Callable | None:
    """Return the activation function that a layer ends with, or None."""
    layer = inside(layer)
    if isinstance(layer, keras.layers.ReLU):
        return keras.activations.relu
    if isinstance(layer, keras.layers.Softmax):
        return keras.activations.softmax
    function = getattr(layer, "activation", None)
    if isinstance(function, keras.layers.Softmax):
        return keras.activations.softmax
    plain = isinstance(function, keras.layers.ReLU) and not (
        function.negative_slope or function.threshold
    )
    return keras.activations.relu if plain else function


def describe(layer) -> str:
    """Return name and class of a layer or operation, for messages."""
    if not isinstance(layer, keras.layers.Layer):
        return f"{layer.name!r} (a function of keras.ops, no layer)"
    return f"{layer.name!r} ({type(inside(layer)).__name__})"
