"""From a trained recurrent network to the same network with quantized activities."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

from hybrid_lmu._internal.batches import check_can_be_read_again
from hybrid_lmu._internal.checks import check_choice, check_positive
from hybrid_lmu.conversion._graph import as_functional, rebuild
from hybrid_lmu.conversion._hybrid_builder import HybridBuilder
from hybrid_lmu.quantizers.contract import Quantizer
from hybrid_lmu.schedules._bit_budget import common_factor, level_activities, measured_activities

# Levels per unit of activity while ranges are measured; counts stay exact in float32.
_FINE = 1024.0
_REFINEMENTS = 2


def to_hybrid(
    model: keras.Model,
    x=None,
    *,
    resolution: float | None = None,
    bits: float | None = None,
    per: str = "neuron",
    exempt: str | Sequence[str] = (),
    batch_size: int = 100,
    seed: int | None = None,
    quantizer: Quantizer | None = None,
) -> keras.Model:
    """Give a trained model quantized activities; the weights keep their values.

    - SimpleRNN, GRU, LSTM, `keras.layers.RNN` around their cells (stacked ones too) and
      Bidirectional recur on their counts (`HybridRNN`, `HybridCell`). States that are not
      multiplied by weights (`c` of an LSTM, the copied state of a GRU) stay unquantized. Exception:
      a GRU with recurrent dropout, with ``implementation=1``, or inside an LMU uses its quantized
      state there as well.
    - ``keras_lmu.LMU``, ``LMUFeedforward`` and ``LMUCell``, with all of their options, become
      `HybridLMU` with exact feedback and a quantized memory and hidden activity. The matrices are
      those that keras-lmu computed (`DiscreteSystem`), unless theta is trained and stable. An
      impulse response that keras-lmu truncates (``conv_mode="raw"``) is whole here, with a warning:
      at its default ``truncate_ir=1e-4`` outputs differ by about 1e-4. A `HybridLMU` or
      `HybridLMUCell` without resolutions is quantized in the same way.
    - `return_state` and initial states, as between an encoder and a decoder, are those of the
      source: the quantized output in the place of the output, which the layer that starts from it
      quantizes with its own resolution, and states that stay unquantized.
    - The activations of Dense, Conv1D, Activation and ReLU become `SigmaDelta`, which emits nothing
      at masked steps. An activation that is the output of the model stays.
    - All other layers stay. `hybrid_layer` and `hybrid_cell` take layers and cells of your own.

    Training wins back what is lost, with the resolutions annealed::

        hybrid = to_hybrid(model, x, bits=3.74)
        hybrid.compile(...)
        falling = keras.optimizers.schedules.PolynomialDecay(8.0, steps, 3.74)
        hybrid.fit(x, y, callbacks=[BitBudget(falling, x)])

    Args:
        model: Sequential or functional, built. Models inside it stay models, converted.
        x: data to calibrate on, needed with `bits`. As for `hybrid_lmu.activity_report`, except a
            generator: the data are read three times.
        resolution: levels per unit of activity of every neuron. Excludes `bits`. Default None.
        bits: activity bits, ``log2(range of counts + 1)`` on `x`, of each activity, averaged over
            its neurons. Excludes `resolution`. Default None. With neither of the two the new model
            is non-spiking and has the outputs of `model`.
        per: ``"neuron"`` (default): each neuron has a resolution of its own, so that with `bits`
            all neurons of an activity have the same range of counts. ``"layer"``: one resolution
            for each activity.
        exempt: shell patterns of names of layers that stay as they are. Default none.
        batch_size: number of samples in a batch of `x`, if `x` is arrays. Default 100.
        seed: seed of the initial diffusion errors.
        quantizer: a `Quantizer` without an activation. Each activity gets a copy of it, with a
            resolution and a name of its own. Default ``None``: `SigmaDeltaQuantizer()`.

    Returns:
        a functional model of the same inputs and outputs, not compiled.

    Raises:
        ValueError: if the model is of another kind; for a recurrent layer of an unknown class; for
            stacked cells with `return_state` or an initial state; for an activation of images
            (behind Conv2D or pooling, not at each step); if there is nothing to quantize; for both
            `resolution` and `bits`; for `bits` without `x`.

    Example:

    >>> model = keras.Sequential([
    ...     keras.Input((20, 3)), keras.layers.LSTM(8), keras.layers.Dense(2)
    ... ])
    >>> x = np.random.default_rng(0).normal(size=(30, 20, 3)).astype("float32")
    >>> hybrid = to_hybrid(model, x, bits=3.0)
    >>> round(activity_report(hybrid, x).totals["activity_bits"])
    3

    Sources: the quantizer of Voelker, Rasmussen & Eliasmith (2020), arXiv:2002.03553, who train
    from scratch. Conversion and calibration are ours.
    """
    check_choice("per", per, ("neuron", "layer"))
    _check_quantizer(quantizer)
    _check_bits(x, resolution, bits)
    if resolution is not None:
        check_positive("resolution", resolution)
    model = as_functional(model, nested=True)
    start = resolution if bits is None else _FINE
    build = HybridBuilder(model, resolution=start, per=per, exempt=exempt, seed=seed,
                          quantizer=quantizer)  # fmt: skip
    hybrid = rebuild(model, build.visit, into_models=False)
    build.finish()
    if bits is not None:
        level_activities(measured_activities(hybrid, x, batch_size), bits)
        for _ in range(_REFINEMENTS):  # coarse counts, and noise that recurs, widen the ranges
            for activity in measured_activities(hybrid, x, batch_size):
                activity.scale_by(common_factor([activity], bits))
    return hybrid


def _check_quantizer(quantizer):
    if quantizer is None:
        return
    if not isinstance(quantizer, Quantizer):
        raise TypeError(f"`quantizer` must be a `hybrid_lmu.Quantizer`; received: {quantizer!r}")
    if quantizer.activation is not keras.activations.linear:
        name = keras.activations.serialize(quantizer.activation)
        raise ValueError(
            f"`quantizer` must have no activation, as each copy gets one; received: {name!r}"
        )


def _check_bits(x, resolution, bits):
    if bits is None:
        return
    if resolution is not None:
        raise ValueError(
            "`resolution` and `bits` exclude each other; received "
            f"resolution={resolution!r} and bits={bits!r}."
        )
    if x is None:
        raise ValueError("`x`, data to calibrate on, must be given with `bits`; received None.")
    check_can_be_read_again(x, "to calibrate")
    if isinstance(bits, (bool, str)) or not (np.isfinite(bits) and bits > 0):
        raise ValueError(f"`bits` must be a finite number > 0; received: {bits!r}")
