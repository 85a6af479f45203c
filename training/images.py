"""Experiments on still images: convolutional networks to be converted to spiking ones.

Networks as those of Lu & Sengupta (2020), arXiv:2002.10064: 3x3 convolutions, average pooling
between convolution and ReLU, no biases. Training has two parts: full precision, then binary
kernels. The tasks with an `image_recipe` (`training.tasks`) are those of this experiment.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from hybrid_lmu.weights import ScaledBinary, quantize_weights
from training.fit import fit
from training.tasks import IMAGE_TASKS, TASKS, ImageRecipe, TaskData

RECIPES = {name: TASKS[name].image_recipe for name in IMAGE_TASKS}
POOLINGS, PLACES = ("average", "max"), ("before", "after")


@dataclasses.dataclass(frozen=True)
class Design:
    """What a network looks like, beside the sizes of the recipe.

    Attributes:
        pooling: "average" or "max".
        place: whether pooling comes "before" or "after" the ReLU.
        bias: whether layers have biases.
        batch_norm: whether a BatchNormalization follows each convolution.
        binary: whether the network is trained on with binary kernels.
        binary_first, binary_last: whether the first and the last layer get binary kernels too.
    """

    pooling: str = "average"
    place: str = "before"
    bias: bool = False
    batch_norm: bool = False
    binary: bool = False
    binary_first: bool = False
    binary_last: bool = False

    def __post_init__(self) -> None:
        for name, allowed in (("pooling", POOLINGS), ("place", PLACES)):
            value = getattr(self, name)
            if value not in allowed:
                raise ValueError(f"`{name}` must be one of {allowed}; received: {value!r}")

    @property
    def name(self) -> str:
        """The design in words, such as "average pool before ReLU, binary"."""
        parts = [f"{self.pooling} pool {self.place} ReLU", "bias" * self.bias,
                 "batch norm" * self.batch_norm, "binary" * self.binary]  # fmt: skip
        ends = [
            w for w, is_on in (("first", self.binary_first), ("last", self.binary_last)) if is_on
        ]
        return ", ".join([p for p in parts if p] + [f"{w} too" for w in ends if self.binary])


def load(name: str, data_dir: Path | None = None) -> TaskData:
    """The images [N, H, W, C] of a task, with the splits that its sequences have.

    ValueError: `name` is not in `RECIPES`. DataNotFound: no data; the message says how to get them.
    """
    if name not in RECIPES:
        raise ValueError(f"`data` must be one of {', '.join(RECIPES)}; received: {name!r}")
    return TASKS[name].load_images(data_dir)


def build(data: TaskData, recipe: ImageRecipe, design: Design, seed: int) -> keras.Model:
    """The network at full precision. Its outputs are logits."""
    layers, seeds = keras.layers, iter(range(seed * 1000, (seed + 1) * 1000))
    pool = {"average": layers.AveragePooling2D, "max": layers.MaxPooling2D}[design.pooling]

    def initial():
        return keras.initializers.HeNormal(seed=next(seeds))

    x = inputs = keras.Input(data.train.x.shape[1:], name="image")
    for filters in recipe.blocks:
        for index, size in enumerate(filters):
            pooled = index == len(filters) - 1
            x = layers.Conv2D(size, 3, padding="same", use_bias=design.bias,
                              kernel_initializer=initial())(x)  # fmt: skip
            if design.batch_norm:
                x = layers.BatchNormalization()(x)
            if pooled and design.place == "before":
                x = pool(2)(x)
            x = layers.ReLU()(x)
            if pooled and design.place == "after":
                x = pool(2)(x)
            x = layers.Dropout(recipe.dropout, seed=next(seeds))(x)
    x = layers.Flatten()(x)
    x = layers.Dense(recipe.dense, use_bias=design.bias, kernel_initializer=initial())(x)
    x = layers.Dropout(recipe.dropout, seed=next(seeds))(layers.ReLU()(x))
    x = layers.Dense(data.outputs, use_bias=design.bias, kernel_initializer=initial())(x)
    return keras.Model(inputs, x, name="vgg")


def train(
    data: TaskData,
    recipe: ImageRecipe,
    design: Design,
    seed: int = 0,
    *,
    note: Callable[[str], object] = lambda text: None,
    start: keras.Model | None = None,
) -> keras.Model:
    """Train a network at full precision, then, for a binary design, on with binary kernels.

    Each part keeps the weights of the epoch with the best validation accuracy. Binary kernels are
    centred, except where the first one is binary and meets one channel: there is nothing to centre
    over.

    Args:
        data: images of `load`.
        recipe: sizes and training.
        design: what the network looks like.
        seed: seed of weights, draws and order of samples.
        note: function that gets a line of text after each epoch. Default: no notes.
        start: the trained network of the first part, which is then skipped. It is not changed.
    """
    keras.utils.set_random_seed(seed)
    model = start or _train_part(build(data, recipe, design, seed), data, recipe, 0, seed, note)
    if not design.binary:
        return model
    grey = design.binary_first and data.train.x.shape[-1] == 1
    low = quantize_weights(
        model,
        ScaledBinary(centre=not grey),
        exempt_first=not design.binary_first,
        exempt_last=not design.binary_last,
    )
    return _train_part(low, data, recipe, 1, seed, note)


def _train_part(model, data, recipe, part, seed, note):
    epochs, batches = recipe.epochs[part], _Batches(data.train, recipe, seed)
    model.compile(
        _optimizer(recipe, part, len(batches)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    best = _KeepBest(note, epochs)
    fit(model, batches, epochs=epochs, callbacks=[best], validation=data.validation)
    model.set_weights(best.weights)
    return model


def _optimizer(recipe, part, steps):
    """The optimizer of a part with that many steps an epoch."""
    rate, factors = recipe.rates[part], recipe.factors[part]
    schedules = keras.optimizers.schedules
    if factors is None:
        rate = schedules.CosineDecay(rate, recipe.epochs[part] * steps)
    else:
        values = [rate, *(rate * factor for factor in factors.values())]
        rate = schedules.PiecewiseConstantDecay([epoch * steps for epoch in factors], values)
    if recipe.optimizers[part] == "sgd":
        return keras.optimizers.SGD(rate, momentum=0.9, weight_decay=recipe.decays[part])
    return keras.optimizers.Adam(rate, weight_decay=recipe.decays[part])


class _KeepBest(keras.callbacks.Callback):
    """Keeps the weights of the epoch with the best validation accuracy; notes each epoch."""

    def __init__(self, note, epochs):
        super().__init__()
        self.note, self.epochs, self.best, self.weights = note, epochs, -1.0, None

    def on_epoch_end(self, epoch, logs=None):
        self.note(
            f"epoch {epoch + 1}/{self.epochs}: loss {logs['loss']:.4f}, "
            f"val. accuracy {logs['val_accuracy']:.4f}"
        )
        if logs["val_accuracy"] > self.best:
            self.best, self.weights = logs["val_accuracy"], self.model.get_weights()


class _Batches(keras.utils.PyDataset):
    """Shuffled batches, moved at random if the recipe augments.

    One generator draws both orders and moves: the committed networks were trained so. (Runs of
    `training.runner` can be resumed and have orders that depend on the epoch: `EpochBatches`.)
    """

    def __init__(self, split, recipe, seed):
        super().__init__()
        self.split, self.batch_size, self.augment = split, recipe.batch_size, recipe.augment
        self.random = np.random.default_rng(seed)
        self.on_epoch_end()

    def __len__(self):
        return len(self.split) // self.batch_size

    def __getitem__(self, index):
        rows = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        x = self.split.x[rows]
        return (moved(x, self.random) if self.augment else x), self.split.y[rows]

    def on_epoch_end(self):
        self.order = self.random.permutation(len(self.split))


def moved(x: np.ndarray, random: np.random.Generator, padding: int = 4) -> np.ndarray:
    """Shift each image by up to `padding` pixels, 0 outside; mirror it with probability 1/2."""
    size = x.shape[1:3]
    wide = np.pad(x, ((0, 0), (padding,) * 2, (padding,) * 2, (0, 0)))
    result = np.empty_like(x)
    for i in range(len(x)):
        top, left = random.integers(0, 2 * padding + 1, 2)
        image = wide[i, top : top + size[0], left : left + size[1]]
        result[i] = image[:, ::-1] if random.random() < 0.5 else image
    return result
