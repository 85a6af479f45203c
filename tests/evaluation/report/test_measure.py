from types import SimpleNamespace

import keras
import numpy as np
import pytest

from evaluation.report.measure import count_histograms, resolution_sweep
from hybrid_lmu import SigmaDelta, resolution_variables


@pytest.fixture
def model():
    return keras.Sequential(
        [
            keras.Input((5, 3)),
            SigmaDelta("relu", resolution=4.0, initial_error="zeros"),
            SigmaDelta("relu", resolution=[1.0, 2.0, 3.0], initial_error="zeros"),
        ]
    )


def score_nothing():
    return {"score": 0.5, "low": None, "high": None}


def values(model):
    return [keras.ops.convert_to_numpy(v) for v in resolution_variables(model).values()]


def test_sweep_scales_every_resolution_and_restores_it(model):
    seen = []

    def bits():
        seen.append([v.tolist() for v in values(model)])
        return len(seen)

    points = resolution_sweep(model, score_nothing, bits, factors=(0.5, 4))
    assert seen == [[2.0, [0.5, 1.0, 1.5]], [16.0, [4.0, 8.0, 12.0]]]
    assert [p["activity_bits"] for p in points] == [1, 2]
    assert points[1]["factor"] == 4 and points[1]["resolutions"] == [16.0, 8.0]
    assert points[0]["score"] == 0.5
    assert [v.tolist() for v in values(model)] == [4.0, [1.0, 2.0, 3.0]]


def test_sweep_reaches_a_model_that_has_already_predicted(model):
    x = np.full((1, 5, 3), 0.3, "float32")
    before = model.predict(x, verbose=0)
    outputs = []

    def bits():
        outputs.append(model.predict(x, verbose=0))
        return 0

    resolution_sweep(model, score_nothing, bits, factors=(1, 1024))
    np.testing.assert_array_equal(outputs[0], before)
    assert np.abs(outputs[1] - 0.3).max() < 2e-3 < np.abs(before - 0.3).max()


def test_sweep_restores_after_an_error(model):
    def bits():
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        resolution_sweep(model, score_nothing, bits)
    assert [v.tolist() for v in values(model)] == [4.0, [1.0, 2.0, 3.0]]


def test_a_model_without_resolution_is_refused():
    plain = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    with pytest.raises(ValueError, match="no variable named 'resolution'"):
        resolution_sweep(plain, score_nothing, lambda: 0)


def test_histogram_counts_over_all_batches():
    x = np.array([[[-2], [0]], [[0], [0]], [[5], [0]]])
    sizes = []

    def record(part):
        sizes.append(len(part))
        return {"hidden": SimpleNamespace(counts=part, resolution=2.0)}

    histogram = count_histograms(record, x, batch_size=2)
    assert sizes == [2, 1]
    counts, shares, resolution = histogram["hidden"]
    np.testing.assert_array_equal(counts, [-2, 0, 5])
    np.testing.assert_allclose(shares, [1 / 6, 4 / 6, 1 / 6])
    assert resolution == 2.0
