"""Whole runs. Compiling is nearly all of their time, so tests share one run: `shared`."""

import dataclasses
import io
import types

import keras
import numpy as np
import pytest

import hybrid_lmu
from training.config import make_config
from training.errors import TrainingError
from training.runfolder import RunFolder
from training.runner import at_resolutions, check_run, run
from training.tasks import Split, load_task

TINY = dict(epochs=2, units=6, order=8, report_samples=20)
OPTIONS = dict(
    memory_resolution=5.0, units=24, hidden_resolution=2.0, learning_rate=0.02, dropout=0.1
)


@pytest.fixture(scope="module")
def digits():
    task = load_task("digits")
    return dataclasses.replace(task, train=task.train.take(slice(0, 320)))


def train(task, folder, model, *, label=None, **options):
    config = make_config(task.name, model, **{**TINY, **options})
    folder = RunFolder(folder)
    folder.prepare(config.to_dict(), resume=False, overwrite=False)
    stream = io.StringIO()
    metrics = run(config, task, folder, stream=stream, label=label)
    return types.SimpleNamespace(metrics=metrics, folder=folder, text=stream.getvalue())


@pytest.fixture(scope="module")
def shared(digits, tmp_path_factory):
    """A finished run of a hybrid LMU."""
    path = tmp_path_factory.mktemp("shared")
    return train(digits, path, "hybrid-lmu", label="hybrid s7", **OPTIONS)


def without_time(metrics):
    return {key: value for key, value in metrics.items() if key not in ("seconds", "environment")}


def test_a_run_and_its_folder(shared):
    metrics, folder = shared.metrics, shared.folder
    assert sorted(p.name for p in folder.path.iterdir()) == [
        "best.keras", "config.json", "history.json", "metrics.json",
    ]  # fmt: skip
    assert folder.read_json("metrics.json") == metrics
    assert metrics["test"]["n"] == 360 and metrics["validation"]["n"] == 270
    low, high = metrics["test"]["interval"]
    assert low < metrics["test"]["accuracy"] < high
    assert 0.2 < metrics["non_spiking_test"]["accuracy"] <= 1  # learns something in 20 steps
    assert metrics["parameters"] == 1 + (8 * 24 + 24) + (24 * 10 + 10)
    assert {row["resolution"] for row in metrics["activity"]["activities"]} == {5.0, 2.0}
    assert metrics["activity"]["totals"]["activity_bits"] > 0
    assert metrics["activity"]["samples"] == 20
    history = folder.read_json("history.json")
    assert history["epoch"] == [0, 1]
    assert history["resolutions"][-1] == [5.0, 2.0]
    assert {len(values) for values in history.values()} == {2}
    environment = metrics["environment"]
    assert environment["backend"] == keras.backend.backend()
    assert environment["versions"]["keras"] == keras.__version__


def test_the_best_model_is_whole_and_at_the_final_resolutions(shared, digits):
    model = shared.folder.read_model("best.keras")
    values = [
        float(keras.ops.convert_to_numpy(v))
        for v in hybrid_lmu.resolution_variables(model).values()
    ]
    assert values == [5.0, 2.0]
    assert model.predict(digits.test.x[:2], verbose=0).shape == (2, 10)


def test_lines_begin_with_the_label(shared):
    lines = shared.text.splitlines()
    assert len(lines) == 3 and all(line.startswith("hybrid s7 ") for line in lines)


def test_the_test_split_plays_no_part_in_training(shared, digits, tmp_path):
    scrambled = dataclasses.replace(
        digits, test=dataclasses.replace(digits.test, y=np.roll(digits.test.y, 1))
    )
    one, two = shared, train(scrambled, tmp_path, "hybrid-lmu", **OPTIONS)
    assert one.folder.read_json("history.json") == two.folder.read_json("history.json")
    for key in ("best_epoch", "validation", "activity"):
        assert one.metrics[key] == two.metrics[key]
    assert one.metrics["test"] != two.metrics["test"]


def resumed(config, task, path, monkeypatch):
    """Metrics and text of a run that is stopped after its first epoch and goes on."""
    folder = RunFolder(path)
    folder.prepare(config.to_dict(), resume=False, overwrite=False)
    write = folder.write_checkpoint

    def write_and_stop(state, arrays):
        write(state, arrays)
        raise KeyboardInterrupt

    monkeypatch.setattr(folder, "write_checkpoint", write_and_stop)
    with pytest.raises(KeyboardInterrupt):
        run(config, task, folder, stream=io.StringIO())
    monkeypatch.undo()
    stream = io.StringIO()
    return run(config, task, folder, stream=stream), stream.getvalue()


def test_a_stopped_run_goes_on_to_the_same_end(shared, digits, tmp_path, monkeypatch):
    # Dropout and initial errors are random draws, whose generators must be restored too.
    config = make_config("digits", "hybrid-lmu", **{**TINY, **OPTIONS})
    metrics, text = resumed(config, digits, tmp_path, monkeypatch)
    assert "1/2" not in text and "2/2" in text
    assert without_time(metrics) == without_time(shared.metrics)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_a_stopped_gru_goes_on_to_the_same_end(digits, tmp_path, monkeypatch, precision):
    # mixed_float16 wraps the optimizer, whose variables `fit` would name otherwise than `restore`.
    config = make_config("digits", "gru", **TINY, precision=precision)
    whole = train(digits, tmp_path / "whole", "gru", precision=precision)
    metrics, _ = resumed(config, digits, tmp_path / "stopped", monkeypatch)
    assert without_time(metrics) == without_time(whole.metrics)


