"""Whole models: quantize their weights, take the integers out, count their bytes."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

import keras
import numpy as np

from hybrid_lmu._internal.copies import copy_layer, copy_model
from hybrid_lmu._internal.traversal import all_layers, copy_weights, variable_paths
from hybrid_lmu.weights._quantized_weights import QuantizedWeights, as_patterns, matches
from hybrid_lmu.weights._quantizer import PackedWeights, WeightQuantizer
from hybrid_lmu.weights._sum_of_sigmoids import SumOfSigmoids


def quantize_weights(
    model: keras.Model,
    kernel_quantizer: WeightQuantizer | None = None,
    recurrent_quantizer: WeightQuantizer | None = None,
    *,
    exempt_first: bool = False,
    exempt_last: bool = False,
    exempt: str | Sequence[str] = (),
) -> keras.Model:
    """Return a copy of a model whose layers are wrapped in `QuantizedWeights`.

    The kernels of the model become the latent kernels of the copy. The scales, boundaries and other
    variables of the quantizers are set from them.

    Args:
        model: Sequential or functional, built, without models inside it.
        kernel_quantizer, recurrent_quantizer: see `QuantizedWeights`.
        exempt_first, exempt_last: leave the first and the last layer with such weights, in the
            order of `model.layers`, at full precision. Default False: all are quantized.
        exempt: shell patterns of names of further layers, or of single weights as in
            `QuantizedWeights`.

    Returns:
        a new model, not compiled.

    Example:

    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8), keras.layers.Dense(2)])
    >>> binary = quantize_weights(model, SumOfSigmoids("binary"), exempt_last=True)
    >>> weight_footprint(binary)["quantized"], weight_footprint(binary)["full_precision"]
    (32, 26)

    Raises:
        ValueError: if the model is of another kind, has quantized weights already, nothing of it
            is quantized, or a pattern of `exempt` matches nothing.
    """
    _check_flat(model)
    exempt = as_patterns(exempt)

    def exempted(layer):
        """Return ``{pattern: paths within the layer}`` of the weights that are exempt."""
        paths = [path for path in variable_paths(layer).values()]
        of_model = {path: f"{layer.name}/{path}" for path in paths}
        found = {p: [one for one in paths if matches(of_model[one], p)] for p in exempt}
        return {pattern: found for pattern, found in found.items() if found}

    def wrap(layer):
        copy = copy_layer(layer)
        paths = list(dict.fromkeys(path for found in exempted(layer).values() for path in found))
        return QuantizedWeights(copy, kernel_quantizer, recurrent_quantizer, exempt=paths)

    def takes_rule(layer):
        names = {variable.name for variable in layer.weights}
        kernels = {n for n in names if n == "kernel" or n.endswith("_kernel")} - {
            "recurrent_kernel"
        }
        return (kernel_quantizer is not None and bool(kernels)) or (
            recurrent_quantizer is not None and "recurrent_kernel" in names
        )

    found = [layer.name for layer in model.layers if takes_rule(layer)]
    chosen = found[int(exempt_first) : len(found) - int(exempt_last)]
    chosen = [n for n in chosen if not any(fnmatchcase(n, pattern) for pattern in exempt)]
    used = [p for layer in model.layers for p in exempted(layer)]
    used += [p for p in exempt if any(fnmatchcase(name, p) for name in found)]
    if set(exempt) - set(used):
        raise ValueError(
            f"`exempt` must name layers with kernels, {found}, or their weights; received: "
            f"{sorted(set(exempt) - set(used))}"
        )
    if not chosen:
        raise ValueError(
            f"Nothing to quantize in {model.name!r}: layers with kernels are {found}; received "
            f"exempt_first={exempt_first}, exempt_last={exempt_last}, exempt={exempt}."
        )

    def clone(layer):
        if layer.name in chosen:
            return wrap(layer)
        return copy_layer(layer)

    result = copy_model(model, clone)
    for old, new in zip(model.layers, result.layers, strict=True):
        if isinstance(new, QuantizedWeights):
            new.layer.set_weights(old.get_weights())
            new.prepare()
        else:
            copy_weights(old, new)
    return result


def with_inference(model: keras.Model, inference: str) -> keras.Model:
    """Return a copy of a model whose weight rules infer in another way.

    Args:
        model: Sequential or functional, with `QuantizedWeights` at its top level.
        inference: ``"hard"`` or ``"soft"`` (of `SumOfSigmoids`), ``"mode"`` or ``"sample"`` (of
            `Bernoulli`); quantizers without this choice stay as they are. A model with
            ``"sample"`` predicts with one draw a batch: average several predictions for those of
            the ensemble.

    Returns:
        a new model, not compiled.

    Raises:
        ValueError: if no rule of the model has this choice.
    """
    _check_flat(model)
    changed = []

    def clone(layer):
        config = layer.get_config()
        if isinstance(layer, QuantizedWeights):
            for name, rule in layer.rule_classes().items():
                if inference in rule.inferences:
                    config[name]["config"]["inference"] = inference
                    changed.append(layer.name)
        return copy_layer(layer, config)

    result = copy_model(model, clone)
    if not changed:
        raise ValueError(
            f"No weight rule of {model.name!r} has this choice of inference: expected 'hard' or "
            "'soft' with SumOfSigmoids, 'mode' or 'sample' with Bernoulli; received: "
            f"{inference!r}"
        )
    copy_weights(model, result)
    return result


def packed_weights(model: keras.layers.Layer) -> dict[str, PackedWeights]:
    """Return ``{path: PackedWeights}`` of all quantized kernels of a model or layer: the integers.

    The path has the names of the layers from the model on, and is the same after a file is loaded.
    A second kernel of the same path (layers of one name inside wrappers) is called path#2. The
    network's weights at inference are exactly ``codes * scale``, in float32.
    """
    return {path: rule.packed(kernel) for path, kernel, rule in _quantized(model)}


def _quantized(model):
    """Yield ``(path, kernel, rule)`` of the quantized kernels of a model or layer."""
    paths = variable_paths(model)
    for wrapper in quantized_layers(model):
        for kernel, rule in wrapper.quantized():
            yield paths[id(kernel)], kernel, rule


def between_levels(model: keras.layers.Layer) -> dict[str, float]:
    """Return ``{path: share}`` of the `SumOfSigmoids` kernels: how many weights the staircase, at
    its present temperature, leaves between two levels (see `SumOfSigmoids.between_levels`).

    Those are the weights that change when the soft network is replaced by the hard one.
    """
    return {
        path: rule.between_levels(kernel)
        for path, kernel, rule in _quantized(model)
        if isinstance(rule, SumOfSigmoids)
    }


def weight_footprint(model: keras.Model) -> dict[str, float]:
    """Return the size of a model's weights, packed, with everything that is not quantized in it.

    Returns:
        a dictionary: ``quantized`` and ``full_precision`` (numbers of weights; the second are
        biases, exempt kernels, normalization), ``full_bytes`` (all of them at 32 bits),
        ``packed_bytes`` (see `PackedWeights.bytes`; the others at 32 bits) and ``saving``, their
        ratio. What only training needs (latent kernels, temperatures, boundaries) is no part of it,
        nor are states and the constant matrices of a memory (`activity_report` counts them, and
        packs other tensors of few values too, such as biases of zeros).
    """
    pairs = [pair for wrapper in quantized_layers(model) for pair in wrapper.quantized()]
    packed = [rule.packed(kernel) for kernel, rule in pairs]
    known = {id(w) for kernel, rule in pairs for w in (kernel, *rule.weights)}
    rest = [w for w in model.weights if id(w) not in known]
    quantized = sum(one.codes.size for one in packed)
    others = sum(int(np.prod(w.shape)) for w in rest)
    full = 4 * (quantized + others)
    size = sum(one.bytes for one in packed) + 4 * others
    return {
        "quantized": quantized,
        "full_precision": others,
        "full_bytes": full,
        "packed_bytes": size,
        "saving": full / size if size else 1.0,
    }


def quantized_layers(model):
    """Return the `QuantizedWeights` in a model or layer, in order."""
    return [layer for layer in all_layers(model) if isinstance(layer, QuantizedWeights)]


def _check_flat(model):
    inner = [layer.name for layer in getattr(model, "layers", []) if isinstance(layer, keras.Model)]
    if not isinstance(model, keras.Model) or not getattr(model, "outputs", None) or inner:
        raise ValueError(
            "`model` must be a built Sequential or functional keras.Model without models inside "
            f"it; received: {type(model).__name__} with models {inner}"
        )
