"""Digits: scikit-learn's 1,797 real 8x8 images, as sequences of 64 pixels and as images."""

from pathlib import Path

import numpy as np

from training.tasks.base import EXACT_SUMS, ImageRecipe, Split, Task, TaskData

# Splits are stratified and fixed: they do not depend on the run's seed.
TEST_FRACTION, VALIDATION_FRACTION = 0.20, 0.15


def load(data_dir: Path | None = None) -> TaskData:
    """[N, 64, 1] in [0, 1], pixels in the order ``RandomState(0).permutation(64)``.

    1,797 images: 360 test (20 %), 270 validation (15 %), 1,167 training. scikit-learn ships them:
    there is nothing to download, and `data_dir` is not used.
    """
    order = np.random.RandomState(0).permutation(64)
    return _split(lambda pixels: pixels[:, order, None])


def load_images(data_dir: Path | None = None) -> TaskData:
    """[N, 8, 8, 1] in [0, 1], in the splits of `load`."""
    return _split(lambda pixels: pixels.reshape(-1, 8, 8, 1))


def _split(arrange):
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    y = bunch.target.astype("int32")
    rest, test = train_test_split(
        np.arange(len(y)), test_size=TEST_FRACTION, random_state=0, stratify=y
    )
    held_out = round(VALIDATION_FRACTION * len(y))
    train, validation = train_test_split(rest, test_size=held_out, random_state=0, stratify=y[rest])
    whole = Split(arrange((bunch.data / 16.0).astype("float32")), y)
    return TaskData(
        name="digits", kind="classes", per_step=False, outputs=10,
        train=whole.take(train), validation=whole.take(validation), test=whole.take(test),
    )  # fmt: skip


# Chosen on the validation split, seeds 0-2. LMUs: order 32 to 64, dropout 0 to 0.2, resolutions 4
# to 8 and 1 to 2. LSTM and GRU: rate 1e-3 to 3e-2, gradient clipping. All: both schedules.
_LMU = dict(order=56, theta=64.0, hidden="dense", dropout=0.1)
_RNN = dict(learning_rate=1e-2, clip_norm=1.0)
TASK = Task(
    name="digits",
    load=load,
    recipes={
        "*": dict(epochs=60, batch_size=32, parameters=6_000, learning_rate=3e-3),
        "hybrid-lmu": dict(
            **_LMU, start_resolution=64.0, memory_resolution=6.0, hidden_resolution=1.0,
            anneal_fraction=0.7,
        ),
        "lmu": _LMU,
        "lstm": _RNN,
        "gru": _RNN,
        "hybrid-lstm": dict(**_RNN, hidden_resolution=4.0),
        "hybrid-gru": dict(**_RNN, hidden_resolution=4.0),
    },
    low_bit=dict(**EXACT_SUMS, memory_resolution=2.0),
    load_images=load_images,
    image_recipe=ImageRecipe(((16, 16), (32, 32)), 64, 32, (30, 30), (2e-3, 2e-3)),
)  # fmt: skip
