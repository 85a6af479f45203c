"""The verbs remeasure and keep on one small model that is hardly trained."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from evaluation.committed import keep as keep_module
from evaluation.committed import remeasure as remeasure_module
from evaluation.committed.keep import keep
from evaluation.committed.keep import main as keep_main
from evaluation.committed.remeasure import compare, remeasure, tolerances
from evaluation.committed.remeasure import main as remeasure_main
from evaluation.runs import find_runs, load_best, load_run
from training.config import RunConfig
from training.runfolder import RunFolder
from training.runner import run as train_run
from training.tasks import Split, TaskData


def small_task():
    rng = np.random.default_rng(0)

    def split(n):
        y = rng.integers(0, 2, n)
        x = np.sin(np.arange(6) * np.where(y, 0.3, 0.9)[:, None])[..., None]
        return Split((x + 0.3 * rng.normal(size=x.shape)).astype("float32"), y.astype("int32"))

    return TaskData("digits", "classes", False, 2, *(split(n) for n in (64, 32, 90)))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(run folder of one epoch of a small hybrid LMU, its task)."""
    task = small_task()
    # At a resolution of 64 the first errors hardly matter, so that few samples give firm numbers.
    config = RunConfig(epochs=1, batch_size=64, units=3, order=2, theta=6.0,
                       memory_resolution=64.0, hidden_resolution=64.0)  # fmt: skip
    folder = RunFolder(tmp_path_factory.mktemp("runs") / config.name)
    folder.prepare(config.to_dict(), resume=False, overwrite=False)
    train_run(config, task, folder, stream=io.StringIO())
    return folder.path, task


@pytest.fixture
def run_path(trained, tmp_path):
    """A copy that a test may change."""
    path = tmp_path / "runs" / trained[0].name
    path.mkdir(parents=True)
    for file in trained[0].iterdir():
        (path / file.name).write_bytes(file.read_bytes())
    return path


def edit(path, change):
    metrics = json.loads((path / "metrics.json").read_text())
    change(metrics)
    (path / "metrics.json").write_text(json.dumps(metrics))


@pytest.fixture(scope="module")
def measured(trained):
    path, task = trained
    run = load_run(path)
    return remeasure(run, task, load_best(run))


@pytest.fixture
def quick(trained, measured, monkeypatch):
    """The command without its measuring; a list of what it asked `load_task` and `remeasure`."""
    asked = []

    def load_task(*arguments):
        asked.append(arguments)
        return trained[1]

    def again(run, task, model, samples):
        asked.append(samples)
        return measured

    monkeypatch.setattr("training.tasks.load_task", load_task)
    monkeypatch.setattr(remeasure_module, "remeasure", again)
    return asked


def test_a_run_measured_again_agrees_with_its_record(trained, measured, quick, capsys):
    run = load_run(trained[0])
    assert measured["test"]["n"] == measured["activity"]["samples"] == 90
    low, high = run.metrics["test"]["interval"]
    assert low <= measured["test"]["accuracy"] <= high
    assert len(compare(run.metrics, measured)) == 2 + 3 * 2  # memory, hidden and their mean
    assert remeasure_main([str(run.path)]) == 0
    printed = capsys.readouterr().out
    assert "The numbers agree." in printed and "90 test labels" in printed
    assert "hybrid_lmu/hidden significant bits" in printed


def test_fewer_samples_count_bits_on_them_and_score_all(trained, monkeypatch):
    counted = []

    def report(model, x, batch_size):
        counted.append(len(x))
        raise KeyboardInterrupt

    monkeypatch.setattr("hybrid_lmu.accounting.activity_report", report)
    run = load_run(trained[0])
    model = load_best(run)
    for samples in (7, None):
        with pytest.raises(KeyboardInterrupt):
            remeasure(run, trained[1], model, samples)
    assert counted == [7, 90]


def test_bits_of_other_samples_are_not_judged(trained, measured):
    recorded = json.loads(json.dumps(load_run(trained[0]).metrics))
    recorded["activity"]["totals"]["significant_bits"] += 1
    assert any(verdict for *_, verdict in compare(recorded, measured))
    recorded["activity"]["samples"] = 7
    assert not any(verdict for *_, verdict in compare(recorded, measured))


@pytest.mark.parametrize(
    "change, verdict",
    [
        (lambda m: m["test"].update(interval=[1.01, 1.02]), "outside the recorded 95 % interval"),
        (lambda m: m.update(parameters=1), "not equal"),
        (lambda m: m["activity"]["totals"].update(significant_bits=5.0), "differ by more than 0.1"),
        (lambda m: m["activity"]["activities"].pop(), "only in one of the two"),
    ],
)
def test_a_record_that_does_not_fit_its_model_is_told(run_path, quick, capsys, change, verdict):
    edit(run_path, change)
    assert remeasure_main([str(run_path)]) == 1
    printed = capsys.readouterr().out
    assert verdict in printed and "DIFFER" in printed


def test_small_layers_have_more_room():
    def room(neurons, samples):
        layer = {"name": "a", "neurons": neurons}
        activity = {"activities": [layer], "samples": samples, "timesteps": 100}
        return tolerances(activity)

    assert room(400, 1000)["a", "activity_bits"] == room(400, 1000)["mean", "activity_bits"] == 0.1
    assert room(400, 1000)["a", "significant_bits"] == 0.02
    assert room(4, 4)["a", "activity_bits"] == 0.5
    assert room(4, 4)["a", "significant_bits"] == pytest.approx(0.1)


def test_permutation_of_the_run_and_options_are_passed_on(run_path, quick):
    config = json.loads((run_path / "config.json").read_text()) | {"permutation": 3}
    (run_path / "config.json").write_text(json.dumps(config))
    remeasure_main([str(run_path), "--data-dir", "data", "--samples", "5"])
    assert quick == [("digits", Path("data"), 3, None), 5]


