import dataclasses
import os
from pathlib import Path

import keras
import numpy as np
import pytest

import tests.training.events.event_writers as writers
from training import bisnn
from training.cli import SHARED_DATA
from training.data import EpochBatches
from training.errors import BrokenData, DataNotFound
from training.scores import evaluate
from training.tasks import Split, TaskData, cifar10_dvs, dvs_gesture, load_task, nmnist
from training.tasks.splits import cross_validation_folds, fold_of_task, split_off

DATA = Path(os.environ.get("HYBRID_LMU_DATA", SHARED_DATA))
real_nmnist = pytest.mark.skipif(
    not (DATA / "events" / "nmnist_small").is_dir(), reason="no N-MNIST recordings"
)


def some_events(n, height, width, seed):
    rng = np.random.default_rng(seed)
    columns = [np.sort(rng.integers(0, 300_000, n))]
    columns += [rng.integers(0, top, n) for top in (width, height, 2)]
    return list(zip(*(column.tolist() for column in columns), strict=True))


def sizes(task):
    return [len(part) for part in (task.train, task.validation, task.test)]


def write_nmnist(folder, train=8, test=1):
    for part, count in (("Train", train), ("Test", test)):
        for number in range(10 * count):
            path = folder / part / str(number % 10) / f"{number + 1:05}.bin"
            writers.write(path, writers.atis(some_events(20, 34, 34, number)))


def test_nmnist_as_spikes_for_local_rules(tmp_path):
    write_nmnist(tmp_path / "events" / "nmnist_small")
    task = bisnn.load("nmnist", tmp_path)
    counts = nmnist.load(tmp_path, **nmnist.SPIKES)
    assert task.sample_shape == (50, 17 * 17 * 2) and sizes(task) == sizes(counts)
    assert task.train.augment is None
    for part in ("train", "validation", "test"):
        ours, theirs = getattr(task, part), getattr(counts, part)
        np.testing.assert_array_equal(ours.x.reshape(theirs.x.shape), theirs.x > 0)
        np.testing.assert_array_equal(ours.y, theirs.y)
    network, history = bisnn.train(
        task, "bayesian", {**bisnn.recipe("nmnist", "bayesian"), "hidden": (3,), "epochs": 1}, 0
    )
    assert network.predict(task.test.x, verbose=0).shape == (10, 10)


@real_nmnist
def test_nmnist_small():
    task = load_task("nmnist", DATA)
    assert sizes(task) == [850, 150, 100]
    assert task.sample_shape == (20, 34, 34, 2) and task.timesteps == 20 and task.outputs == 10
    assert task.train.augment is not None
    assert task.validation.augment is None and task.test.augment is None
    for part in (task.train, task.validation, task.test):
        assert part.x.dtype == "uint8" and part.y.dtype == "int32"
    labels = np.concatenate([task.train.y, task.validation.y])
    np.testing.assert_allclose(
        np.bincount(task.validation.y) / 150, np.bincount(labels) / 1000, atol=0.01
    )
    # 1,000 training recordings hold 4,518,827 - those of test; all but a few are in the frames.
    counted = sum(int(part.x.sum(dtype=int)) for part in (task.train, task.validation, task.test))
    assert 4_518_000 < counted <= 4_518_827
    # A mean of the images of a class is a better guess than chance, so labels are the files'.
    means = np.stack([task.train.x[task.train.y == digit].mean((0, 1)) for digit in range(10)])
    images = task.test.x.mean(1)
    distance = ((images[:, None] - means[None]) ** 2).sum((2, 3, 4))
    assert (distance.argmin(1) == task.test.y).mean() > 0.5


def test_the_whole_nmnist_wins_over_the_small_one(tmp_path):
    write_nmnist(tmp_path / "events" / "nmnist_small", train=4)
    assert sizes(load_task("nmnist", tmp_path)) == [30, 10, 10]
    write_nmnist(tmp_path / "events" / "nmnist", train=8)
    task = load_task("nmnist", tmp_path)
    assert sizes(task) == [68, 12, 10]
    small = nmnist.load(tmp_path, steps=4, factor=2, augment=False)
    assert small.sample_shape == (4, 17, 17, 2) and small.train.augment is None
    assert small.test.x.sum() == task.test.x.sum() == 200
    (tmp_path / "events/nmnist/Train/3/00004.bin").write_bytes(bytes(7))
    with pytest.raises(BrokenData, match="00004.bin must have 5 bytes an event; received: 7"):
        load_task("nmnist", tmp_path)


