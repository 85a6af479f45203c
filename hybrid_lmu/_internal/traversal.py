"""Which layers a layer or model holds, their names, how to freeze them, and to copy weights."""

from fnmatch import fnmatchcase

import keras


def sublayers(layer):
    """Return the layers that a layer holds in its attributes, in order."""
    return [one for one, _ in _named_sublayers(layer)]


def _named_sublayers(layer):
    """Return ``[(layer, name)]`` of the layers that a layer holds; None is no part of a path."""
    if isinstance(layer, keras.Model):
        return [(one, one.name) for one in layer.layers]
    found, parts = {}, getattr(layer, "names_of_parts", {})
    values = dict(vars(layer))
    values |= values.pop("_modules", {})  # on PyTorch: {attribute: layer}
    for attribute, value in values.items():
        held = isinstance(value, (keras.layers.Layer, list, tuple, dict))
        for item in keras.tree.flatten(value) if held else []:
            if isinstance(item, keras.layers.Layer) and item is not layer:
                attributes = found.setdefault(id(item), (item, []))[1]
                attributes.append(attribute)
    # Keras holds all of them in a list too, before the attribute that tells what they are.
    return [(one, _name_in_paths(one, attributes[-1], parts)) for one, attributes in found.values()]


def _name_in_paths(layer, attribute, parts):
    return parts.get(
        attribute, attribute if getattr(layer, "named_by_owner", False) else layer.name
    )


def variable_paths(root):
    """Return ``{id(variable): path}`` of the variables in a layer or model, in their order.

    The path consists of the names of the layers from `root`, which is left out, to the variable. A
    quantizer has the name of the argument that it is, whoever made it. Keras's own paths depend on
    when and inside which call a layer is built, so that they change when a file is loaded; these do
    not. The second variable of the same path is called path#2.
    """
    found, seen = {}, set()

    def walk(layer, path):
        seen.add(id(layer))
        for one, name in _named_sublayers(layer):
            if id(one) not in seen:
                walk(one, path if name is None else f"{path}{name}/")
        for variable in layer.variables:
            found.setdefault(id(variable), f"{path}{variable.name}")

    walk(root, "")
    paths, times = {}, {}
    for variable in root.variables:
        path = found[id(variable)]
        times[path] = times.get(path, 0) + 1
        paths[id(variable)] = f"{path}#{times[path]}" if times[path] > 1 else path
    return paths


def path_matches(path, pattern):
    """Whether a path of a variable, or one part of the path, matches a shell pattern."""
    return any(fnmatchcase(part, pattern) for part in (path, *path.split("/")))


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
