"""MNIST: 784 pixels one after another, in order (smnist) or permuted (psmnist), and as images."""

import functools
from pathlib import Path

import numpy as np

from training.tasks.base import EXACT_SUMS, ImageRecipe, Split, Task, TaskData
from training.tasks.tfds_data import read_tfds


def load(data_dir: Path | None = None, *, permuted: bool = True, permutation: int = 0) -> TaskData:
    """[N, 784, 1] in [0, 1]; 50,000 training, 10,000 validation, 10,000 test images.

    tensorflow-datasets reads them: from ``<data_dir>/tfds`` or `data_dir` itself; without
    `data_dir` it downloads them. Validation is the last 10,000 images of its training split, whose
    order is shuffled and fixed. The order of the pixels is
    ``RandomState(permutation).permutation(784)``.
    """
    order = np.random.RandomState(permutation).permutation(784) if permuted else np.arange(784)
    name = "psmnist" if permuted else "smnist"
    return _read(name, data_dir, lambda pixels: pixels[:, order, None])


def load_images(data_dir: Path | None = None) -> TaskData:
    """[N, 28, 28, 1] in [0, 1], in the splits of `load`."""
    return _read("mnist", data_dir, lambda pixels: pixels.reshape(-1, 28, 28, 1))


def _read(name, data_dir, arrange):
    parts = {}
    for part, split in (("train", "train[:50000]"), ("validation", "train[50000:]"),
                        ("test", "test")):  # fmt: skip
        images, labels = read_tfds("mnist", split, data_dir)
        pixels = images.reshape(-1, 784) / np.float32(255)
        parts[part] = Split(arrange(pixels), labels.astype("int32"))
    return TaskData(name=name, kind="classes", per_step=False, outputs=10, **parts)


# Chosen on the validation split, seed 0; evaluation/results/README.md lists what was tried.
RECIPES = {
    "*": dict(
        epochs=15, batch_size=100, parameters=102_000, learning_rate=1e-3, schedule="cosine",
        clip_norm=1.0,
    ),
    # 165,000 parameters as the feed-forward LMU of Chilkuri & Eliasmith (2021), arXiv:2102.11417.
    "hybrid-lmu": dict(
        epochs=40, parameters=166_000, order=468, theta=784.0, hidden="dense", learning_rate=6e-3,
        clip_norm=None, dropout=0.4, memory_dropout=0.2, memory_unit="deviation",
        memory_resolution=2.0, hidden_resolution=1.0, memory_limit=3.0, hidden_limit=7.0,
        anneal_fraction=0.5, readout="mean", readout_steps=4,
    ),
    "hybrid-lmu-recurrent": dict(
        order=400, theta=784.0, hidden="relu-rnn", learning_rate=3e-3, memory_dropout=0.2,
        dropout=0.3, memory_unit="deviation", memory_resolution=2.0, hidden_resolution=1.0,
        memory_limit=3.0, hidden_limit=7.0, anneal_fraction=0.5, simulated_steps=16,
        readout="mean", readout_steps=4,
    ),
    "hybrid-lmu-integer": dict(
        order=128, theta=784.0, hidden="dense", learning_rate=5e-3, dropout=0.4,
        memory_feedback="integrated", input_resolution=15.0, memory_bits=4.5, hidden_bits=2.2,
        anneal_fraction=0.5, readout="mean", readout_steps=4,
    ),
    "lmu": dict(order=256, theta=784.0, hidden="rnn"),
    "gru": dict(learning_rate=3e-3),
    "hybrid-lstm": dict(hidden_resolution=6.0),
    "hybrid-gru": dict(learning_rate=3e-3, hidden_resolution=6.0),
}  # fmt: skip
PSMNIST = Task(
    name="psmnist",
    load=load,
    load_options=("permutation",),
    recipes=RECIPES,
    low_bit=EXACT_SUMS,
)
SMNIST = Task(
    name="smnist",
    load=functools.partial(load, permuted=False),
    recipes=RECIPES,
    low_bit=EXACT_SUMS,
)
IMAGES = Task(
    name="mnist",
    load_images=load_images,
    image_recipe=ImageRecipe(((16, 16), (32, 32)), 128, 100, (4, 4), (2e-3, 1e-3)),
)
