import numpy as np
import pytest

from evaluation.calibration import plots, scores
from evaluation.style import to_png


def rows(confidences, right):
    """Predictions of class 1 of two with these confidences, and labels that make them right."""
    p = np.array(confidences)
    return np.stack([1 - p, p], axis=-1), np.array(right, int)


def test_published_vector():
    probabilities, labels = rows((0.95, 0.85, 0.65, 0.55), (1, 1, 0, 1))
    assert scores.expected_calibration_error(probabilities, labels) == pytest.approx(0.325)
    curve = scores.reliability(probabilities, labels)
    assert curve["count"] == [0, 0, 0, 0, 0, 1, 1, 0, 1, 1]
    assert curve["accuracy"] == [None] * 5 + [1, 0, None, 1, 1]
    np.testing.assert_allclose(curve["confidence"][8:], [0.85, 0.95])


def test_a_confidence_of_one_is_in_the_last_bin():
    probabilities, labels = rows((1.0, 1.0), (1, 0))
    assert scores.reliability(probabilities, labels)["count"][-1] == 2
    assert scores.expected_calibration_error(probabilities, labels) == 0.5


def test_honest_predictions_are_calibrated():
    random = np.random.RandomState(0)
    probabilities = random.dirichlet(np.ones(3), 20_000)
    labels = (random.random_sample((20_000, 1)) > probabilities.cumsum(-1)).sum(-1)
    found = scores.score_probabilities(probabilities, labels)
    assert found["ece"] < 0.015
    expected = probabilities.max(-1).mean()
    assert found["accuracy"] == pytest.approx(expected, abs=0.01)
    sharper = probabilities**3 / (probabilities**3).sum(-1, keepdims=True)
    worse = scores.score_probabilities(sharper, labels)
    assert worse["ece"] > 0.1 and worse["nll"] > found["nll"]
    assert worse["accuracy"] == found["accuracy"]


def test_normal_predictions():
    random = np.random.RandomState(1)
    mean, deviation = random.normal(0, 3, 20_000), random.uniform(0.5, 2, 20_000)
    targets = random.normal(mean, deviation)
    found = scores.score_normal(mean, deviation, targets)
    assert found["quantile_error"] < 0.01 and found["interval_error"] < 0.01
    assert found["coverage_90"] == pytest.approx(0.9, abs=0.01)
    narrow = scores.score_normal(mean, deviation / 4, targets)
    assert narrow["quantile_error"] > 0.1 and narrow["interval_error"] > 0.1
    assert narrow["coverage_90"] < 0.5
    assert narrow["nll"] > found["nll"] and narrow["rmse"] == found["rmse"]
    # Errors of the right size, all to one side: the intervals are right, the quantiles are not.
    aside = scores.score_normal(mean, deviation, mean + np.abs(targets - mean))
    assert aside["interval_error"] < 0.01 and aside["quantile_error"] > 0.2
    exact = scores.score_normal(mean, deviation, targets, reference=mean)
    assert exact["rmse"] == 0
    # One target at its median: half of the levels are too low by themselves.
    shares = scores.quantile_shares([0.0], [1.0], [0.0], levels=(0.25, 0.5, 0.75))
    assert shares == [0, 1, 1]


def test_bad_input():
    probabilities, labels = rows((0.9, 0.8), (1, 0))
    for p, y, message in (
        (probabilities[:, 0], labels, r"\[N, classes\] and labels \[N\].*received: \(2,\)"),
        (probabilities, labels[:1], r"received: \(2, 2\) and \(1,\)"),
        (probabilities[:0], labels[:0], "N >= 1"),
        (2 * probabilities, labels, "sum to 1; received sums between 2 and 2"),
        (probabilities * np.nan, labels, "sum to 1"),
    ):
        with pytest.raises(ValueError, match=message):
            scores.expected_calibration_error(p, y)
    with pytest.raises(ValueError, match="deviations must be > 0; received one of"):
        scores.score_normal([0.0], [0.0], [0.0])
    with pytest.raises(ValueError, match=r"one shape \[N\], N >= 1; received: \(2,\), \(1,\)"):
        scores.quantile_shares([0.0, 1.0], [1.0], [0.0])


def test_figures():
    curve = scores.reliability(*rows((0.95, 0.85, 0.65, 0.55), (1, 1, 0, 1)))
    figure = plots.reliability({"a rule": curve, "another": curve}, "Title")
    assert len(figure.axes) == 2
    assert to_png(figure).startswith(b"\x89PNG")
    levels = scores.LEVELS
    figure = plots.quantiles({"a rule": levels}, levels, "Title")
    assert to_png(figure).startswith(b"\x89PNG")
    ticks = np.linspace(0, 1, 5)
    samples = np.random.RandomState(0).random_sample((3, 25))
    maps = {"a rule": (samples.mean(0), samples.std(0)), "another": (samples[0], None)}
    points, labels = np.random.RandomState(1).random_sample((8, 2)), np.arange(8) % 2
    figure = plots.decision_maps(maps, points, labels, "Title")
    assert to_png(figure).startswith(b"\x89PNG")
    curves = {"a rule": (ticks, 0 * ticks + 0.1), "another": (ticks, 0 * ticks + 0.2)}
    figure = plots.curves(ticks, ticks, curves, (ticks[:2], ticks[:2]), "Title")
    assert to_png(figure).startswith(b"\x89PNG")
