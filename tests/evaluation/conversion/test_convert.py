"""python -m evaluation convert: what it writes and says, and which models it refuses."""

import json
import re

import keras
import numpy as np
import pytest

from evaluation.conversion.convert import (
    CannotConvert,
    _are_probabilities,
    _plot,
    as_keras_lmu,
    main,
    table,
)
from hybrid_lmu import HybridLMU, resolution_variables
from training.errors import TrainingError
from training.scores import score_classes, wilson


@pytest.fixture
def model_file(tmp_path):
    model = keras.Sequential(
        [keras.Input((64, 1)), keras.layers.GRU(4), keras.layers.Dense(10, "softmax")]
    )
    model.save(tmp_path / "model.keras")
    return tmp_path / "model.keras"


def options(model, out, *more):
    return [str(model), "--data", "digits", "--out", str(out), "--backend",
            keras.backend.backend(), "--calibration-samples", "30", "--report-samples", "20",
            *more]  # fmt: skip


@pytest.mark.skipif(
    keras.backend.backend() == "jax", reason="minutes of compiling for what no backend changes"
)
@pytest.mark.slow
def test_table_plot_record_and_model(model_file, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(options(model_file, out, "--bits", "3", "--batch-size", "400")) == 0
    record = json.loads((out / "convert.json").read_text())
    assert [(row["bits"], row["epochs"]) for row in record["rows"]] == [(3, 0), (3, 1)]
    assert record["largest_difference"] < 1e-5
    for row in record["rows"]:
        assert row["activity_bits"] == pytest.approx(row["bits"], abs=0.6)
    assert (out / "convert.png").read_bytes().startswith(b"\x89PNG")
    shown, progress = capsys.readouterr()
    assert table(record) in shown and "source" in shown
    assert re.search(r"3 bits +1/1 \[=+\] .* s  loss \d", progress)
    converted = keras.saving.load_model(out / "3-bits-1-epochs.keras")
    (variable,) = resolution_variables(converted).values()
    (recorded,) = record["rows"][1]["resolutions"].values()
    assert np.isclose(keras.ops.convert_to_numpy(variable).mean(), recorded[1])


def test_what_it_refuses(model_file, tmp_path, capsys):
    assert main(options(tmp_path / "none.keras", tmp_path / "out")) == 1
    assert "cannot read" in capsys.readouterr().err
    other = keras.Sequential([keras.Input((64, 1)), keras.layers.Dense(2)])
    other.save(tmp_path / "other.keras")
    assert main(options(tmp_path / "other.keras", tmp_path / "out")) == 1
    assert "Nothing to quantize" in capsys.readouterr().err
    inputs = keras.Input((64, 1))
    logits = keras.layers.Dense(7, name="y")(keras.layers.GRU(2)(inputs))
    for outputs, received in ((logits, r"\('N', 7\)"), ({"y": logits}, "dict")):
        keras.Model(inputs, outputs).save(tmp_path / "other.keras")
        assert main(options(tmp_path / "other.keras", tmp_path / "out")) == 1
        expected = rf"expected one output of shape \('N', 10\), received {received}\n$"
        assert re.search(expected, capsys.readouterr().err)
    for wrong in (["--bits", "0"], ["--finetune-epochs", "-1"], ["--learning-rate", "x"]):
        with pytest.raises(SystemExit):
            main(options(model_file, tmp_path / "out", *wrong))
    assert "received: 0" in capsys.readouterr().err


def test_a_run_is_converted_on_its_own_data(tmp_path, capsys, monkeypatch):
    model = keras.Sequential([keras.Input((64, 1)), keras.layers.GRU(2), keras.layers.Dense(10)])
    model.save(tmp_path / "best.keras")
    config = {"task": "psmnist", "permutation": 7, "fold": 3}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert main(options(tmp_path, tmp_path / "out")) == 1
    assert "was trained on psmnist; received: --data digits" in capsys.readouterr().err
    (tmp_path / "config.json").write_text(json.dumps({**config, "task": "digits"}))
    given = []

    def load_task(*args):
        given.extend(args)
        raise TrainingError("enough")

    monkeypatch.setattr("training.tasks.load_task", load_task)
    assert main(options(tmp_path, tmp_path / "out")) == 1
    assert given[0] == "digits" and given[2:] == [7, 3]


def test_outputs_of_a_softmax_are_probabilities_wherever_it_is():
    logits = np.random.default_rng(0).normal(size=(5, 4))
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    assert _are_probabilities(p) and not _are_probabilities(logits)
    labels = logits.argmax(-1)
    scored = score_classes(np.log(p), labels)
    assert scored["loss"] == pytest.approx(-np.log(p.max(-1)).mean())


def test_plot_of_a_perfect_score():
    score = {"accuracy": 1.0, "interval": wilson(1.0, 10)}
    rows = [{"epochs": 0, "activity_bits": 3.0, "score": score}]
    record = {"model": "m", "task": "digits", "source": score, "rows": rows,
              "options": {"finetune_epochs": 0}}  # fmt: skip
    assert _plot(record).startswith(b"\x89PNG")


def test_as_keras_lmu():
    dense = keras.layers.Dense(3, "relu")
    model = keras.Sequential([keras.Input((20, 1)), HybridLMU(1, 4, 9, dense)])
    if keras.backend.backend() != "tensorflow":
        with pytest.raises(CannotConvert, match="needs the TensorFlow backend; received: "):
            as_keras_lmu(model)
        return
    package = pytest.importorskip("keras_lmu", reason="keras-lmu is not installed")
    assert isinstance(as_keras_lmu(model).layers[-1], package.LMU)
    with pytest.raises(CannotConvert, match="must have a HybridLMU"):
        as_keras_lmu(keras.Sequential([keras.Input((20, 1)), keras.layers.GRU(2)]))
