"""Experiments on still images: convolutional networks to be converted to spiking ones.

Networks of the pattern of Lu & Sengupta (2020), arXiv:2002.10064: 3x3 convolutions, average pooling
between convolution and ReLU, no biases; trained at full precision, then on with binary kernels.
"""

import dataclasses

import keras
import numpy as np

from hybrid_lmu.weights import ScaledBinary, quantize_weights
from training.errors import DataNotFound
from training.tasks import Split, TaskData, load_task
from training.tasks.mnist import read_tfds

DATA = ("digits", "mnist", "cifar10", "cifar100")
POOLINGS, PLACES = ("average", "max"), ("before", "after")
# The authors' statistics of CIFAR (their converter's).
_CIFAR_MEAN, _CIFAR_DEVIATION = (0.507, 0.487, 0.441), (0.267, 0.256, 0.276)


@dataclasses.dataclass(frozen=True)
class Design:
    """What a network looks like, beside the recipe's sizes.

    `pooling`: average or max; `place`: before or after the ReLU; `bias`: biases in all layers;
    `batch_norm`: BatchNormalization behind each convolution; `binary`: train on with binary
    kernels, those of the first and the last layer too with `binary_first` and `binary_last`.
    """

    pooling: str = "average"
    place: str = "before"
    bias: bool = False
    batch_norm: bool = False
    binary: bool = False
    binary_first: bool = False
    binary_last: bool = False

    def __post_init__(self):
        for name, allowed in (("pooling", POOLINGS), ("place", PLACES)):
            value = getattr(self, name)
            if value not in allowed:
                raise ValueError(f"`{name}` must be one of {allowed}; received: {value!r}")

    @property
    def name(self):
        parts = [f"{self.pooling} pool {self.place} ReLU", "bias" * self.bias,
                 "batch norm" * self.batch_norm, "binary" * self.binary]  # fmt: skip
        ends = [
            w for w, is_on in (("first", self.binary_first), ("last", self.binary_last)) if is_on
        ]
        return ", ".join([p for p in parts if p] + [f"{w} too" for w in ends if self.binary])


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Sizes and training. A block is the filters of its convolutions; a pooling ends it.

    Of both parts (full precision, then binary): epochs, first learning rate, and factors
    ``{epoch: factor}`` from an epoch on, or None for a cosine to 0. Weight decay is decoupled.
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


