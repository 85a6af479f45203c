import dataclasses

import keras
import numpy as np
import pytest

import hybrid_lmu
from training.config import HIDDEN, READOUTS, ROUNDINGS, SEQUENCE_MODELS, WEIGHT_RULES, make_config
from training.models import build_model, count_parameters, deviations, solve_units
from training.tasks import Split, load_task


@pytest.fixture(scope="module")
def digits():
    return load_task("digits")


def first_steps(name, steps=12):
    """A task with the first steps of its sequences: layers run step by step here, slowly."""
    task = load_task(name)
    parts = {}
    for part in ("train", "validation", "test"):
        split = getattr(task, part)
        y = split.y[:, :steps] if task.per_step else split.y
        parts[part] = Split(split.x[:, :steps], y)
    return dataclasses.replace(task, **parts)


@pytest.fixture(scope="module")
def short():
    return first_steps("digits")


@pytest.fixture(scope="module")
def short_per_step():
    return first_steps("mackey-glass")


@pytest.mark.parametrize("name", SEQUENCE_MODELS)
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


@pytest.mark.parametrize("name", SEQUENCE_MODELS)
@pytest.mark.broad(1)
def test_same_seed_same_weights_other_seed_other_weights(digits, name):
    def weights(seed):
        keras.utils.clear_session()
        model = build_model(make_config("digits", name, seed=seed, order=8), digits, 4)
        return [keras.ops.convert_to_numpy(v) for v in model.trainable_variables]

    first = weights(1)
    for one, two in zip(first, weights(1), strict=True):
        np.testing.assert_array_equal(one, two)
    assert any(not np.array_equal(one, two) for one, two in zip(first, weights(2), strict=True))


@pytest.mark.parametrize(
    "name, hidden",
    [("hybrid-lmu", hidden) for hidden in HIDDEN]
    + [("lmu", hidden) for hidden in HIDDEN]
    + [(name, "dense") for name in SEQUENCE_MODELS if name not in ("hybrid-lmu", "lmu")],
)
@pytest.mark.broad(6)
def test_a_readout_for_every_step_or_for_the_last(short, short_per_step, name, hidden):
    config = make_config("digits", name, order=8, hidden=hidden, initial_error="half",
                         input_to_hidden=hidden == "gru")  # fmt: skip
    assert build_model(config, short, 4)(short.test.x[:2]).shape == (2, 10)
    per_step = build_model(config, short_per_step, 4)
    assert per_step(short_per_step.test.x[:2]).shape == (2, 12, 1)


def test_lmu_is_keras_lmu_itself_on_tensorflow(digits):
    layer = build_model(make_config("digits", "lmu", order=8), digits, 4).layers[1]
    expected = "keras_lmu" if keras.backend.backend() == "tensorflow" else "hybrid_lmu"
    assert type(layer).__module__.split(".")[0] == expected


def test_impossible_number_of_parameters(digits):
    with pytest.raises(ValueError, match="`parameters` must be at least .* received: 5"):
        solve_units(make_config("digits", "hybrid-lmu", parameters=5), digits)


@pytest.mark.parametrize(
    "readout, rounding, feedback",
    [(readout, "diffused", "exact") for readout in READOUTS]
    + [("mean", rounding, "integrated") for rounding in ROUNDINGS],
)
def test_readouts_roundings_and_feedback(short, readout, rounding, feedback):
    steps = 1 if readout == "last" else 4
    config = make_config(
        "digits", "hybrid-lmu", order=8, readout=readout, readout_steps=steps, rounding=rounding,
        memory_feedback=feedback, input_resolution=15.0, memory_limit=2.0,
    )  # fmt: skip
    model = build_model(config, short, 4)
    assert model(short.test.x[:2]).shape == (2, 10)
    core = next(layer for layer in model.layers if isinstance(layer, hybrid_lmu.HybridLMU))
    assert core.cell.kernel is None  # the counts of the input go straight into the memory
    kind = {"memoryless": "Rounding", "stochastic": "Stochastic", "diffused": "SigmaDelta"}
    assert type(core.cell.memory_quantizer).__name__ == f"{kind[rounding]}Quantizer"


