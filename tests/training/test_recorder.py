import keras
import numpy as np
import pytest

from training._recorder import EpochRecorder, restore, training_variables
from training.config import RunConfig
from training.errors import RunFolderError, TrainingError
from training.runfolder import RunFolder
from training.tasks import load_task


@pytest.fixture
def setting(tmp_path, monkeypatch):
    """A recorder whose validation scores and resolutions are set by hand."""
    folder = RunFolder(tmp_path / "run")
    model = keras.Sequential(
        [keras.Input((64, 1)), keras.layers.Dropout(0.5, seed=3), keras.layers.Flatten(),
         keras.layers.Dense(10)]
    )  # fmt: skip
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    recorder = EpochRecorder(folder, load_task("digits"), RunConfig(), first_epoch=1)
    recorder.set_model(model)

    def end_epoch(epoch, accuracy, resolution=2.0, loss=1.0):
        monkeypatch.setattr(
            "training._recorder.evaluate", lambda *args: {"loss": loss, "accuracy": accuracy}
        )
        monkeypatch.setattr("training._recorder.mean_resolutions", lambda model: [resolution])
        recorder.on_epoch_end(epoch, {"loss": 0.5})

    return recorder, end_epoch


def test_an_epoch_in_mid_annealing_is_never_the_best(setting):
    recorder, end_epoch = setting
    end_epoch(0, accuracy=0.99, resolution=8.0)
    assert recorder.best is None and not (recorder.folder.path / "best.keras").exists()
    end_epoch(1, accuracy=0.80)
    end_epoch(2, accuracy=0.85)
    end_epoch(3, accuracy=0.84)
    assert recorder.best["epoch"] == 2
    assert (recorder.folder.path / "best.keras").exists()


def test_of_equal_accuracies_the_lower_loss_wins_then_the_first(setting):
    recorder, end_epoch = setting
    for epoch, loss in enumerate([1.0, 0.7, 0.7, 0.9]):
        end_epoch(epoch, 0.8, loss=loss)
    assert recorder.best["epoch"] == 1


def test_diverged_training_says_so(setting):
    recorder, _ = setting
    with pytest.raises(TrainingError, match="training has diverged: the loss of epoch 5 is nan"):
        recorder.on_epoch_end(4, {"loss": float("nan")})


def test_a_checkpoint_restores_everything_that_training_changes(setting):
    recorder, end_epoch = setting
    model = recorder.model
    model.fit(np.random.rand(64, 64, 1), np.zeros(64), epochs=2, verbose=0)
    end_epoch(0, 0.8)
    saved = [keras.ops.convert_to_numpy(v).copy() for _, v in training_variables(model)]
    names = " ".join(v.path for _, v in training_variables(model))
    assert "seed_generator_state" in names and "iteration" in names and "momentum" in names
    model.fit(np.random.rand(64, 64, 1), np.zeros(64), epochs=1, verbose=0)
    assert any(
        not np.array_equal(a, keras.ops.convert_to_numpy(v))
        for a, (_, v) in zip(saved, training_variables(model), strict=True)
    )
    fresh = EpochRecorder(recorder.folder, recorder.task, recorder.config)
    assert restore(model, fresh, recorder.folder) == 1
    for value, (_, variable) in zip(saved, training_variables(model), strict=True):
        np.testing.assert_array_equal(value, keras.ops.convert_to_numpy(variable))
    assert fresh.history == recorder.history and fresh.best == recorder.best


def test_checkpoint_of_another_model(setting):
    recorder, end_epoch = setting
    end_epoch(0, 0.8)
    other = keras.Sequential([keras.Input((64, 1)), keras.layers.Dense(3)])
    other.compile("sgd", "mse")
    with pytest.raises(RunFolderError, match="is of another model"):
        restore(other, recorder, recorder.folder)