def write_gesture(folder, users=("user01", "user02", "user24")):
    listed = {"trials_to_train.txt": [], "trials_to_test.txt": []}
    for number, user in enumerate(users):
        for light in ("led", "natural"):
            name = f"{user}_{light}"
            writers.write(
                folder / f"{name}.aedat", writers.aedat3(some_events(90, 128, 128, number))
            )
            rows = [(1, 0, 100_000), (11, 100_000, 250_000)]
            writers.write(folder / f"{name}_labels.csv", writers.trials(rows))
            part = "trials_to_test.txt" if user > "user23" else "trials_to_train.txt"
            listed[part].append(f"{name}.aedat")
    for name, lines in listed.items():
        writers.write(folder / name, "\n".join(lines) + "\n")


def test_dvs_gesture_splits_by_person_and_trial(tmp_path):
    folder = tmp_path / "events" / "DvsGesture"
    write_gesture(folder)
    task = load_task("dvs-gesture", tmp_path)
    assert sizes(task) == [4, 4, 4] and task.outputs == 11
    assert task.sample_shape == (16, 32, 32, 2)
    for number, part in enumerate((task.train, task.validation, task.test)):
        assert part.y.tolist() == [0, 10, 0, 10]
        events = some_events(90, 128, 128, number)  # of this person and no other
        in_trial = [event for event in events if event[0] < 100_000]
        assert part.x[0].sum() == len(in_trial)
        expected = np.zeros((32, 32, 2), int)
        for _, x, y, p in in_trial:
            expected[y // 4, x // 4, p] += 1
        np.testing.assert_array_equal(part.x[0].sum(axis=0), expected)
    assert dvs_gesture.load(tmp_path, steps=3, factor=8).sample_shape == (3, 16, 16, 2)
    labels = folder / "user01_led_labels.csv"
    writers.write(labels, writers.trials([(1, 400_000, 500_000)]))
    with pytest.raises(BrokenData, match="user01_led.aedat must have events from 400000 to 500000"):
        load_task("dvs-gesture", tmp_path)
    labels.unlink()
    with pytest.raises(DataNotFound, match="no such file: .*user01_led_labels.csv"):
        load_task("dvs-gesture", tmp_path)
    (folder / "trials_to_test.txt").write_text("")
    with pytest.raises(BrokenData, match="must name at least 1 recording; received: 0"):
        load_task("dvs-gesture", tmp_path)
    write_gesture(folder, users=("user01", "user24"))
    with pytest.raises(DataNotFound, match="trials_to_train.txt names recordings of one person"):
        load_task("dvs-gesture", tmp_path)


def test_cifar10_dvs_tests_on_the_last_hundred_numbers(tmp_path):
    folder = tmp_path / "events" / "cifar10_dvs"
    numbers = (0, 2, 10, 899, 900, 999)
    for label, name in enumerate(cifar10_dvs.CLASSES):
        for number in numbers:
            events = some_events(20 + number % 7, 128, 128, label)
            path = folder / name / f"cifar10_{name}_{number}.aedat"
            writers.write(path, writers.aedat2(events))
    task = load_task("cifar10-dvs", tmp_path)
    assert sizes(task) == [30, 10, 20] and task.sample_shape == (10, 64, 64, 2)
    assert task.test.y.tolist() == [label for label in range(10) for _ in range(2)]
    assert set(task.test.x.sum(axis=(1, 2, 3, 4))) == {20 + 900 % 7, 20 + 999 % 7}
    for path in (folder / "truck").glob("*_9[09]*"):
        path.unlink()
    with pytest.raises(DataNotFound, match="lacks the files 900 to 999 of a class"):
        load_task("cifar10-dvs", tmp_path)
    (folder / "truck" / "cifar10_truck_0.aedat").rename(folder / "truck" / "truck.aedat")
    with pytest.raises(DataNotFound, match="name that ends in its number; received: .*truck.aedat"):
        load_task("cifar10-dvs", tmp_path)


def test_ncaltech101_has_a_class_a_folder(tmp_path):
    folder = tmp_path / "events" / "ncaltech101" / "Caltech101"
    for label, name in enumerate(("yin_yang", "BACKGROUND_Google", "ant")):
        for number in range(20):
            content = writers.atis(some_events(30 + label, 180, 240, number))
            writers.write(folder / name / f"image_{number + 1:04}.bin", content)
    task = load_task("ncaltech101", tmp_path)
    assert sizes(task) == [46, 8, 6] and task.outputs == 3
    assert task.sample_shape == (10, 45, 60, 2)
    for part in (task.train, task.validation, task.test):  # sorted names: background, ant, yin_yang
        events = part.x.sum(axis=(1, 2, 3, 4))
        np.testing.assert_array_equal(events, np.array([31, 32, 30])[part.y])
    (folder / "none").mkdir()
    with pytest.raises(DataNotFound, match="no .bin files in .*none"):
        load_task("ncaltech101", tmp_path)


@pytest.mark.parametrize("name", ["nmnist", "dvs-gesture", "cifar10-dvs", "ncaltech101"])
def test_absent_event_data_say_how_to_get_them(name, tmp_path):
    with pytest.raises(DataNotFound, match=f"(?s){tmp_path}.*https://.*--data-dir DIR"):
        load_task(name, tmp_path)
    with pytest.raises(DataNotFound, match=f"the {name} task needs a data folder"):
        load_task(name)


def test_splits_are_stratified_and_fixed():
    labels = np.repeat(range(4), (40, 40, 20, 20))
    rest, part = split_off(labels)
    assert sorted([*rest, *part]) == list(range(120))
    assert np.bincount(labels[part]).tolist() == [6, 6, 3, 3]
    np.testing.assert_array_equal(split_off(labels)[1], part)
    assert not np.array_equal(split_off(labels, seed=1)[1], part)


def test_folds_test_every_sample_once():
    labels = np.repeat(range(4), 25)
    folds = cross_validation_folds(labels, 5, seed=2)
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(100))
    for train, test in folds:
        assert not set(train) & set(test) and len(train) == 80
        assert np.bincount(labels[test]).tolist() == [5, 5, 5, 5]
    again = cross_validation_folds(labels, 5, seed=2)
    np.testing.assert_array_equal(again[3][1], folds[3][1])
    for wrong in (1, 26):
        with pytest.raises(ValueError, match=f"`folds` must be 2 to 25, .*received: {wrong}"):
            cross_validation_folds(labels, wrong)