_HALVED = {epoch: 0.5 ** (epoch // 30) for epoch in range(30, 200, 30)}
# VGG-15 with the authors' recipe for CIFAR-100 (README of their code; weight decay of the binary
# part, which their scaling of the gradient makes void, is left out).
_VGG15 = Recipe(
    blocks=((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512)), dense=4096,
    batch_size=256, epochs=(200, 200), rates=(5e-2, 5e-4), optimizers=("sgd", "adam"),
    factors=({81: 0.1, 122: 0.01}, _HALVED), decays=(1e-4, None), augment=True,
)  # fmt: skip
RECIPES = {
    "digits": Recipe(((16, 16), (32, 32)), 64, 32, (30, 30), (2e-3, 2e-3)),
    "mnist": Recipe(((16, 16), (32, 32)), 128, 100, (4, 4), (2e-3, 1e-3)),
    "cifar10": _VGG15,
    "cifar100": _VGG15,
}


def load(name: str, data_dir=None) -> TaskData:
    """Images [N, H, W, C]: digits (8 x 8, embedded), mnist (28 x 28), cifar10 and cifar100.

    Splits are those of the tasks `digits` and `smnist`; of CIFAR the last 5,000 training images are
    for validation. ValueError: another name. DataNotFound: how to get the data.
    """
    if name not in DATA:
        raise ValueError(f"`data` must be one of {', '.join(DATA)}; received: {name!r}")
    if name in ("cifar10", "cifar100"):
        return _cifar(name, data_dir)
    task = load_task({"digits": "digits", "mnist": "smnist"}[name], data_dir)
    side = int(np.sqrt(task.timesteps))
    order = np.random.RandomState(0).permutation(64) if name == "digits" else np.arange(784)
    back = np.argsort(order)

    def images(split):
        return Split(split.x[:, back].reshape(-1, side, side, 1), split.y)

    parts = {part: images(getattr(task, part)) for part in ("train", "validation", "test")}
    return dataclasses.replace(task, name=name, **parts)


def _cifar(name, data_dir):
    parts = {}
    for part, split in (("train", "train[:45000]"), ("validation", "train[45000:]"),
                        ("test", "test")):  # fmt: skip
        images, labels = read_tfds(name, split, data_dir)
        x = (images / np.float32(255) - np.float32(_CIFAR_MEAN)) / np.float32(_CIFAR_DEVIATION)
        parts[part] = Split(x.astype("float32"), labels.astype("int32"))
    outputs = {"cifar10": 10, "cifar100": 100}[name]
    return TaskData(name=name, kind="classes", per_step=False, outputs=outputs, **parts)


def build(data: TaskData, recipe: Recipe, design: Design, seed: int) -> keras.Model:
    """The network, at full precision; logits."""
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


def train(data, recipe: Recipe, design: Design, seed: int = 0, note=lambda text: None, start=None):
    """A trained network: at full precision, then, for a binary design, on with binary kernels.

    Of both parts the epoch with the best validation accuracy is kept. `start`: the network that the
    first part would give, trained before; it is left as it is. Binary kernels are centred, unless
    the first one is binary and sees one channel alone.
    """
    keras.utils.set_random_seed(seed)
    model = start or _fit(build(data, recipe, design, seed), data, recipe, 0, seed, note)
    if not design.binary:
        return model
    # Of one channel there is nothing to centre over.
    grey = design.binary_first and data.train.x.shape[-1] == 1
    low = quantize_weights(
        model,
        ScaledBinary(centre=not grey),
        exempt_first=not design.binary_first,
        exempt_last=not design.binary_last,
    )
    return _fit(low, data, recipe, 1, seed, note)


def _fit(model, data, recipe, part, seed, note):
    epochs, steps = recipe.epochs[part], len(data.train) // recipe.batch_size
    model.compile(
        _optimizer(recipe, part, epochs, steps),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    best = _KeepBest(note, epochs)
    batches = _Batches(data.train, recipe.batch_size, seed, recipe.augment)
    validation = (data.validation.x, data.validation.y)
    model.fit(batches, epochs=epochs, validation_data=validation, verbose=0, shuffle=False,
              callbacks=[best], validation_batch_size=recipe.batch_size)  # fmt: skip
    model.set_weights(best.weights)
    return model


def _optimizer(recipe, part, epochs, steps):
    rate, factors = recipe.rates[part], recipe.factors[part]
    schedules = keras.optimizers.schedules
    if factors is None:
        rate = schedules.CosineDecay(rate, epochs * steps)
    else:
        values = [rate, *(rate * factor for factor in factors.values())]
        rate = schedules.PiecewiseConstantDecay([epoch * steps for epoch in factors], values)
    if recipe.optimizers[part] == "sgd":
        return keras.optimizers.SGD(rate, momentum=0.9, weight_decay=recipe.decays[part])
    return keras.optimizers.Adam(rate, weight_decay=recipe.decays[part])


class _KeepBest(keras.callbacks.Callback):
    """The weights of the epoch with the best validation accuracy, and a note on each epoch."""

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
    """Shuffled batches; with `augment`, cut out of 4 pixels of padding and mirrored at random."""

    def __init__(self, split, batch_size, seed, augment):
        super().__init__()
        self.split, self.batch_size, self.augment = split, batch_size, augment
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


def moved(x, random, padding=4):
    """Images shifted by up to `padding` pixels, 0 outside, and mirrored with probability 1/2."""
    size = x.shape[1:3]
    wide = np.pad(x, ((0, 0), (padding,) * 2, (padding,) * 2, (0, 0)))
    result = np.empty_like(x)
    for i in range(len(x)):
        top, left = random.integers(0, 2 * padding + 1, 2)
        image = wide[i, top : top + size[0], left : left + size[1]]
        result[i] = image[:, ::-1] if random.random() < 0.5 else image
    return result


__all__ = ["DATA", "DataNotFound", "Design", "RECIPES", "Recipe", "build", "load", "moved", "train"]
