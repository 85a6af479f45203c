"""Schedules beside Keras's own callbacks: resumption, early stops, the best epoch; in any order."""

import warnings

import keras
import numpy as np
import pytest

from hybrid_lmu import AfterAnnealing, AnnealResolution, BitBudget, SigmaDelta, resolution_variables

x = np.random.default_rng(0).normal(size=(16, 5, 3)).astype("float32")
both_orders = pytest.mark.parametrize("first", [True, False])


def compiled():
    layers = [keras.Input((5, 3)), SigmaDelta(resolution=100.0), keras.layers.Dense(3)]
    model = keras.Sequential(layers)
    model.compile(keras.optimizers.SGD(0.01), "mse")
    return model


def fit(model, *callbacks, epochs=4):
    return model.fit(x, x, batch_size=8, epochs=epochs, verbose=0, callbacks=list(callbacks))


def resolution(model):
    (variable,) = resolution_variables(model).values()
    return float(keras.ops.convert_to_numpy(variable))


class Fails(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if epoch == 1:
            raise ZeroDivisionError


class Score(keras.callbacks.Callback):
    """Logs a score that is better in early epochs."""

    def on_epoch_end(self, epoch, logs=None):
        logs["score"] = [9.0, 8.0, 7.0, 3.0, 5.0, 4.0][epoch]


def schedule(kind):
    if kind == "resolution":
        return AnnealResolution(lambda step: 100.0 - step)
    return BitBudget(lambda step: 8.0 - step / 2, x)


@both_orders
@pytest.mark.parametrize("kind, log", [("resolution", [95, 93]), ("activity_bits", [5.5, 4.5])])
def test_resumed_training_goes_on_where_it_was(tmp_path, first, kind, log):
    """4 epochs of 2 steps; the first 2 epochs are done."""
    if first:
        order = lambda: [schedule(kind), keras.callbacks.BackupAndRestore(tmp_path)]  # noqa: E731
    else:
        order = lambda: [keras.callbacks.BackupAndRestore(tmp_path), schedule(kind)]  # noqa: E731
    with pytest.raises(ZeroDivisionError):
        fit(compiled(), *order(), Fails())
    np.testing.assert_allclose(fit(compiled(), *order()).history[kind], log, rtol=1e-5)


def falling():
    """100, 80, 60, then 40 from step 6, the fourth epoch, on."""
    return AnnealResolution(lambda step: 100.0 - 10.0 * (2 * min(step // 2, 3)))


@both_orders
def test_best_epoch_is_one_at_the_final_resolution(tmp_path, first):
    model, path = compiled(), tmp_path / "best.keras"
    stop = keras.callbacks.EarlyStopping("score", mode="max", patience=1, restore_best_weights=True)
    save = keras.callbacks.ModelCheckpoint(path, "score", mode="max", save_best_only=True)
    waiting = [AfterAnnealing(stop), AfterAnnealing(save)]
    callbacks = [Score(), falling(), *waiting] if first else [Score(), *waiting, falling()]
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Training ends")
        history = fit(model, *callbacks, epochs=6).history
    assert len(history["loss"]) == 6 and stop.best_epoch == 4
    assert resolution(model) == 40
    assert resolution(keras.saving.load_model(path)) == 40


def test_last_epoch_counts_whatever_the_schedule():
    stop = keras.callbacks.EarlyStopping("score", mode="max", restore_best_weights=True)
    anneal = AnnealResolution(lambda step: 100.0 - step)
    model = compiled()
    fit(model, Score(), AfterAnnealing(stop), anneal, epochs=3)
    assert resolution(model) == 95


def test_budget_of_bits_is_a_schedule_too():
    kept = []
    keep = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: kept.append(epoch))
    budget = BitBudget(lambda step: 8.0 - min(step, 4), x)
    fit(compiled(), AfterAnnealing(keep), budget)
    assert kept == [2, 3]


def test_early_stop_without_it_is_said():
    stop = keras.callbacks.EarlyStopping("score", mode="max", patience=1)
    with pytest.warns(UserWarning, match="ends with a resolution of 80, .*AfterAnnealing"):
        fit(compiled(), Score(), stop, falling(), epochs=6)


def test_not_a_callback():
    with pytest.raises(ValueError, match="`callback` must be a keras.callbacks.Callback.*received"):
        AfterAnnealing("val_loss")
