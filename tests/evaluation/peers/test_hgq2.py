"""The parts that need no HGQ2 run everywhere; the rest where it is installed."""

import io
import json
import sys

import keras
import numpy as np
import pytest

from evaluation.peers import hgq2 as peer
from training.config import make_config
from training.scores import evaluate
from training.tasks import Split, TaskData


def make_task(per_step=False):
    rng = np.random.default_rng(0)

    def split(n):
        x = rng.random((n, 5, 1), dtype="float32")
        y = (x if per_step else x.mean(1))[..., 0] > 0.5
        return Split(x, y.astype("int32"), np.ones(y.shape, "float32") if per_step else None)

    return TaskData("digits", "classes", per_step, 2, split(64), split(40), split(48)).check()


def make_config_of(epochs=4, anneal_fraction=0.0, **options):
    return make_config(
        "digits", "gru", units=6, epochs=epochs, anneal_fraction=anneal_fraction, **options
    )


def plain_models(task, layer, units, bits, integer_bits):
    """What build_models returns, from Keras's layers: codes in steps of 0.5 from -1 to 1."""
    inputs = keras.Input((task.timesteps, task.features))
    states = keras.layers.SimpleRNN(units, return_sequences=True)(inputs)
    probe = keras.Model(inputs, keras.layers.Lambda(lambda h: keras.ops.round(2 * h) / 2)(states))
    logits = keras.layers.Dense(task.outputs)(states if task.per_step else states[:, -1])
    return keras.Model(inputs, logits), probe, np.full(units, 0.5)


@pytest.mark.parametrize(("bits", "mean"), [(3, 3), (3.84, 3.84), (3.999, 4), (2, 2)])
def test_widths_are_whole_and_their_mean_is_that_asked_for(bits, mean):
    widths = peer.widths(50, bits)
    assert np.array_equal(widths, np.rint(widths)) and widths.max() - widths.min() <= 1
    assert widths.mean() == pytest.approx(mean)


@pytest.mark.parametrize("bits", [1.9, 17, float("nan")])
def test_widths_that_are_no_activity(bits):
    with pytest.raises(ValueError, match="from 2 to 16.*received"):
        peer.widths(4, bits)


def test_widths_fall_by_whole_bits_to_the_final_ones():
    final = peer.widths(4, 3.5) - 1
    config = make_config_of(epochs=10, anneal_fraction=0.5)
    seen = [peer.falling_fraction_bits(final, 0, config, epoch) for epoch in range(10)]
    assert np.array_equal(seen[0], [7, 7, 7, 7])
    assert np.array_equal(seen[3], [5, 5, 4, 4])  # 2/5 of 4 and of 5 bits are left, rounded up
    assert all(np.array_equal(bits, final) for bits in seen[5:])
    assert all(np.all(late <= early) for early, late in zip(seen, seen[1:], strict=False))
    config = make_config_of(epochs=10)
    assert np.array_equal(peer.falling_fraction_bits(final, 0, config, 0), final)


def test_an_overflow_of_the_gradient_changes_nothing_but_its_count():
    from keras import ops

    weight = keras.Variable(np.ones(2, "float32"))
    optimizer = peer.finite_optimizer(make_config_of(learning_rate=0.1, clip_norm=1.0), 10)
    optimizer.build([weight])
    for gradient in ([1.0, np.inf], [np.nan, 0.0], [1e30, 1.0]):
        optimizer.apply([ops.convert_to_tensor(gradient, "float32")], [weight])
        np.testing.assert_array_equal(ops.convert_to_numpy(weight), 1)
    optimizer.apply([ops.convert_to_tensor([1.0, -1.0], "float32")], [weight])
    changed = ops.convert_to_numpy(weight)
    assert changed[0] < 1 < changed[1] and int(optimizer.overflows.numpy()) == 3


@pytest.mark.parametrize("fraction", ["-0.1", "1"])
def test_some_epochs_have_the_final_width(fraction, capsys):
    command = "--task digits --units 4 --bits 3 --epochs 1 --out x --anneal-fraction"
    with pytest.raises(SystemExit):
        peer.parse_arguments([*command.split(), fraction])
    assert "from 0 to 0.9" in capsys.readouterr().err


