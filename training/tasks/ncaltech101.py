"""N-Caltech101: pictures of Caltech101 seen by an event camera that moves in three saccades."""

from pathlib import Path

from training.events import read_atis
from training.events.augmentation import objects
from training.tasks.base import Task, TaskData
from training.tasks.event_data import event_recipes, files_of_classes, find_folder, read_splits
from training.tasks.splits import split_off

HEIGHT, WIDTH = 180, 240  # recordings are of different sizes, all within this
DURATION = 320_000  # microseconds
TEST_SHARE = 0.10
HELP = (
    "Get Caltech101.zip from\n"
    "  https://www.garrickorchard.com/datasets/n-caltech101\n"
    "unpack it to DIR/events/ncaltech101/Caltech101/<class>/*.bin and pass --data-dir DIR (or set\n"
    "HYBRID_LMU_DATA=DIR)."
)


def load(
    data_dir: Path | None = None, steps: int = 10, factor: int = 4, augment: bool = True
) -> TaskData:
    """[N, 10, 45, 60, 2] counts of events (OFF, ON); a class for each folder, by name.

    From ``<data_dir>/events/ncaltech101/Caltech101``: 101 folders (the background among them).
    Test: 10 % of each class; validation: 15 % of the rest; both stratified and fixed (the data set
    has no split of its own). Steps are of equal time over 320 ms. `factor`: pixels a side that
    become one. Source: Orchard et al. 2015.
    """
    folder = find_folder("ncaltech101", data_dir, ("ncaltech101",), "Caltech101", HELP)
    folder = folder / "Caltech101"
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    paths, labels = files_of_classes(folder, names, ".bin", HELP)
    rest, test = split_off(labels, TEST_SHARE)
    train, validation = (rest[rows] for rows in split_off(labels[rest]))
    splits = read_splits(
        paths, labels, {"train": train, "validation": validation, "test": test},
        augment=objects if augment else None, read=_read, steps=steps, factor=factor,
        duration=DURATION,
    )  # fmt: skip
    return TaskData("ncaltech101", "classes", per_step=False, outputs=len(names), **splits)


def _read(path):
    return read_atis(path, height=HEIGHT, width=WIDTH)


TASK = Task(
    name="ncaltech101",
    load=load,
    recipes=event_recipes(200_000),
    image_steps=True,
    can_fold=True,
)
