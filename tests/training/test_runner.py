import dataclasses
import io

import keras
import numpy as np
import pytest

import hybrid_lmu
from training.config import make_config
from training.errors import TrainingError
from training.runfolder import RunFolder
from training.runner import check_run, run
from training.tasks import load_task

TINY = dict(epochs=2, units=6, order=8, report_samples=20)


@pytest.fixture(scope="module")
def digits():
    task = load_task("digits")
    return dataclasses.replace(task, train=task.train.take(slice(0, 320)))


def train(task, folder, model, **options):
    config = make_config(task.name, model, **{**TINY, **options})
    folder = RunFolder(folder)
    folder.prepare(config.to_dict(), resume=False, overwrite=False)
    return run(config, task, folder, stream=io.StringIO()), folder


def test_a_hybrid_run_and_its_folder(digits, tmp_path):
    metrics, folder = train(digits, tmp_path, "hybrid-lmu", memory_resolution=5.0, units=24,
                            hidden_resolution=2.0, learning_rate=0.02)  # fmt: skip
    assert sorted(p.name for p in tmp_path.iterdir()) == [
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


def test_best_model_is_whole_and_at_the_final_resolution(digits, tmp_path):
    metrics, folder = train(digits, tmp_path, "hybrid-gru", hidden_resolution=3.0)
    model = folder.read_model("best.keras")
    values = [
        float(keras.ops.convert_to_numpy(v))
        for v in hybrid_lmu.resolution_variables(model).values()
    ]
    assert values == [3.0]
    assert model.predict(digits.test.x[:2], verbose=0).shape == (2, 10)


def test_the_test_split_plays_no_part_in_training(digits, tmp_path):
    scrambled = dataclasses.replace(
        digits, test=dataclasses.replace(digits.test, y=np.roll(digits.test.y, 1))
    )
    one, folder_one = train(digits, tmp_path / "one", "lstm")
    two, folder_two = train(scrambled, tmp_path / "two", "lstm")
    assert folder_one.read_json("history.json") == folder_two.read_json("history.json")
    assert one["best_epoch"] == two["best_epoch"] and one["validation"] == two["validation"]
    assert one["test"] != two["test"]
    best = folder_one.read_json("history.json")["val_accuracy"][one["best_epoch"]]
    assert one["validation"]["accuracy"] == best


@pytest.mark.parametrize("model", ["lmu", "gru"])
def test_models_without_quantizers(digits, tmp_path, model):
    metrics, _ = train(digits, tmp_path, model, epochs=1)
    assert "non_spiking_test" not in metrics
    assert metrics["activity"]["totals"]["activity_bits"] is None
    assert metrics["activity"]["totals"]["dense_macs"] > 0


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_precision_reaches_the_layers_and_is_taken_back(digits, tmp_path, precision):
    metrics, folder = train(digits, tmp_path, "hybrid-lmu", precision=precision, epochs=1)
    model = folder.read_model("best.keras")
    assert model.get_layer("hybrid_lmu").dtype_policy.name == precision
    assert model.get_layer("readout").dtype_policy.name == "float32"
    assert keras.config.dtype_policy().name == "float32"
    assert np.isfinite(metrics["test"]["loss"])


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_a_stopped_run_goes_on_to_the_same_end(digits, tmp_path, monkeypatch, precision):
    # mixed_float16 wraps the optimizer, whose variables `fit` would name otherwise than `restore`.
    config = make_config("digits", "gru", **TINY, precision=precision)
    whole, _ = train(digits, tmp_path / "whole", "gru", precision=precision)
    folder = RunFolder(tmp_path / "stopped")
    folder.prepare(config.to_dict(), resume=False, overwrite=False)
    write = folder.write_checkpoint

    def write_and_stop(state, arrays):
        write(state, arrays)
        raise KeyboardInterrupt

    monkeypatch.setattr(folder, "write_checkpoint", write_and_stop)
    with pytest.raises(KeyboardInterrupt):
        run(config, digits, folder, stream=io.StringIO())
    monkeypatch.undo()
    stream = io.StringIO()
    metrics = run(config, digits, folder, stream=stream)
    assert "1/2" not in stream.getvalue() and "2/2" in stream.getvalue()
    for volatile in ("seconds", "environment"):
        metrics.pop(volatile), whole.pop(volatile)
    assert metrics == whole


def test_lines_begin_with_the_label(digits, tmp_path):
    folder, stream = RunFolder(tmp_path), io.StringIO()
    config = make_config("digits", "gru", **TINY)
    run(config, digits, folder, stream=stream, label="gru s7")
    lines = stream.getvalue().splitlines()
    assert len(lines) == 3 and all(line.startswith("gru s7 ") for line in lines)


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
    check_run(make_config("digits", "hybrid-lmu", **TINY, precision="mixed_bfloat16"), digits)
    assert keras.config.dtype_policy().name == "float32"


def test_regression_and_labels_per_step(tmp_path):
    task = load_task("mackey-glass")
    task = dataclasses.replace(task, train=task.train.take(slice(0, 16)))
    metrics, folder = train(task, tmp_path, "hybrid-lmu", batch_size=8)
    assert 0 < metrics["test"]["nrmse"] < 5
    assert "val_nrmse" in folder.read_json("history.json")


@pytest.mark.parametrize(
    "budget", [dict(bit_budget=3.0), dict(memory_bits=4.0, hidden_bits=2.0)], ids=str
)
def test_a_run_under_a_budget_of_bits(digits, tmp_path, budget):
    options = dict(budget_samples=100, anneal_fraction=0.5, epochs=3, units=12, **budget)
    metrics, folder = train(digits, tmp_path, "hybrid-lmu", report_samples=100, **options)
    assert metrics["best_epoch"] >= 1  # the first epoch is in mid annealing
    found = {row["name"]: row["activity_bits"] for row in metrics["activity"]["activities"]}
    memory, hidden = found["hybrid_lmu/memory"], found["hybrid_lmu/hidden"]
    history = folder.read_json("history.json")
    if "bit_budget" in budget:
        assert (memory + hidden) / 2 == pytest.approx(3.0, abs=0.4)
        assert history["activity_bits"][-1] == pytest.approx(3.0)
    else:
        assert [memory, hidden] == pytest.approx([4.0, 2.0], abs=0.5)
        assert history["memory_bits"][-1] == pytest.approx(4.0)
