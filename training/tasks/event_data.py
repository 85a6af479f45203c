"""What the event tasks share: the search for files, the way from files to splits, the recipe."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from training.errors import DataNotFound
from training.events import Events, stack_frames
from training.tasks.base import Split


def find_folder(
    task: str, data_dir: Path | None, names: Sequence[str], needed: str, help_text: str
) -> Path:
    """The first of the folders ``<data_dir>/events/<name>`` that holds `needed`.

    DataNotFound: there is none; the message ends in `help_text`.
    """
    if data_dir is None:
        raise DataNotFound(f"the {task} task needs a data folder. {help_text}")
    for name in names:
        folder = Path(data_dir) / "events" / name
        if (folder / needed).exists():
            return folder
    looked = " or ".join(str(Path(data_dir) / "events" / name / needed) for name in names)
    raise DataNotFound(f"no {looked}. {help_text}")


def files_of_classes(
    folder: Path, classes: Sequence[str], suffix: str, help_text: str
) -> tuple[np.ndarray, np.ndarray]:
    """(paths, labels int32) of ``<folder>/<class>/*<suffix>``, sorted by class and name.

    DataNotFound: a class without files.
    """
    paths, labels = [], []
    for label, name in enumerate(classes):
        found = sorted((folder / name).glob(f"*{suffix}"))
        if not found:
            raise DataNotFound(f"no {suffix} files in {folder / name}. {help_text}")
        paths += found
        labels += [label] * len(found)
    return np.array(paths), np.array(labels, "int32")


def read_splits(
    paths: np.ndarray,
    labels: np.ndarray,
    splits: Mapping[str, np.ndarray],
    *,
    augment: Callable | None = None,
    **options,
) -> dict[str, Split]:
    """``{"train", "validation", "test"}`` by `read_split` from ``splits = {part: rows}``.

    `augment` is for training alone.
    """
    return {
        part: read_split(
            paths[rows], labels[rows], augment=augment if part == "train" else None, **options
        )
        for part, rows in splits.items()
    }


def read_split(
    paths: np.ndarray,
    labels: np.ndarray,
    *,
    read: Callable[[Path], Events],
    augment: Callable | None = None,
    **frames,
) -> Split:
    """`read` every file and count its events in frames (options of `event_frames`)."""
    return Split(stack_frames(map(read, paths), len(paths), **frames), labels, augment=augment)


def event_recipes(parameters: int) -> dict[str, dict]:
    """The recipes of a task with that many trainable parameters.

    They were chosen on the validation split of N-MNIST. No others were tried for the other tasks.
    """
    return {
        "*": dict(
            epochs=60, batch_size=32, parameters=parameters, learning_rate=5e-3,
            schedule="cosine", dropout=0.2,
        )
    }  # fmt: skip
