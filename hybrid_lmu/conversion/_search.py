"""The thresholds of a spiking network, chosen by validation data."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import keras

from hybrid_lmu.conversion._activations import ActivationRecord, record_activations
from hybrid_lmu.conversion._early_exit import EXIT_RULES, Exit, search_exit
from hybrid_lmu.conversion._simulation import Simulation, simulate
from hybrid_lmu.conversion._spiking import to_spiking

PERCENTILES = (98.0, 99.0, 99.7, 99.9, 99.99)


@dataclass(frozen=True, eq=False)
class OperatingPoint:
    """A way to run a spiking network, and what it does on validation data.

    Attributes:
        percentile: argument of `to_spiking`.
        exit_rule: ``{"confidence": ..., "norm": ..., "first": ...}``, arguments of `early_exit`.
        accuracy: accuracy after all steps.
        simulation: the `Simulation` of the validation data.
        exit: the `Exit` of the validation data by `exit_rule`.
    """

    percentile: float
    exit_rule: dict
    accuracy: float
    simulation: Simulation
    exit: Exit


def search_percentile(
    model: keras.Model,
    x,
    validation_data: tuple,
    accuracy: float,
    *,
    percentiles: Iterable[float] = PERCENTILES,
    rules: Iterable[dict] = EXIT_RULES,
    batch_size: int = 32,
    callback: Callable[[OperatingPoint], None] | None = None,
    **options,
) -> OperatingPoint:
    """Try percentiles for the thresholds, and take the one that lets samples leave soonest.

    A percentile keeps the accuracy if the validation data have it after all steps and with early
    exit. Among those percentiles the result is the one with the fewest mean steps. If no percentile
    keeps the accuracy, the result is the most accurate one.

    Args:
        model, x: see `to_spiking`.
        validation_data: ``(inputs, labels)``, arrays. Do not pass the test data.
        accuracy: the accuracy to be kept, such as that of the source network on the validation data
            less 0.001.
        percentiles: numbers in (0, 100]. Default 98 to 99.99. A percentile at which a layer would
            have a threshold of 0 is left out.
        rules: exit rules, see `search_exit`.
        batch_size: number of samples in a batch of the data, if they are arrays. Default 32.
        callback: function that is called with the `OperatingPoint` at each percentile, or None.
        options: arguments of `to_spiking`, such as `timesteps` and `initial_potential`.

    Raises:
        ValueError: if `percentiles` is empty; as `to_spiking` and `simulate`.

    Example:

    >>> from hybrid_lmu.conversion import early_exit
    >>> model = keras.Sequential([
    ...     keras.Input((4,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(3)
    ... ])
    >>> images = np.random.default_rng(0).uniform(size=(50, 4)).astype("float32")
    >>> labels = model.predict(images, verbose=0).argmax(axis=-1)
    >>> best = search_percentile(model, images, (images, labels), accuracy=0.9, timesteps=20)
    >>> spiking = to_spiking(model, images, 20, percentile=best.percentile)
    >>> float(early_exit(simulate(spiking, images), **best.exit_rule).accuracy(labels)) >= 0.9
    True

    Source: the search is ours. The code of Lu & Sengupta (2020), arXiv:2002.10064, has a percentile
    of 99.9 or 99.7 by default.
    """
    percentiles, rules = tuple(percentiles), tuple(rules)
    if not percentiles:
        raise ValueError("`percentiles` must have at least one number; received none.")
    inputs, labels = validation_data
    if not isinstance(x, ActivationRecord):
        x = record_activations(model, x, batch_size=batch_size)
    # A threshold cannot be 0. If no percentile is left, `to_spiking` says so.
    usable = [p for p in percentiles if all(h.percentile(p) for h in x.layers.values())]
    best = None
    for percentile in usable or percentiles:
        spiking = to_spiking(model, x, percentile=percentile, **options)
        simulation = simulate(spiking, inputs, batch_size=batch_size)
        rule, left = search_exit(simulation, labels, accuracy, rules=rules)
        of_all_steps = float(simulation.accuracy(labels)[-1])
        point = OperatingPoint(percentile, rule, of_all_steps, simulation, left)
        if callback is not None:
            callback(point)
        rank = _rank(point, labels, accuracy)
        if best is None or rank < best[0]:  # only the best is kept: simulations are large
            best = rank, point
    return best[1]


def _rank(point, labels, accuracy):
    """Return what sorts operating points, the best one first."""
    kept = min(point.accuracy, point.exit.accuracy(labels)) >= accuracy
    return (not kept, point.exit.steps.mean() if kept else -point.accuracy, point.percentile)
