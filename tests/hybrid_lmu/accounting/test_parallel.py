"""A HybridLMU that computes all steps at once is recorded so, with the same result as a loop."""

import keras
import numpy as np
import pytest
from keras import layers

import hybrid_lmu
import hybrid_lmu.accounting._keras_layers as rules
from hybrid_lmu.accounting import activity_report, record_activity
from tests.hybrid_lmu.accounting.accounting_helpers import X, rows


def lmu(hidden_cell, name="lmu", memory_d=2, **options):
    options = {"memory_resolution": 8, "hidden_resolution": 4, "seed": 3, **options}
    options.setdefault("initial_error", "half")
    return hybrid_lmu.HybridLMU(memory_d, 4, 6, hidden_cell, name=name, **options)


def reports(make, monkeypatch):
    """The report of the parallel recording, and of the loop; each of a model of its own."""
    taken, sequence = [], rules.record_sequence
    with monkeypatch.context() as context:
        context.setattr(
            rules, "record_sequence", lambda *a: taken.append(sequence(*a)) or taken[-1]
        )
        parallel = activity_report(make(), X, batch_size=10)
    assert taken and all(resolution is not NotImplemented for resolution in taken)
    with monkeypatch.context() as context:
        context.setattr(rules, "record_sequence", lambda *a: NotImplemented)
        loop = activity_report(make(), X, batch_size=10)
    return parallel, loop


def assert_same(parallel, loop):
    parallel, loop = parallel.to_dict(), loop.to_dict()
    for key in ("activities", "products", "energy"):
        assert len(parallel[key]) == len(loop[key]) > 0
        for one, other in zip(parallel[key], loop[key], strict=True):
            for name, value in other.items():
                is_number = isinstance(value, float)
                assert one[name] == (pytest.approx(value, rel=1e-6) if is_number else value)
    assert parallel["totals"] == pytest.approx(loop["totals"], rel=1e-6)
    assert parallel["footprint"] == loop["footprint"]
    assert parallel["timesteps"] == loop["timesteps"]


@pytest.mark.parametrize(
    "make",
    [
        lambda: lmu(layers.Dense(5, "relu"), input_to_hidden=True),
        lambda: lmu(layers.SimpleRNNCell(5), return_sequences=True, go_backwards=True),
        lambda: lmu(layers.LSTMCell(3), use_bias=True),
        lambda: lmu(layers.GRUCell(3, reset_after=False), memory_resolution=None),
        lambda: lmu(layers.Dense(5), hidden_resolution=[1.0, 2, 3, 4, 5]),
        lambda: lmu(None, hidden_resolution=None, kernel_initializer=None),
        lambda: lmu(layers.Dense(5, "relu"), initial_error="uniform"),  # the last step alone
    ],
    ids=["dense", "backwards", "lstm", "gru", "resolutions", "memory", "last"],
)
@pytest.mark.broad(1)
def test_the_report_is_that_of_the_loop(make, monkeypatch):
    def model():
        keras.utils.set_random_seed(0)
        counts = hybrid_lmu.SigmaDelta(resolution=[2.0, 3.0], seed=1, name="counts")
        stack = [keras.Input((6, 2)), counts, make()]
        if not stack[-1].return_sequences:
            stack.append(layers.Dense(2, name="head"))
        return keras.Sequential(stack)

    assert_same(*reports(model, monkeypatch))


def test_a_stateful_layer_goes_on_from_its_states():
    stateful = lmu(layers.SimpleRNNCell(5), stateful=True)
    model = keras.Sequential([keras.Input(batch_shape=(10, 6, 2)), stateful])
    model.predict(X, batch_size=10, verbose=0)
    before = record_activity(model, X, batch_size=10)["lmu/hidden"].counts
    model.predict(X, batch_size=10, verbose=0)
    after = record_activity(model, X, batch_size=10)["lmu/hidden"].counts
    assert (before != after).any()


def test_mixed_precision():
    half = keras.Sequential([keras.Input((6, 2)), lmu(layers.Dense(5), dtype="mixed_float16")])
    found = rows(activity_report(half, X))
    assert found["lmu/hidden kernel"]["input_resolution"] == 8


@pytest.mark.parametrize("error", ["half", "uniform"])
@pytest.mark.broad(1)
def test_the_counts_are_those_of_the_run(error):
    layer = lmu(layers.SimpleRNNCell(5), return_sequences=True, initial_error=error)
    model = keras.Sequential([keras.Input((6, 2)), layer])
    recorded = record_activity(model, X, batch_size=10)["lmu/hidden"]
    outputs = model.predict(X, batch_size=10, verbose=0)  # the seeds are as before the recording
    np.testing.assert_array_equal(recorded.counts, np.rint(outputs * 4))


@pytest.mark.parametrize("options", [{"memory_feedback": "quantized"}, {"hidden_to_memory": True}])
@pytest.mark.broad(1)
def test_where_the_states_are_needed_it_is_a_loop(options):
    model = keras.Sequential([keras.Input((6, 2)), lmu(layers.SimpleRNNCell(5), **options)])
    found = rows(activity_report(model, X))
    expected = 8 if "memory_feedback" in options else None
    assert found["lmu/memory A"]["input_resolution"] == expected
