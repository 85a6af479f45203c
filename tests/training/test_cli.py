import json

import keras
import pytest

from training import cli
from training.config import SEQUENCE_MODELS
from training.errors import DataNotFound


def configs(*arguments):
    return cli.make_configs(cli.make_parser().parse_args(arguments))


def test_without_options_four_models_on_digits():
    assert [c.name for c in configs()] == [
        f"digits-{model}-seed0" for model in ("hybrid-lmu", "lmu", "lstm", "gru")
    ]


def test_all_models_seed_ranges_and_sizes():
    made = configs("--model", "all", "--seeds", "0-2", "7", "--epochs", "3", "--order", "9")
    assert {c.model for c in made} == set(SEQUENCE_MODELS)
    assert sorted({c.seed for c in made}) == [0, 1, 2, 7]
    assert {(c.epochs, c.order) for c in made} == {(3, 9)}


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--task", "mnits"], "argument --task: invalid choice: 'mnits' (choose from"),
        (["--model", "transformer"], "argument --model: invalid choice: 'transformer'"),
        (["--seeds", "one"], "expected an integer >= 0 or a range such as 0-4; received: 'one'"),
        (["--seeds", "0-99999999999"], "expected a range of at most 1000 seeds; received: '0-9999"),
        (["--epochs", "0"], "`epochs` must be an integer >= 1; received: 0"),
        (["--epochs", "many"], "invalid int value: 'many'"),
        (["--hidden-resolution", "-2"], "`hidden_resolution` must be a finite number > 0"),
        (["--resume", "--overwrite"], "not allowed with argument"),
        (
            ["--model", "lstm", "--memory-resolution", "4"],
            "`memory_resolution` is for the models hybrid-lmu, hybrid-lmu-recurrent",
        ),
        (["--model", "gru", "lstm", "--order", "9"], "`order` is for the models hybrid-lmu, "),
        (
            ["--units", "10", "--parameters", "1000"],
            "`parameters` gives the number of units",
        ),
        (
            ["--model", "hybrid-lmu", "--bit-budget", "3", "--memory-resolution", "4"],
            "`memory_resolution` is found by a budget of bits",
        ),
        (["--start-bits", "6"], "`start_bits` needs `bit_budget`"),
        (["--exempt", "last"], "`exempt` needs `weights` of few bits"),
    ],
)
def test_wrong_options_end_with_status_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as exit:
        cli.main(arguments)
    assert exit.value.code == 2
    assert message in capsys.readouterr().err


def test_unknown_backend_in_the_environment(monkeypatch, capsys):
    monkeypatch.setenv("KERAS_BACKEND", "theano")
    with pytest.raises(SystemExit) as exit:
        cli.main([])
    assert exit.value.code == 2
    expected = "KERAS_BACKEND must be one of tensorflow, jax, torch; received: 'theano'"
    assert expected in capsys.readouterr().err


@pytest.fixture
def train(tmp_path):
    """Runs the command in this process."""
    options = ["--epochs", "1", "--units", "2", "--report-samples", "4"]
    options += ["--out", str(tmp_path), "--backend", keras.backend.backend()]
    return lambda *arguments: cli.main([*options, *arguments])


@pytest.mark.slow
def test_the_command_trains_and_prints_its_table(train, tmp_path, capsys):
    assert train("--model", "hybrid-lmu", "--order", "4") == 0
    text = capsys.readouterr().out
    assert "task digits: 1167 training, 270 validation, 360 test sequences of 64 steps x 1" in text
    assert "hybrid-lmu     1/1 [====" in text and "\nmodel  " in text and "act.b" in text
    folder = tmp_path / "digits-hybrid-lmu-seed0"
    stored = json.loads((folder / "config.json").read_text())
    assert stored["order"] == 4 and stored["backend"] == keras.backend.backend()
    before = (folder / "metrics.json").read_bytes()
    assert train("--model", "hybrid-lmu", "--order", "4") == 1
    assert "already holds a run" in capsys.readouterr().err
    assert train("--model", "hybrid-lmu", "--order", "4", "--resume") == 0
    assert "finished earlier, skipped" in capsys.readouterr().out
    assert (folder / "metrics.json").read_bytes() == before


def test_seeds_of_a_word():
    assert cli.parse_seeds("3") == [3] and cli.parse_seeds("0-4") == [0, 1, 2, 3, 4]


def test_overwrite_removes_nothing_for_options_that_cannot_run(train, tmp_path, capsys):
    models = ("lstm", "gru")
    paths = [tmp_path / f"digits-{model}-seed0" / "metrics.json" for model in models]
    for path in paths:
        path.parent.mkdir()
        path.write_text("{}")
    assert train("--model", *models, "--overwrite", "--batch-size", "5000") == 1
    assert "`batch_size` must be at most" in capsys.readouterr().err
    for path in paths:
        assert [p.name for p in path.parent.iterdir()] == ["metrics.json"]


def test_overwrite_replaces_each_run_when_its_own_turn_comes(train, tmp_path, capsys, monkeypatch):
    second = tmp_path / "digits-gru-seed1"
    second.mkdir()
    (second / "metrics.json").write_text("{}")
    seen = []

    def run(config, task, folder, label):
        seen.append((label, (second / "metrics.json").exists()))
        raise KeyboardInterrupt if config.seed else StopHere

    class StopHere(Exception):
        pass

    monkeypatch.setattr("training.runner.run", run)
    with pytest.raises(StopHere):
        train("--model", "gru", "--seeds", "0", "1", "--overwrite")
    assert train("--model", "gru", "--seeds", "1", "--overwrite") == 130
    assert seen == [("gru         s0", True), ("gru", False)]
    assert json.loads((second / "config.json").read_text())["seed"] == 1


def test_absent_data_end_with_one_message(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cli, "prepare_environment", lambda *args: None)
    status = cli.main(["--task", "ecg", "--data-dir", str(tmp_path), "--out", str(tmp_path / "o")])
    text = capsys.readouterr().err
    assert status == 1 and "QTDB_train.mat" in text and "--data-dir DIR" in text
    assert not (tmp_path / "o").exists()


def test_interrupt(monkeypatch, capsys):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "prepare_environment", lambda *args: None)
    monkeypatch.setattr(cli, "_train_all", interrupt)
    assert cli.main([]) == 130
    assert "--resume goes on" in capsys.readouterr().err


def test_errors_have_no_traceback(monkeypatch, capsys):
    def fail(*args):
        raise DataNotFound("no such file")

    monkeypatch.setattr(cli, "prepare_environment", lambda *args: None)
    monkeypatch.setattr(cli, "_train_all", fail)
    assert cli.main([]) == 1
    assert capsys.readouterr().err.strip() == "python -m training: error: no such file"


def test_help_shows_types_and_defaults(capsys):
    with pytest.raises(SystemExit) as exit:
        cli.main(["--help"])
    text = capsys.readouterr().out
    assert exit.value.code == 0
    assert "--epochs INT" in text and "(default: float32)" in text and "Exit status" in text
