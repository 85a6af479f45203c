import errno
import json
import os
import subprocess

import keras
import numpy as np
import pytest

from training.errors import RunFolderError
from training.runfolder import CHECKPOINTS, RunFolder

CONFIG = {"task": "digits", "epochs": 3}


@pytest.fixture
def folder(tmp_path):
    folder = RunFolder(tmp_path / "runs" / "one")
    folder.prepare(CONFIG, resume=False, overwrite=False)
    return folder


def checkpoint(folder, epoch):
    folder.write_checkpoint({"epoch": epoch}, {"v0000": np.full(3, epoch, "float32")})


def test_an_earlier_run_is_not_replaced_silently(folder):
    folder.write_json("metrics.json", {"kept": True})
    with pytest.raises(RunFolderError, match="already holds a run.*--resume.*--out.*--overwrite"):
        folder.prepare(CONFIG, resume=False, overwrite=False)
    assert folder.read_json("metrics.json") == {"kept": True}
    folder.check({**CONFIG, "epochs": 5}, resume=False, overwrite=True)
    assert folder.is_finished and folder.read_json("config.json") == CONFIG
    folder.prepare({**CONFIG, "epochs": 5}, resume=False, overwrite=True)
    assert not folder.is_finished
    assert folder.read_json("config.json")["epochs"] == 5


@pytest.mark.parametrize("resume", [False, True])
def test_a_run_that_never_began_blocks_nothing(folder, resume):
    assert [p.name for p in folder.path.iterdir()] == ["config.json"] and not folder.is_started
    folder.prepare({**CONFIG, "epochs": 5}, resume=resume, overwrite=False)
    assert folder.read_json("config.json")["epochs"] == 5


@pytest.mark.parametrize("content", ["[]", "null", '"text"'])
def test_config_of_another_kind(folder, content):
    checkpoint(folder, 1)
    (folder.path / "config.json").write_text(content)
    with pytest.raises(RunFolderError, match="config.json must hold a JSON object .* received: "):
        folder.prepare(CONFIG, resume=True, overwrite=False)


def test_resume_wants_the_same_options(folder):
    checkpoint(folder, 1)
    folder.prepare(CONFIG, resume=True, overwrite=False)
    with pytest.raises(RunFolderError, match=r"other options \(epochs=3 there, 5 now\)"):
        folder.prepare({**CONFIG, "epochs": 5}, resume=True, overwrite=False)


def test_resume_of_nothing_is_a_fresh_start(tmp_path):
    folder = RunFolder(tmp_path / "new")
    folder.prepare(CONFIG, resume=True, overwrite=False)
    assert folder.read_json("config.json") == CONFIG
    assert folder.read_checkpoint() is None


def test_newest_checkpoint_wins_and_a_broken_one_gives_way_to_the_one_before(folder):
    for epoch in (1, 2, 3):
        checkpoint(folder, epoch)
    state, arrays = folder.read_checkpoint()
    assert state == {"epoch": 3} and arrays["v0000"].tolist() == [3, 3, 3]
    newest = folder.path / CHECKPOINTS[1]
    for damage in ("truncated", "empty", "flipped"):
        whole = newest.read_bytes()
        at = whole.index(np.float32(3).tobytes() * 3)
        newest.write_bytes(
            {"truncated": whole[:-40], "empty": b"",
             "flipped": whole[:at] + b"\x01" + whole[at + 1 :]}[damage]
        )  # fmt: skip
        told = []
        state, arrays = folder.read_checkpoint(warn=told.append)
        assert state == {"epoch": 2} and arrays["v0000"].tolist() == [2, 2, 2]
        assert str(newest) in told[0] and "previous one is used" in told[0]
        newest.write_bytes(whole)


def test_no_readable_checkpoint_is_an_error(folder):
    checkpoint(folder, 1)
    (folder.path / CHECKPOINTS[1]).write_bytes(b"not a zip file")
    with pytest.raises(RunFolderError, match="no readable checkpoint: .*checkpoint-1.npz.*--overw"):
        folder.read_checkpoint()


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_failed_write_leaves_the_earlier_file_whole(folder, monkeypatch, code):
    folder.write_json("history.json", [1, 2, 3])

    def fail(*args):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(RunFolderError, match=f"cannot write history.json .*{os.strerror(code)}"):
        folder.write_json("history.json", [4])
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    with pytest.raises(RunFolderError, match=f"cannot write best.keras .*{os.strerror(code)}"):
        folder.write_model("best.keras", model)
    monkeypatch.undo()
    assert folder.read_json("history.json") == [1, 2, 3]
    assert sorted(p.name for p in folder.path.iterdir()) == ["config.json", "history.json"]


def test_out_is_a_file(tmp_path):
    (tmp_path / "runs").write_text("not a folder")
    folder = RunFolder(tmp_path / "runs" / "one")
    for action in (folder.check, folder.prepare):
        with pytest.raises(
            RunFolderError, match=f"cannot write to the folder {folder.path}: Not a directory"
        ):
            action(CONFIG, resume=False, overwrite=False)


def test_check_makes_nothing(tmp_path):
    RunFolder(tmp_path / "runs" / "one").check(CONFIG, resume=False, overwrite=True)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_overwrite_leaves_the_earlier_run(folder, monkeypatch):
    folder.write_json("metrics.json", {"kept": True})

    def fail(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(RunFolderError, match=f"cannot write to the folder {folder.path}: No space"):
        folder.prepare({**CONFIG, "epochs": 5}, resume=False, overwrite=True)
    assert sorted(p.name for p in folder.path.iterdir()) == ["config.json", "metrics.json"]
    assert folder.read_json("config.json") == CONFIG


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="mounting needs root")
def test_really_full_disk(tmp_path):
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        folder = RunFolder(tmp_path / "one")
        folder.prepare(CONFIG, resume=False, overwrite=False)
        checkpoint(folder, 1)
        with pytest.raises(RunFolderError, match="cannot write checkpoint-0.npz .*No space left"):
            folder.write_checkpoint({"epoch": 2}, {"v0000": np.zeros(100_000)})
        assert folder.read_checkpoint()[0] == {"epoch": 1}
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_unreadable_files_say_which_and_what_to_do(folder):
    checkpoint(folder, 1)
    (folder.path / "config.json").write_text('{"task": "dig')
    with pytest.raises(RunFolderError, match="cannot read .*config.json.*--overwrite"):
        folder.prepare(CONFIG, resume=True, overwrite=False)
    (folder.path / "best.keras").write_bytes(b"PK\x03\x04 truncated")
    with pytest.raises(RunFolderError, match="cannot read .*best.keras.*--overwrite"):
        folder.read_model("best.keras")


def test_leftovers_of_a_killed_process_are_removed(folder):
    (folder.path / "tmp-123-best.keras").write_bytes(b"half")
    folder.prepare(CONFIG, resume=True, overwrite=False)
    assert [p.name for p in folder.path.iterdir()] == ["config.json"]


def test_json_has_no_nan(folder):
    with pytest.raises(ValueError):
        folder.write_json("history.json", [float("nan")])
    assert not (folder.path / "history.json").exists()
    assert json.loads((folder.path / "config.json").read_text()) == CONFIG
