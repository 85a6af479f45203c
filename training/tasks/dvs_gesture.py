"""DVS128 Gesture: 11 gestures of hands and arms, 29 people, three kinds of light."""

import math
from pathlib import Path

import numpy as np

from training.errors import BrokenData, DataNotFound
from training.events import event_frames, read_aedat3, read_trials
from training.events.augmentation import gestures
from training.tasks.base import Split, Task, TaskData
from training.tasks.event_data import event_recipes, find_folder
from training.tasks.splits import VALIDATION_SHARE

CLASSES = 11
TRAIN_LIST, TEST_LIST = "trials_to_train.txt", "trials_to_test.txt"
HELP = (
    "Get DvsGesture.tar.gz from\n"
    "  https://research.ibm.com/interactive/dvsgesture/\n"
    "unpack it to DIR/events/DvsGesture (trials_to_train.txt, trials_to_test.txt, and for each\n"
    "recording .aedat and _labels.csv) and pass --data-dir DIR (or set HYBRID_LMU_DATA=DIR)."
)


def load(
    data_dir: Path | None = None, steps: int = 16, factor: int = 4, augment: bool = True
) -> TaskData:
    """[N, 16, 32, 32, 2] counts of events (OFF, ON), labels 0 to 10 (classes 1 to 11).

    From ``<data_dir>/events/DvsGesture``. Each line of a recording's labels is one sample, from its
    start to its end, in steps of equally many events (trials last from 2 to 18 s). Test: the
    people of trials_to_test.txt. Validation: the last 15 % of the people of trials_to_train.txt, by
    name, so that nobody is in two parts. `factor`: pixels a side that become one. Source: Amir
    et al. 2017, "A Low Power, Fully Event-Based Gesture Recognition System".
    """
    folder = find_folder("dvs-gesture", data_dir, ("DvsGesture",), TRAIN_LIST, HELP)
    listed, test = _recordings(folder / TRAIN_LIST), _recordings(folder / TEST_LIST)
    people = sorted({_person(path) for path in listed})
    held_out = people[len(people) - math.ceil(VALIDATION_SHARE * len(people)) :]
    train, validation = (
        [path for path in listed if (_person(path) in held_out) == wanted]
        for wanted in (False, True)
    )
    if not train:
        raise DataNotFound(f"{folder / TRAIN_LIST} names recordings of one person only. {HELP}")
    options = dict(steps=steps, factor=factor, by="number")
    return TaskData(
        name="dvs-gesture", kind="classes", per_step=False, outputs=CLASSES,
        train=_read(train, augment=gestures if augment else None, **options),
        validation=_read(validation, **options),
        test=_read(test, **options),
    )  # fmt: skip


def _recordings(path):
    """The files that a list names, one a line."""
    if not path.is_file():
        raise DataNotFound(f"no such file: {path}. {HELP}")
    names = path.read_text().split()
    if not names:
        raise BrokenData(f"{path} must name at least 1 recording; received: 0")
    return [path.parent / name for name in names]


def _person(path):
    return path.name.split("_")[0]


def _read(paths, augment=None, **options):
    frames, labels = [], []
    for path in paths:
        recording = read_aedat3(path)
        trials = path.with_name(f"{path.stem}_labels.csv")
        for label, start, end in read_trials(trials, CLASSES):
            events = recording.between(start, end)
            if not len(events):
                raise BrokenData(
                    f"{path} must have events from {start} to {end} microseconds, the trial of "
                    f"class {label + 1} in {trials.name}; received: 0 (truncated?)"
                )
            frames.append(event_frames(events, **options))
            labels.append(label)
    return Split(np.stack(frames), np.array(labels, "int32"), augment=augment)


# No cross-validation: parts would share people.
TASK = Task(
    name="dvs-gesture",
    load=load,
    recipes=event_recipes(17_000),
    image_steps=True,
)
