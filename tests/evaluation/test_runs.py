import json

import pytest

from evaluation.runs import RunError, common_parent, find_runs, load_run


def test_parent_and_run_folders_give_the_same_runs_once(run_folders):
    runs = find_runs([run_folders])
    assert [r.path.name for r in runs] == [
        "digits-hybrid-lmu-seed0",
        "digits-hybrid-lmu-seed1",
        "digits-lstm-seed0",
        "digits-gru-seed0",
    ]
    again = find_runs([run_folders / "digits-gru-seed0", run_folders])
    assert [r.path.name for r in again] == [r.path.name for r in runs]


def test_run_knows_its_facts(run_folders):
    hybrid = load_run(run_folders / "digits-hybrid-lmu-seed1")
    assert (hybrid.task, hybrid.model, hybrid.seed) == ("digits", "hybrid-lmu", 1)
    assert hybrid.spiking and hybrid.best_model is None
    assert hybrid.history["epoch"][-1] == 11 and hybrid.config["epochs"] == 12
    assert not load_run(run_folders / "digits-lstm-seed0").spiking
    (hybrid.path / "best.keras").write_bytes(b"")
    assert hybrid.best_model == hybrid.path / "best.keras"


def test_metrics_alone_are_a_run(run_folders):
    path = run_folders / "digits-gru-seed0"
    (path / "history.json").unlink()
    (path / "config.json").unlink()
    run = load_run(path)
    assert run.history == {} and run.config["model"] == "gru"


def test_unfinished_run_is_passed_over_with_a_note_or_refused_when_named(run_folders):
    path = run_folders / "digits-gru-seed0"
    (path / "metrics.json").unlink()
    notes = []
    assert len(find_runs([run_folders], notes.append)) == 3
    assert len(notes) == 1 and "digits-gru-seed0" in notes[0]
    with pytest.raises(RunError, match="not finished.*--resume"):
        find_runs([path])


@pytest.mark.parametrize(
    "content, message",
    [
        ('{"task": "digits"', "cannot read .*metrics.json"),
        ("[1]", "JSON object; received: list"),
        (
            '{"task": "digits", "model": "lstm", "seed": 0}',
            "parameters, test, activity missing$",
        ),
    ],
)
def test_broken_metrics_are_named_in_one_line(write_run, tmp_path, content, message):
    path = write_run(tmp_path, "lstm")
    (path / "metrics.json").write_text(content)
    with pytest.raises(RunError, match=message) as caught:
        find_runs([tmp_path])
    assert "\n" not in str(caught.value)


def _set(metrics, path, value):
    *parents, last = path
    for key in parents:
        metrics = metrics[key]
    metrics[last] = value


@pytest.mark.parametrize(
    "path, value, message",
    [
        (["activity"], None, "activity must be an object; received: null"),
        (["activity"], {"energy": []}, "activity.totals, activity.timesteps missing"),
        (["activity", "totals"], {"effective_macs": 1}, "activity.totals.graded_acs missing"),
        (
            ["activity", "totals", "activity_bits"],
            "x",
            "totals.activity_bits must be a number or null",
        ),
        (["activity", "energy", 0], {}, "activity.energy.0..preset, .*missing"),
        (["activity", "products", 0, "weights"], [], "products.0..weights must be .*: a list"),
        (["activity", "activities", 0, "resolution"], [], "resolution must be .*: a list"),
        (["test"], {"interval": [0, 1]}, "test must have accuracy or nrmse; received neither"),
        (["test"], {"accuracy": 1}, "test.interval missing"),
        (
            ["test", "accuracy"],
            float("nan"),
            "accuracy must be a number or null; received: nan",
        ),
        (["test", "interval"], [1], "test.interval must be a list of 2 numbers"),
        (
            ["non_spiking_test"],
            {"nrmse": 1},
            "accuracy must be a number; received: null",
        ),
        (["seed"], "0", "seed must be an integer; received: '0'"),
        (["task"], 1, "task must be a text; received: 1"),
        (["environment"], [], "environment must be an object or null; received: a list"),
    ],
)
def test_damaged_metrics_are_named_in_one_line(write_run, tmp_path, path, value, message):
    file = write_run(tmp_path) / "metrics.json"
    metrics = json.loads(file.read_text())
    _set(metrics, path, value)
    file.write_text(json.dumps(metrics))
    with pytest.raises(RunError, match=f"metrics.json is damaged: .*{message}") as caught:
        find_runs([tmp_path])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "key, value, message",
    [
        ("val_accuracy", [0.5], "val_accuracy must have one entry for each of the 12 epochs"),
        ("accuracy", None, "accuracy must be a list; received: null"),
        ("loss", [None] * 12, "loss.0. must be a number; received: null"),
        ("resolutions", [[8, 2]] * 11 + [[8]], "equally many numbers in every epoch"),
        ("resolutions", [8] * 12, "resolutions.0. must be a list; received: 8"),
        ("epoch", 3, "epoch must be a list; received: 3"),
    ],
)
def test_ragged_history_is_named_in_one_line(write_run, tmp_path, key, value, message):
    file = write_run(tmp_path) / "history.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))
    with pytest.raises(RunError, match=f"history.json is damaged: .*{message}"):
        find_runs([tmp_path])


def test_missing_or_empty_folder(tmp_path):
    with pytest.raises(RunError, match="does not exist"):
        find_runs([tmp_path / "nothing"])
    with pytest.raises(RunError, match="no finished run"):
        find_runs([tmp_path])
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="is not a folder"):
        find_runs([tmp_path / "file"])


def test_common_parent(write_run, run_folders, tmp_path):
    runs = find_runs([run_folders])
    assert common_parent(runs) == run_folders.resolve()
    assert common_parent(runs[:1]) == runs[0].path.resolve()
    other = load_run(write_run(tmp_path / "elsewhere", "gru"))
    assert common_parent([*runs, other]) == tmp_path.resolve()
    assert json.loads((other.path / "metrics.json").read_text())["model"] == "gru"
