"""Table and figures of `python -m evaluation bayes`."""

import statistics

import numpy as np

from evaluation.calibration import plots
from evaluation.calibration.scores import LEVELS, reliability
from evaluation.style import to_png
from evaluation.tables import Table

# (title, part, key, factor, digits)
CLASSES = (
    ("accuracy %", "test", "accuracy", 100, 2),
    ("ECE %", "test", "ece", 100, 2),
    ("NLL nats", "test", "nll", 1, 4),
)
NUMBERS = (
    ("RMSE", "test", "rmse", 1, 4),
    ("RMSE seen", "test_seen", "rmse", 1, 4),
    ("quantile error %", "test", "quantile_error", 100, 1),
    ("interval error %", "test", "interval_error", 100, 1),
    ("in 90 % interval", "test", "coverage_90", 100, 1),
    ("gaps", "test_gaps", "coverage_90", 100, 1),
    ("NLL nats", "test", "nll", 1, 3),
)
LEGENDS = {
    CLASSES: "ECE: expected calibration error, 10 bins. NLL: mean negative log likelihood.",
    NUMBERS: (
        "RMSE against the curve; the rest against new noisy observations of it. Quantile and\n"
        "interval error: mean distance between the share of observations below a predicted\n"
        "quantile, or within a central interval, and its level. NLL: mean negative log likelihood."
    ),
}


def name_of(result):
    """Such as "bayesian, ensemble"; the mode goes without saying where there is no other."""
    if result["rule"] == "bayesian":
        return f"bayesian, {result['predictor']}"
    return result["rule"]


def grouped(results):
    """{name: results of all seeds}."""
    groups = {}
    for result in results:
        groups.setdefault(name_of(result), []).append(result)
    return groups


def table(task, results):
    """Text: one row a rule and predictor, mean and standard deviation over seeds on test."""
    columns = CLASSES if "accuracy" in results[0]["test"] else NUMBERS
    rows = []
    for name, group in grouped(results).items():
        cells = []
        for _, part, key, factor, digits in columns:
            values = [factor * result[part][key] for result in group]
            spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
            cells.append(f"{statistics.fmean(values):.{digits}f}{spread}")
        rows.append([name, *cells])
    seeds = sorted({result["seed"] for result in results})
    title = f"{task}, test split, mean ± standard deviation of {len(seeds)} seeds"
    return Table(["", *(title for title, *_ in columns)], rows, title, LEGENDS[columns]).text()


def figures(data, results):
    """{file name: PNG} of a task."""
    groups = grouped(results)
    several = [k for k in ("mode", "committee") if f"bayesian, {k}" in groups]
    main = {
        name: g for name, g in groups.items() if name not in {f"bayesian, {k}" for k in several}
    }
    if data.kind == "classes":
        found = {f"{data.name}-reliability": _reliability(data, main)}
        if "mean" in results[0]["arrays"]:
            found[f"{data.name}-maps"] = _maps(data, main)
        return found
    return {f"{data.name}-quantiles": _quantiles(data, main), f"{data.name}-curves": _curves(main)}


def _reliability(data, groups):
    curves = {
        name: reliability(
            np.concatenate([r["arrays"]["probabilities"] for r in group]),
            np.tile(data.test.y, len(group)),
        )
        for name, group in groups.items()
    }
    return to_png(plots.reliability(curves, f"{data.name}: test, all seeds"))


def _maps(data, groups):
    from training.tasks.two_moons import coordinates

    maps = {
        name: (
            group[0]["arrays"]["mean"],
            group[0]["arrays"]["deviation"] if group[0]["predictor"] != "mode" else None,
        )
        for name, group in groups.items()
    }
    seed = next(iter(groups.values()))[0]["seed"]
    figure = plots.decision_maps(
        maps, coordinates("train"), data.train.y, f"{data.name}, seed {seed}"
    )
    return to_png(figure)


def _quantiles(data, groups):
    shares = {
        name: np.mean([r["quantiles"] for r in group], axis=0) for name, group in groups.items()
    }
    return to_png(plots.quantiles(shares, LEVELS, f"{data.name}: test, all seeds"))


def _curves(groups):
    from training.tasks import bisnn_1d

    predictions = {
        name: (group[0]["arrays"]["mean"], group[0]["arrays"]["deviation"])
        for name, group in groups.items()
    }
    seed = next(iter(groups.values()))[0]["seed"]
    truth = bisnn_1d.scaled_target(bisnn_1d.function(bisnn_1d.GRID))
    figure = plots.curves(
        bisnn_1d.GRID, truth, predictions, bisnn_1d.observations("train"), f"bisnn-1d, seed {seed}"
    )
    return to_png(figure)
