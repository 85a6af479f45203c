import subprocess
import sys

import keras
import numpy as np
import pytest

from tests.training.training_process import ROOT, environment, read, train
from training.distribution import device_scope
from training.errors import TrainingError

CURVES = ("loss", "val_loss", "accuracy", "val_accuracy")


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() == "torch", reason="one device only")
def test_two_devices_give_the_loss_curve_of_one(tmp_path):
    # No random draws: replicas of TensorFlow make their own. At resolution 1e6 rounding cannot turn
    # into another count; two models, one after the other.
    # Nor clipping: TensorFlow clips the gradient of each replica, not their sum.
    options = ["--model", "lstm", "hybrid-lmu", "--epochs", 2, "--initial-error", "half"]
    options += ["--dropout", 0, "--clip-norm", 1e6]
    for name in ("start", "memory", "hidden"):
        options += [f"--{name}-resolution", 1e6]
    for devices in (1, 2):
        train(*options, "--devices", devices, "--out", tmp_path / str(devices))
    for model in ("lstm", "hybrid-lmu"):
        one, two = (read(tmp_path / d / f"digits-{model}-seed0", "history.json") for d in "12")
        for curve in CURVES:
            np.testing.assert_allclose(two[curve], one[curve], rtol=2e-5, err_msg=curve)


def test_one_device_needs_no_scope():
    with device_scope(1) as scope:
        assert scope is None


@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="TensorFlow can divide a CPU")
def test_too_many_devices(monkeypatch):
    with pytest.raises(TrainingError, match="`devices` must be .* received: 64"):
        with device_scope(64):
            pass


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow only")
def test_tensorflow_strategy_has_as_many_replicas_as_devices():
    # In a process of its own: a started TensorFlow takes no virtual devices.
    code = (
        "from training.startup import prepare_environment\n"
        "from training.distribution import device_scope, _tensorflow_strategy\n"
        "prepare_environment('tensorflow', 3)\n"
        "with device_scope(3): pass\n"
        "print('replicas', _tensorflow_strategy(3).num_replicas_in_sync)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment(), capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip
    assert "replicas 3" in done.stdout, done.stderr
