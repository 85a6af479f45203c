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
            '{"task": 1, "model": 2, "seed": 3, "parameters": 4, "test": {}, '
            '"activity": {"energy": []}}',
            "lacks test.interval, activity.totals, activity.timesteps$",
        ),
        ('{"task": "digits", "model": "lstm", "seed": 0}', "lacks test, parameters, activity$"),
    ],
)
def test_broken_metrics_are_named_in_one_line(write_run, tmp_path, content, message):
    path = write_run(tmp_path, "lstm")
    (path / "metrics.json").write_text(content)
    with pytest.raises(RunError, match=message) as caught:
        find_runs([tmp_path])
    assert "\n" not in str(caught.value)


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
