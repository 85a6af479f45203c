import dataclasses

import pytest

from training.config import (
    HYBRID_LMUS,
    PARTS,
    Budget,
    Fit,
    LowBit,
    RunConfig,
    make_config,
    models_of,
    variants,
)
from training.tasks import TASK_NAMES, TASKS


@pytest.mark.parametrize(
    "task, model", [(task, model) for task in TASK_NAMES for model in models_of(task)]
)
def test_every_task_has_a_recipe_for_every_model(task, model):
    config = make_config(task, model, seed=3)
    assert config.name == f"{task}-{model}-seed3"
    if model not in HYBRID_LMUS:  # all baselines of a task have the same epochs and parameters
        assert config.epochs == TASKS[task].recipes["*"]["epochs"]
        assert config.parameters == TASKS[task].recipes["*"]["parameters"]


def test_variants_are_part_of_the_name():
    config = make_config("psmnist", "hybrid-lmu", rounding="memoryless", permutation=1)
    assert config.name == "psmnist-hybrid-lmu-memoryless-permutation1-seed0"
    config = make_config("digits", "hybrid-lmu", bit_budget=3.0)
    assert config.name == "digits-hybrid-lmu-budget3-seed0"


def test_given_options_win_over_the_model_and_the_model_over_the_task():
    recipe = make_config("digits", "hybrid-lmu")
    assert recipe.memory_resolution == TASKS["digits"].recipes["hybrid-lmu"]["memory_resolution"]
    changed = make_config("digits", "hybrid-lmu", memory_resolution=3.0, epochs=None)
    assert changed == dataclasses.replace(recipe, memory_resolution=3.0)


def test_every_option_is_in_one_part():
    names = [field.name for part in PARTS for field in dataclasses.fields(part)]
    assert names == [field.name for field in dataclasses.fields(RunConfig)]
    assert len(set(names)) == len(names)
    assert all(len(dataclasses.fields(part)) <= 12 for part in PARTS)


def test_an_earlier_config_file_is_read():
    """Part of the flat config.json of a committed run; options that came later have defaults."""
    stored = {
        "task": "psmnist", "model": "hybrid-lmu", "seed": 3, "epochs": 40, "units": None,
        "clip_norm": None, "memory_unit": "deviation", "memory_limit": 3.0, "power_of_two": False,
        "readout": "mean", "readout_steps": 4, "jit": "auto", "report_samples": 1000,
    }  # fmt: skip
    made = RunConfig(**stored)
    assert {key: made.to_dict()[key] for key in stored} == stored
    assert variants(stored) == [] and made.weights == "full"


def test_a_part_checks_itself():
    with pytest.raises(ValueError, match="`epochs` must be an integer >= 1; received: 0"):
        Fit(epochs=0)
    with pytest.raises(ValueError, match="`memory_bits` and `hidden_bits` go together"):
        Budget(memory_bits=3.0)
    with pytest.raises(ValueError, match="`power_of_two` must be True or False; received: 1"):
        LowBit(power_of_two=1)


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(task="mnits"), "`task` must be one of digits, .* received: 'mnits'"),
        (dict(model="rnn"), "`model` must be one of hybrid-lmu, .* received: 'rnn'"),
        (dict(model="spiking-cnn"), "for the task digits; received: 'spiking-cnn'"),
        (dict(task="nmnist"), "must be one of spiking-cnn for the task nmnist"),
        (dict(fold=1), "`task` must be one of nmnist.*received: 'digits'"),
        (dict(task="nmnist", model="spiking-cnn", fold=5), "`fold` must be one of 0, 1, 2, 3, 4;"),
        (dict(epochs=0), "`epochs` must be an integer >= 1; received: 0"),
        (dict(order=2.5), "`order` must be an integer >= 1; received: 2.5"),
        (dict(theta=0.0), "`theta` must be a finite number > 0; received: 0.0"),
        (dict(memory_resolution=float("nan")), "`memory_resolution` must be .* received: nan"),
        (dict(hidden_resolution=-1.0), "`hidden_resolution` must be .* received: -1.0"),
        (dict(anneal_fraction=1.5), r"`anneal_fraction` must be in \[0, 1\]; received: 1.5"),
        (dict(precision="float16"), "`precision` must be one of .* received: 'float16'"),
        (dict(batch_size=10, devices=4), "multiple of `devices` .* batch_size=10, devices=4"),
    ],
)
def test_wrong_options_say_what_was_received_and_expected(options, message):
    with pytest.raises(ValueError, match=message):
        RunConfig(**options)
