"""Two moons: two half circles of points, as spikes of a population code."""

from pathlib import Path

import numpy as np

from training.tasks import population_code
from training.tasks.base import Split, Task, TaskData

NOISE, STEPS, NEURONS = 0.1, 100, 10
SIZES = {"train": 200, "validation": 1000, "test": 2000}
SEEDS = {"train": 0, "validation": 1, "test": 2}
GRID_SEED = 3


def load(data_dir: Path | None = None) -> TaskData:
    """[N, 100, 20] spikes, labels 0 or 1; generated, `data_dir` is not used.

    200 training points of standard deviation 0.1 around the half circles, each coordinate scaled
    to [0, 1] by its range, 10 neurons a coordinate, 100 steps (Jang, Skatchkovsky & Simeone 2020,
    by the authors' code). Its test inputs are a grid without labels: `grid`. So 1,000 validation
    and 2,000 test points are drawn here in the same way with other seeds, scaled by the ranges of
    the training points. Spikes are drawn once: they do not depend on the run's seed.
    """
    points, labels = zip(*(_points(part) for part in SIZES), strict=True)
    low, high = points[0].min(axis=0), points[0].max(axis=0)
    parts = {
        part: Split(encoded((x - low) / (high - low), SEEDS[part]), y.astype("int32"))
        for part, x, y in zip(SIZES, points, labels, strict=True)
    }
    return TaskData(name="two-moons", kind="classes", per_step=False, outputs=2, **parts)


def coordinates(part: str) -> np.ndarray:
    """The scaled points [N, 2] of a split."""
    train = _points("train")[0]
    low, high = train.min(axis=0), train.max(axis=0)
    return (_points(part)[0] - low) / (high - low)


def grid(side: int = 100) -> tuple[np.ndarray, np.ndarray]:
    """Points [side**2, 2] over [0, 1)^2, the second coordinate slowest, and their spikes."""
    ticks = np.arange(side) / side
    points = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
    return points, encoded(points, GRID_SEED)


def encoded(points: np.ndarray, seed: int) -> np.ndarray:
    """Spikes [N, 100, 20] of points [N, 2]."""
    return population_code.spikes(population_code.rates(points, NEURONS), STEPS, seed)


def _points(part):
    from sklearn.datasets import make_moons

    return make_moons(SIZES[part], noise=NOISE, random_state=SEEDS[part])


TASK = Task(
    name="two-moons",
    load=load,
    spike_recipes={
        "*": dict(hidden=(256, 256), burn_in=10, batch_size=40, epochs=300),
        "full-precision": dict(learning_rate=0.1, rule={}),
        "straight-through": dict(learning_rate=100.0, rule=dict(clip=30.0)),
        "bayesian": dict(learning_rate=50.0, rule=dict(temperature=0.1, rho=1e-6)),
    },
)
