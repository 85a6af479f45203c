"""A step model: its steps are the sequence, its states are inputs and outputs."""

import keras
import numpy as np
import pytest
from keras import ops

from hybrid_lmu import (
    EachStep,
    HybridCell,
    HybridLMU,
    HybridRNN,
    LeakyAverage,
    LegendreMemory,
    SigmaDelta,
    full_simulation,
)
from hybrid_lmu.deployment import initial_states, step_model
from hybrid_lmu.neurons import IF, LIF, SRM, Refractory, SynapticTrace
from hybrid_lmu.weights import QuantizedWeights, ScaledBinary

layers, to_numpy = keras.layers, ops.convert_to_numpy
TIME = 15
x = np.random.default_rng(0).normal(size=(3, TIME, 2)).astype("float32")


def lmu(cell=None, **options):
    resolutions = {"memory_resolution": 4, "hidden_resolution": 2}
    return HybridLMU(2, 6, TIME, cell or layers.Dense(5, "relu"), **{**resolutions, **options})


MODELS = {
    "lmu": lambda: [lmu(), layers.Dense(3)],
    "all steps": lambda: [lmu(return_sequences=True), layers.Dense(3)],
    "last steps": lambda: [lmu(return_last=3), layers.GlobalAveragePooling1D(), layers.Dense(3)],
    "recurrent": lambda: [lmu(layers.LSTMCell(5), hidden_to_memory=True)],
    "counts fed back": lambda: [lmu(memory_feedback="integrated", input_to_hidden=True)],
    "not spiking": lambda: [lmu(memory_resolution=None, hidden_resolution=None)],
    "binary": lambda: [QuantizedWeights(lmu(), ScaledBinary()), layers.Dense(3)],
    "stack": lambda: [
        layers.Dense(4),
        layers.LayerNormalization(),
        SigmaDelta("relu", 4.0),
        LegendreMemory(4, 10, memory_d=4, return_sequences=True),
        layers.Dropout(0.1),
        HybridRNN(HybridCell(layers.GRUCell(4), 2.0)),
        layers.Dense(2),
    ],
    "neurons": lambda: [IF(), LIF(), SRM(), Refractory(), SynapticTrace(), layers.Dense(2)],
    "each step": lambda: [EachStep(layers.Dense(3)), SigmaDelta(resolution=3), LeakyAverage(4.0)],
    "of Keras": lambda: [layers.LSTM(4, return_sequences=True), layers.GRU(3)],
    "stacked": lambda: [
        layers.RNN(layers.StackedRNNCells([layers.GRUCell(3), layers.LSTMCell(2)]))
    ],
}


def model_of(name):
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((TIME, 2)), *MODELS[name]()])


def run(steps, states):
    """The outputs of all steps, and the states after them."""
    outputs = []
    for t in range(TIME):
        given = {"x": x[:, t], **states}
        made = steps({name: ops.convert_to_tensor(value) for name, value in given.items()})
        made = {name: to_numpy(value) for name, value in made.items()}
        outputs.append(made.pop("y"))
        states = {name.removesuffix("_next"): value for name, value in made.items()}
    return np.stack(outputs, axis=1), states


def simulated(model):
    try:
        return full_simulation(model)
    except ValueError:  # nothing that reduces a sequence to its last step
        return model


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.broad(6)
def test_steps_are_the_sequence(name, tmp_path):
    model = model_of(name)
    expected = to_numpy(simulated(model)(x))
    steps = step_model(model)
    found, states = run(steps, initial_states(steps, 3))
    np.testing.assert_allclose(found if expected.ndim == 3 else found[:, -1], expected, atol=1e-5)
    assert states.keys() == initial_states(model, 3).keys()

    steps.save(tmp_path / "steps.keras")
    loaded = keras.saving.load_model(tmp_path / "steps.keras")
    again, _ = run(loaded, initial_states(loaded, 3))
    np.testing.assert_array_equal(again, found)


def test_first_errors():
    """Those of inference for each sample; with a seed, drawn as in training."""
    model = model_of("lmu")
    fixed, again = initial_states(model, 4), initial_states(model, 4)
    drawn = [initial_states(model, 4, seed=seed) for seed in (1, 1, 2)]
    error = next(name for name, state in fixed.items() if state.any())
    np.testing.assert_array_equal(fixed[error], again[error])
    np.testing.assert_array_equal(fixed[error], np.repeat(fixed[error][:1], 4, axis=0))
    np.testing.assert_array_equal(drawn[0][error], drawn[1][error])
    assert np.abs(drawn[0][error] - drawn[2][error]).max() > 0
    assert np.ptp(drawn[0][error], axis=0).max() > 0


def test_what_cannot_run_step_by_step_is_named_all_at_once():
    model = keras.Sequential(
        [
            keras.Input((TIME, 2)),
            layers.Bidirectional(layers.LSTM(3, return_sequences=True), name="both"),
            layers.Conv1D(4, 3, name="convolution"),
            lmu(go_backwards=True, name="backwards"),
        ]
    )
    with pytest.raises(ValueError, match="cannot run step by step") as raised:
        step_model(model)
    for name in ("both", "convolution", "backwards"):
        assert name in str(raised.value)
