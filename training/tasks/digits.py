"""Permuted digits: scikit-learn's 1,797 real 8x8 images, 64 pixels one after another."""

import numpy as np

from training.tasks.base import Split, TaskData

# Splits are stratified and fixed: they do not depend on the run's seed.
TEST_FRACTION, VALIDATION_FRACTION = 0.20, 0.15


def load(data_dir=None) -> TaskData:
    """[N, 64, 1] in [0, 1], pixels in the order ``RandomState(0).permutation(64)``.

    1,797 images: 360 test (20 %), 270 validation (15 %), 1,167 training. Ships with
    scikit-learn: nothing to download, `data_dir` is not used.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    bunch = load_digits()
    order = np.random.RandomState(0).permutation(64)
    x = (bunch.data[:, order] / 16.0).astype("float32")[..., None]
    y = bunch.target.astype("int32")
    rest, test = train_test_split(
        np.arange(len(y)), test_size=TEST_FRACTION, random_state=0, stratify=y
    )
    held_out = round(VALIDATION_FRACTION * len(y))
    train, validation = train_test_split(rest, test_size=held_out, random_state=0, stratify=y[rest])
    whole = Split(x, y)
    return TaskData(
        name="digits", kind="classes", per_step=False, outputs=10,
        train=whole.take(train), validation=whole.take(validation), test=whole.take(test),
    )  # fmt: skip
