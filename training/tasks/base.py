"""The shape of a task's data."""

import dataclasses
from collections.abc import Callable

import numpy as np


@dataclasses.dataclass(frozen=True)
class Split:
    """x [N, T, F], or images a step [N, T, H, W, C], float32 or counts in unsigned integers;
    y [N] or [N, T] int32 (classes), or [N, T, K] float32 (regression); weight [N, T] float32 with 0
    for steps that do not count, or None; augment(x of a batch, numpy Generator), which training
    applies to every batch, or None."""

    x: np.ndarray
    y: np.ndarray
    weight: np.ndarray | None = None
    augment: Callable | None = None

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows) -> "Split":
        weight = None if self.weight is None else self.weight[rows]
        return Split(self.x[rows], self.y[rows], weight, self.augment)


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
            if split.x.ndim not in (3, 5):
                raise ValueError(
                    f"{where} must have inputs of shape [N, T, H, W, C] or [N, T, F]; received: "
                    f"{split.x.shape}"
                )
            if split.x.shape[1:] != self.sample_shape:
                raise ValueError(
                    f"{where} must have samples of the shape of the training split "
                    f"{self.sample_shape}; received: {split.x.shape[1:]}"
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
                if array.dtype.kind in "iub":
                    continue
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
    def sample_shape(self) -> tuple[int, ...]:
        """(T, F) or (T, H, W, C)."""
        return self.train.x.shape[1:]

    @property
    def features(self) -> int:
        """F of a task of vectors; ValueError for one of images, which has no single number."""
        if len(self.sample_shape) != 2:
            raise ValueError(
                f"task {self.name!r} must have one vector a step for this model, shape [N, T, F]; "
                f"received: images, {self.sample_shape} a sample (models for images read "
                "`sample_shape`)"
            )
        return self.sample_shape[1]
