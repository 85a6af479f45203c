"""A report of a model in use: the model stays as it is, in threads and for many reports."""

import gc
import threading

import keras
import numpy as np
import pytest
from keras import layers

from hybrid_lmu import HybridLMU, activity_report, record_activity

x = np.random.default_rng(0).normal(size=(8, 12, 3)).astype("float32")


def make():
    keras.utils.set_random_seed(0)
    lmu = HybridLMU(
        1, 6, 20, layers.SimpleRNNCell(5),
        memory_resolution=8, hidden_resolution=2, initial_error="half", name="lmu",
    )  # fmt: skip
    return keras.Sequential([keras.Input((12, 3)), lmu, layers.Dense(2, name="head")])


def in_threads(*works):
    """Run functions at once; return what they return, or the errors that they raise."""
    results = [None] * len(works)

    def work(index):
        try:
            results[index] = works[index]()
        except Exception as e:
            results[index] = e

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_reports_at_once_and_beside_predict_are_those_of_one_after_the_other():
    model, other, idle = make(), make(), make()
    expected = activity_report(make(), x).to_dict()
    outputs = make().predict(x, verbose=0)
    results = in_threads(
        lambda: activity_report(model, x).to_dict(),
        lambda: activity_report(model, x).to_dict(),
        lambda: activity_report(other, x).to_dict(),
        # On JAX, Keras takes the values out of a model while its `predict` runs.
        lambda: (idle if keras.backend.backend() == "jax" else model).predict(x, verbose=0),
    )
    assert results[:3] == [expected] * 3
    np.testing.assert_array_equal(results[3], outputs)


def test_a_model_with_dropout_trains_on_after_a_report():
    rnn = layers.SimpleRNN(4, dropout=0.2, recurrent_dropout=0.2)
    model = keras.Sequential([keras.Input((12, 3)), rnn, layers.Dense(1)])
    model.compile("sgd", "mse", jit_compile=False)
    y = np.zeros((8, 1), "float32")
    model.fit(x, y, verbose=0)
    activity_report(model, x)
    model.fit(x, y, verbose=0)
    model.fit(x[:5], y[:5], verbose=0)


def test_states_and_seeds_are_as_before():
    lmu = HybridLMU(1, 6, 20, layers.SimpleRNNCell(5), memory_resolution=8, stateful=True)
    model = keras.Sequential([keras.Input(batch_shape=(8, 12, 3)), lmu, layers.Dense(2)])
    model.predict(x, batch_size=8, verbose=0)
    before = [np.array(v) for v in [*model.variables, *lmu.states]]
    activity_report(model, x, batch_size=8)
    record_activity(model, x, batch_size=8)
    for one, other in zip(before, [*model.variables, *lmu.states], strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_report_sees_the_present_weights():
    model = make()
    first = activity_report(model, x)
    model.layers[-1].kernel.assign(np.zeros((5, 2)))
    second = activity_report(model, x)
    nonzero = [r.products[-1]["nonzero_weights"] for r in (first, second)]
    assert nonzero[0] > 0 and nonzero[1] == 0


def test_a_changed_model_is_recorded_anew():
    model = make()
    kinds = [row["name"] for row in activity_report(model, x).products]
    model.layers[-1].activation = keras.activations.relu
    model.add(layers.Dense(3, name="more"))
    found = [row["name"] for row in activity_report(model, x).products]
    assert found == [*kinds, "more/kernel"]


def test_a_function_that_keras_does_not_know_may_be_an_activation():
    def swish2(z):
        return z * keras.ops.sigmoid(2 * z)

    lmu = HybridLMU(1, 6, 30, layers.Dense(8, swish2), memory_resolution=8, hidden_resolution=2)
    model = keras.Sequential([keras.Input((12, 3)), lmu, layers.Dense(2)])
    assert len(activity_report(model, x).activities) == 2


def megabytes():
    psutil = pytest.importorskip("psutil", reason="memory is read with psutil")
    gc.collect()
    return psutil.Process().memory_info().rss / 2**20


@pytest.mark.parametrize("reports", [20, pytest.param(50, marks=pytest.mark.slow)])
def test_memory_does_not_grow_with_reports(reports):
    model = make()
    for _ in range(3):
        activity_report(model, x)
    start = megabytes()
    for _ in range(reports):
        activity_report(model, x)
    assert (megabytes() - start) / reports < 0.2
