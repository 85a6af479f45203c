"""NaN and infinity come out at their step and later, in the parallel forms as step by step."""

import keras
import numpy as np
import pytest
from keras import layers

from hybrid_lmu import HybridLMU, LegendreMemory
from hybrid_lmu.neurons import SynapticTrace
from tests.hybrid_lmu.neurons.neuron_helpers import NEURONS

BAD, STEPS = 40, 70  # inside a chunk that is not the first


def finite(outputs):
    return np.isfinite(keras.ops.convert_to_numpy(outputs))


def inputs(bad, features=2):
    x = np.random.default_rng(0).normal(size=(2, STEPS, features)).astype("float32")
    x[0, BAD, 0] = bad
    return x


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", NEURONS)
@pytest.mark.broad(6)
def test_a_neuron_does_not_hide_it(name, bad):
    cell, layer, options = NEURONS[name]
    x = inputs(bad)
    shown = finite(layer(**options)(x))
    delay = "SRM" in name  # the filter passes an input on at the next step
    assert shown[1].all() and shown[0, :, 1].all() and shown[0, : BAD + delay, 0].all()
    assert not shown[0, BAD + delay, 0]
    cell, states, by_step = cell(2, **options), None, []
    states = cell.get_initial_state(2)
    for t in range(STEPS):
        y, states = cell(x[:, t], states)
        by_step.append(finite(y))
    np.testing.assert_array_equal(shown, np.stack(by_step, axis=1))


@pytest.mark.parametrize("bad", [np.nan, -np.inf])
@pytest.mark.parametrize(
    "make",
    [
        lambda **k: LegendreMemory(6, 20, 2, return_sequences=True, **k),
        lambda **k: HybridLMU(
            2, 6, 20, layers.Dense(3), return_sequences=True, memory_resolution=8, seed=0, **k
        ),
    ],
)
def test_a_memory_keeps_it_from_earlier_steps(make, bad):
    x, whole, steps = inputs(bad), make(), make(unroll=True)
    whole.build(x.shape)
    steps.build(x.shape)
    steps.set_weights(whole.get_weights())
    shown = finite(whole(x))
    np.testing.assert_array_equal(shown, finite(steps(x)))
    assert shown[1].all() and shown[0, :BAD].all() and not shown[0, BAD:].all(axis=-1).any()


def test_a_trace_keeps_its_states_apart():
    x = inputs(np.nan)[:, : BAD + 1]
    outputs, p, q = (finite(one) for one in SynapticTrace(return_state=True)(x))
    assert outputs.all() and p.all() and q.tolist() == [[False, True], [True, True]]


@pytest.mark.parametrize("layer", [SynapticTrace, *(NEURONS[n][1] for n in ("LIF", "SRM"))])
def test_a_masked_step_may_hold_anything(layer):
    mask = np.ones((2, STEPS), bool)
    mask[:, BAD] = False
    outputs, *states = layer(return_state=True)(inputs(np.nan), mask=mask)
    assert finite(outputs).all() and all(finite(state).all() for state in states)