def make_task(n=120, shape=(3, 4, 4, 2)):
    rng = np.random.default_rng(0)
    y = np.arange(n, dtype="int32") % 4
    x = rng.poisson(1.0, (n, *shape)).astype("uint8")
    x[..., 0] += (y == 1)[:, None, None, None].astype("uint8") * 3
    x[..., 1] += (y == 2)[:, None, None, None].astype("uint8") * 3
    x += (y == 3)[:, None, None, None, None].astype("uint8") * 3
    split = Split(x, y)
    parts = [split.take(slice(*rows)) for rows in ((0, 80), (80, 100), (100, n))]
    train = dataclasses.replace(parts[0], augment=lambda x, rng: x)
    return TaskData("images", "classes", False, 4, train, parts[1], parts[2]).check()


def test_folds_of_a_task():
    task = make_task()
    seen = []
    for fold in range(4):
        part = fold_of_task(task, fold, 4, seed=1).check()
        assert sizes(part) == [76, 14, 30]
        assert part.train.augment is task.train.augment and part.test.augment is None
        rows = [x.tobytes() for split in (part.train, part.validation, part.test) for x in split.x]
        assert len(set(rows)) == 120
        seen += [x.tobytes() for x in part.test.x]
    assert len(set(seen)) == 120


def test_a_model_of_images_trains_and_is_judged_on_whole_numbers():
    keras.utils.set_random_seed(0)
    task = make_task()
    model = keras.Sequential(
        [keras.Input(task.sample_shape), keras.layers.Flatten(), keras.layers.Dense(4)]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.05), loss=loss)
    model.fit(EpochBatches(task.train, 20, seed=0), epochs=10, shuffle=False, verbose=0)
    assert evaluate(model, task.test, "classes", 16)["accuracy"] > 0.7


def test_tasks_of_images_have_no_features_and_one_shape():
    task = make_task()
    message = r"'images' must have one vector a step .*received: images, \(3, 4, 4, 2\) a sample"
    with pytest.raises(ValueError, match=message):
        _ = task.features
    wrong = Split(task.test.x[:, :, :2], task.test.y)
    message = r"test split of task 'images' must have samples .* \(3, 4, 4, 2\); received: \(3, 2"
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(task, test=wrong).check()
    wrong = Split(task.test.x[:, :, 0], task.test.y)
    message = r"\[N, T, H, W, C\] or \[N, T, F\]; received: \(20, 3, 4, 2\)"
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(task, test=wrong).check()
