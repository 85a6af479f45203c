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
    functions = (keras.ops.relu, keras.ops.relu6, keras.activations.relu, keras.ops.leaky_relu)
    return add, *(operation_class(function, x) for function in functions)


def as_functional(model: keras.Model, *, nested: bool = False) -> keras.Model:
    """Return the model as a functional model that shares its layers.

    Args:
        model: the model.
        nested: whether it may have models inside it. Default False.

    Raises:
        ValueError: if `model`, or a model inside it, is not Sequential or functional, or not built;
            if it has models inside it that it may not have.
    """
    if not _has_graph(model):
        raise ValueError(
            "`model` must be a Sequential or functional keras.Model, built; received: "
            f"{type(model).__name__}"
        )
    inner = [layer for layer in model.layers if isinstance(layer, keras.Model)]
    if inner and not nested:
        raise ValueError(
            f"`model` must consist of layers, without models inside it; received {model.name!r} "
            f"with {[one.name for one in inner]}"
        )
    for one in inner:
        if not _has_graph(one):
            raise ValueError(
                "Models inside `model` must be Sequential or functional, built; received "
                f"{one.name!r} ({type(one).__name__}) inside {model.name!r}."
            )
    outputs = model.outputs[0] if isinstance(model, keras.Sequential) else model.output
    return keras.Model(_inputs_of(model), outputs, name=model.name)


def _has_graph(model):
    return isinstance(model, keras.Model) and bool(getattr(model, "outputs", None))


def _inputs_of(model):
    return model.inputs[0] if len(model.inputs) == 1 else model.input


def layers_of(model: keras.Model) -> list[keras.layers.Layer]:
    """Return the layers of a model and of the models inside it, at any depth, in order."""
    found = []
    for layer in model.layers:
        found += layers_of(layer) if isinstance(layer, keras.Model) else [layer]
    return found


def rebuild(
    model: keras.Model, visit: Callable, *, inputs=None, into_models: bool = True
) -> keras.Model:
    """Build a new functional model, layer by layer.

    Args:
        model: from `as_functional`.
        visit: function ``visit(layer, path, *tensors, **kwargs)``. It runs once for each call of a
            layer or operation of `model`, in order, and returns the tensor, or the structure of
            tensors, that takes the place of the layer's output. It may read the layer, which
            belongs to `model`, and must not call it. `path` is the name of the layer; the second
            call of a layer has the path ``name#2``, and so on. The path of a layer in a model
            inside `model` starts with the path of that model: ``base/name``.
        inputs: symbolic tensor or tensors of the new model. Default: like those of `model`.
        into_models: whether the layers of a model inside `model` are visited one by one (default),
            so that the new model has no models inside it, or the model inside as one layer.

    Returns:
        a new model, not compiled.
    """
    calls: dict[str, int] = {}

    def walk(model, inputs, prefix, given):
        def call(layer, *args, **kwargs):
            if isinstance(layer, _End):
                layer.received = args[0]
                return args[0]
            layer, args = _as_layer(layer, args)
            name = prefix + layer.name
            calls[name] = calls.get(name, 0) + 1
            path = name if calls[name] == 1 else f"{name}#{calls[name]}"
            kwargs = {**given, **kwargs}
            if into_models and isinstance(layer, keras.Model):
                inner = {"training": True} if kwargs.get("training") else {}
                return _through(layer, args[0], lambda m, x: walk(m, x, f"{path}/", inner))
            return visit(layer, path, *args, **kwargs)

        return keras.models.clone_model(
            model, input_tensors=inputs, clone_function=lambda layer: layer, call_function=call
        )

    return walk(model, inputs, "", {})


def _through(model, tensors, walk):
    """Walk through a model inside another one; return what stands for its outputs."""
    functional, end = as_functional(model, nested=True), _End()
    outputs = end(keras.tree.flatten(functional.outputs))
    if len(model.inputs) == 1:
        tensors = keras.tree.flatten(tensors)[0]
    walk(keras.Model(_inputs_of(functional), outputs), tensors)
    structure = functional.output
    return keras.tree.pack_sequence_as(structure, keras.tree.flatten(end.received))


class _End(keras.layers.Layer):
    """The end of a model, to learn what its outputs have become."""

    received = None

    def call(self, tensors):
        return list(tensors)


def _as_layer(operation, args):
    """Return a layer that does the same as an operation, and its arguments, if there is one."""
    if isinstance(operation, keras.layers.Layer):
        return operation, args
    if not args or not all(isinstance(x, keras.KerasTensor) for x in args):
        return operation, args
    add, relu, relu6, relu_with_options, leaky = _operations()
    options = {"name": operation.name, "dtype": args[0].dtype}
    if isinstance(operation, add):
        one_shape = len({x.shape for x in keras.tree.flatten(operation.input)}) == 1
        return (keras.layers.Add(**options), (list(args),)) if one_shape else (operation, args)
    if isinstance(operation, relu):
        return keras.layers.ReLU(**options), args
    if isinstance(operation, relu6):
        return keras.layers.Activation("relu6", **options), args
    if isinstance(operation, leaky):
        return keras.layers.LeakyReLU(operation.negative_slope, **options), args
    if isinstance(operation, relu_with_options):
        given = {n: getattr(operation, n) for n in ("max_value", "negative_slope", "threshold")}
        return keras.layers.ReLU(**given, **options), args
    return operation, args


def activation_of(layer: keras.layers.Layer) -> Callable | None:
    """Return the activation function, or layer, that a layer ends with, or None."""
    layer = inside(layer)
    function = layer if isinstance(layer, _ACTIVATIONS) else getattr(layer, "activation", None)
    return keras.activations.softmax if isinstance(function, keras.layers.Softmax) else function


_ACTIVATIONS = (keras.layers.ReLU, keras.layers.LeakyReLU, keras.layers.Softmax)


def describe(layer) -> str:
    """Return name and class of a layer or operation, for messages."""
    if not isinstance(layer, keras.layers.Layer):
        return f"{layer.name!r} (a function of keras.ops, no layer)"
    return f"{layer.name!r} ({type(inside(layer)).__name__})"
