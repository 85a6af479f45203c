"""SynapticTrace: published kernel, parallel = step by step = chunks, gradients, files."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from hybrid_lmu import HybridRNN
from hybrid_lmu.neurons import SRM, Refractory, SynapticTrace, SynapticTraceCell
from hybrid_lmu.neurons._synaptic_filter import SynapticFilter
from tests.hybrid_lmu.neurons.neuron_helpers import gradients, normal

to_numpy = ops.convert_to_numpy


def kernel(tau_mem, tau_syn, length):
    return SynapticFilter(tau_mem, tau_syn).responses(length)[0]


def impulse(length):
    x = np.zeros((1, length, 1), "float32")
    x[0, 0] = 1
    return x


def test_kernel():
    found = to_numpy(SynapticTrace(tau_mem=10, tau_syn=6)(impulse(400)))[0, :, 0]
    assert found[0] == 0 and found[1] == 1
    assert found.argmax() == 8
    assert found.max() == pytest.approx(3.182754, rel=1e-6)
    assert found.sum() == pytest.approx(68.450040, rel=1e-6)
    alpha, beta, t = np.exp(-1 / 10), np.exp(-1 / 6), np.arange(400)
    closed = (alpha**t - beta**t) / (alpha - beta)
    np.testing.assert_allclose(found, closed, rtol=1e-5, atol=1e-12)
    np.testing.assert_allclose(kernel(10, 6, 400), closed, rtol=1e-12)


def test_kernel_of_equal_time_constants():
    alpha, t = np.exp(-1 / 4), np.arange(30)
    np.testing.assert_allclose(kernel(4, 4, 30), t * alpha ** (t - 1.0), rtol=1e-12)


def by_steps(x, p, q, tau_mem=10.0, tau_syn=6.0):
    alpha, beta, outputs = np.exp(-1 / tau_mem), np.exp(-1 / tau_syn), []
    for t in range(x.shape[1]):
        p, q = alpha * p + q, beta * q + x[:, t]
        outputs.append(p)
    return np.stack(outputs, axis=1), p, q


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from([1, 2, 37, 64, 131, 300]),  # not any length: JAX compiles for each
    st.floats(0.1, 100),
    st.floats(0.1, 100),
    st.integers(0, 2**32 - 1),
)
def test_parallel_form_is_the_recurrence(time, tau_mem, tau_syn, seed):
    rng = np.random.default_rng(seed)
    x, p, q = rng.normal(size=(2, time, 3)), rng.normal(size=(2, 3)), rng.normal(size=(2, 3))
    layer = SynapticTrace(tau_mem, tau_syn, return_state=True)
    start = [p.astype("float32"), q.astype("float32")]
    found = layer(x.astype("float32"), initial_state=start)
    for a, b in zip(found, by_steps(x, p, q, tau_mem, tau_syn), strict=True):
        np.testing.assert_allclose(to_numpy(a), b, rtol=1e-4, atol=1e-5 * np.abs(b).max())


def test_many_chunks():
    x = (normal(1, 10_000, 1) > 1).astype("float32")
    expected, *_ = by_steps(x.astype("float64"), np.zeros((1, 1)), np.zeros((1, 1)))
    np.testing.assert_allclose(to_numpy(SynapticTrace()(x)), expected, rtol=1e-5, atol=1e-4)


def test_cell_layer_stream_and_loop_agree():
    x = normal(2, 90, 4)
    expected = to_numpy(SynapticTrace()(x))
    rnn = keras.layers.RNN(SynapticTraceCell(4), return_sequences=True)
    stream = SynapticTrace(stateful=True)
    chunks = [to_numpy(stream(part)) for part in (x[:, :1], x[:, 1:50], x[:, 50:])]
    masked = SynapticTrace()(x, mask=ops.ones((2, 90), "bool"))
    for found in (
        rnn(x),
        HybridRNN(SynapticTraceCell(4), return_sequences=True)(x),
        np.concatenate(chunks, axis=1),
        masked,
    ):
        np.testing.assert_allclose(to_numpy(found), expected, rtol=1e-4, atol=1e-4)


def test_a_filter_and_a_refractory_neuron_are_a_spike_response_model():
    x = normal(3, 70, 4)
    np.testing.assert_array_equal(to_numpy(Refractory()(SynapticTrace()(x))), to_numpy(SRM()(x)))


def test_masked_steps():
    x, mask = normal(1, 40, 2), np.random.default_rng(3).random((1, 40)) < 0.5
    layer = SynapticTrace(return_state=True)
    found = [to_numpy(one) for one in layer(x, mask=ops.convert_to_tensor(mask))]
    expected = [to_numpy(one) for one in layer(x[:, mask[0]])]
    assert not found[0][~mask].any()
    np.testing.assert_allclose(found[0][mask], expected[0][0], rtol=1e-4, atol=1e-5)
    for a, b in zip(found[1:], expected[1:], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_gradients_are_those_of_the_recurrence():
    x, p, q, target = normal(2, 75, 3), normal(2, 3), normal(2, 3), normal(2, 75, 3, seed=4)
    layer, cell = SynapticTrace(return_state=True), SynapticTraceCell(3)

    def loss(outputs):
        y, p, q = outputs
        pairs = ((y, target), (p, target[:, 0]), (q, target[:, 1]))
        return sum(ops.sum(ops.multiply(a, b)) for a, b in pairs)

    def whole(x, p, q):
        return loss(layer(x, initial_state=[p, q]))

    def masked(x, p, q):
        return loss(layer(x, initial_state=[p, q], mask=ops.ones((2, 75), "bool")))

    def steps(x, *states):
        states, outputs = list(states), []
        for t in range(75):
            y, states = cell(x[:, t], states)
            outputs.append(y)
        return loss([ops.stack(outputs, axis=1), *states])

    expected = gradients(steps, x, p, q)
    for function, jit in ((whole, False), (masked, False), (whole, True), (masked, True)):
        for a, b in zip(gradients(function, x, p, q, jit=jit), expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * np.abs(b).max())


def test_saved_model(tmp_path):
    x = keras.Input((None, 4))
    parts = [SynapticTrace(5, 3)(x), HybridRNN(SynapticTraceCell(4, 5, 3))(x)]
    model = keras.Model(x, parts)
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    data = normal(2, 20, 4)
    for a, b in zip(model.predict(data, verbose=0), loaded.predict(data, verbose=0), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_keeps_the_states(policy):
    y, p, q = SynapticTrace(return_state=True, dtype=policy)(impulse(30))
    assert keras.backend.standardize_dtype(y.dtype) == policy.removeprefix("mixed_")
    assert keras.backend.standardize_dtype(p.dtype) == "float32"
    assert float(p[0, 0]) == pytest.approx(kernel(10, 6, 30)[29], rel=1e-6)


def test_bad_input():
    with pytest.raises(ValueError, match="`tau_mem` must be a finite number of steps > 0"):
        SynapticTrace(tau_mem=-1)
    with pytest.raises(ValueError, match="`tau_syn` must be a finite number of steps > 0"):
        SynapticTraceCell(3, tau_syn=0)
    with pytest.raises(ValueError, match=r"\[batch, time, neurons...\]; received shape \(2, 3\)"):
        SynapticTrace()(np.ones((2, 3), "float32"))
    with pytest.raises(ValueError, match="expects floating-point inputs; received dtype int32"):
        SynapticTrace()(np.ones((2, 3, 4), "int32"))