def test_arguments_are_checked_before_anything_is_loaded(capsys):
    with pytest.raises(SystemExit):
        peer.parse_arguments("--task digits --units 4 --bits 1 --epochs 1 --out x".split())
    assert "from 2 to 16" in capsys.readouterr().err


def test_bits_of_known_codes():
    # 2 neurons with steps 1/4 and 1/2; codes 0..3 (2 bits) and -1..1 (log2 3).
    x = np.array([[[0.0, -0.5], [0.25, 0.0]], [[0.5, 0.5], [0.75, 0.0]]], "float32")
    same = keras.Sequential([keras.Input((2, 2)), keras.layers.Identity()])
    found = peer.count_statistics(same, np.array([0.25, 0.5]), x, batch_size=1)
    assert found["activity_bits"] == pytest.approx((2 + np.log2(3)) / 2)
    assert found["significant_bits"] == pytest.approx((0 + 1 + 2 + 2 + 1 + 0 + 1 + 0) / 8)
    with pytest.raises(ValueError, match="whole steps"):
        peer.count_statistics(same, np.array([0.2, 0.5]), x, batch_size=1)


@pytest.mark.parametrize("per_step", [False, True])
@pytest.mark.broad(1)
def test_the_weights_of_the_best_epoch_are_kept(per_step):
    task, config = make_task(per_step), make_config_of(epochs=6, learning_rate=0.1)
    model, _, _ = plain_models(task, "QGRU", 6, 3, 0)
    result = peer.train(model, task, config, 3, 0, io.StringIO())
    scores = list(
        zip(
            result["history"]["val_accuracy"],
            [-loss for loss in result["history"]["val_loss"]],
            strict=True,
        )
    )
    assert len(scores) == 6 and result["best_epoch"] == scores.index(max(scores))
    kept = evaluate(model, task.validation, "classes", config.batch_size)
    assert kept["accuracy"] == max(scores)[0]
    assert kept["loss"] == pytest.approx(-max(scores)[1], rel=1e-5)


def test_a_training_that_diverges_is_told():
    task = make_task()
    bad = np.full_like(task.train.x, np.nan)
    broken = TaskData(
        "digits", "classes", False, 2, Split(bad, task.train.y), task.validation, task.test
    )
    model, _, _ = plain_models(task, "QGRU", 6, 3, 0)
    with pytest.raises(FloatingPointError, match="epoch 1 is nan"):
        peer.train(model, broken, make_config_of(), 3, 0, io.StringIO())


@pytest.mark.slow
def test_the_record(tmp_path, monkeypatch, capsys):
    # Without it, `main` sets it for the tests after this one.
    monkeypatch.setenv("KERAS_BACKEND", keras.backend.backend())
    monkeypatch.setattr(peer, "build_models", plain_models)
    monkeypatch.setattr(peer, "PEER_PACKAGES", ("numpy",))
    monkeypatch.setattr("training.tasks.load_task", lambda name, data_dir: make_task())
    command = "--task digits --layer QSimpleRNN --units 6 --bits 3 --epochs 2 --seed 3"
    out = tmp_path / "full.json"
    peer.main([*command.split(), "--out", str(out)])
    record = json.loads(out.read_text())
    assert record["parameters"] == 6 * (1 + 6 + 1) + 2 * (6 + 1)
    assert record["test"]["n"] == 48 and len(record["test"]["interval"]) == 2
    assert record["activity"]["activity_bits"] <= np.log2(5) and record["activity"]["neurons"] == 6
    assert (record["seed"], record["bits"], record["layer"]) == (3, 3, "QSimpleRNN")
    assert {"commit", "date", "versions"} <= set(record["environment"])
    assert record["command"].startswith("evaluation/peers/hgq2.py --task digits")
    assert "activity bits" in capsys.readouterr().out

    out = tmp_path / "choose.json"
    peer.main([*command.split(), "--no-test", "--out", str(out)])
    chosen = json.loads(out.read_text())
    assert "test" not in chosen and chosen["activity_split"] == "validation"
    assert chosen["validation"] == record["validation"]  # one seed, one result


