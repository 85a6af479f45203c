"""Neurons against their equations in NumPy, published vectors and closed forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from hybrid_lmu.neurons import IF, LIF, SRM, Refractory
from tests.hybrid_lmu.neurons.neuron_helpers import normal

to_numpy = ops.convert_to_numpy


def spikes(layer, x):
    return to_numpy(layer(x)).astype(int)


def test_if_of_a_constant_input():
    x = np.full((1, 10, 1), 0.3, "float32")
    assert "".join(map(str, spikes(IF(), x)[0, :, 0])) == "0001001001"
    assert "".join(map(str, spikes(IF(initial_potential="half"), x)[0, :, 0])) == "0100100010"


# On a grid of 2**-10 all sums are exact, so that the closed form has no ties to worry about.
grid = st.integers(0, 1024).map(lambda k: k / 1024)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(grid, min_size=4, max_size=4), st.sampled_from([1, 10, 60]), grid, st.integers(1, 4)
)
def test_spike_count_of_a_constant_input(inputs, steps, start, threshold):
    x = np.broadcast_to(np.array(inputs, "float32"), (1, steps, len(inputs))) * threshold
    start = min(start, 1 - 1 / 1024) * threshold
    layer = IF(threshold=threshold, initial_potential=start, return_state=True)
    s, v = map(to_numpy, layer(x.astype("float32")))
    counts = np.floor((steps * x[0, 0] + start) / threshold)
    np.testing.assert_array_equal(s.sum(axis=1)[0], counts)
    np.testing.assert_array_equal(v[0], steps * x[0, 0] + start - threshold * counts)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 40]))
def test_if_keeps_what_it_did_not_fire(seed, steps):
    x = np.random.default_rng(seed).integers(-2048, 2048, (2, steps, 3)).astype("float32") / 1024
    s, v = map(to_numpy, IF(return_state=True)(x))
    np.testing.assert_array_equal(v, x.sum(axis=1) - s.sum(axis=1))


def test_if_fires_once_a_step_and_has_no_lower_bound():
    x = np.array([3.0, 0, 0, -5, 4, 2], "float32").reshape(1, 6, 1)
    assert spikes(IF(), x).ravel().tolist() == [1, 1, 1, 0, 0, 1]


def reference(x, step, v):
    outputs = []
    for t in range(x.shape[1]):
        s, v = step(x[:, t].astype("float64"), v)
        outputs.append(s)
    return np.stack(outputs, axis=1)


@pytest.mark.parametrize("decay_input", [True, False])
@pytest.mark.parametrize("reset", ["hard", "subtract"])
@pytest.mark.parametrize("rest", [0.0, -0.25])
def test_lif_is_its_equation(reset, rest, decay_input):
    tau, threshold, x = 4.0, 0.5, normal(4, 50, 6) + 0.5

    def step(x, v):
        leak = (v - rest) / tau
        h = v + x / tau - leak if decay_input else v + x - leak
        s = h >= threshold
        return s, np.where(s, rest, h) if reset == "hard" else h - threshold * s

    layer = LIF(tau, threshold, reset=reset, reset_potential=rest, decay_input=decay_input)
    expected = reference(x, step, np.full((4, 6), rest))
    np.testing.assert_array_equal(spikes(layer, x), expected)
    assert 0.05 < expected.mean() < 0.95


def test_lif_without_memory_is_a_threshold():
    x = normal(3, 20, 4)
    np.testing.assert_array_equal(spikes(LIF(tau=1.0), x), x >= 1)


def test_srm_is_its_equations():
    x, (alpha, beta, gamma) = normal(4, 60, 5), np.exp([-1 / 10, -1 / 6, -1 / 2])

    def step(x, state):
        p, q, r = state
        p, q = alpha * p + q, beta * q + x
        s = p - r >= 0
        return s, (p, q, gamma * r + s)

    expected = reference(x, step, [np.zeros((4, 5))] * 3)
    np.testing.assert_array_equal(spikes(SRM(), x), expected)
    assert 0.1 < expected.mean() < 0.9


def test_srm_without_input_fires_once():
    assert spikes(SRM(), np.zeros((1, 50, 1), "float32")).ravel().tolist() == [1] + [0] * 49


def test_a_refractory_neuron_is_held_back_by_its_kernel():
    # After one spike at step 0, R_t = gamma**(t - 1): an input of a little less does not fire.
    gamma = np.exp(-1 / 2)
    x = np.concatenate([[0.0], gamma ** np.arange(20) - 1e-4]).reshape(1, 21, 1).astype("float32")
    assert spikes(Refractory(), x).sum() == 1
    x[0, 5] += 2e-4
    assert np.flatnonzero(spikes(Refractory(), x))[:2].tolist() == [0, 5]


def test_a_threshold_for_each_neuron():
    x = np.full((2, 12, 3), 0.5, "float32")
    counts = spikes(IF(threshold=[0.5, 1.0, 2.0]), x).sum(axis=1)
    np.testing.assert_array_equal(counts, [[12, 6, 3]] * 2)
