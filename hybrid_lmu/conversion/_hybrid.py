"""From a trained recurrent network to the same network with quantized activities."""

from fnmatch import fnmatchcase

import keras
import numpy as np

from hybrid_lmu._internal.checks import check_choice
from hybrid_lmu._internal.traversal import copy_weights, freeze
from hybrid_lmu.conversion._graph import as_functional, copy_layer, rebuild
from hybrid_lmu.conversion._hybrid_rules import (
    images_not_steps,
    is_activation,
    over_space,
    quantized,
    starts_elsewhere,
    without_mask,
)
from hybrid_lmu.quantizers._sigma_delta import SigmaDeltaQuantizer
from hybrid_lmu.schedules._bit_budget import common_factor, level_activities, measured_activities
from hybrid_lmu.weights._quantized_weights import as_patterns

# Levels per unit of activity while ranges are measured; counts stay exact in float32.
_FINE = 1024.0
_REFINEMENTS = 2


def to_hybrid(
    model, x=None, resolution=None, bits=None, per="neuron", exempt=(), batch_size=100, seed=None
):
    """Give a trained model quantized activities; its weights stay as they are.

    SimpleRNN, GRU, LSTM, `keras.layers.RNN` around their cells (stacked ones too) and Bidirectional
    recur on their counts (`HybridRNN`, `HybridCell`); what an LSTM or a GRU carries over without
    weights stays exact, but for a GRU with recurrent dropout or ``implementation=1``, or inside an
    LMU, which carries over its counts. ``keras_lmu.LMU``, ``LMUFeedforward`` and ``LMUCell``, with
    any of their options, become `HybridLMU`, memory and hidden activity quantized and exact
    feedback, with the matrices that keras-lmu computed unless theta is trained (`DiscreteSystem`);
    a `HybridLMU` or `HybridLMUCell` without resolutions is quantized likewise. The activations of
    Dense, Conv1D, Activation and ReLU become `SigmaDelta`, which emits nothing at masked steps, but
    for one that is the model's output. All other layers stay what they are.

    What is lost can be won back by training, with the resolutions annealed::

        hybrid = to_hybrid(model, x, bits=3.74)
        hybrid.compile(...)
        falling = keras.optimizers.schedules.PolynomialDecay(8.0, steps, 3.74)
        hybrid.fit(x, y, callbacks=[BitBudget(falling, x)])

    Args:
        model: Sequential or functional, built, without models inside it.
        x: data to calibrate on, with `bits`: as for `hybrid_lmu.activity_report`, but no generator,
            as they are read three times.
        resolution: levels per unit of activity of every neuron; or
        bits: activity bits, ``log2(range of counts + 1)`` on `x`, of each activity, averaged over
            its neurons. Neither: non-spiking, with the outputs of `model`.
        per: ``"neuron"`` (default): each neuron has a resolution of its own, so that with `bits`
            all of an activity have the same range of counts; ``"layer"``: one for each activity.
        exempt: shell patterns of names of layers that stay as they are.
        batch_size: of arrays, for the calibration.
        seed: of the initial diffusion errors.

    Returns:
        a functional model of the same inputs and outputs, not compiled.

    Raises:
        ValueError: if the model is of another kind, has a recurrent layer of an unknown class, with
            `return_state` or an initial state given by another layer (its states become more), an
            activation of images (behind Conv2D or pooling, not at each step), or nothing to
            quantize; for both `resolution` and `bits`, or `bits` without `x`.

    Example:

    >>> model = keras.Sequential([
    ...     keras.Input((20, 3)), keras.layers.LSTM(8), keras.layers.Dense(2)
    ... ])
    >>> x = np.random.default_rng(0).normal(size=(30, 20, 3)).astype("float32")
    >>> hybrid = to_hybrid(model, x, bits=3.0)
    >>> round(activity_report(hybrid, x).totals["activity_bits"])
    3

    Sources: the quantizer of Voelker, Rasmussen & Eliasmith (2020), arXiv:2002.03553, who train
    from scratch; conversion and calibration are ours.
    """
    check_choice("per", per, ("neuron", "layer"))
    if resolution is not None and bits is not None:
        raise ValueError(
            "`resolution` and `bits` exclude each other; received "
            f"resolution={resolution!r} and bits={bits!r}."
        )
    if bits is not None:
        if x is None:
            raise ValueError("`x`, data to calibrate on, must be given with `bits`; received None.")
        if isinstance(bits, (bool, str)) or not (np.isfinite(bits) and bits > 0):
            raise ValueError(f"`bits` must be a finite number > 0; received: {bits!r}")
    model = as_functional(model)
    start = _FINE if bits is not None else resolution
    hybrid = _converted(model, start, per, as_patterns(exempt), seed)
    if bits is not None:
        level_activities(measured_activities(hybrid, x, batch_size), bits)
        for _ in range(_REFINEMENTS):  # coarse counts, and noise that recurs, widen the ranges
            for activity in measured_activities(hybrid, x, batch_size):
                activity.scale_by(common_factor([activity], bits))
    return hybrid


def _converted(model, resolution, per, exempt, seed):
    last = _last_layers(model)
    made, names = {}, [layer.name for layer in model.layers]
    unused = [p for p in exempt if not any(fnmatchcase(name, p) for name in names)]
    if unused:
        raise ValueError(f"`exempt` must name layers, {names}; received: {unused}")
    count = [0]

    def make(part, size):
        value = resolution
        if value is not None and per == "neuron" and size is not None:
            value = np.full(size, value)
        own = None if seed is None else seed + count[0]
        count[0] += 1
        return SigmaDeltaQuantizer(
            resolution=value, seed=own, dtype="float32", name=f"{part}_quantizer"
        )

    def new_layers(layer):
        stays = any(fnmatchcase(layer.name, pattern) for pattern in exempt)
        if not stays and not (layer.name in last and is_activation(layer)):
            found = quantized(layer, make)
            if found is not None:
                return *found, True
        copy = copy_layer(layer)
        return [copy], lambda new: copy_weights(layer, new), False

    images = set()  # tensors whose second axis has rows and not steps

    def visit(layer, path, *args, **kwargs):
        if not hasattr(layer, "weights"):  # an operation
            parts, is_new = [layer], False
        else:
            if layer.name not in made:
                made[layer.name] = *new_layers(layer), layer.trainable
            parts, _, is_new, _ = made[layer.name]
        if is_new:
            if any(x is not None for x in (*args[1:], kwargs.get("initial_state"))):
                raise starts_elsewhere(layer)
            args = [without_mask(layer, x) for x in args]
        output = parts[0](*args, **kwargs)
        for one in parts[1:]:
            output = one(output)
        if over_space(layer) or any(id(x) in images for x in keras.tree.flatten(args)):
            found = [x for x in keras.tree.flatten(output) if len(getattr(x, "shape", ())) > 3]
            if found and is_new:
                raise images_not_steps(layer, found[0].shape)
            images.update(id(x) for x in found)
        return output

    hybrid = rebuild(model, visit)
    for layers, copy, _, trainable in made.values():
        copy(*layers)
        if not trainable:
            freeze(layers[0])
    if not count[0]:
        raise ValueError(
            f"Nothing to quantize in {model.name!r}; its layers are {names}, exempt={exempt}."
        )
    return hybrid


def _last_layers(model):
    """Names of the layers that put out what the model does."""
    found = keras.tree.flatten(model.get_config()["output_layers"])
    return {name for name in found if isinstance(name, str)}
