"""Learned resolutions and the budget of bits that they share."""

import keras
import numpy as np
import pytest
from keras import ops

from hybrid_lmu import (
    BitBudget,
    HybridLMU,
    RoundingQuantizer,
    SigmaDelta,
    SigmaDeltaQuantizer,
    activity_report,
)
from hybrid_lmu.accounting import count_ranges

to_numpy = ops.convert_to_numpy
KINDS = pytest.mark.parametrize("kind", (SigmaDeltaQuantizer, RoundingQuantizer))


def data(samples=96):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, samples)
    x = np.sin(np.arange(30) * np.where(y, 0.3, 0.45)[:, None] + rng.uniform(0, 6, (samples, 1)))
    return x[..., None].astype("float32"), y


def network(**core):
    def learned():
        return SigmaDeltaQuantizer(resolution=64.0, learn_resolution=True)

    core = {"memory_quantizer": learned(), "hidden_quantizer": learned(), **core}
    model = keras.Sequential(
        [
            keras.Input((30, 1)),
            HybridLMU(1, 6, 30.0, keras.layers.Dense(8, "relu"), **core),
            keras.layers.Dense(2),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-2), loss)
    return model


@KINDS
def test_gradient_to_the_gain_is_minus_the_error(kind):
    """d(sum y)/dg_j = -sum (y - a), over samples and steps."""
    quantizer = kind(resolution=2.0, learn_resolution=True)
    layer = keras.layers.RNN(_Quantized(quantizer), return_sequences=True)
    x = np.random.default_rng(0).normal(size=(5, 7, 3)).astype("float32")
    model = keras.Sequential([keras.Input((7, 3)), layer])
    y = to_numpy(model(x))
    model.compile(keras.optimizers.SGD(1.0), lambda y, out: ops.sum(out, axis=(1, 2)))
    model.train_on_batch(x, np.zeros((5, 7, 3), "float32"))
    moved = to_numpy(quantizer.log_factor)  # mean over the batch, one step of rate 1
    if kind is RoundingQuantizer:  # the same draw, as there is none
        np.testing.assert_allclose(moved, (y - x).sum((0, 1)) / 5, atol=1e-4)
    assert np.all(moved != 0)


class _Quantized(keras.layers.Layer):
    """A cell that is its quantizer."""

    def __init__(self, quantizer):
        super().__init__()
        self.quantizer, self.state_size, self.output_size = quantizer, 3, 3

    def build(self, shape):
        self.quantizer.build(shape)

    def get_initial_state(self, batch_size=None):
        return [self.quantizer.get_initial_error((batch_size, 3))]

    def call(self, x, states):
        y, error = self.quantizer.step(x, states[0])
        return y, [error]


@pytest.mark.parametrize("feedback", ("exact", "integrated"))
@pytest.mark.broad(1)
def test_budget_is_kept_and_gains_are_learned(feedback):
    x, y = data()
    model = network(memory_feedback=feedback)
    falling = keras.optimizers.schedules.PolynomialDecay(7.0, 12, 3.0)
    history = model.fit(
        x, y, batch_size=16, epochs=4, verbose=0, callbacks=[BitBudget(falling, x)]
    ).history
    np.testing.assert_allclose(history["activity_bits"][-1], 3.0, atol=1e-5)
    assert history["activity_bits"][0] > 4
    report = activity_report(model, x)
    # The ranges were measured at the start of the epoch, at other draws.
    assert abs(report.totals["activity_bits"] - 3.0) < 0.3
    gains = [v for v in model.trainable_variables if v.name == "log_factor"]
    assert len(gains) == 2 and all(np.ptp(to_numpy(v)) > 0 for v in gains)


def test_first_level_gives_every_neuron_the_same_bits():
    x, y = data()
    model = network()
    budget = BitBudget(5.0, x)
    budget.set_model(model)
    budget.on_train_begin()
    budget.on_epoch_begin(0)
    for activity in budget._activities:
        bits = np.log2(activity.quantizer.resolutions() * activity.span + 1)
        np.testing.assert_allclose(bits, 5.0, atol=1e-3)


def test_resumed_training_keeps_what_was_learned(tmp_path):
    x, y = data()
    model = network()
    model.fit(x, y, epochs=2, verbose=0, callbacks=[BitBudget(4.0, x)])
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    before = [to_numpy(v) for v in loaded.trainable_variables if v.name == "log_factor"]
    kept = [to_numpy(v) for v in model.trainable_variables if v.name == "log_factor"]
    np.testing.assert_array_equal(np.concatenate(before), np.concatenate(kept))
    budget = BitBudget(4.0, x)
    budget.set_model(loaded)
    budget.on_train_begin()
    budget.on_epoch_begin(2)  # the optimizer has steps behind it: nothing is levelled
    after = [to_numpy(v) for v in loaded.trainable_variables if v.name == "log_factor"]
    np.testing.assert_array_equal(np.concatenate(before), np.concatenate(after))


