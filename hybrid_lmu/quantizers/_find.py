"""The quantizers of a model, by the paths of their resolutions."""

from __future__ import annotations

from fnmatch import fnmatchcase

import keras

from hybrid_lmu._internal.traversal import all_layers, path_matches, variable_paths
from hybrid_lmu.quantizers.contract import Quantizer


def quantizers_of(model: keras.Model, name: str = "*") -> dict[str, Quantizer]:
    """Return ``{path of the resolution: quantizer}`` of the spiking quantizers in a model.

    Args:
        model: a model that is built.
        name: shell pattern for the path of the resolution, or a part of the path.

            A name that a quantizer was made with matches too.

    Returns:
        the quantizers in the order of the model's variables.
    """
    owners = {
        id(one.resolution_variable): one
        for one in all_layers(model)
        if isinstance(one, Quantizer) and one.resolution_variable is not None
    }
    return {
        path: owners[one]
        for one, path in variable_paths(model).items()
        if one in owners and (path_matches(path, name) or fnmatchcase(owners[one].name, name))
    }