@pytest.mark.parametrize("model", ["gru", "lmu", "lstm"])
@pytest.mark.slow
def test_models_without_quantizers(digits, tmp_path, model):
    made = train(digits, tmp_path, model, epochs=1)
    metrics, history = made.metrics, made.folder.read_json("history.json")
    assert metrics["validation"]["accuracy"] == history["val_accuracy"][metrics["best_epoch"]]
    assert "non_spiking_test" not in metrics
    assert metrics["activity"]["totals"]["activity_bits"] is None
    assert metrics["activity"]["totals"]["dense_macs"] > 0


@pytest.mark.slow
def test_a_hybrid_gru(digits, tmp_path):
    metrics = train(digits, tmp_path, "hybrid-gru", hidden_resolution=3.0, epochs=1).metrics
    assert {row["resolution"] for row in metrics["activity"]["activities"]} == {3.0}


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.slow
def test_precision_reaches_the_layers_and_is_taken_back(digits, tmp_path, precision):
    made = train(digits, tmp_path, "hybrid-lmu", precision=precision, epochs=1)
    model = made.folder.read_model("best.keras")
    assert model.get_layer("hybrid_lmu").dtype_policy.name == precision
    assert model.get_layer("readout").dtype_policy.name == "float32"
    assert keras.config.dtype_policy().name == "float32"
    assert np.isfinite(made.metrics["test"]["loss"])


@pytest.mark.slow
def test_a_run_with_weights_of_few_bits(digits, tmp_path):
    metrics = train(digits, tmp_path, "hybrid-lmu", weights="ternary", epochs=1).metrics
    assert 0 <= metrics["soft_test"]["accuracy"] <= 1
    assert metrics["between_levels"] and metrics["weights"]
    assert metrics["config"]["power_of_two"] is True


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(batch_size=5000), r"`batch_size` must be .* \(320\); received: 5000"),
        (dict(units=None, parameters=5), "`parameters` must be at least .* received: 5"),
        (dict(devices=64, batch_size=64), "64"),
    ],
)
def test_what_would_stop_a_run_is_found_before_it(digits, options, message):
    keras.ops.zeros(())  # a started TensorFlow takes no more virtual devices
    with pytest.raises((ValueError, TrainingError), match=message):
        check_run(make_config("digits", "hybrid-lmu", **{**TINY, **options}), digits)


def test_a_check_leaves_the_policy_as_it_was(digits):
    check_run(make_config("digits", "hybrid-lmu", **TINY, precision="mixed_bfloat16"), digits)
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.slow
def test_regression_and_labels_per_step(tmp_path):
    task = load_task("mackey-glass")
    parts = {
        part: Split(getattr(task, part).x[:16, :40], getattr(task, part).y[:16, :40])
        for part in ("train", "validation", "test")
    }
    task = dataclasses.replace(task, **parts)
    made = train(task, tmp_path, "hybrid-lmu", batch_size=8, hidden="dense", epochs=1)
    assert 0 < made.metrics["test"]["nrmse"] < 50
    assert "val_nrmse" in made.folder.read_json("history.json")


@pytest.mark.slow
@pytest.mark.parametrize(
    "budget", [dict(bit_budget=3.0), dict(memory_bits=4.0, hidden_bits=2.0)], ids=str
)
def test_a_run_under_a_budget_of_bits(digits, tmp_path, budget):
    options = dict(budget_samples=100, anneal_fraction=0.5, epochs=3, units=12, **budget)
    made = train(digits, tmp_path, "hybrid-lmu", report_samples=100, **options)
    assert made.metrics["best_epoch"] >= 1  # the first epoch is in mid annealing
    rows = made.metrics["activity"]["activities"]
    found = {row["name"]: row["activity_bits"] for row in rows}
    memory, hidden = found["hybrid_lmu/memory"], found["hybrid_lmu/hidden"]
    history = made.folder.read_json("history.json")
    if "bit_budget" in budget:
        assert (memory + hidden) / 2 == pytest.approx(3.0, abs=0.4)
        assert history["activity_bits"][-1] == pytest.approx(3.0)
    else:
        assert [memory, hidden] == pytest.approx([4.0, 2.0], abs=0.5)
        assert history["memory_bits"][-1] == pytest.approx(4.0)


def test_resolutions_are_put_back_after_a_call_and_after_an_error():
    model = keras.Sequential([keras.Input((5, 3)), hybrid_lmu.SigmaDelta(resolution=4.0)])
    (variable,) = hybrid_lmu.resolution_variables(model).values()

    def fail():
        raise RuntimeError(float(keras.ops.convert_to_numpy(variable)))

    with pytest.raises(RuntimeError, match="9.0"):
        at_resolutions(model, fail, 9.0)
    assert float(keras.ops.convert_to_numpy(variable)) == 4.0
