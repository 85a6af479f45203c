"""Stratified splits: every class has the same share in each part. Fixed by their seed."""

import dataclasses

import numpy as np

from training.tasks.base import Split, TaskData

VALIDATION_SHARE = 0.15
FOLDS = 5  # of cross-validation


def split_off(
    labels: np.ndarray, share: float = VALIDATION_SHARE, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return the sorted indices (rest, part).

    `part` is `share` of each class, and has at least as many samples as there are classes.
    """
    from sklearn.model_selection import train_test_split

    labels = np.asarray(labels)
    size = max(round(share * len(labels)), len(np.unique(labels)))
    rest, part = train_test_split(
        np.arange(len(labels)), test_size=size, random_state=seed, stratify=labels
    )
    return np.sort(rest), np.sort(part)


def cross_validation_folds(labels: np.ndarray, folds: int, seed: int = 0) -> list[tuple]:
    """[(training indices, test indices)] of `folds` folds; each index is in one test part.

    ValueError: fewer than 2 folds, or more than the samples of the rarest class.
    """
    from sklearn.model_selection import StratifiedKFold

    labels = np.asarray(labels)
    rarest = int(np.unique(labels, return_counts=True)[1].min())
    if not 2 <= folds <= rarest:
        raise ValueError(
            f"`folds` must be 2 to {rarest}, the samples of the rarest class; received: {folds}"
        )
    kind = StratifiedKFold(folds, shuffle=True, random_state=seed)
    return list(kind.split(np.zeros(len(labels)), labels))


def fold_of_task(task: TaskData, fold: int, folds: int, seed: int = 0) -> TaskData:
    """`task` split anew: test is one fold of all its samples, validation 15 % of the others.

    Samples are in the order training, validation, test; `augment` stays with the training split.
    """
    parts = (task.train, task.validation, task.test)
    x, y = (np.concatenate([getattr(part, name) for part in parts]) for name in "xy")
    rest, test = cross_validation_folds(y, folds, seed)[fold]
    train, validation = (rest[rows] for rows in split_off(y[rest], seed=seed))
    return dataclasses.replace(
        task,
        train=Split(x[train], y[train], augment=task.train.augment),
        validation=Split(x[validation], y[validation]),
        test=Split(x[test], y[test]),
    )
