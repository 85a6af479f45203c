import dataclasses
import json

import keras
import numpy as np
import pytest

from evaluation.calibration import bayes, bayes_report
from training import bisnn, tasks
from training.tasks import two_moons

SMALL = dict(hidden=(6,), burn_in=90, batch_size=20, epochs=1, learning_rate=0.1)


@pytest.fixture
def small(monkeypatch):
    """Few samples, few units, most steps without learning."""
    load, grid = tasks.load_task, two_moons.grid

    def shortened(name, data_dir):
        data = load(name)
        test = data.test if data.kind == "regression" else data.test.take(slice(0, 40))
        validation = data.validation.take(slice(0, 40))
        return dataclasses.replace(data, validation=validation, test=test)

    monkeypatch.setattr(tasks, "load_task", shortened)
    monkeypatch.setattr(two_moons, "grid", lambda: grid(5))
    recipes = {rule: {"rule": {}} for rule in bisnn.RULES}
    monkeypatch.setattr(bisnn, "RECIPES", {task: {"*": SMALL, **recipes} for task in bisnn.RECIPES})


def run(tmp_path, *arguments):
    backend = keras.backend.backend()
    return bayes.main(["--out", str(tmp_path), "--backend", backend, "--samples", "2", *arguments])


@pytest.mark.parametrize("task, figures", [("two-moons", 2), ("bisnn-1d", 2)])
@pytest.mark.slow
def test_command(task, figures, tmp_path, small, capsys):
    assert run(tmp_path, "--task", task, "--seeds", "0-1") == 0
    out = capsys.readouterr().out
    for name in ("full-precision", "straight-through", "bayesian, mode", "bayesian, ensemble",
                 "bayesian, committee"):  # fmt: skip
        assert len([line for line in out.splitlines() if line.startswith(f"{name} ")]) == 1
    record = json.loads((tmp_path / f"{task}.json").read_text())
    assert len(record["results"]) == 2 * (1 + 1 + 3)
    assert {r["seed"] for r in record["results"]} == {0, 1}
    assert record["recipes"]["bayesian"]["hidden"] == [6]
    assert record["environment"]["versions"]["keras"] == keras.__version__
    pictures = sorted(tmp_path.glob("*.png"))
    assert len(pictures) == figures
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in pictures)


def test_the_noise_is_the_likeliest():
    random = np.random.RandomState(0)
    mean, deviation = random.normal(0, 1, 20_000), np.full(20_000, 0.06)
    targets = random.normal(mean, 0.1)  # of variance 0.06^2 + 0.08^2
    assert bayes.likeliest_noise(mean, deviation, targets) == pytest.approx(0.08, rel=0.05)


def test_table_gives_means_and_deviations_of_seeds():
    results = [
        {"rule": "bayesian", "predictor": "mode", "seed": seed,
         "test": {"accuracy": accuracy, "ece": 0.1, "nll": 0.5}}
        for seed, accuracy in ((0, 0.9), (1, 0.92))
    ]  # fmt: skip
    text = bayes_report.table("two-moons", results)
    assert "mean ± standard deviation of 2 seeds" in text
    assert "bayesian, mode  91.00 ± 1.41  10.00 ± 0.00  0.5000 ± 0.0000" in text


def test_an_unwritable_folder(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert run(tmp_path / "file") == 1
    assert capsys.readouterr().err.startswith("error: ")