def test_without_hgq2(monkeypatch):
    monkeypatch.setitem(sys.modules, "hgq", None)
    with pytest.raises(ImportError, match="pip install hgq2"):
        peer.build_models(make_task(), "QGRU", 4, 3, 0)


def quantized(x, widths, integer_bits):
    step = 2.0 ** -(widths - 1 - integer_bits)
    top = 2.0**integer_bits - step
    return np.floor(np.clip(x, -top, top) / step + 0.5) * step


@pytest.mark.parametrize("layer", peer.LAYERS)
@pytest.mark.parametrize(("bits", "integer_bits"), [(3.5, 0), (3, -1)])
def test_only_the_activity_is_quantized(layer, bits, integer_bits):
    pytest.importorskip("hgq")
    task, units = make_task(), 6
    model, probe, steps = peer.build_models(task, layer, units, bits, integer_bits)
    x = task.test.x[:4]
    widths = peer.widths(units, bits)
    kernel, recurrent, bias = (
        keras.ops.convert_to_numpy(w) for w in model.layers[1].trainable_weights
    )
    rng = np.random.default_rng(0)
    kernel, bias = 2 * kernel, rng.normal(0, 0.3, bias.shape)
    for weight, value in zip(
        model.layers[1].trainable_weights, (kernel, recurrent, bias), strict=True
    ):
        weight.assign(value)
    h, expected = np.zeros((len(x), units)), []
    for t in range(x.shape[1]):
        before = quantized(h, widths, integer_bits)
        if layer == "QSimpleRNN":
            h = quantized(x[:, t] @ kernel + bias + before @ recurrent, widths, integer_bits)
        else:
            given, fed = x[:, t] @ kernel + bias[0], before @ recurrent + bias[1]
            z, r = (
                1 / (1 + np.exp(-(given + fed)[:, part]))
                for part in (slice(0, units), slice(units, 2 * units))
            )
            candidate = np.tanh(given[:, 2 * units :] + r * fed[:, 2 * units :])
            h = z * before + (1 - z) * candidate
        expected.append(quantized(h, widths, integer_bits))
    found = probe.predict(x, verbose=0)
    np.testing.assert_allclose(found, np.stack(expected, 1), atol=1e-5)
    np.testing.assert_allclose(steps, 2.0 ** -(widths - 1 - integer_bits))
    readout = [keras.ops.convert_to_numpy(w) for w in model.layers[-1].trainable_weights]
    logits = expected[-1] @ readout[0] + readout[1]
    np.testing.assert_allclose(model.predict(x, verbose=0), logits, atol=1e-5)
    assert np.abs(expected).max() > 0


def test_training_leaves_the_widths_alone():
    pytest.importorskip("hgq")
    task = make_task(per_step=True)
    model, probe, steps = peer.build_models(task, "QGRU", 6, 3, 0)
    before = [np.array(w) for w in model.non_trainable_weights]
    start = [np.array(w) for w in model.trainable_weights]
    config = make_config_of(epochs=1)
    peer.train(model, task, config, 3, 0, io.StringIO())
    for old, new in zip(before, model.non_trainable_weights, strict=True):
        assert np.array_equal(old, np.array(new))
    assert all(
        not np.array_equal(o, np.array(n))
        for o, n in zip(start, model.trainable_weights, strict=True)
    )
    assert peer.count_statistics(probe, steps, task.test.x, 32)["activity_bits"] <= np.log2(7)


def test_widths_fall_in_training_and_the_best_epoch_has_the_final_ones():
    pytest.importorskip("hgq")
    task, config = make_task(), make_config_of(epochs=3, anneal_fraction=0.67)
    model, probe, steps = peer.build_models(task, "QSimpleRNN", 6, 3, 0)
    result = peer.train(model, task, config, 3, 0, io.StringIO())
    assert result["best_epoch"] == 2 and result["overflows"] == 0
    assert peer.count_statistics(probe, steps, task.test.x, 32)["activity_bits"] <= np.log2(7)
