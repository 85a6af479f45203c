"""CIFAR10-DVS: 10,000 pictures of CIFAR-10 that move on a screen, seen by an event camera."""

import re
from pathlib import Path

import numpy as np

from training.errors import DataNotFound
from training.events import read_aedat2
from training.events.augmentation import objects
from training.tasks.base import Task, TaskData
from training.tasks.event_data import event_recipes, files_of_classes, find_folder, read_splits
from training.tasks.splits import split_off

CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
FIRST_TEST = 900  # of the numbers 0 to 999 in the names of a class's files
HELP = (
    "Get the ten archives (airplane.zip ...) from\n"
    "  https://figshare.com/articles/dataset/CIFAR10-DVS_New/4724671\n"
    "unpack them to DIR/events/cifar10_dvs/<class>/cifar10_<class>_<number>.aedat and pass\n"
    "--data-dir DIR (or set HYBRID_LMU_DATA=DIR)."
)


def load(
    data_dir: Path | None = None, steps: int = 10, factor: int = 2, augment: bool = True
) -> TaskData:
    """[N, 10, 64, 64, 2] counts of events (OFF, ON), labels 0 to 9 as in CIFAR-10.

    From ``<data_dir>/events/cifar10_dvs``, 1,000 files a class. Test: numbers 900 to 999 of each
    class (the data set has no split of its own; the first 900 for training are usual).
    Validation: 15 % of the others, stratified and fixed. Steps are of equally many events.
    `factor`: pixels a side that become one. Source: Li et al. 2017, "CIFAR10-DVS: An Event-Stream
    Dataset for Object Classification".
    """
    folder = find_folder("cifar10-dvs", data_dir, ("cifar10_dvs",), CLASSES[0], HELP)
    paths, labels = files_of_classes(folder, CLASSES, ".aedat", HELP)
    is_test = np.array([_number(path) for path in paths]) >= FIRST_TEST
    rest, test = np.flatnonzero(~is_test), np.flatnonzero(is_test)
    for part, numbers in ((rest, "0 to 899"), (test, "900 to 999")):
        if set(labels[part]) != set(range(len(CLASSES))):
            raise DataNotFound(f"{folder} lacks the files {numbers} of a class. {HELP}")
    train, validation = (rest[rows] for rows in split_off(labels[rest]))
    splits = read_splits(
        paths, labels, {"train": train, "validation": validation, "test": test},
        augment=objects if augment else None, read=read_aedat2, steps=steps, factor=factor,
        by="number",
    )  # fmt: skip
    return TaskData("cifar10-dvs", "classes", per_step=False, outputs=len(CLASSES), **splits)


def _number(path):
    found = re.search(r"(\d+)$", path.stem)
    if not found:
        raise DataNotFound(
            f"expected a file name that ends in its number; received: {path}. {HELP}"
        )
    return int(found.group(1))


TASK = Task(
    name="cifar10-dvs",
    load=load,
    recipes=event_recipes(60_000),
    image_steps=True,
    can_fold=True,
)
