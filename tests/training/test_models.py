import keras
import numpy as np
import pytest

from training.config import MODELS, make_config
from training.models import build_model, count_parameters, solve_units
from training.tasks import load_task


@pytest.fixture(scope="module")
def digits():
    return load_task("digits")


@pytest.mark.parametrize("name", MODELS)
def test_units_are_those_nearest_to_the_parameters_asked_for(digits, name):
    config = make_config("digits", name, parameters=3000, order=8)
    units = solve_units(config, digits)
    counts = [
        count_parameters(build_model(config, digits, size))
        for size in (units - 1, units, units + 1)
    ]
    distances = np.abs(np.array(counts) - 3000)
    assert distances.argmin() == 1
    assert distances[1] < 0.05 * 3000


def test_lmu_and_hybrid_lmu_have_the_same_parameters(digits):
    counts = {
        count_parameters(build_model(make_config("digits", name, order=8), digits, 12))
        for name in ("lmu", "hybrid-lmu")
    }
    assert len(counts) == 1


@pytest.mark.parametrize("name", MODELS)
def test_same_seed_same_weights_other_seed_other_weights(digits, name):
    def weights(seed):
        keras.utils.clear_session()
        model = build_model(make_config("digits", name, seed=seed, order=8), digits, 4)
        return [keras.ops.convert_to_numpy(v) for v in model.trainable_variables]

    for one, two in zip(weights(1), weights(1), strict=True):
        np.testing.assert_array_equal(one, two)
    assert any(
        not np.array_equal(one, two) for one, two in zip(weights(1), weights(2), strict=True)
    )


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("hidden", ["dense", "rnn"])
def test_a_readout_for_every_step_or_for_the_last(digits, name, hidden):
    x = digits.test.x[:2]
    config = make_config("digits", name, order=8, hidden=hidden, initial_error="half")
    assert build_model(config, digits, 4)(x).shape == (2, 10)
    per_step = build_model(config, load_task("mackey-glass"), 4)
    assert per_step(np.zeros((2, 512, 1), "float32")).shape == (2, 512, 1)


def test_lmu_is_keras_lmu_itself_on_tensorflow(digits):
    layer = build_model(make_config("digits", "lmu", order=8), digits, 4).layers[1]
    expected = "keras_lmu" if keras.backend.backend() == "tensorflow" else "hybrid_lmu"
    assert type(layer).__module__.split(".")[0] == expected


def test_impossible_number_of_parameters(digits):
    with pytest.raises(ValueError, match="`parameters` must be at least .* received: 5"):
        solve_units(make_config("digits", "hybrid-lmu", parameters=5), digits)
