import numpy as np
import pytest

from training.tasks import bisnn_1d, load_task, population_code, two_moons


def test_published_population_code():
    rates = population_code.rates(np.array([[0.37]]), 10)
    assert rates.shape == (1, 10)
    np.testing.assert_allclose(rates[0, 3:5], [0.7545, 0.2455], atol=1e-4)
    assert np.all(rates[0, [0, 1, 2, 5, 6, 7, 8, 9]] < 1e-12)
    # Two coordinates stand one after the other.
    both = population_code.rates(np.array([[0.37, 1.0]]), 10)
    np.testing.assert_array_equal(both[0, :10], rates[0])
    assert both[0, 19] == 1


def test_wide_bumps_overlap_as_published():
    """100 x against centres 100 / 19 apart and a width of 4 * 100 / 19."""
    x, width = 0.42, 4 * 100 / 19
    centres = np.arange(20) * width / 4
    expected = 0.5 + 0.5 * np.cos(np.clip(np.pi * (100 * x - centres) / width, -np.pi, np.pi))
    np.testing.assert_allclose(population_code.rates(np.array([x]), 20, 4.0), expected)


def test_spikes_have_their_rates_and_are_drawn_once():
    rates = np.array([[0.0, 0.25, 1.0]])
    spikes = population_code.spikes(rates, 4000, seed=0)
    np.testing.assert_allclose(spikes.mean(axis=1), rates, atol=0.03)
    np.testing.assert_array_equal(spikes, population_code.spikes(rates, 4000, seed=0))
    assert np.any(spikes != population_code.spikes(rates, 4000, seed=1))


def test_bad_codes():
    with pytest.raises(ValueError, match="`neurons` must be an integer >= 2; received: 1"):
        population_code.rates(np.zeros((1, 1)), 1)
    with pytest.raises(ValueError, match="`overlap` must be > 0; received: 0"):
        population_code.rates(np.zeros((1, 1)), 3, 0)


def test_two_moons():
    task = load_task("two-moons")
    assert [len(part) for part in (task.train, task.validation, task.test)] == [200, 1000, 2000]
    assert (task.kind, task.outputs, task.timesteps, task.features) == ("classes", 2, 100, 20)
    assert set(np.unique(task.train.x)) == {0, 1}
    points = two_moons.coordinates("train")
    np.testing.assert_allclose([points.min(0), points.max(0)], [[0, 0], [1, 1]], atol=1e-12)
    for part in (task.train, task.validation, task.test):
        assert part.y.mean() == 0.5
    # The spikes are those of the points: on average, their rates.
    means = task.train.x.mean(axis=1)
    rates = population_code.rates(points, 10)
    assert np.abs(means - rates).max() < 0.25 and np.abs(means - rates).mean() < 0.02
    again = load_task("two-moons")
    np.testing.assert_array_equal(task.test.x, again.test.x)
    assert len(np.unique(np.concatenate([two_moons.coordinates(p) for p in two_moons.SIZES]))) > 6e3


def test_the_grid_of_two_moons_is_half_open():
    points, spikes = two_moons.grid(20)
    assert points.shape == (400, 2) and spikes.shape == (400, 100, 20)
    assert points.min() == 0 and points.max() == 0.95
    np.testing.assert_array_equal(points[:2], [[0, 0], [0.05, 0]])
    # At the origin the first neurons of both coordinates fire at every step.
    np.testing.assert_array_equal(spikes[0, :, [0, 10]], np.ones((2, 100)))


def test_curve():
    task = load_task("bisnn-1d")
    assert [len(part) for part in (task.train, task.validation, task.test)] == [60, 60, 600]
    assert (task.kind, task.outputs, task.features) == ("regression", 1, 20)
    assert (task.test.y.min(), task.test.y.max()) == (0, 1)
    assert bisnn_1d.function(np.array([2.0]))[0] == pytest.approx(2 - 0.4 - 1)
    seen = bisnn_1d.seen(bisnn_1d.GRID)
    assert seen.sum() == 300
    x = np.r_[np.arange(-1, 0, 0.05), np.arange(1.5, 2.5, 0.05), np.arange(4, 5, 0.05)]
    residual = task.train.y[:, 0] - bisnn_1d.scaled_target(bisnn_1d.function(x))
    assert residual.std() == pytest.approx(bisnn_1d.noise_deviation(), rel=0.2)
    # Validation is between the training points, with noise of its own.
    between = task.validation.y[:, 0] - bisnn_1d.scaled_target(bisnn_1d.function(x + 0.025))
    assert between.std() == pytest.approx(bisnn_1d.noise_deviation(), rel=0.2)
    assert abs(np.corrcoef(residual, between)[0, 1]) < 0.3
