"""Tasks: a name, a loader, and the three splits it returns. One file a data source."""

import importlib
from pathlib import Path

from training.config import FOLDS
from training.tasks.base import Split, TaskData
from training.tasks.splits import fold_of_task

# name -> (module, keyword arguments of its `load`)
TASKS = {
    "digits": ("training.tasks.digits", {}),
    "psmnist": ("training.tasks.mnist", {"permuted": True}),
    "smnist": ("training.tasks.mnist", {"permuted": False}),
    "mackey-glass": ("training.tasks.mackey_glass", {}),
    "ecg": ("training.tasks.ecg", {}),
    "nmnist": ("training.tasks.nmnist", {}),
    "dvs-gesture": ("training.tasks.dvs_gesture", {}),
    "cifar10-dvs": ("training.tasks.cifar10_dvs", {}),
    "ncaltech101": ("training.tasks.ncaltech101", {}),
    "two-moons": ("training.tasks.two_moons", {}),
    "bisnn-1d": ("training.tasks.bisnn_1d", {}),
}


def load_task(
    name: str, data_dir: Path | None = None, permutation: int = 0, fold: int | None = None
) -> TaskData:
    """Load and check a task. ValueError: unknown name; DataNotFound: how to get the data.

    `permutation`: seed of the order of the pixels of psmnist; the other tasks have none. `fold`:
    which of the `FOLDS` parts of all samples is the test split, in place of the task's own.
    """
    if name not in TASKS:
        raise ValueError(f"`task` must be one of {', '.join(TASKS)}; received: {name!r}")
    module, options = TASKS[name]
    if options.get("permuted"):
        options = {**options, "permutation": permutation}
    task = importlib.import_module(module).load(data_dir=data_dir, **options)
    return (task if fold is None else fold_of_task(task, fold, FOLDS)).check()


__all__ = ["TASKS", "Split", "TaskData", "load_task"]
