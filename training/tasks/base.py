"""What a task is: its data, and the recipes of the experiments on it."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

# For low-bit weights. One scale for a whole kernel wants inputs of one size, so the memory is
# normalized; scales that are powers of two make all sums of counts exact.
EXACT_SUMS = {"power_of_two": True, "memory_unit": "normalized"}


@dataclasses.dataclass(frozen=True)
class Split:
    """One part of the data of a task.

    Attributes:
        x: float32 or counts in unsigned integers: [N, T, F], one vector a step; [N, T, H, W, C],
            one image a step; or [N, H, W, C], still images (`training.images`).
        y: classes, int32 [N] or [N, T]; or targets of a regression, float32 [N, T, K] or [N, K].
        weight: float32 [N, T], 0 for steps that do not count. None: all count.
        augment: function of (x of a batch, numpy Generator) that training applies to each batch.
            None: nothing is changed.
    """

    x: np.ndarray
    y: np.ndarray
    weight: np.ndarray | None = None
    augment: Callable | None = None

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows: np.ndarray | slice) -> "Split":
        """The samples at the indices or in the slice `rows`."""
        weight = None if self.weight is None else self.weight[rows]
        return Split(self.x[rows], self.y[rows], weight, self.augment)


@dataclasses.dataclass(frozen=True)
class TaskData:
    """The data of a task.

    Attributes:
        name: the name of the task.
        kind: "classes" or "regression".
        per_step: whether every step has a label or target, and not the sequence as a whole.
        outputs: number of classes, or of targets of a regression.
        train, validation, test: the splits.
    """

    name: str
    kind: str
    per_step: bool
    outputs: int
    train: Split
    validation: Split
    test: Split

    def check(self) -> "TaskData":
        """Return self; ValueError for an empty split, NaN or infinite data, a wrong rank."""
        for part in ("train", "validation", "test"):
            where = f"the {part} split of task {self.name!r}"
            _check_split(getattr(self, part), self.sample_shape, where)
        return self

    @property
    def timesteps(self) -> int:
        """Number of steps of a sequence."""
        return self.train.x.shape[1]

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample: (T, F) or (T, H, W, C)."""
        return self.train.x.shape[1:]

    @property
    def features(self) -> int:
        """F of a task with one vector a step; ValueError for a task with one image a step."""
        if len(self.sample_shape) != 2:
            raise ValueError(
                f"task {self.name!r} must have one vector a step for this model, shape [N, T, F]; "
                f"received: images, {self.sample_shape} a sample (models for images read "
                "`sample_shape`)"
            )
        return self.sample_shape[1]


def _check_split(split, sample_shape, where):
    if len(split) == 0:
        raise ValueError(f"{where} must have at least 1 sample; received: 0")
    if split.x.ndim not in (3, 5):
        raise ValueError(
            f"{where} must have inputs of shape [N, T, H, W, C] or [N, T, F]; received: "
            f"{split.x.shape}"
        )
    if split.x.shape[1:] != sample_shape:
        raise ValueError(
            f"{where} must have samples of the shape of the training split {sample_shape}; "
            f"received: {split.x.shape[1:]}"
        )
    for name in ("x", "y", "weight"):
        array = getattr(split, name)
        if array is None:
            continue
        if len(array) != len(split.x):
            raise ValueError(
                f"{where} must have as many rows in {name} as in x ({len(split.x)}); received: "
                f"{len(array)}"
            )
        if array.dtype.kind in "iub":
            continue
        bad = int(np.size(array) - np.isfinite(array).sum())
        if bad:
            raise ValueError(
                f"{where} must be finite; received: {bad} NaN or infinite values in {name}"
            )


@dataclasses.dataclass(frozen=True)
class ImageRecipe:
    """Sizes and training of a convolutional network (`training.images`).

    A network is trained in two parts: at full precision, then with binary kernels. Attributes in
    pairs hold one value for each part.

    Attributes:
        blocks: for each block the filters of its convolutions; a pooling ends the block.
        dense: units of the dense layer before the last one.
        batch_size: images a training step.
        epochs: passes over the training data (pair).
        rates: learning rate at the start (pair).
        optimizers: "adam" or "sgd" (pair).
        factors: ``{epoch: factor of the learning rate from that epoch on}``, or None for a cosine
            to 0 (pair).
        decays: decoupled weight decay, or None (pair).
        dropout: share of the units of each layer that a training step drops.
        augment: whether images are shifted and mirrored at random.
    """

    blocks: tuple
    dense: int
    batch_size: int
    epochs: tuple
    rates: tuple
    optimizers: tuple = ("adam", "adam")
    factors: tuple = (None, None)
    decays: tuple = (None, None)
    dropout: float = 0.1
    augment: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """A task: one name for some data, with the recipes of the experiments that use it.

    Three experiments use tasks: `training.runner` (``python -m training``), `training.images` and
    `training.bisnn`. A task without recipes for one of them is not offered there.

    A recipe is a plain dict of options. The entry ``"*"`` holds what all models of the task share;
    a model's own entry wins over it; an option of the command line wins over both.

    Attributes:
        name: the name on the command line.
        load: function of `data_dir`, and of `load_options`, that returns the `TaskData`.
        load_options: names of the options of `training.config.Experiment` that `load` takes.
        recipes: ``{"*" or model: options}`` for `training.config.RunConfig`.
        low_bit: options that replace those of the recipe when weights are of few bits.
        image_steps: whether each step is an image, and not a vector.
        can_fold: whether all samples may be divided anew for a cross-validation.
        load_images: function of `data_dir` that returns still images [N, H, W, C].
        image_recipe: the recipe of the network for these images.
        load_spikes: function of `data_dir` that returns the `TaskData` for local learning.
            Default: `load`.
        spike_recipes: ``{"*" or rule: options}`` for `training.bisnn`. The entry "rule" of the
            options holds the arguments of the rule's class.
    """

    name: str
    load: Callable[..., TaskData] | None = None
    load_options: tuple[str, ...] = ()
    recipes: Mapping[str, Mapping] = dataclasses.field(default_factory=dict)
    low_bit: Mapping[str, object] = dataclasses.field(default_factory=dict)
    image_steps: bool = False
    can_fold: bool = False
    load_images: Callable[..., TaskData] | None = None
    image_recipe: ImageRecipe | None = None
    load_spikes: Callable[..., TaskData] | None = None
    spike_recipes: Mapping[str, Mapping] = dataclasses.field(default_factory=dict)