def test_readout_of_several_steps_only_where_there_is_one(digits):
    for task, model in ((digits, "lstm"), (load_task("mackey-glass"), "hybrid-lmu")):
        config = make_config(task.name, model, readout="mean", readout_steps=2, order=8)
        with pytest.raises(ValueError, match="`readout` must be 'last' for .*received: 'mean'"):
            build_model(config, task, 4)


def test_resolutions_in_deviations_of_the_memory(digits):
    config = make_config("digits", "hybrid-lmu", order=8, memory_unit="deviation", memory_limit=3.0)
    model = build_model(config, digits, 4)
    x = digits.train.x[: config.budget_samples]
    memory = hybrid_lmu.LegendreMemory(8, config.theta, return_sequences=True)
    spread = np.sqrt(np.square(keras.ops.convert_to_numpy(memory(x))).mean((0, 1)))
    np.testing.assert_allclose(deviations(config, x), spread, rtol=1e-4)
    quantizer = next(
        layer.cell.memory_quantizer
        for layer in model.layers
        if isinstance(layer, hybrid_lmu.HybridLMU)
    )
    resolution = keras.ops.convert_to_numpy(quantizer.resolution)
    np.testing.assert_allclose(resolution * spread, config.start_resolution, rtol=1e-4)
    np.testing.assert_allclose(quantizer.limit / spread, 3.0, rtol=1e-4)


def test_a_unit_by_deviation_is_for_one_memory_of_one_feature(digits):
    config = make_config("digits", "hybrid-lmu", memory_unit="normalized", memory_d=2)
    with pytest.raises(ValueError, match="`memory_unit` 'normalized' .*received: 1 features .*=2"):
        build_model(config, digits, 4)


@pytest.mark.parametrize("model", ["hybrid-lmu", "hybrid-lmu-recurrent", "hybrid-gru", "lstm"])
@pytest.mark.parametrize("weights", ["binary", "4-bit"])
def test_low_bit_kernels_are_all_of_them(digits, model, weights):
    config = make_config("digits", model, weights=weights, parameters=3000, order=8)
    built = build_model(config, digits, 20)
    packed = hybrid_lmu.weights.packed_weights(built)
    kernels = [w for w in built.trainable_weights if w.name in ("kernel", "recurrent_kernel")]
    named = sorted((path.rpartition("/")[2], one.codes.shape) for path, one in packed.items())
    assert named == sorted((w.name, tuple(w.shape)) for w in kernels)
    assert {one.bits for one in packed.values()} == {1 if weights == "binary" else 4}
    if model.startswith("hybrid-lmu"):
        scales = np.log2([float(one.scale) for one in packed.values()])
        np.testing.assert_array_equal(scales, np.rint(scales))


@pytest.mark.parametrize("rule", WEIGHT_RULES)
def test_units_with_every_weight_rule(digits, rule):
    config = make_config(
        "digits", "hybrid-lmu", parameters=3000, weights="binary", weight_rule=rule
    )
    built = build_model(config, digits, solve_units(config, digits))
    assert abs(count_parameters(built) - 3000) < 0.05 * 3000
    assert len(hybrid_lmu.weights.packed_weights(built)) == 2


def test_exempt_layers_and_rules(digits):
    config = make_config("digits", "gru", weights="binary", exempt="last", weight_rule="sign")
    built = build_model(config, digits, 20)
    assert all("gru" in path for path in hybrid_lmu.weights.packed_weights(built))
    assert config.name == "digits-gru-binary-sign-last-exempt-seed0"
    with pytest.raises(ValueError, match="'binary' and .* weight_rule 'sign'"):
        make_config("digits", "gru", weights="ternary", weight_rule="sign")
