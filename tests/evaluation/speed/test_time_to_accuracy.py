import dataclasses
import io
import json

import keras
import numpy as np
import pytest

import hybrid_lmu
from evaluation.speed import time_to_accuracy, timed_training
from evaluation.speed.timed_training import TargetWatch, first_reached, train_and_test
from training.config import make_config
from training.tasks import load_task

BACKEND = ["--backend", keras.backend.backend()]
TINY = dict(epochs=3, units=4, order=6, jit="off", memory_resolution=5.0, hidden_resolution=2.0)


@pytest.fixture(scope="module")
def digits():
    task = load_task("digits")
    parts = {name: getattr(task, name).take(slice(0, 64)) for name in ("validation", "test")}
    return dataclasses.replace(task, train=task.train.take(slice(0, 96)), **parts)


@pytest.fixture
def scores(monkeypatch):
    """Lets a test prescribe the validation accuracies; notes (resolutions, split, simulation)."""
    seen = []

    def prescribe(task, accuracies):
        left = iter(accuracies)

        def evaluate(model, split, kind, batch_size):
            variables = hybrid_lmu.resolution_variables(model).values()
            resolutions = [float(np.mean(keras.ops.convert_to_numpy(v))) for v in variables]
            simulation = [getattr(layer, "simulation", None) for layer in model.layers]
            seen.append((split is task.test, resolutions, "full" in simulation))
            return {"accuracy": 0.25 if split is task.test else next(left)}

        monkeypatch.setattr(timed_training, "evaluate", evaluate)
        return seen

    return prescribe


def counting(step=1.0):
    """A clock that moves by `step` at every look."""
    times = iter(np.arange(0, 1e6, step))
    return lambda: float(next(times))


def train(task, targets, cap=1e9, model="hybrid-lmu", clock=None, stream=None, **options):
    all_epochs = options.pop("all_epochs", False)
    config = make_config("digits", model, **{**TINY, **options})
    clock = clock or counting()
    return train_and_test(config, task, targets, cap, all_epochs, clock, stream or io.StringIO())


def test_a_target_counts_from_the_first_epoch_that_reaches_it():
    curve = [
        {"epoch": e + 1, "seconds": s, "accuracy": a}
        for e, (s, a) in enumerate([(1.5, 0.3), (2.5, 0.98), (3.5, 0.97), (4.5, 0.99)])
    ]
    assert [first_reached(curve, t) for t in (20, 97, 98, 98.5, 99.5)] == [1.5, 2.5, 2.5, 4.5, None]
    half = [{"epoch": 1, "seconds": 1.0, "accuracy": 0.57}]  # 100 * 0.57 is 56.99999999999999
    assert first_reached(half, 57) == 1.0


def test_training_stops_at_the_highest_target(digits, scores):
    scores(digits, [0.5, 0.9, 0.1, 0.2])
    record = train(digits, [50.0, 85.0], epochs=4)
    assert record["stopped"] == "target"
    assert [p["accuracy"] for p in record["curve"]] == [0.5, 0.9]
    first, second = (p["seconds"] for p in record["curve"])
    assert record["reached"] == {"50": first, "85": second} and 0 < first < second
    assert record["trained_seconds"] == second
    assert record["epoch_seconds"] == second - first  # the first epoch compiles


@pytest.mark.slow
def test_all_epochs_go_on_after_the_target(digits, scores):
    scores(digits, [0.5, 0.9, 0.7])
    record = train(digits, [85.0], all_epochs=True)
    assert record["stopped"] == "last epoch" and len(record["curve"]) == 3
    assert record["reached"]["85"] == record["curve"][1]["seconds"]
    assert (record["validation"], record["best_validation"]) == (0.7, 0.9)


@pytest.mark.slow
def test_the_cap_ends_training_after_the_epoch(digits, scores):
    scores(digits, [0.1] * 9)
    times = iter([0.0, 4.0, 11.0, 12.0, 13.0, 14.0, 15.0])
    record = train(digits, [90.0], cap=10.0, epochs=9, clock=lambda: next(times))
    assert record["stopped"] == "cap"
    assert [p["seconds"] for p in record["curve"]] == [4.0, 11.0]
    assert record["reached"] == {"90": None}


@pytest.mark.slow
def test_validated_at_final_resolutions_trained_at_the_annealed_ones(digits, scores, monkeypatch):
    seen = scores(digits, [0.1] * 3)
    trained_at = []

    def look(model):
        variables = hybrid_lmu.resolution_variables(model).values()
        trained_at.append([float(np.mean(keras.ops.convert_to_numpy(v))) for v in variables])

    class Watch(TargetWatch):
        def on_epoch_end(self, epoch, logs=None):
            look(self.model)
            super().on_epoch_end(epoch, logs)
            look(self.model)

    monkeypatch.setattr(timed_training, "TargetWatch", Watch)
    record = train(digits, [90.0])
    before, after = np.array(trained_at[0::2]), np.array(trained_at[1::2])
    np.testing.assert_array_equal(before, after)
    assert np.all(before[0] > 6) and sorted(before[-1]) == pytest.approx([2.0, 5.0])
    assert sorted(record["final_resolutions"]) == [2.0, 5.0]
    for _, resolutions, _ in seen:
        assert resolutions == pytest.approx(record["final_resolutions"])


@pytest.mark.slow
def test_a_hybrid_lmu_is_tested_once_more_with_every_step_simulated(digits, scores):
    seen = scores(digits, [0.1, 0.95])
    record = train(digits, [90.0])
    assert [(test, full) for test, _, full in seen] == [
        (False, False), (False, False), (True, False), (True, True),
    ]  # fmt: skip
    assert record["difference_points"] == 0.0
    # One look at the clock before and after each test, after the last of the training.
    assert record["test"]["seconds"] == record["test_full_simulation"]["seconds"] == 1.0
    assert record["curve"][-1]["seconds"] == record["trained_seconds"] < 4


