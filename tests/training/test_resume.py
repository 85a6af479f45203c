import zipfile

import numpy as np
import pytest

from tests.training.training_process import read, train, train_and_kill
from training.runfolder import CHECKPOINTS, RunFolder


def weights(folder):
    return zipfile.ZipFile(folder / "best.keras").read("model.weights.h5")


@pytest.mark.slow
@pytest.mark.parametrize(
    "model, precision",
    [("hybrid-lmu", "float32"), ("gru", "float32"), ("hybrid-lmu", "mixed_float16")],
)
def test_a_killed_run_goes_on_to_the_same_end(tmp_path, model, precision):
    # Dropout and initial errors are random draws: their seed generators must be restored too.
    options = ["--model", model, "--epochs", 8, "--units", 12, "--dropout", 0.2]
    options += ["--precision", precision, *(["--order", 12] if model == "hybrid-lmu" else [])]
    train(*options, "--out", tmp_path / "whole")
    whole, killed = (tmp_path / out / f"digits-{model}-seed0" for out in ("whole", "killed"))
    out = ("--out", tmp_path / "killed")

    def has(epochs):
        def check():
            path = killed / "history.json"
            return path.exists() and len(read(killed, path.name)["epoch"]) >= epochs

        return check

    train_and_kill(*options, *out, when=has(2))
    assert any((killed / name).exists() for name in CHECKPOINTS)
    assert not (killed / "metrics.json").exists()
    train_and_kill(*options, *out, "--resume", when=has(5))
    text = train(*options, *out, "--resume")
    assert "1/8" not in text  # at most one epoch is done again
    assert read(killed, "history.json") == read(whole, "history.json")
    assert weights(killed) == weights(whole)
    one, two = read(whole, "metrics.json"), read(killed, "metrics.json")
    for volatile in ("seconds", "environment"):
        one.pop(volatile), two.pop(volatile)
    assert one == two
    assert sorted(p.name for p in killed.iterdir()) == [
        "best.keras", "config.json", "history.json", "metrics.json",
    ]  # fmt: skip


@pytest.mark.slow
def test_finished_runs_are_skipped_others_not_replaced_broken_ones_reported(tmp_path):
    options = ["--model", "lstm", "--epochs", 1, "--units", 3, "--out", tmp_path]
    train(*options)
    folder = tmp_path / "digits-lstm-seed0"
    before = (folder / "metrics.json").read_bytes()
    assert "already holds a run" in train(*options, status=1)
    assert "finished earlier, skipped" in train(*options, "--resume")
    assert (folder / "metrics.json").read_bytes() == before
    (folder / "metrics.json").unlink()
    (folder / CHECKPOINTS[1]).write_bytes(b"PK\x03\x04 truncated")
    text = train(*options, "--resume", status=1)
    assert "no readable checkpoint" in text and "Traceback" not in text
    RunFolder(folder).write_checkpoint({"epoch": 1, "variables": []}, {"v0000": np.zeros(2)})
    text = train(*options, "--resume", status=1)
    assert "is of another model" in text and "Traceback" not in text
