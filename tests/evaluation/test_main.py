import re

import keras
import numpy as np
import pytest

import hybrid_lmu
from evaluation.__main__ import main
from evaluation.figures import sweep
from training.tasks import Split


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
        (lambda p: (p / "best.keras").write_bytes(b"no zip"), "best.keras"),
    ],
)
def test_broken_run_is_one_line_and_a_status(spiking_run, capsys, break_it, message):
    break_it(spiking_run)
    assert main([str(spiking_run)]) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[-1].startswith("error: ") and message in lines[-1]
    assert not (spiking_run / "report.html").exists()


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
    points = sweep(model, test, "classes", factors=(0.5, 1, 64))
    bits = [p["activity_bits"] for p in points]
    assert [p["factor"] for p in points] == [0.5, 1, 64] and bits == sorted(bits)
    assert bits[2] > bits[0] + 1
    assert all(p["low"] <= p["score"] <= p["high"] for p in points)
