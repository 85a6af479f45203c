import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from training.cli import SHARED_DATA
from training.errors import DataNotFound
from training.tasks import Split, load_task
from training.tasks.mackey_glass import mackey_glass

DATA = Path(os.environ.get("HYBRID_LMU_DATA", SHARED_DATA))


def test_digits_are_the_real_images_permuted_and_split_once():
    task = load_task("digits")
    parts = (task.train, task.validation, task.test)
    assert [len(part) for part in parts] == [1167, 270, 360]
    assert (task.timesteps, task.features, task.outputs) == (64, 1, 10)
    rows = np.concatenate([part.x[..., 0] for part in parts])
    assert rows.min() == 0 and rows.max() == 1
    order = np.random.RandomState(0).permutation(64)
    original = load_digits().data[:, order] / 16
    assert sorted(map(tuple, rows)) == sorted(map(tuple, original.astype("float32")))
    for part in parts:  # stratified: every class has about a tenth
        shares = np.bincount(part.y, minlength=10) / len(part)
        assert np.all(np.abs(shares - 0.1) < 0.02)


def test_mackey_glass_targets_are_the_inputs_ahead():
    task = load_task("mackey-glass")
    assert task.train.x.shape == (96, 512, 1) and task.kind == "regression"
    np.testing.assert_array_equal(task.test.x[:, 15:], task.test.y[:, :-15])
    assert abs(task.train.x.mean()) < 1e-6
    assert 0.2 < task.train.x.std() < 0.3  # the attractor of tau = 17


def test_mackey_glass_solver_is_of_fourth_order():
    start = np.array([1.2, 0.7])
    fine, mid, coarse = (mackey_glass(start, 60, steps_per_unit=n) for n in (32, 8, 4))
    ratio = np.abs(coarse - fine).max() / np.abs(mid - fine).max()
    assert 10 < ratio < 25  # 2^4 = 16


def test_mackey_glass_constant_solution():
    # 0.2 x / (1 + x^10) = 0.1 x at x = 1.
    np.testing.assert_allclose(mackey_glass(np.array([1.0]), 30), 1.0, atol=1e-12)


@pytest.mark.skipif(not (DATA / "tfds").is_dir(), reason="no prepared MNIST")
@pytest.mark.slow
def test_psmnist_is_permuted_smnist_with_validation_from_training_images():
    plain, permuted = load_task("smnist", DATA), load_task("psmnist", DATA)
    assert [len(p) for p in (plain.train, plain.validation, plain.test)] == [50000, 10000, 10000]
    order = np.random.RandomState(0).permutation(784)
    np.testing.assert_array_equal(plain.test.x[:5, order], permuted.test.x[:5])
    assert plain.train.x.max() == 1 and plain.train.x.dtype == "float32"


@pytest.mark.skipif(not (DATA / "events/qtdb_ecg").is_dir(), reason="no QTDB files")
def test_ecg_drops_the_end_mark_and_gives_unlabelled_steps_no_weight():
    task = load_task("ecg", DATA)
    assert [len(p) for p in (task.train, task.validation, task.test)] == [525, 93, 141]
    assert task.train.x.shape[1:] == (1300, 4)
    assert set(np.unique(task.train.x)) == {0, 1}  # the end mark is -1
    assert 0.89 < task.train.weight.mean() < 0.94
    assert task.test.y.shape == (141, 1300) and task.test.y.max() == 5


@pytest.mark.parametrize("name", ["ecg", "psmnist", "smnist"])
def test_absent_data_say_how_to_get_them(name, tmp_path):
    with pytest.raises(DataNotFound, match=f"(?s){tmp_path}.*--data-dir DIR"):
        load_task(name, tmp_path)


def test_truncated_ecg_file(tmp_path):
    folder = tmp_path / "events" / "qtdb_ecg"
    folder.mkdir(parents=True)
    (folder / "QTDB_train.mat").write_bytes(b"MATLAB 5.0 MAT-file" + bytes(50))
    with pytest.raises(DataNotFound, match="QTDB_train.mat is not the expected MATLAB file"):
        load_task("ecg", tmp_path)


def test_unknown_task():
    with pytest.raises(ValueError, match="`task` must be one of digits, .* received: 'mnits'"):
        load_task("mnits")


def test_nan_empty_and_wrong_rank_are_refused():
    task = load_task("digits")
    spoilt = task.validation.x.copy()
    spoilt[3, 4, 0] = np.nan
    cases = [
        (Split(spoilt, task.validation.y), "received: 1 NaN or infinite values in x"),
        (task.validation.take([]), "at least 1 sample; received: 0"),
        (Split(task.validation.x[..., 0], task.validation.y), r"\[N, T, F\]; received: \(270, 64"),
        (Split(task.validation.x, task.validation.y[:7]), r"in x \(270\); received: 7"),
    ]
    for split, message in cases:
        with pytest.raises(ValueError, match=f"validation split of task 'digits'.*{message}"):
            dataclasses.replace(task, validation=split).check()
