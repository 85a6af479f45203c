"""Measurements on a trained model for the report: a sweep of its resolutions, and its counts."""

import contextlib

import keras
import numpy as np

from hybrid_lmu import resolution_variables
from training.runner import NON_SPIKING_RESOLUTION

FACTORS = (1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8, 16)


def resolution_sweep(model, score, bits, factors=FACTORS, note=lambda text: None):
    """Scales all resolutions of a model by one factor after another and measures it again.

    score: callable -> {"score", "low", "high"} (bounds may be None). bits: callable -> mean
    activity bits. Returns a list of {"factor", "resolutions", "activity_bits", "score", "low",
    "high"}. The model has its own resolutions again afterwards, also after an error.
    """
    points = []
    with _own_resolutions(model) as (variables, trained):
        for factor in factors:
            note(f"resolutions × {factor:g}")
            for variable, value in zip(variables, trained, strict=True):
                variable.assign(value * factor)
            points.append(
                {
                    "factor": factor,
                    "resolutions": [float(np.mean(value * factor)) for value in trained],
                    "activity_bits": float(bits()),
                    **score(),
                }
            )
    return points


def non_spiking(model, score):
    """score() with every resolution at 2^20 (training's non-spiking reference), then as before."""
    with _own_resolutions(model) as (variables, _):
        for variable in variables:
            variable.assign(np.full(variable.shape, NON_SPIKING_RESOLUTION, "float32"))
        return score()


@contextlib.contextmanager
def _own_resolutions(model):
    """Yields (resolution variables, their values); afterwards they have these values again."""
    variables = list(resolution_variables(model).values())
    if not variables:
        raise ValueError(
            f"the model {model.name!r} has no variable named 'resolution'; expected a spiking model"
        )
    trained = [keras.ops.convert_to_numpy(v) for v in variables]
    try:
        yield variables, trained
    finally:
        for variable, value in zip(variables, trained, strict=True):
            variable.assign(value)


def count_histograms(record, x, batch_size=16):
    """How often each count occurs in each quantized activity, over all samples and steps.

    record: callable, x -> dict of name -> object with `counts` (integers [B, T, N]) and
    `resolution`. It sees `batch_size` samples at a time, so that counts never pile up in memory.
    Returns a dict of name -> (values ascending, shares that sum to 1, resolution).
    """
    totals, resolutions = {}, {}
    for start in range(0, len(x), batch_size):
        for name, activity in record(x[start : start + batch_size]).items():
            resolutions[name] = activity.resolution
            bins = totals.setdefault(name, {})
            for value, number in zip(*np.unique(activity.counts, return_counts=True), strict=True):
                bins[int(value)] = bins.get(int(value), 0) + int(number)
    histograms = {}
    for name, bins in totals.items():
        values = np.array(sorted(bins))
        numbers = np.array([bins[v] for v in values], dtype="float64")
        histograms[name] = (values, numbers / numbers.sum(), resolutions[name])
    return histograms
