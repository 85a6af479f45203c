"""Counts of activities need no products: layers whose products are unknown are in nobody's way."""

import keras
import numpy as np
import pytest

from hybrid_lmu import BitBudget, activity_report, record_activity
from hybrid_lmu.accounting import count_ranges
from hybrid_lmu.conversion import to_hybrid

x = np.random.default_rng(0).normal(size=(8, 12, 3)).astype("float32")


def hybrid(**options):
    layers = [keras.layers.Dense(4), keras.layers.PReLU(name="unknown"), keras.layers.LSTM(3)]
    return to_hybrid(keras.Sequential([keras.Input((12, 3)), *layers]), **options)


def test_calibration_budget_and_recording():
    model = hybrid(x=x, bits=3.0)
    model.compile("sgd", "mse")
    model.fit(x, np.zeros((8, 3)), verbose=0, callbacks=[BitBudget(2.0, x)])
    assert len(count_ranges(model, x)) == 1
    (activity,) = record_activity(model, x).values()
    assert activity.counts.shape == (8, 12, 3)


def test_a_report_says_what_it_does_not_know_whenever_it_is_asked():
    model = hybrid(resolution=4.0)
    for _ in range(2):
        with pytest.raises(ValueError, match="products of layer 'unknown'.*skip"):
            activity_report(model, x)
        count_ranges(model, x)
    assert activity_report(model, x, skip="unknown").samples == 8
