"""The quantizers of a model, by the paths of their resolutions."""

from __future__ import annotations

from fnmatch import fnmatchcase

import keras

from hybrid_lmu._internal.traversal import all_layers
from hybrid_lmu.quantizers.contract import Quantizer


def quantizers_of(model: keras.Model, name: str = "*") -> dict[str, Quantizer]:
    """Return ``{path of the resolution: quantizer}`` of the spiking quantizers in a model.

    Args:
        model: a model that is built.
        name: shell pattern for the path of the resolution, or a part of the path.

    Returns:
        the quantizers in the order of the model's variables.
    """
    owners = {
        id(one.resolution_variable): one
        for one in all_layers(model)
        if isinstance(one, Quantizer) and one.resolution_variable is not None
    }
    return {
        variable.path: owners[id(variable)]
        for variable in model.variables
        if id(variable) in owners and path_matches(variable.path, name)
    }


def path_matches(path: str, pattern: str) -> bool:
    """Whether a path of a variable, or one part of the path, matches a shell pattern."""
    return any(fnmatchcase(part, pattern) for part in (path, *path.split("/")))
