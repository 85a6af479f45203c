"""What validation data choose of a spiking network: the percentile and the rule of early exit."""

from dataclasses import dataclass

from hybrid_lmu.conversion._activations import ActivationRecord, record_activations
from hybrid_lmu.conversion._simulation import Exit, Simulation, early_exit, simulate
from hybrid_lmu.conversion._spiking import to_spiking

PERCENTILES = (98.0, 99.0, 99.7, 99.9, 99.99)
_CONFIDENCES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999,
                0.9995, 0.9999, 0.99999, 0.999999)  # fmt: skip
EXIT_RULES = tuple({"confidence": c, "norm": n} for n in ("rate", "sum") for c in _CONFIDENCES)
_NO_EXIT = {"confidence": 1.0, "norm": "rate"}


@dataclass(frozen=True, eq=False)
class OperatingPoint:
    """A way to run a spiking network, and what it does on validation data.

    Attributes:
        percentile: of the thresholds, for `to_spiking`.
        exit_rule: ``{"confidence": ..., "norm": ...}``, for `early_exit`.
        accuracy: after all steps.
        simulation: the `Simulation` of the validation data.
        exit: the `Exit` of each of its samples by that rule.
    """

    percentile: float
    exit_rule: dict
    accuracy: float
    simulation: Simulation
    exit: Exit


def search_exit(simulation, labels, accuracy, rules=EXIT_RULES):
    """The rule of `early_exit` with the fewest mean steps, of those that keep an accuracy.

    Args:
        simulation: of `simulate`, on validation data.
        labels: their classes.
        accuracy: to be kept, such as that of the source network less 0.001; or what all steps
            reach, if that is less.
        rules: arguments of `early_exit`, as dictionaries. Default: both norms, with confidences
            from 0.2 to 0.999999.

    Returns:
        ``(rule, exit)``: a dictionary, and the `Exit` by it. If no rule keeps the accuracy, that of
        a confidence of 1: nobody leaves early.

    Source: ours.
    """
    goal = min(accuracy, simulation.accuracy(labels)[-1])
    tried = [(rule, early_exit(simulation, **rule)) for rule in (*rules, _NO_EXIT)]
    kept = [one for one in tried if one[1].accuracy(labels) >= goal]
    rule, left = min(kept, key=lambda one: one[1].steps.mean())
    return dict(rule), left


def search_percentile(
    model,
    x,
    validation_data,
    accuracy,
    percentiles=PERCENTILES,
    rules=EXIT_RULES,
    batch_size=32,
    callback=None,
    **options,
):
    """Try percentiles for the thresholds, and take the one that lets samples leave soonest.

    Of those with which the validation data keep an accuracy, both after all steps and with early
    exit, the one with the fewest mean steps; if there is none, the most accurate one.

    Args:
        model, x: see `to_spiking`.
        validation_data: ``(inputs, labels)``, arrays; not the test data, as they are chosen by.
        accuracy: to be kept, such as that of the source network on them less 0.001.
        percentiles: in (0, 100]. Default 98 to 99.99. Those at which a layer has a threshold of 0
            are left out.
        rules: see `search_exit`.
        batch_size: of arrays.
        callback: called with the `OperatingPoint` at each percentile, to show progress.
        **options: of `to_spiking`, such as `timesteps` and `initial_potential`.

    Returns:
        the best `OperatingPoint`.

    Raises:
        ValueError: without percentiles; as `to_spiking` and `simulate`.

    Example:

    >>> model = keras.Sequential([
    ...     keras.Input((4,)), keras.layers.Dense(8, "relu"), keras.layers.Dense(3)
    ... ])
    >>> images = np.random.default_rng(0).uniform(size=(50, 4)).astype("float32")
    >>> labels = model.predict(images, verbose=0).argmax(axis=-1)
    >>> best = search_percentile(model, images, (images, labels), accuracy=0.9, timesteps=20)
    >>> spiking = to_spiking(model, images, 20, best.percentile)
    >>> float(early_exit(simulate(spiking, images), **best.exit_rule).accuracy(labels)) >= 0.9
    True

    Source: the search is ours; in the code of Lu & Sengupta (2020), arXiv:2002.10064, the
    percentile is 99.9 or 99.7 by default.
    """
    percentiles, rules = tuple(percentiles), tuple(rules)
    if not percentiles:
        raise ValueError("`percentiles` must have at least one number; received none.")
    inputs, labels = validation_data
    if not isinstance(x, ActivationRecord):
        x = record_activations(model, x, batch_size)
    # Where a layer is 0 up to a percentile it cannot be a threshold; if at all, `to_spiking` tells.
    usable = [p for p in percentiles if all(h.percentile(p) for h in x.layers.values())]
    best = None
    for percentile in usable or percentiles:
        spiking = to_spiking(model, x, percentile=percentile, **options)
        simulation = simulate(spiking, inputs, batch_size)
        rule, left = search_exit(simulation, labels, accuracy, rules)
        of_all_steps = float(simulation.accuracy(labels)[-1])
        kept = min(of_all_steps, left.accuracy(labels)) >= accuracy
        rank = (0, left.steps.mean()) if kept else (1, -of_all_steps)
        point = OperatingPoint(percentile, rule, of_all_steps, simulation, left)
        if best is None or (rank, percentile) < best[:2]:  # the others are too large to be kept
            best = rank, percentile, point
        if callback is not None:
            callback(point)
    return best[2]
