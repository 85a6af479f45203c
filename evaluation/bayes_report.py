"""Table and figures of `python -m evaluation.bayes`."""

import statistics

import numpy as np

from evaluation import calibration_plots
from evaluation.calibration import LEVELS, reliability
from evaluation.style import to_png

# (title, part, key, factor, digits)
CLASSES = (
    ("accuracy %", "test", "accuracy", 100, 2),
    ("ECE %", "test", "ece", 100, 2),
    ("NLL nats", "test", "nll", 1, 4),
)
NUMBERS = (
    ("RMSE", "test", "rmse", 1, 4),
    ("RMSE seen", "test_seen", "rmse", 1, 4),
    ("calibration error %", "test", "calibration_error", 100, 2),
    ("90 % coverage", "test", "coverage_90", 100, 1),
    ("in gaps", "test_gaps", "coverage_90", 100, 1),
    ("NLL nats", "test", "nll", 1, 3),
)
LEGENDS = {
    CLASSES: "ECE: expected calibration error, 10 bins. NLL: mean negative log likelihood.",
    NUMBERS: (
        "RMSE against the curve; the rest against new noisy observations of it: mean distance of\n"
        "the share of targets below a predicted quantile from its level, share within the\n"
        "predicted 90 %, negative log likelihood."
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
    rows = [["", *(title for title, *_ in columns)]]
    for name, group in grouped(results).items():
        cells = []
        for _, part, key, factor, digits in columns:
            values = [factor * result[part][key] for result in group]
            spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
            cells.append(f"{statistics.fmean(values):.{digits}f}{spread}")
        rows.append([name, *cells])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join([row[0].ljust(widths[0])] + [c.rjust(w) for c, w in zip(row[1:], widths[1:])])  # noqa: B905
        for row in rows
    ]
    seeds = sorted({result["seed"] for result in results})
    title = f"{task}, test split, mean ± standard deviation of {len(seeds)} seeds"
    return "\n".join([title, *lines, LEGENDS[columns]])


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
    return to_png(calibration_plots.reliability(curves, f"{data.name}: test, all seeds"))


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
    figure = calibration_plots.decision_maps(
        maps, coordinates("train"), data.train.y, f"{data.name}, seed {seed}"
    )
    return to_png(figure)


def _quantiles(data, groups):
    shares = {
        name: np.mean([r["quantiles"] for r in group], axis=0) for name, group in groups.items()
    }
    return to_png(calibration_plots.quantiles(shares, LEVELS, f"{data.name}: test, all seeds"))


def _curves(groups):
    from training.tasks import bisnn_1d

    predictions = {
        name: (group[0]["arrays"]["mean"], group[0]["arrays"]["deviation"])
        for name, group in groups.items()
    }
    seed = next(iter(groups.values()))[0]["seed"]
    truth = bisnn_1d.scaled_target(bisnn_1d.function(bisnn_1d.GRID))
    figure = calibration_plots.curves(
        bisnn_1d.GRID, truth, predictions, bisnn_1d.observations("train"), f"bisnn-1d, seed {seed}"
    )
    return to_png(figure)
