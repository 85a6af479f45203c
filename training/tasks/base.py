"""The shape of a task's data."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Split:
    """x [N, T, F] float32; y [N] or [N, T] int32 (classes), or [N, T, K] float32 (regression);
    weight [N, T] float32 with 0 for steps that do not count, or None."""

    x: np.ndarray
    y: np.ndarray
    weight: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows) -> "Split":
        return Split(self.x[rows], self.y[rows], None if self.weight is None else self.weight[rows])


@dataclasses.dataclass(frozen=True)
class TaskData:
    """Three splits of one task. `outputs`: number of classes or of regression targets."""

    name: str
    kind: str  # "classes" or "regression"
    per_step: bool
    outputs: int
    train: Split
    validation: Split
    test: Split

    def check(self) -> "TaskData":
        """Return self; ValueError for an empty split, NaN or infinite data, a wrong rank."""
        for part in ("train", "validation", "test"):
            split = getattr(self, part)
            where = f"the {part} split of task {self.name!r}"
            if len(split) == 0:
                raise ValueError(f"{where} must have at least 1 sample; received: 0")
            if split.x.ndim != 3:
                raise ValueError(
                    f"{where} must have inputs of shape [N, T, F]; received: {split.x.shape}"
                )
            for name in ("x", "y", "weight"):
                array = getattr(split, name)
                if array is None:
                    continue
                if len(array) != len(split.x):
                    raise ValueError(
                        f"{where} must have as many rows in {name} as in x ({len(split.x)}); "
                        f"received: {len(array)}"
                    )
                bad = int(np.size(array) - np.isfinite(array).sum())
                if bad:
                    raise ValueError(
                        f"{where} must be finite; received: {bad} NaN or infinite values in {name}"
                    )
        return self

    @property
    def timesteps(self) -> int:
        return self.train.x.shape[1]

    @property
    def features(self) -> int:
        return self.train.x.shape[2]
