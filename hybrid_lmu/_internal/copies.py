"""Copies of layers and models, without their weights, and without what a model is compiled with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras

from hybrid_lmu._internal.traversal import all_layers


def copy_layer(layer: Any, config: dict | None = None, **changes: Any) -> Any:
    """Return a new layer of the same configuration with `changes`, without the weights.

    Functions and classes that the layer holds need not be registered with Keras. An operation that
    is no layer has no configuration; the function returns the operation itself.

    Args:
        layer: the layer, or a model.
        config: the configuration of the new layer. Default: that of `layer`.
        changes: entries of the configuration that are other ones.
    """
    if not isinstance(layer, keras.layers.Layer):
        return layer
    config = layer.get_config() if config is None else config
    with keras.saving.custom_object_scope(_objects_of(layer)):
        return type(layer).from_config({**config, **changes})


def copy_model(
    model: keras.Model, copy: Callable[[keras.layers.Layer], keras.layers.Layer] = copy_layer
) -> keras.Model:
    """Return a new model with a copy of each layer, not compiled.

    `keras.models.clone_model` compiles its copy, which fails for a loss of the user's own.

    Args:
        model: Sequential or functional, built.
        copy: function from a layer to the one in its place. Default: `copy_layer`.
    """
    if isinstance(model, keras.Sequential):
        first = model.inputs[0]
        inputs = keras.Input(batch_shape=first.shape, dtype=first.dtype, name=first.name)
        layers = [inputs, *(copy(layer) for layer in model.layers)]
        return keras.Sequential(layers, name=model.name, trainable=model.trainable)
    inputs = model.inputs[0] if len(model.inputs) == 1 else model.input
    uncompiled = keras.Model(inputs, model.output, name=model.name, trainable=model.trainable)
    return keras.models.clone_model(uncompiled, clone_function=copy)


def _objects_of(layer):
    """Return ``{name: function or class}`` of what a layer, and what it holds, is made with.

    Two of one name, such as two lambdas, are left out: one would take the place of the other.
    """
    known: dict[str, Any] = {}
    twice = set()
    for one in all_layers(layer):
        for value in (type(one), *vars(one).values()):
            name = getattr(value, "__name__", None)
            if callable(value) and isinstance(name, str):
                if known.setdefault(name, value) is not value:
                    twice.add(name)
    return {name: value for name, value in known.items() if name not in twice}
