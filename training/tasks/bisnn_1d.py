"""A curve over three intervals with gaps between them: regression from spikes."""

from pathlib import Path

import numpy as np

from training.tasks import population_code
from training.tasks.base import Split, Task, TaskData

NOISE, STEPS, NEURONS, OVERLAP = 0.1, 100, 20, 4.0
INTERVALS = ((-1.0, 0.0), (1.5, 2.5), (4.0, 5.0))
PER_UNIT = 20
SEEDS = {"train": 0, "validation": 1, "test": 2}
GRID = -1.0 + np.arange(600) / 100


def load(data_dir: Path | None = None) -> TaskData:
    """[N, 100, 20] spikes, targets [N, 1]; generated, `data_dir` is not used.

    ``f(x) = x - 0.1 x^2 + cos(pi x / 2)``, seen with noise of standard deviation 0.1 at 60 points,
    20 a unit on [-1, 0), [1.5, 2.5) and [4, 5); test: f itself, without noise, at 600 points 0.01
    apart on [-1, 5), gaps included (Jang, Skatchkovsky & Simeone 2020, by the authors' code).
    Inputs and targets are scaled by the ranges of the test split, to [0, 1] there.
    Validation, our addition: 60 noisy points midway between the training points; nothing in the
    gaps. Spikes are drawn once: they do not depend on the run's seed.
    """
    parts = {part: observations(part) for part in ("train", "validation")}
    parts["test"] = GRID, scaled_target(function(GRID))
    splits = {
        part: Split(encoded(x, SEEDS[part]), y.astype("float32")[:, None])
        for part, (x, y) in parts.items()
    }
    return TaskData(name="bisnn-1d", kind="regression", per_step=False, outputs=1, **splits)


def observations(part: str) -> tuple[np.ndarray, np.ndarray]:
    """Places [60] and scaled noisy values [60] of the training or validation split."""
    ticks = np.arange(PER_UNIT) / PER_UNIT
    x = np.concatenate([low + ticks * (high - low) for low, high in INTERVALS])
    x = x + (0.5 / PER_UNIT if part == "validation" else 0.0)
    noise = np.random.RandomState(SEEDS[part]).normal(0, NOISE, len(x))
    return x, scaled_target(function(x) + noise)


def function(x: np.ndarray) -> np.ndarray:
    return x - 0.1 * x**2 + np.cos(np.pi * x / 2)


def scaled_target(y: np.ndarray) -> np.ndarray:
    """Values of `function` to [0, 1] on the grid."""
    whole = function(GRID)
    return (y - whole.min()) / (whole.max() - whole.min())


def noise_deviation() -> float:
    """Standard deviation of the noise, scaled as the targets are."""
    whole = function(GRID)
    return NOISE / (whole.max() - whole.min())


def seen(x: np.ndarray) -> np.ndarray:
    """Whether a place is within the intervals of the training points."""
    return np.any([(low <= x) & (x < high) for low, high in INTERVALS], axis=0)


def encoded(x: np.ndarray, seed: int) -> np.ndarray:
    """Spikes [N, 100, 20] of places x [N]."""
    unit = (x - GRID[0]) / (GRID[-1] - GRID[0])
    return population_code.spikes(
        population_code.rates(unit[:, None], NEURONS, OVERLAP), STEPS, seed
    )


TASK = Task(
    name="bisnn-1d",
    load=load,
    spike_recipes={
        "*": dict(hidden=(128, 128), burn_in=10, batch_size=30, epochs=600),
        "full-precision": dict(learning_rate=3.0, rule=dict(initial_latent=0.5)),
        "straight-through": dict(learning_rate=1.0, rule={}),
        "bayesian": dict(learning_rate=300.0, rule=dict(temperature=0.3, rho=1e-6)),
    },
)