def test_all_committed_models_end_with_one_table(run_path, quick, capsys, monkeypatch):
    results = run_path.parent
    other = results / "without a model"
    shutil.copytree(run_path, other)
    (other / "best.keras").unlink()
    twin = results / "twin"
    shutil.copytree(run_path, twin)
    monkeypatch.setattr(remeasure_module, "RESULTS", results)
    assert remeasure_main(["--all"]) == 0
    printed = capsys.readouterr()
    assert "(1 of 2)" in printed.err and "(2 of 2)" in printed.err
    assert "The numbers of all 2 runs agree." in printed.out
    assert "without a model" not in printed.out
    assert len([one for one in quick if isinstance(one, tuple)]) == 1  # data are loaded once
    edit(twin, lambda m: m.update(parameters=1))
    assert remeasure_main([str(run_path), str(twin)]) == 1
    printed = capsys.readouterr().out
    assert "trainable parameters differ" in printed and "1 of 2 DIFFER" in printed


@pytest.mark.parametrize("arguments", [[], ["runs", "--all"]])
def test_runs_or_all_of_them(arguments, capsys):
    assert remeasure_main(arguments) != 0
    assert "expected one or several RUN, or --all; received" in capsys.readouterr().err


def test_absent_data_are_one_line(run_path, tmp_path, capsys):
    config = json.loads((run_path / "config.json").read_text()) | {"task": "psmnist"}
    (run_path / "config.json").write_text(json.dumps(config))
    edit(run_path, lambda m: m.update(task="psmnist"))
    assert remeasure_main([str(run_path), "--data-dir", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert "error: " in error and str(tmp_path) in error and "Traceback" not in error


def test_a_run_without_a_readable_model_is_an_error_in_one_line(run_path, trained, capsys):
    (run_path / "best.keras").write_bytes(b"x")
    assert remeasure_main([str(run_path)]) == 1
    assert "cannot read " in capsys.readouterr().err
    (run_path / "best.keras").unlink()
    assert remeasure_main([str(run_path)]) == 1
    assert "has no best.keras; expected" in capsys.readouterr().err


def test_kept_run_is_the_same_run_with_a_smaller_model(trained, tmp_path):
    path, _ = trained
    run = load_run(path)
    (target,) = keep([run], tmp_path / "results", model=True)
    assert sorted(p.name for p in target.iterdir()) == ["best.keras", "config.json", "metrics.json"]
    assert (target / "metrics.json").read_bytes() == (path / "metrics.json").read_bytes()
    assert (target / "best.keras").stat().st_size < (path / "best.keras").stat().st_size
    before, after = (RunFolder(p).read_model("best.keras").get_weights() for p in (path, target))
    assert len(before) == len(after)
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_kept_under_the_name_of_its_variants(run_path, tmp_path):
    config = json.loads((run_path / "config.json").read_text()) | {"rounding": "memoryless"}
    (run_path / "config.json").write_text(json.dumps(config))
    assert keep_main([str(run_path.parent), "--to", str(tmp_path / "results")]) == 0
    (kept,) = (tmp_path / "results").iterdir()
    assert kept.name == "digits-hybrid-lmu-memoryless-seed0"
    assert not (kept / "best.keras").exists()


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda m: m["environment"].update(commit="other"), "of commit other; received one of"),
        (lambda m: m["config"].update(epochs=9), "of another configuration"),
        (lambda m: m["environment"].update(commit=None), "of commit None"),
    ],
)
def test_another_result_is_replaced_only_when_told(run_path, tmp_path, capsys, change, message):
    edit(run_path, lambda m: m["environment"].update(commit="abc"))
    results = tmp_path / "results"
    command = [str(run_path), "--to", str(results)]
    assert keep_main([*command, "--model"]) == 0
    assert keep_main(command) == 0  # the same result once more
    target = results / run_path.name
    assert (target / "best.keras").exists()
    edit(target, change)
    earlier = (target / "metrics.json").read_bytes()
    assert keep_main(command) == 1
    assert message in capsys.readouterr().err
    assert (target / "metrics.json").read_bytes() == earlier
    assert keep_main([*command, "--overwrite"]) == 0
    assert (target / "metrics.json").read_bytes() == (run_path / "metrics.json").read_bytes()
    assert not (target / "best.keras").exists()  # it belonged to the other result


def test_a_model_that_is_too_large_stops_everything(run_path, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(keep_module, "LARGEST", 1_000)
    results = tmp_path / "results"
    assert keep_main([str(run_path), "--to", str(results), "--model"]) == 1
    error = capsys.readouterr().err
    assert "must have at most 1,000 bytes without its optimizer; received: " in error
    assert not list(results.iterdir())


def test_what_cannot_be_kept_is_named(run_path, tmp_path, capsys):
    results = ["--to", str(tmp_path / "results")]
    (run_path / "best.keras").unlink()
    assert keep_main([str(run_path), "--model", *results]) == 1
    assert "has no best.keras; expected one, because of --model" in capsys.readouterr().err
    twin = run_path.parent / "twin"
    twin.mkdir()
    for name in ("config.json", "metrics.json"):
        (twin / name).write_bytes((run_path / name).read_bytes())
    assert keep_main([str(run_path.parent), *results]) == 1
    assert "more than one of these runs" in capsys.readouterr().err
    (run_path / "config.json").unlink()
    assert keep_main([str(run_path), *results]) == 1
    assert "has no config.json" in capsys.readouterr().err
    (run_path / "metrics.json").unlink()
    assert len(find_runs([run_path.parent])) == 1
