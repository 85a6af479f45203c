"""Calibration: does what a network says of its own certainty come true?

Classes: a prediction made with confidence 0.8 should be right in 80 of 100 cases. Regression: of
the targets, 80 of 100 should lie below the 0.8 quantile of what is predicted.
"""

import math

import numpy as np
from scipy.stats import norm

BINS = 10
LEVELS = tuple(np.arange(1, 20) / 20)


def reliability(probabilities: np.ndarray, labels: np.ndarray, bins: int = BINS) -> dict:
    """Confidence and accuracy in bins of equal width on [0, 1], the last one closed.

    Args:
        probabilities: [N, classes]; the confidence is the largest of a row.
        labels: [N] integers.
        bins: number of bins. Default 10.

    Returns:
        {"count", "confidence", "accuracy"}: lists with one entry a bin, means within the bin, None
        in an empty one.

    Raises:
        ValueError: for other shapes, no samples, or probabilities that do not sum to 1.
    """
    probabilities, labels = _checked(probabilities, labels)
    confidence = probabilities.max(axis=-1)
    right = probabilities.argmax(axis=-1) == labels
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    counts = np.bincount(which, minlength=bins)

    def means(values):
        sums = np.bincount(which, weights=values, minlength=bins)
        return [s / n if n else None for s, n in zip(sums.tolist(), counts.tolist(), strict=True)]

    return {"count": counts.tolist(), "confidence": means(confidence), "accuracy": means(right)}


def expected_calibration_error(probabilities, labels, bins: int = BINS) -> float:
    """``sum over bins of n_bin / n * |accuracy - mean confidence|``; see `reliability`."""
    return calibration_error(reliability(probabilities, labels, bins))


def calibration_error(curve: dict) -> float:
    """The expected calibration error of a `reliability` curve."""
    total = sum(curve["count"])
    rows = zip(*(curve[name] for name in ("count", "confidence", "accuracy")), strict=True)
    return sum(n * abs(accuracy - confidence) for n, confidence, accuracy in rows if n) / total


def score_probabilities(probabilities, labels, bins: int = BINS) -> dict:
    """{"accuracy", "ece", "nll"}: shares; the negative log likelihood is a mean in nats."""
    probabilities, labels = _checked(probabilities, labels)
    of_label = np.take_along_axis(probabilities, labels[:, None].astype(int), axis=-1)
    return {
        "accuracy": float((probabilities.argmax(axis=-1) == labels).mean()),
        "ece": expected_calibration_error(probabilities, labels, bins),
        "nll": float(-np.log(np.maximum(of_label, 1e-12)).mean()),
    }


def quantile_shares(mean, deviation, targets, levels=LEVELS) -> list[float]:
    """Share of the targets below each quantile of normal predictions; `levels` if calibrated.

    Args:
        mean, deviation: [N], of the predictive distributions; deviations > 0.
        targets: [N].
        levels: of the quantiles, in (0, 1). Default 0.05, 0.10, ..., 0.95.
    """
    mean, deviation, targets = (np.asarray(v, "float64") for v in (mean, deviation, targets))
    if not mean.shape == deviation.shape == targets.shape or mean.ndim != 1 or not len(mean):
        raise ValueError(
            "means, deviations and targets must have one shape [N], N >= 1; received: "
            f"{mean.shape}, {deviation.shape} and {targets.shape}"
        )
    if not np.all(deviation > 0):
        raise ValueError(f"deviations must be > 0; received one of {deviation.min()!r}")
    place = norm.cdf((targets - mean) / deviation)
    return [float((place <= level).mean()) for level in levels]


def score_normal(mean, deviation, targets, reference=None) -> dict:
    """{"rmse", "quantile_error", "interval_error", "coverage_90", "nll"} of normal predictions.

    The quantile error is the mean of ``|share - level|`` over the levels of `quantile_shares`
    (Kuleshov, Fenner & Ermon 2018, arXiv:1807.00263, with the distance itself); the interval error
    is the same of the share of targets within the central intervals of these levels, which asks
    for their width and not for the side of an error. coverage_90: share within the central 90 %;
    nll: mean negative log likelihood in nats. `reference`: [N], what the rmse is taken against;
    default: the targets.
    """
    mean, deviation, targets = (np.asarray(v, "float64") for v in (mean, deviation, targets))
    levels = np.array(LEVELS)
    shares = np.array(quantile_shares(mean, deviation, targets))
    distance = np.abs(targets - mean) / deviation
    within = (distance[:, None] <= norm.ppf((1 + levels) / 2)).mean(axis=0)
    error = mean - (targets if reference is None else np.asarray(reference, "float64"))
    nll = 0.5 * distance**2 + np.log(deviation) + 0.5 * math.log(2 * math.pi)
    return {
        "rmse": float(np.sqrt(np.mean(error**2))),
        "quantile_error": float(np.abs(shares - levels).mean()),
        "interval_error": float(np.abs(within - levels).mean()),
        "coverage_90": float((distance <= norm.ppf(0.95)).mean()),
        "nll": float(nll.mean()),
    }


def _checked(probabilities, labels):
    probabilities, labels = np.asarray(probabilities, "float64"), np.asarray(labels)
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1] or not len(labels):
        raise ValueError(
            "probabilities must have shape [N, classes] and labels [N], N >= 1; received: "
            f"{probabilities.shape} and {labels.shape}"
        )
    if not np.all(probabilities >= 0) or not np.allclose(probabilities.sum(-1), 1, atol=1e-3):
        raise ValueError(
            "each row of probabilities must be >= 0 and sum to 1; received sums between "
            f"{probabilities.sum(-1).min():.4g} and {probabilities.sum(-1).max():.4g}"
        )
    return probabilities, labels
