"""Walking through a trained model: its layers in the order of their calls, and what they put out.

Conversion builds a new model beside the old one. The old one is only read.
"""

import keras

from hybrid_lmu.accounting.cells import class_key
from hybrid_lmu.weights._quantized_weights import inside


def as_functional(model):
    """The model as a functional one that shares its layers.

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


def rebuild(model, visit, inputs=None):
    """Build a new functional model, layer by layer.

    Args:
        model: from `as_functional`.
        visit: ``visit(layer, path, *tensors, **kwargs)``, called for each call of a layer or
            operation of `model`, in order; it returns the tensor (or structure of them) that takes
            the place of what the layer puts out. The layer is that of `model`, to be read and not
            called; `path` is its name, with #2 and so on at further calls.
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
    """The layer, and its arguments, that does the same as an operation, if there is one."""
    if isinstance(operation, keras.layers.Layer):
        return operation, args
    if not args or not all(isinstance(x, keras.KerasTensor) for x in args):
        return operation, args
    kind, options = type(operation).__name__, {"name": operation.name, "dtype": args[0].dtype}
    if kind == "Add" and len({x.shape for x in keras.tree.flatten(operation.input)}) == 1:
        return keras.layers.Add(**options), (list(args),)
    if kind == "Relu":
        return keras.layers.ReLU(**options), args
    if kind == "Relu6":
        return keras.layers.Activation("relu6", **options), args
    if kind == "ReLU":  # of keras.activations.relu
        given = {n: getattr(operation, n) for n in ("max_value", "negative_slope", "threshold")}
        return keras.layers.ReLU(**given, **options), args
    return operation, args


def copy_layer(layer, **changes):
    """A new layer of the same configuration, but for `changes`; without the weights.

    An operation that is no layer has none, and is returned itself.
    """
    if not isinstance(layer, keras.layers.Layer):
        return layer
    return layer.__class__.from_config({**layer.get_config(), **changes})


def activation_of(layer):
    """The activation function that a layer ends with, as a callable; None if it has no such."""
    layer = inside(layer)
    if class_key(layer) == ("keras", "ReLU"):
        return keras.activations.relu
    if class_key(layer) == ("keras", "Softmax"):
        return keras.activations.softmax
    function = getattr(layer, "activation", None)
    if isinstance(function, keras.layers.Softmax):
        return keras.activations.softmax
    plain = isinstance(function, keras.layers.ReLU) and not (
        function.negative_slope or function.threshold
    )
    return keras.activations.relu if plain else function


def describe(layer):
    """Name and class of a layer or operation, for messages."""
    return f"{layer.name!r} ({type(inside(layer)).__name__})"