@pytest.mark.slow
def test_learned_resolutions_load_into_fixed_ones(tmp_path):
    x, y = data()
    model = network()
    model.fit(x, y, epochs=1, verbose=0, callbacks=[BitBudget(4.0, x)])
    model.save_weights(tmp_path / "m.weights.h5")
    fixed = network(
        memory_quantizer=SigmaDeltaQuantizer(resolution=np.ones(6)),
        hidden_quantizer=SigmaDeltaQuantizer(resolution=np.ones(8)),
    )
    fixed.load_weights(tmp_path / "m.weights.h5")
    for a, b in zip(activity_report(model, x).activities, activity_report(fixed, x).activities,
                    strict=True):  # fmt: skip
        np.testing.assert_allclose(a["resolution"], b["resolution"], rtol=1e-5)


def test_bad_budgets():
    with pytest.raises(
        ValueError, match="`bits` must be a finite number > 0, or a function.*received: 0"
    ):
        BitBudget(0, None)
    model = keras.Sequential([keras.Input((5, 2)), keras.layers.LSTM(3), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.zeros((4, 5, 2), "float32")
    with pytest.raises(ValueError, match="needs a model with quantizers"):
        model.fit(x, np.zeros((4, 1)), verbose=0, callbacks=[BitBudget(3.0, x)])
    model = keras.Sequential([keras.Input((5, 2)), SigmaDelta(resolution=8.0)])
    model.compile("sgd", "mse")
    model.fit(x + 1, x, verbose=0, callbacks=[BitBudget(3.0, x + 1)])  # a fixed one is scaled


def test_ranges_are_those_of_the_right_activity():
    """Two outputs, in another order than the layers were made: a budget of 4 bits for both."""
    inputs = keras.Input((30, 1))
    small, large = (SigmaDelta(resolution=4.0, name=name) for name in ("small", "large"))
    of_large = large(keras.layers.Rescaling(50.0)(inputs))
    model = keras.Model(inputs, [small(inputs), of_large])
    model.compile(keras.optimizers.SGD(0.0), ["mse", "mse"])
    x, _ = data()
    model.fit(x, [x, x], verbose=0, callbacks=[BitBudget(4.0, x)])
    for row in activity_report(model, x).activities:
        assert row["activity_bits"] == pytest.approx(4.0, abs=0.4)


def test_masked_steps_have_no_range():
    x = np.full((4, 10, 1), 3.0, "float32")
    x[:, 5:] = 0.0
    inputs = keras.Input((10, 1))
    y = SigmaDelta(resolution=1.0, initial_error="half")(keras.layers.Masking()(inputs))
    ((low, high),) = count_ranges(keras.Model(inputs, y), x).values()
    assert (low, high) == (3, 3)


@pytest.mark.slow
def test_resolutions_of_their_own_that_are_learned_too_are_levelled():
    own = SigmaDeltaQuantizer(
        resolution=[512.0, 1e3, 2e3, 4e3, 8e3, 16e3],
        learn_resolution=True,
        name="memory_quantizer",
    )
    model = network(memory_quantizer=own)
    x, y = data()
    model.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
    model.fit(x, y, verbose=0, callbacks=[BitBudget(5.0, x, name="*memory*")])
    path = next(path for path in count_ranges(model, x) if "memory" in path)
    low, high = count_ranges(model, x)[path]
    np.testing.assert_allclose(np.log2(high - low + 1.0), 5.0, atol=0.3)


@pytest.mark.parametrize("provisioned", [False, True])
def test_each_activity_keeps_the_budget_by_itself(provisioned):
    x, y = data()
    model = network()
    budget = BitBudget(3.0, x, per_activity=True, provisioned=provisioned, batch_size=96)
    model.fit(x, y, epochs=2, batch_size=32, verbose=0, callbacks=[budget])
    budget._measure()
    for activity in budget._activities:
        bits = np.mean(np.log2(activity.levels(provisioned) + 1))
        assert bits == pytest.approx(3.0, abs=0.3)  # trained since its ranges were measured
    if provisioned:
        for row in activity_report(model, x).activities:
            assert row["provisioned_bits"] <= 4 and row["activity_bits"] < 3.3


def test_the_mean_budget_lets_activities_differ():
    x, y = data()
    model = network()
    model.fit(x, y, epochs=2, batch_size=32, verbose=0, callbacks=[BitBudget(3.0, x)])
    model.layers[0].memory_quantizer.log_factor.assign(np.full(6, 1.0))  # as if learned
    budget = BitBudget(3.0, x)
    budget.set_model(model)
    budget.start = 1
    budget._measure()
    budget._apply(0)
    found = [np.mean(np.log2(a.levels() + 1)) for a in budget._activities]
    assert np.mean(found) == pytest.approx(3.0, abs=1e-4) and abs(found[0] - found[1]) > 0.5


def test_measured_in_every_third_epoch(monkeypatch):
    x, y = data()
    model, measured = network(), []
    budget = BitBudget(3.0, x[:8], measure_every=3)
    monkeypatch.setattr(
        budget, "_measure", lambda: measured.append(1) or BitBudget._measure(budget)
    )
    model.fit(x, y, epochs=7, batch_size=32, verbose=0, callbacks=[budget])
    assert len(measured) == 3  # before the first, fourth and seventh epoch
