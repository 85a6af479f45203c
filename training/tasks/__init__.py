"""Tasks: their data and their recipes, one file a data source.

A new task is one new file with a `Task`, and one new entry in `TASKS` below.
"""

from pathlib import Path

from training.tasks import (
    bisnn_1d,
    cifar,
    cifar10_dvs,
    digits,
    dvs_gesture,
    ecg,
    mackey_glass,
    mnist,
    ncaltech101,
    nmnist,
    two_moons,
)
from training.tasks.base import ImageRecipe, Split, Task, TaskData
from training.tasks.splits import FOLDS, fold_of_task

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        digits.TASK,
        mnist.PSMNIST,
        mnist.SMNIST,
        mackey_glass.TASK,
        ecg.TASK,
        nmnist.TASK,
        dvs_gesture.TASK,
        cifar10_dvs.TASK,
        ncaltech101.TASK,
        two_moons.TASK,
        bisnn_1d.TASK,
        mnist.IMAGES,
        cifar.CIFAR10,
        cifar.CIFAR100,
    )
}
TASK_NAMES = tuple(name for name, task in TASKS.items() if task.recipes)
FOLD_TASKS = tuple(name for name, task in TASKS.items() if task.can_fold)
IMAGE_TASKS = tuple(name for name, task in TASKS.items() if task.image_recipe)
SPIKE_TASKS = tuple(name for name, task in TASKS.items() if task.spike_recipes)


def load_task(
    name: str, data_dir: Path | None = None, permutation: int = 0, fold: int | None = None
) -> TaskData:
    """Load and check the data of a task.

    Args:
        name: one of `TASKS` that has sequences.
        data_dir: the folder of prepared data. Default: none, for tasks that need no data files.
        permutation: seed of the order of the pixels of psmnist. Other tasks ignore it.
        fold: which of the `FOLDS` parts of all samples is the test split. Default: the task's own
            splits.

    Raises:
        ValueError: unknown name.
        DataNotFound: no data; the message says how to get them.
    """
    known = [task for task in TASKS if TASKS[task].load]
    if name not in known:
        raise ValueError(f"`task` must be one of {', '.join(known)}; received: {name!r}")
    task, options = TASKS[name], {"permutation": permutation}
    data = task.load(data_dir, **{key: options[key] for key in task.load_options})
    return (data if fold is None else fold_of_task(data, fold, FOLDS)).check()


__all__ = [
    "FOLDS",
    "FOLD_TASKS",
    "IMAGE_TASKS",
    "ImageRecipe",
    "SPIKE_TASKS",
    "Split",
    "TASKS",
    "TASK_NAMES",
    "Task",
    "TaskData",
    "load_task",
]
