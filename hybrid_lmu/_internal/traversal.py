"""Which layers a layer or model holds, how to freeze them, and to copy their weights."""

import keras


def sublayers(layer):
    """Return the layers that a layer holds in its attributes, in order."""
    if isinstance(layer, keras.Model):
        return list(layer.layers)
    found = {}
    for value in list(vars(layer).values()):
        held = isinstance(value, (keras.layers.Layer, list, tuple, dict))
        for item in keras.tree.flatten(value) if held else []:
            if isinstance(item, keras.layers.Layer) and item is not layer:
                found[id(item)] = item
    return list(found.values())


def all_layers(layer):
    """Return a layer and all that it holds, at any depth, each once."""
    found, waiting = {}, [layer]
    while waiting:
        one = waiting.pop(0)
        if id(one) not in found:
            found[id(one)] = one
            waiting += sublayers(one)
    return list(found.values())


def copy_weights(source, target):
    """Give a layer or model the weights of another one.

    (`keras.layers.Normalization` computes with values that it took from its weights before.)
    """
    target.set_weights(source.get_weights())
    for one in all_layers(target):
        if isinstance(one, keras.layers.Normalization):
            one.finalize_state()


def freeze(layer):
    """Make a layer that is built not trainable, with all that it holds.

    (On TensorFlow, to set `trainable` to what it is already does nothing, and a layer that is made
    with ``trainable=False`` has trainable weights inside.)
    """
    for one in all_layers(layer):
        one.trainable = False
    for weight in layer.weights:
        weight.trainable = False
