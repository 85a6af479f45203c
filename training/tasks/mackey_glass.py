"""Mackey-Glass: predict a chaotic delay equation 15 time units ahead, at every step."""

from pathlib import Path

import numpy as np

from training.tasks.base import Split, Task, TaskData

TAU, AHEAD, STEPS_PER_UNIT = 17, 15, 10
TIMESTEPS, TRANSIENT = 512, 300
SIZES = {"train": 96, "validation": 16, "test": 32}


def load(data_dir: Path | None = None) -> TaskData:
    """x [N, 512, 1], y [N, 512, 1] with y_t = x_{t+15}; generated, `data_dir` is not used.

    One sample a time unit, after 300 units of transient; every sequence starts from its own
    constant history, drawn uniformly from [0.5, 1.5] with seed 0. Values are centred by the
    mean of the training inputs.
    """
    total = sum(SIZES.values())
    starts = np.random.RandomState(0).uniform(0.5, 1.5, total)
    series = mackey_glass(starts, TRANSIENT + TIMESTEPS + AHEAD)[:, TRANSIENT:]
    series = series - series[: SIZES["train"], :TIMESTEPS].mean()
    series = series.astype("float32")[..., None]
    parts, first = {}, 0
    for part, size in SIZES.items():
        rows = series[first : first + size]
        parts[part] = Split(rows[:, :TIMESTEPS], rows[:, AHEAD : AHEAD + TIMESTEPS])
        first += size
    return TaskData(name="mackey-glass", kind="regression", per_step=True, outputs=1, **parts)


def mackey_glass(
    starts: np.ndarray, units: int, tau: int = TAU, steps_per_unit: int = STEPS_PER_UNIT
) -> np.ndarray:
    """Solve x'(t) = 0.2 x(t - tau) / (1 + x(t - tau)^10) - 0.1 x(t)  (Mackey and Glass 1977).

    `starts` [N]: constant history x(t <= 0). Returns [N, units] at t = 1, 2, ... Classical
    fourth-order Runge-Kutta with step 1 / steps_per_unit; the delayed value in mid-step comes
    from the cubic Hermite interpolant of the stored solution and slope, so the whole is of
    fourth order too.
    """
    h = 1.0 / steps_per_unit
    delay, steps = tau * steps_per_unit, units * steps_per_unit
    x = np.empty((delay + steps + 1, len(starts)))
    slope = np.zeros_like(x)  # of the constant history: 0
    x[: delay + 1] = starts

    def rate(now, delayed):
        return 0.2 * delayed / (1.0 + delayed**10) - 0.1 * now

    for k in range(delay, delay + steps):
        left, right = k - delay, k - delay + 1
        early, late = x[left], x[right]
        # The slope jumps at t = 0: use the one from the history's side before it.
        slope_late = slope[right] if right != delay else np.zeros_like(late)
        middle = 0.5 * (early + late) + h / 8.0 * (slope[left] - slope_late)
        k1 = rate(x[k], early)
        slope[k] = k1
        k2 = rate(x[k] + 0.5 * h * k1, middle)
        k3 = rate(x[k] + 0.5 * h * k2, middle)
        k4 = rate(x[k] + h * k3, late)
        x[k + 1] = x[k] + h / 6.0 * (k1 + 2 * k2 + 2 * k3 + k4)
    return x[delay + steps_per_unit :: steps_per_unit].T


TASK = Task(
    name="mackey-glass",
    load=load,
    recipes={
        "*": dict(
            epochs=30, batch_size=16, parameters=8_000, learning_rate=3e-3,
            order=16, theta=50.0, hidden="rnn",
        ),
        "hybrid-lmu": dict(memory_resolution=64.0, hidden_resolution=32.0, start_resolution=256.0),
        "hybrid-lstm": dict(hidden_resolution=32.0, start_resolution=256.0),
        "hybrid-gru": dict(hidden_resolution=32.0, start_resolution=256.0),
    },
)  # fmt: skip
