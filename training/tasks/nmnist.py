"""N-MNIST: digits of MNIST seen by an event camera that moves in three short saccades."""

import dataclasses
from pathlib import Path

from training.events import read_atis
from training.events.augmentation import digits
from training.tasks.base import Split, Task, TaskData
from training.tasks.event_data import event_recipes, files_of_classes, find_folder, read_split
from training.tasks.splits import split_off

PIXELS = 34
DURATION = 320_000  # microseconds
# For local learning: 50 steps of 6.4 ms are five time constants of a membrane.
SPIKES = dict(steps=50, factor=2, augment=False)
HELP = (
    "Get Train.zip and Test.zip from\n"
    "  https://www.garrickorchard.com/datasets/n-mnist\n"
    "unpack them to DIR/events/nmnist/Train/<digit>/*.bin and .../Test/<digit>/*.bin and pass\n"
    "--data-dir DIR (or set HYBRID_LMU_DATA=DIR)."
)


def load(
    data_dir: Path | None = None, steps: int = 20, factor: int = 1, augment: bool = True
) -> TaskData:
    """[N, 20, 34, 34, 2] counts of events (OFF, ON), labels 0 to 9.

    From ``<data_dir>/events/nmnist`` (60,000 and 10,000 recordings) if it is there, else
    ``events/nmnist_small`` (1,000 and 100). Test: the folder Test. Validation: 15 % of Train,
    stratified and fixed.

    Steps are of equal time over 320 ms (recordings end at 297 to 336 ms; of nmnist_small 2 events
    in 100,000 come later and are left out). 20 steps of 16 ms follow each of the three saccades
    in six or seven steps, and counts stay small: 5 % are not 0, the largest is 10. `factor`: pixels
    a side that become one. Source: Orchard et al. 2015.
    """
    folder = find_folder("nmnist", data_dir, ("nmnist", "nmnist_small"), "Train", HELP)
    names = [str(digit) for digit in range(10)]
    paths, labels = files_of_classes(folder / "Train", names, ".bin", HELP)
    train, validation = split_off(labels)
    options = dict(read=_read, steps=steps, factor=factor, duration=DURATION)
    return TaskData(
        name="nmnist", kind="classes", per_step=False, outputs=10,
        train=read_split(
            paths[train], labels[train], augment=digits if augment else None, **options
        ),
        validation=read_split(paths[validation], labels[validation], **options),
        test=read_split(*files_of_classes(folder / "Test", names, ".bin", HELP), **options),
    )  # fmt: skip


def _read(path):
    return read_atis(path, height=PIXELS, width=PIXELS)


def load_spikes(data_dir: Path | None = None) -> TaskData:
    """[N, 50, 578] spikes, labels 0 to 9, of the recordings that `load` reads.

    A spike stands where a pixel of 17 x 17 saw at least one event of a polarity within a step of
    6.4 ms.
    """
    data = load(data_dir, **SPIKES)
    splits = {}
    for part in ("train", "validation", "test"):
        x, y = getattr(data, part).x, getattr(data, part).y
        splits[part] = Split((x > 0).astype("uint8").reshape(*x.shape[:2], -1), y)
    return dataclasses.replace(data, **splits)


TASK = Task(
    name="nmnist",
    load=load,
    recipes=event_recipes(17_000),
    low_bit=dict(weight_anneal_fraction=0.5),
    image_steps=True,
    can_fold=True,
    load_spikes=load_spikes,
    spike_recipes={
        "*": dict(hidden=(512, 512), burn_in=10, batch_size=50, epochs=50),
        "full-precision": dict(learning_rate=1.0, rule=dict(initial_latent=0.3)),
        "straight-through": dict(learning_rate=50.0, rule=dict(initial_latent=1.0)),
        "bayesian": dict(
            learning_rate=10.0, rule=dict(temperature=0.5, rho=1e-7, initial_latent=1.0)
        ),
    },
)
