"""A mask leaves steps out; what is left is computed as any sequence, all steps at once."""

import keras
import numpy as np
import pytest
from keras import ops

from hybrid_lmu import HybridCell, HybridLMU, HybridRNN, LegendreMemory, activity_report
from hybrid_lmu._internal.masks import Compacted

layers, to_numpy = keras.layers, ops.convert_to_numpy
rng = np.random.default_rng(0)
x = rng.normal(size=(5, 12, 2)).astype("float32")
MASKS = {
    "padded after": np.arange(12)[None, :] < np.array([[12], [7], [1], [0], [4]]),
    "padded before": np.arange(12)[None, :] >= np.array([[0], [5], [11], [12], [3]]),
    "gaps": rng.random((5, 12)) < 0.5,
}


def lmu(cell=None, **options):
    options = {"memory_resolution": 4, "hidden_resolution": 2, "initial_error": "half", **options}
    return HybridLMU(2, 6, 12, cell or layers.Dense(5, "relu"), seed=0, **options)


KINDS = {
    "dense": lmu,
    "bias": lambda **k: lmu(use_bias=True, bias_initializer="ones", **k),
    "recurrent": lambda **k: lmu(layers.SimpleRNNCell(5), **k),
    "integrated": lambda **k: lmu(memory_feedback="integrated", **k),
    "HybridRNN": lambda **k: HybridRNN(HybridCell(layers.GRUCell(4), 3, initial_error="half"), **k),
    "memory": lambda **k: LegendreMemory(6, 12, memory_d=2, **k),
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.broad(4)
def test_outputs_are_those_of_the_loop(kind, mask):
    mask = MASKS[mask]
    for options in (
        {},
        {"return_sequences": True},
        {"return_sequences": True, "zero_output_for_mask": True},
        {"return_sequences": True, "go_backwards": True},
    ):
        layer = KINDS[kind](**options)
        layer.build(x.shape)
        loop = type(layer).from_config({**layer.get_config(), "return_state": True})
        loop.build(x.shape)
        loop.set_weights(layer.get_weights())
        assert layer.runs_in_parallel(x, mask) and not loop.runs_in_parallel(x, mask)
        expected = to_numpy(loop(x, mask=ops.convert_to_tensor(mask))[0])
        found = to_numpy(layer(x, mask=ops.convert_to_tensor(mask)))
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("options", [{}, {"use_bias": True}, {"memory_feedback": "integrated"}])
@pytest.mark.parametrize("more", [{}, {"zero_output_for_mask": True}, {"go_backwards": True}])
@pytest.mark.broad(4)
def test_the_last_step_alone(options, more, mask):
    """At a high resolution the errors that are drawn do not matter."""
    fine = {"memory_resolution": 2.0**18, "hidden_resolution": 2.0**18}
    if "memory_feedback" in options:
        fine["memory_resolution"] = 8.0
    auto = lmu(initial_error="uniform", **{**options, **more, **fine})
    full = type(auto).from_config({**auto.get_config(), "return_state": True})
    for layer in (auto, full):
        layer.build(x.shape)
    assert auto.plan(x.shape, mask=True).way.name == "LAST_STEP"
    full.set_weights(auto.get_weights())
    mask = ops.convert_to_tensor(MASKS[mask])
    found, expected = to_numpy(auto(x, mask=mask)), to_numpy(full(x, mask=mask)[0])
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("mask", ["padded after", "gaps"])
def test_report_counts_the_steps_that_are_left(mask):
    def report(**options):
        keras.utils.set_random_seed(0)  # the same weights
        inputs, given = keras.Input((12, 2)), keras.Input((12,), dtype="bool")
        model = keras.Model([inputs, given], lmu(**options)(inputs, mask=given))
        return activity_report(model, [x, MASKS[mask]])

    found, expected = report(), report(unroll=True)
    for a, b in zip(found.products, expected.products, strict=True):
        for key in ("dense_macs", "effective_acs", "graded_acs"):
            assert a[key] == pytest.approx(b[key])
    assert found.totals["activity_bits"] == pytest.approx(expected.totals["activity_bits"])


def test_nothing_of_a_masked_step_reaches_outputs_or_gradients():
    mask = MASKS["padded after"]
    filled = np.where(mask[..., None], x, np.nan).astype("float32")

    class Masked(layers.Layer):
        def call(self, inputs):
            return inputs

        def compute_mask(self, inputs, previous=None):
            return ops.convert_to_tensor(mask)

    model = keras.Sequential([keras.Input(batch_shape=(5, 12, 2)), Masked(), lmu()])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    expected = model.predict(np.where(mask[..., None], x, 0), batch_size=5, verbose=0)
    np.testing.assert_array_equal(model.predict(filled, batch_size=5, verbose=0), expected)
    model.train_on_batch(filled, np.ones((5, 5), "float32"))
    assert all(np.isfinite(w).all() for w in model.get_weights())


def test_the_states_at_the_end_need_the_loop():
    layer = lmu(return_state=True)
    layer.build(x.shape)
    plan = layer.plan(x.shape, mask=True)
    assert plan.way.name == "STEP_BY_STEP" and "states at the end" in plan.reason


def test_compacted():
    steps = Compacted(np.array([[False, True, False, True]]))
    np.testing.assert_array_equal(to_numpy(steps.valid), [[True, True, False, False]])
    moved = steps.take(np.array([[[1.0], [2.0], [3.0], [4.0]]], "float32"))
    assert to_numpy(moved).ravel().tolist() == [2, 4, 0, 0]
    assert to_numpy(steps.put_back(moved)).ravel().tolist() == [0, 2, 2, 4]
    assert to_numpy(steps.put_back(moved, zeros=True)).ravel().tolist() == [0, 2, 0, 4]
    at_end = Compacted(np.array([[False, True, True, False]]), to_end=True)
    np.testing.assert_array_equal(to_numpy(at_end.valid), [[False, False, True, True]])
    moved = at_end.take(np.array([[[1.0], [2.0], [3.0], [4.0]]], "float32"))
    assert to_numpy(moved).ravel().tolist() == [0, 0, 2, 3]
