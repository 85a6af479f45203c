"""A network that is read once makes the products of its output once."""

import keras
import numpy as np
import pytest

from hybrid_lmu import HybridCell, HybridLMU, HybridRNN, activity_report

layers = keras.layers
x = np.random.default_rng(0).normal(size=(3, 12, 2)).astype("float32")


def reports(layer, data=x, before=()):
    model = keras.Sequential([keras.Input((12, 2)), *before, layer, layers.Dense(3)])
    return activity_report(model, data), activity_report(model, data, read_once=True)


def lmu(cell=None, **options):
    options = {"memory_resolution": 4, "hidden_resolution": 2, **options}
    return HybridLMU(2, 6, 12, cell or layers.Dense(5, "relu"), name="lmu", **options)


def dense(report):
    return {row["name"]: row["dense_macs"] for row in report.products}


@pytest.mark.parametrize("options, steps", [({}, 1), ({"return_last": 4}, 4)])
@pytest.mark.parametrize("loop", [{}, {"unroll": True}, {"memory_to_memory": True}])
def test_hidden_products_are_made_when_read(options, steps, loop):
    always, once = reports(lmu(**options, **loop))
    expected = dense(always)
    hidden = expected.pop("lmu/hidden kernel")
    assert dense(once).pop("lmu/hidden kernel") == hidden * steps / 12 == 12 * 5 * steps
    assert {key: dense(once)[key] for key in expected} == expected  # memory, encoder, readout
    assert once.totals["effective_acs"] < always.totals["effective_acs"]
    assert once.read_once and once.to_dict()["read_once"] and not always.read_once
    assert "at the steps that are read" in " ".join(once.summary().split())


@pytest.mark.parametrize(
    "layer",
    [
        lambda: lmu(return_sequences=True),
        lambda: lmu(layers.SimpleRNNCell(5)),
        lambda: lmu(hidden_to_memory=True),
        lambda: lmu(initial_error="half"),
        lambda: layers.LSTM(4),
        lambda: HybridRNN(HybridCell(layers.GRUCell(4), 2)),
    ],
)
def test_what_needs_every_step_is_made_at_every_step(layer):
    always, once = reports(layer())
    assert dense(once) == dense(always)


def test_a_feed_forward_cell_is_made_once():
    always, once = reports(HybridRNN(HybridCell(layers.Dense(4), 2, name="cell")))
    assert [a / b for a, b in zip(dense(always).values(), dense(once).values(), strict=True)] == [
        12,
        1,
    ]


def test_the_last_step_that_a_mask_leaves():
    data = x.copy()
    data[0, 7:], data[1, 2:] = 9.0, 9.0
    always, once = reports(lmu(), data, [layers.Masking(9.0)])
    assert dense(always)["lmu/hidden kernel"] == 60 * (7 + 2 + 12) / 3
    assert dense(once)["lmu/hidden kernel"] == 60


def test_bad_argument():
    with pytest.raises(ValueError, match="`read_once` must be one of True, False; received: 'no'"):
        activity_report(keras.Sequential([keras.Input((2,))]), x[:, 0], read_once="no")


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="keras-lmu needs TensorFlow")
@pytest.mark.parametrize("hidden, share", [(layers.Dense, 12), (layers.SimpleRNNCell, 1)])
def test_keras_lmu_is_counted_alike(hidden, share):
    keras_lmu = pytest.importorskip("keras_lmu")
    always, once = reports(keras_lmu.LMU(2, 6, 12, hidden(5)))
    name = next(key for key in dense(always) if key.endswith("hidden kernel"))
    assert dense(always)[name] / dense(once)[name] == share