@pytest.mark.slow
def test_both_tests_run_the_path_that_they_name(digits, monkeypatch):
    taken = []
    ask = hybrid_lmu.HybridLMU.plan

    def note(layer, *arguments, **options):
        chosen = ask(layer, *arguments, **options)
        taken.append(chosen.takes_last_steps)
        return chosen

    monkeypatch.setattr(hybrid_lmu.HybridLMU, "plan", note)
    record = train(digits, [99.9], epochs=1)
    assert taken == sorted(taken, reverse=True)
    assert taken[0] and not taken[-1]  # traced anew after the switch
    assert record["test"]["n"] == record["test_full_simulation"]["n"] == 64


@pytest.mark.parametrize("model", ["gru", "hybrid-gru"])
@pytest.mark.slow
def test_other_models_are_tested_once(digits, scores, model):
    seen = scores(digits, [0.1])
    record = train(digits, [50.0], model=model, epochs=1)
    assert record["test_full_simulation"] is None
    assert [test for test, _, _ in seen] == [False, True]


def test_a_diverged_model_stops(digits):
    record = train(digits, [99.0], model="lmu", learning_rate=1e30, optimizer="sgd")
    assert record["stopped"] == "diverged" and len(record["curve"]) < 3
    text = time_to_accuracy.format_table(
        [record | {"end_to_end_seconds": 5.0}], [99.0], {"start_seconds": 1, "data_seconds": 1}
    )
    assert "lmu: training diverged in epoch" in text


def test_command_writes_what_it_prints(tmp_path, capsys):
    files = tmp_path / "t.json", tmp_path / "t.png"
    status = time_to_accuracy.main(
        [*BACKEND, "--task", "digits", "--model", "hybrid-lmu", "--epochs", "1", "--units", "4",
         "--order", "6", "--batch-size", "256", "--target", "100", "2", "--jit", "off", "--seed",
         "3", "--cap", "500", "--json", str(files[0]), "--plot", str(files[1])]
    )  # fmt: skip
    out = capsys.readouterr().out
    assert status == 0
    content = json.loads(files[0].read_text())
    assert content["targets"] == [2.0, 100.0]
    assert (content["task"], content["seed"], content["cap_seconds"]) == ("digits", 3, 500.0)
    assert {"versions", "machine", "commit", "date", "backend"} <= set(content["environment"])
    (record,) = content["models"]
    assert record["config"]["seed"] == 3 and record["config"]["epochs"] == 1
    (point,) = record["curve"]
    assert record["reached"] == {"2": point["seconds"], "100": None}
    before = content["start_seconds"] + content["data_seconds"]
    assert record["end_to_end_seconds"] == pytest.approx(before + point["seconds"])
    best = 100 * record["best_validation"]
    assert f"not in {point['seconds']:.0f} s (best {best:.2f} %)" in out
    assert f"validation {100 * point['accuracy']:5.2f} %" in out
    assert f"difference {record['difference_points']:+.2f} points" in out
    assert f"{record['parameters']:,}" in out
    assert files[1].read_bytes().startswith(b"\x89PNG")


def configs(*arguments):
    return time_to_accuracy.make_configs(time_to_accuracy.parser().parse_args(arguments))


def test_options_are_for_the_lmus_and_psmnist_has_short_recipes():
    hybrid, lmu, lstm, gru = configs("--learning-rate", "0.5", "--jit", "on", "--seed", "2")

    def short(model, **options):
        recipe = time_to_accuracy.SHORT_RECIPES["psmnist"][model]
        return make_config("psmnist", model, 2, recipe=recipe, jit="on", **options)

    assert hybrid == short("hybrid-lmu", learning_rate=0.5)
    assert lmu == short("lmu", learning_rate=0.5)
    assert lstm == short("lstm")
    assert gru == short("gru")
    assert configs("--task", "digits")[0] == make_config("digits", "hybrid-lmu")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--target", "101"], "expected a percentage > 0 and at most 100; received: '101'"),
        (["--target", "nan"], "expected a percentage"),
        (["--cap", "0"], "expected a number > 0; received: 0"),
        (["--cap", "inf"], "expected a number > 0; received: inf"),
        (["--model", "transformer"], "argument --model: invalid choice: 'transformer'"),
        (["--task", "mnits"], "argument --task: invalid choice: 'mnits'"),
    ],
)
def test_wrong_options_end_with_status_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as exit:
        time_to_accuracy.main([*BACKEND, *arguments])
    assert exit.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--epochs", "0"], "`epochs` must be an integer >= 1; received: 0"),
        (["--model", "gru", "--epochs", "2"], "recipe options are for hybrid-lmu and lmu; rece"),
        (["--task", "mackey-glass"], "`task` must have classes; received: mackey-glass"),
        (["--task", "digits", "--batch-size", "9999"], "`batch_size` must be at most the number"),
        (["--data-dir", "nowhere"], "no prepared mnist under nowhere"),
        (["--json", "."], "cannot write .: expected a file name; received a folder"),
    ],
)
def test_a_bad_request_ends_in_one_line_and_status_2(arguments, message, capsys):
    assert time_to_accuracy.main([*BACKEND, *arguments]) == 2
    err = capsys.readouterr().err
    assert err.startswith("python -m evaluation time-to-accuracy: error: ") and message in err
    assert err.count("\n") == 1


def test_every_option_has_a_text():
    assert [a.dest for a in time_to_accuracy.parser()._actions if not a.help] == []
