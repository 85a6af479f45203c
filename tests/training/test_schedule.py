import pytest

import hybrid_lmu
from training.config import HYBRID_LMUS, HYBRID_MODELS, make_config
from training.models import build_model
from training.schedule import (
    anneal_steps,
    annealing,
    final_resolutions,
    first_final_epoch,
    mean_resolutions,
)
from training.tasks import load_task


@pytest.mark.parametrize(
    "epochs, fraction, steps_per_epoch, steps", [(10, 0.5, 8, 40), (2, 1.0, 8, 15), (1, 1.0, 1, 0)]
)
def test_the_last_epoch_ends_at_the_final_resolution(epochs, fraction, steps_per_epoch, steps):
    config = make_config("digits", "hybrid-lmu", epochs=epochs, anneal_fraction=fraction)
    assert anneal_steps(config, steps_per_epoch) == steps
    first = first_final_epoch(config, steps_per_epoch)
    assert first * steps_per_epoch <= steps < (first + 1) * steps_per_epoch


@pytest.mark.parametrize("name", HYBRID_MODELS)
@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_each_activity_goes_from_start_to_its_own_final_value(name, fraction):
    config = make_config("digits", name, epochs=2, anneal_fraction=fraction, memory_resolution=5.0)
    model = build_model(config, load_task("digits"), units=3)
    assert mean_resolutions(model) == [64.0] * len(mean_resolutions(model))
    model.compile("sgd", "mse")
    callbacks = annealing(config, 4, load_task("digits").train.x)
    logs = {}
    for callback in callbacks:
        callback.set_model(model)
        callback.on_train_begin()
        callback.on_epoch_begin(0)
        callback.on_train_batch_begin(0)
        if fraction:
            assert 64.0 in mean_resolutions(model)
        callback.on_train_batch_begin(7)  # the last of 2 * 4 steps
        callback.on_epoch_end(1, logs)
    expected = final_resolutions(config, model)
    assert mean_resolutions(model) == pytest.approx(expected)
    assert logs["hidden_resolution"] == pytest.approx(config.hidden_resolution)
    if name in HYBRID_LMUS:
        assert logs["memory_resolution"] == pytest.approx(5.0)
        paths = dict(zip(hybrid_lmu.resolution_variables(model), expected, strict=True))
        assert {5.0} == {value for path, value in paths.items() if "memory_quantizer" in path}
        assert len(paths) == 2


def test_other_models_have_nothing_to_anneal():
    assert annealing(make_config("digits", "lstm"), 4, None) == []
