import errno
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import hybrid_lmu
from evaluation import files
from evaluation.__main__ import main
from evaluation.report.figures import detailed_runs, sweep
from evaluation.runs import find_runs
from training.tasks import Split

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def spiking_run(run_folders):
    """The first hybrid run with a small saved model for the digits task."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((64, 1)),
            keras.layers.Dense(4),
            hybrid_lmu.SigmaDelta("relu", resolution=2.0, name="hidden"),
            keras.layers.GlobalAveragePooling1D(),
            keras.layers.Dense(10),
        ]
    )
    path = run_folders / "digits-hybrid-lmu-seed0"
    model.save(path / "best.keras")
    return path


def test_table_and_self_contained_report(run_folders, tmp_path, capsys):
    assert main([str(run_folders), "--no-model", "--plots", str(tmp_path / "png")]) == 0
    out = capsys.readouterr().out
    assert "hybrid-lmu s1" in out and "test % [95 % CI]" in out
    html = (run_folders / "report.html").read_text()
    assert not re.search(r'(src|href)="(?!data:)', html)
    for text in (
        "hybrid-lmu s0",
        "hybrid_lmu/memory A",
        "45 nm",
        "Horowitz, ISSCC 2014 &lt;",
        "abc1234",
        "batch_size",
        "act.b",
    ):
        assert text in html, text
    assert html.count("<img ") == 1
    assert [p.name for p in (tmp_path / "png").iterdir()] == ["digits-epochs.png"]


def test_plots_of_a_model(spiking_run, tmp_path, capsys):
    out = tmp_path / "page.html"
    arguments = [str(spiking_run), "--out", str(out), "--samples", "20"]
    assert main([*arguments, "--plots", str(tmp_path)]) == 0, capsys.readouterr().err
    assert out.read_text().count("<img ") == 4
    name = "digits-hybrid-lmu-seed0"
    assert {p.name for p in tmp_path.glob("*.png")} == {
        "digits-epochs.png",
        f"{name}-bits.png",
        f"{name}-raster.png",
        f"{name}-histograms.png",
    }
    assert not (spiking_run / "report.html").exists()


def test_without_a_saved_model_the_report_says_so(run_folders, capsys):
    assert main([str(run_folders)]) == 0
    assert "plots of a model left out" in capsys.readouterr().err


@pytest.mark.parametrize(
    "break_it, message",
    [
        (lambda p: (p / "metrics.json").unlink(), "not finished"),
        (lambda p: (p / "metrics.json").write_text("{"), "cannot read"),
        (lambda p: (p / "history.json").write_text("[]"), "JSON object"),
    ],
)
def test_broken_run_is_one_line_and_a_status(spiking_run, capsys, break_it, message):
    break_it(spiking_run)
    assert main([str(spiking_run)]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("error: ") and message in lines[-1]
    assert not (spiking_run / "report.html").exists()


def _truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _misfit(path):
    keras.Sequential([keras.Input((5, 2)), hybrid_lmu.SigmaDelta("relu")]).save(path)


@pytest.mark.parametrize("break_it", [_truncate, _misfit, lambda path: path.write_bytes(b"no zip")])
def test_an_unreadable_model_costs_only_its_plots(spiking_run, capsys, break_it):
    break_it(spiking_run / "best.keras")
    assert main([str(spiking_run)]) == 0
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("Plots of digits-hybrid-lmu-seed0 left out: ") and "best.keras" in last
    html = (spiking_run / "report.html").read_text()
    assert html.count("<img ") == 1 and "Plots of digits-hybrid-lmu-seed0 left out" in html


@pytest.mark.slow
def test_model_plots_of_the_first_spiking_run_of_each_task(write_run, spiking_run, tmp_path):
    parent = spiking_run.parent
    for seed in (0, 1):
        path = write_run(parent, "hybrid-lmu", seed, task="smnist")
        shutil.copy(spiking_run / "best.keras", path)
    shutil.copy(spiking_run / "best.keras", parent / "digits-hybrid-lmu-seed1")
    chosen = [r.path.name for r in detailed_runs(find_runs([parent]))]
    assert chosen == ["digits-hybrid-lmu-seed0", "smnist-hybrid-lmu-seed0"]
    data = ["--data-dir", str(tmp_path / "no data"), "--samples", "8"]
    assert main([str(parent), *data]) == 0
    html = (parent / "report.html").read_text()
    assert f"first spiking run of each task ({', '.join(chosen)})" in html
    assert "Plots of smnist-hybrid-lmu-seed0 left out" in html  # its data are not there
    assert html.count("<img ") == 2 + 3


def test_a_full_disk_is_named_with_the_file(run_folders, capsys, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fdopen", full)
    assert main([str(run_folders), "--no-model"]) == 1
    error = capsys.readouterr().err.strip()
    assert error == f"error: cannot write {run_folders}/report.html: No space left on device"


def test_an_output_that_cannot_be_written_is_found_before_measuring(spiking_run, tmp_path, capsys):
    assert main([str(spiking_run), "--out", str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.strip() == (
        f"error: cannot write {tmp_path}: expected a file name; received a folder"
    )
    (tmp_path / "file").write_text("")
    assert main([str(spiking_run), "--plots", str(tmp_path / "file")]) == 1
    captured = capsys.readouterr()
    assert "file" in captured.err and "measuring" not in captured.err


def _run(*arguments, **environment):
    hidden = ("TF_CPP_MIN_LOG_LEVEL", "TF_CPP_MAX_VLOG_LEVEL")
    inherited = {k: v for k, v in os.environ.items() if k not in hidden}
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env=inherited | environment,
        capture_output=True,
        text=True,
    )


@pytest.mark.slow
def test_the_console_shows_our_lines_only(run_folders):
    result = _run("evaluation", "--no-model", str(run_folders))
    assert (result.returncode, result.stderr) == (0, "")
    sizes = ["--batch", "2", "--timesteps", "6", "--units", "4", "--repeats", "1", "--warmup", "0"]
    # Several shapes and steps: TensorFlow warns of retracing.
    result = _run("evaluation", "benchmark", "--group", "activation", *sizes)
    assert (result.returncode, result.stderr) == (0, "")
    assert "WARNING" not in result.stdout and "SigmaDelta(ReLU)" in result.stdout


def test_an_unknown_backend_is_one_line(spiking_run):
    for arguments in (("evaluation", str(spiking_run)), ("evaluation", "benchmark", "--list")):
        result = _run(*arguments, KERAS_BACKEND="abacus")
        assert result.returncode in (1, 2)
        assert result.stderr.strip().splitlines()[-1] == (
            "error: KERAS_BACKEND must be one of tensorflow, jax, torch; received: 'abacus'"
        )
        assert "Traceback" not in result.stderr


def test_missing_folder_and_unwritable_output(run_folders, tmp_path, capsys):
    assert main([str(tmp_path / "nothing")]) == 1
    assert "does not exist" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert main([str(run_folders), "--no-model", "--out", str(tmp_path / "file" / "x.html")]) == 1
    assert capsys.readouterr().err.startswith("error: cannot write")


def test_samples_must_be_positive(capsys):
    with pytest.raises(SystemExit):
        main(["runs", "--samples", "0"])
    assert "expected an integer >= 1; received: 0" in capsys.readouterr().err


def test_sweep_of_a_model_follows_its_resolution(spiking_run):
    test = Split(np.random.default_rng(0).random((8, 64, 1), dtype="float32"), np.arange(8))
    model = keras.models.load_model(spiking_run / "best.keras")
    reference, points = sweep(model, test, "classes", factors=(0.5, 1, 64))
    bits = [p["activity_bits"] for p in points]
    assert [p["factor"] for p in points] == [0.5, 1, 64] and bits == sorted(bits)
    assert bits[2] > bits[0] + 1
    assert all(p["low"] <= p["score"] <= p["high"] for p in points)


def test_the_non_spiking_line_is_measured_on_the_samples_of_the_points(spiking_run):
    model = keras.models.load_model(spiking_run / "best.keras")
    x = np.random.default_rng(0).random((8, 64, 1), dtype="float32")
    (resolution,) = hybrid_lmu.resolution_variables(model).values()
    resolution.assign(2.0**20)
    right = model.predict(x, verbose=0).argmax(-1)
    resolution.assign(2.0)
    right[0] = (right[0] + 1) % 10  # 7 of 8 correct
    reference, _ = sweep(model, Split(x, right), "classes", factors=(1,))
    assert reference == 7 / 8
    assert float(keras.ops.convert_to_numpy(resolution)) == 2.0
