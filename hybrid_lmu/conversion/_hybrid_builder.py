"""A network with quantized activities under construction."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from hybrid_lmu._internal.copies import copy_layer
from hybrid_lmu._internal.keras_compat import mask_of
from hybrid_lmu._internal.traversal import copy_weights, freeze
from hybrid_lmu.conversion._graph import as_functional, describe, rebuild
from hybrid_lmu.conversion._hybrid_layers import hybrid_layer
from hybrid_lmu.quantizers._sigma_delta import SigmaDeltaQuantizer
from hybrid_lmu.quantizers.contract import Quantizer
from hybrid_lmu.weights._quantized_weights import as_patterns

# Layers that work on the rows and columns of images.
_OF_IMAGES = (
    layers.AdaptiveAveragePooling2D,
    layers.AdaptiveAveragePooling3D,
    layers.AdaptiveMaxPooling2D,
    layers.AdaptiveMaxPooling3D,
    layers.AveragePooling2D,
    layers.AveragePooling3D,
    layers.Conv2D,
    layers.Conv2DTranspose,
    layers.Conv3D,
    layers.Conv3DTranspose,
    layers.ConvLSTM2D,
    layers.ConvLSTM3D,
    layers.Cropping2D,
    layers.Cropping3D,
    layers.DepthwiseConv2D,
    layers.MaxPooling2D,
    layers.MaxPooling3D,
    layers.SeparableConv2D,
    layers.SpatialDropout2D,
    layers.SpatialDropout3D,
    layers.UpSampling2D,
    layers.UpSampling3D,
    layers.ZeroPadding2D,
    layers.ZeroPadding3D,
)


class HybridBuilder:
    """A network with quantized activities under construction.

    Args:
        model: the source network, functional.
        resolution, per, exempt, seed, quantizer: see `to_hybrid`.

    Attributes:
        is_output: whether the layer that is being converted puts out what the model does; an
            activation there stays.
        quantizers: number of quantizers made so far.
    """

    def __init__(
        self,
        model: keras.Model,
        *,
        resolution: float | None,
        per: str,
        exempt: str | Sequence[str],
        seed: int | None,
        quantizer: Quantizer | None = None,
    ):
        self._prototype = quantizer or SigmaDeltaQuantizer(dtype="float32")
        self._name, self._names = model.name, [layer.name for layer in _all_of(model)]
        self._resolution, self._per, self._seed = resolution, per, seed
        self._exempt = as_patterns(exempt)
        unused = [p for p in self._exempt if not any(fnmatchcase(n, p) for n in self._names)]
        if unused:
            raise ValueError(f"`exempt` must name layers, {self._names}; received: {unused}")
        self._last = _output_layers(model)
        self._made = {}  # from ids of layers to (layer, Replacement or None, new layers)
        self._models = {}  # from ids of models inside to (model, new model)
        self._images = set()  # ids of tensors whose second axis has rows and not steps
        self.is_output, self.quantizers = False, 0

    def quantizer(self, part: str, size: int | None, activation: Any = None) -> Quantizer:
        """Return a new quantizer, of the class and options that `to_hybrid` was given.

        Args:
            part: what it quantizes, such as ``"hidden"``; the quantizer is named after it. ``""``
                if the layer has one quantizer alone.
            size: number of neurons, or None if one resolution has to do for all of them.
            activation: the function before the rounding. Default ``None``: identity.
        """
        resolution = self._resolution
        if resolution is not None and self._per == "neuron" and size is not None:
            resolution = np.full(size, resolution)
        config = self._prototype.get_config()
        name = f"{part}_quantizer" if part else "quantizer"
        config |= {"activation": activation, "resolution": resolution, "name": name}
        if "seed" in config and self._seed is not None:
            config["seed"] = self._seed + self.quantizers
        self.quantizers += 1
        return type(self._prototype).from_config(config)

    def lmu_quantizers(
        self, cell, memory_size: int | None = None, hidden_size: int | None = None
    ) -> dict:
        """Return the quantizers of a `HybridLMU` or its cell, as keyword arguments.

        Args:
            cell: the LMU, or its cell, that is being converted.
            memory_size: size of its memory. Default: that of ``cell.memory``.
            hidden_size: number of outputs of its hidden cell. Default: that of ``cell.hidden``.
        """
        given = {
            "memory_quantizer": self.quantizer("memory", memory_size or cell.memory.output_size)
        }
        if cell.hidden_cell is not None:
            size = hidden_size or cell.hidden.output_size
            given["hidden_quantizer"] = self.quantizer("hidden", size)
        return given

    def visit(self, layer, path: str, *args, **kwargs):
        """Run what takes the place of one call of a layer."""
        replacement = None
        if not isinstance(layer, layers.Layer):  # an operation
            output = layer(*args, **kwargs)
        elif isinstance(layer, keras.Model) and not self._is_exempt(layer):
            output = self._inside(layer, args)(*args, **kwargs)
        else:
            replacement, parts = self._convert(layer)
            if replacement is not None:
                starts = any(x is not None for x in (*args[1:], kwargs.get("initial_state")))
                if starts and replacement.states is None:
                    raise _starts_elsewhere(layer)
                args = [x if replacement.takes_mask else _without_mask(x) for x in args]
            output = parts[0](*args, **kwargs)
            if replacement is not None and getattr(layer, "return_state", False):
                output = (output[0], *(output[1 + index] for index in replacement.states))
            for part in parts[1:]:
                output = part(output)
        self._note_images(layer, args, output, replacement is not None)
        return output

    def _convert(self, layer):
        """Return the `Replacement` of a layer, None if it is copied, and the new layers."""
        if id(layer) not in self._made:
            replacement = None
            if not self._is_exempt(layer):
                self.is_output = layer.name in self._last
                replacement = hybrid_layer(layer, self)
            parts = (copy_layer(layer),) if replacement is None else replacement.parts
            self._made[id(layer)] = layer, replacement, parts, layer.trainable
        return self._made[id(layer)][1:3]

    def _is_exempt(self, layer):
        return any(fnmatchcase(layer.name, pattern) for pattern in self._exempt)

    def _inside(self, model, args):
        """Return what takes the place of a model inside the model."""
        if id(model) not in self._models:
            source, last = as_functional(model, nested=True), self._last
            self._last = _output_layers(source) if model.name in last else set()
            inputs = keras.tree.map_structure(_like, source.input)
            given = zip(keras.tree.flatten(args[0]), keras.tree.flatten(inputs), strict=True)
            self._images.update(id(new) for old, new in given if id(old) in self._images)
            new = rebuild(source, self.visit, inputs=inputs, into_models=False)
            self._models[id(model)] = model, new
            self._last = last
        return self._models[id(model)][1]

    def _note_images(self, layer, args, output, is_new):
        images = any(id(x) in self._images for x in keras.tree.flatten(args))
        if not (images or isinstance(layer, _OF_IMAGES)):
            return
        found = [x for x in keras.tree.flatten(output) if len(getattr(x, "shape", ())) > 3]
        if found and is_new:
            raise _images_not_steps(layer, found[0].shape)
        self._images.update(id(x) for x in found)

    def finish(self) -> None:
        """Copy the weights to the new layers, which are built, and freeze those that were frozen.

        Raises:
            ValueError: if nothing was quantized.
        """
        for layer, replacement, parts, trainable in self._made.values():
            if replacement is None:
                copy_weights(layer, parts[0])
            else:
                replacement.copy_weights(*parts)
            if not trainable:
                freeze(parts[0])
        for model, new in self._models.values():
            if not model.trainable:
                freeze(new)
        if not self.quantizers:
            raise ValueError(
                f"Nothing to quantize in {self._name!r}; its layers are {self._names}, "
                f"exempt={self._exempt}."
            )


def _all_of(model):
    """Return the layers of a model, with the models inside it and their layers."""
    inner = [_all_of(one) if isinstance(one, keras.Model) else [] for one in model.layers]
    return [one for layer, own in zip(model.layers, inner, strict=True) for one in (layer, *own)]


def _output_layers(model):
    outputs = keras.tree.flatten(model.get_config()["output_layers"])
    return {name for name in outputs if isinstance(name, str)}


def _like(tensor):
    return keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=tensor.name)


def _without_mask(x):
    return x if mask_of(x) is None else ops.copy(x)


def _starts_elsewhere(layer):
    return ValueError(
        f"{describe(layer)} is called with an initial state; expected none, as the converted layer "
        "has more states. Name it in `exempt` to leave it as it is."
    )


def _images_not_steps(layer, shape):
    return ValueError(
        f"The activation of {describe(layer)}, of shape {tuple(shape)}, is that of images; "
        "expected activations of [batch, features] or [batch, time, ...]. Name the layer in "
        "`exempt`, put what is before it into `TimeDistributed` or `EachStep` if there is an image "
        "at each step, or convert networks of images with `to_spiking`."
    )
