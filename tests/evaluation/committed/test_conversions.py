"""Tables of committed conversions."""

import json

import pytest

from evaluation.committed.conversions import conversions
from evaluation.committed.results import training_command
from evaluation.runs import RunError
from training.config import make_config

MADE = {"commit": "abc1234" + "0" * 33, "date": "2026-11-29T20:00:00"}


def score(accuracy):
    return {"accuracy": accuracy, "interval": [accuracy - 0.01, accuracy + 0.01]}


def hybrid():
    config = make_config("psmnist", "gru", epochs=3).to_dict()
    rows = [
        {"bits": 3.74, "epochs": epochs, "score": score(accuracy), "activity_bits": 3.7,
         "significant_bits": 1.1}
        for epochs, accuracy in ((0, 0.88), (1, 0.897))
    ]  # fmt: skip
    return {
        "model": "runs/gru", "task": "psmnist", "source": score(0.9), "rows": rows,
        "largest_difference": 8.1e-6,
        "options": {"data": "psmnist", "bits": [3.74, 5.0], "finetune_epochs": 1, "as_keras_lmu":
                    True, "backend": "tensorflow"},
        "environment": MADE, "run": {"config": config, **MADE},
    }  # fmt: skip


def spikes(steps_to_source):
    full = {"accuracy": 0.98, "steps_to_source": steps_to_source, "percentile": 100.0,
            "mean_steps": steps_to_source or 100, "spikes": 900.0, "energy": [1e-6, 4e-6],
            "energy_matched": [1e-7, 2e-7]}  # fmt: skip
    best = {**full, "percentile": 99.9, "mean_steps": 20, "steps_to_source": 20}
    left = {
        "accuracy": 0.979,
        "mean_steps": 8.0,
        "spikes": 300.0,
        "energy": [2e-7, 8e-7],
        "energy_matched": [1e-7, 2e-7],
    }
    row = {"name": "binary", "source_accuracy": 0.981, "source_energy": [5e-7, 1e-6],
           "runs": [full, left, best, left]}  # fmt: skip
    return {"data": "mnist", "rows": [row], "environment": MADE,
            "options": {"data": "mnist", "samples": 500, "timesteps": 100,
                        "initial_potential": "half"}}  # fmt: skip


def test_tables_and_commands(tmp_path):
    assert conversions(tmp_path, training_command) == ""
    (tmp_path / "psmnist-gru.json").write_text(json.dumps(hybrid()))
    (tmp_path / "mnist.json").write_text(json.dumps(spikes(None)))
    (tmp_path / "mnist2.json").write_text(json.dumps(spikes(40)))
    lines = conversions(tmp_path, training_command).splitlines()
    (at_first,) = [line for line in lines if line.startswith("| psmnist-gru")]
    assert at_first == (
        "| psmnist-gru | 90.00 % [89.00, 91.00] | 8e-06 | 3.74 | no | 3.70 | 1.10 "
        "| 88.00 % [87.00, 89.00] | 2.00 | 2026-11-29, abc1234 |"
    )
    assert "|  |  |  | 3.74 | 1 epoch | 3.70 | 1.10 | 89.70 % [88.70, 90.70] | 0.30 |  |" in lines
    assert (
        "    python -m training --task psmnist --model gru --epochs 3 --seeds 0 --out runs" in lines
    )
    assert (
        "    python -m evaluation convert runs/gru --data psmnist --bits 3.74 5 --as-keras-lmu"
        in lines
    )
    never, after_40 = (line for line in lines if line.startswith("| mnist, binary"))
    for line, steps, fewer in ((never, "> 100", "> 12.5 times"), (after_40, "40", "5.0 times")):
        assert f"| 98.00 | {steps} | 99.9 % | 98.00 | 20 | 97.90 | 8.0 | {fewer} | 300 |" in line
    assert "| 1 uJ / 4 uJ / 800 nJ / 200 nJ |" in never
    assert (
        "    python -m evaluation spiking --data mnist --samples 500 --initial-potential half"
        in lines
    )


@pytest.mark.parametrize("content", ["{", '{"rows": [{}]}', '{"source": {}, "rows": []}'])
def test_what_is_no_record(content, tmp_path):
    (tmp_path / "broken.json").write_text(content)
    with pytest.raises(RunError, match="broken|lacks"):
        conversions(tmp_path, training_command)
