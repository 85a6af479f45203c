"""Scheduled variables: values, names, logs, resumption, and no retracing."""

import keras
import numpy as np
import pytest
from keras import ops

from hybrid_lmu import (
    AnnealResolution,
    GeometricDecay,
    HybridLMU,
    ScheduledVariable,
    SigmaDelta,
    resolution_variables,
)

x = np.random.default_rng(0).normal(size=(12, 5, 2)).astype("float32")
y = np.zeros((12, 5, 2), "float32")


def two_quantizers():
    model = keras.Sequential(
        [
            keras.Input((5, 2)),
            keras.layers.Dense(2),
            SigmaDelta("tanh", resolution=4.0, name="first"),
            keras.layers.Dense(2),
            SigmaDelta("tanh", resolution=[2.0, 3.0], name="second"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.01), "mse")
    return model


def values(model, name="*"):
    found = resolution_variables(model, name).values()
    return [ops.convert_to_numpy(v).tolist() for v in found]


class Watch(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(float(np.mean(values(self.model, "first")[0])))


def test_per_step_for_all():
    model, watch = two_quantizers(), Watch()
    anneal = AnnealResolution(lambda step: 10.0 - step)
    history = model.fit(x, y, batch_size=4, epochs=2, verbose=0, callbacks=[anneal, watch]).history
    assert watch.seen == [10, 9, 8, 7, 6, 5]
    assert values(model) == [5, [5, 5]]
    assert history["resolution"] == [8, 5]


def test_per_epoch_by_name_and_per_neuron():
    model = two_quantizers()
    first = AnnealResolution(lambda epoch: 8 - epoch, per="epoch", name="first")
    second = AnnealResolution(
        lambda epoch: [1 + epoch, 2 + epoch], per="epoch", name="second*", log_name="other"
    )
    history = model.fit(x, y, epochs=3, verbose=0, callbacks=[first, second]).history
    assert history["resolution"] == [8, 7, 6] and history["other"] == [1.5, 2.5, 3.5]
    assert values(model) == [6, [3, 4]]


def test_keras_schedules_and_an_lmu():
    layer = HybridLMU(1, 3, 5, keras.layers.Dense(2), memory_resolution=1, hidden_resolution=1)
    model = keras.Sequential([keras.Input((5, 2)), layer])
    model.compile(keras.optimizers.SGD(0.01), "mse")
    schedule = keras.optimizers.schedules.ExponentialDecay(64.0, 1, 0.5)
    callbacks = [
        AnnealResolution(schedule, name="memory_quantizer"),
        AnnealResolution(schedule, name="hidden", per="epoch"),
    ]
    model.fit(x, y[:, 0], batch_size=4, epochs=2, verbose=0, callbacks=callbacks)
    assert values(model, "memory_quantizer") == [2] and values(model, "hidden") == [32]


def test_resumes_from_the_step_of_the_saved_optimizer(tmp_path):
    def fit(model, epochs, initial_epoch=0):
        watch = Watch()
        anneal = AnnealResolution(GeometricDecay(64.0, 2.0, 8))
        model.fit(
            x, y, batch_size=4, shuffle=False, verbose=0,
            initial_epoch=initial_epoch, epochs=epochs, callbacks=[anneal, watch],
        )  # fmt: skip
        return watch.seen

    whole = fit(two_quantizers(), 4)
    first = two_quantizers()
    start = fit(first, 2)
    first.save(tmp_path / "m.keras")
    end = fit(keras.models.load_model(tmp_path / "m.keras"), 4, initial_epoch=2)
    np.testing.assert_allclose(start + end, whole, rtol=1e-6)
    assert whole[0] == 64 and whole[-1] == 2 and len(whole) == 12


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="counts TensorFlow's traces")
def test_nothing_is_traced_again():
    model, traces = two_quantizers(), []

    def counting_loss(y_true, y_pred):
        traces.append(1)
        return ops.mean(ops.square(y_true - y_pred))

    model.compile("sgd", counting_loss)
    model.fit(x, y, batch_size=4, epochs=1, verbose=0)
    before = len(traces)
    model.fit(
        x, y, batch_size=4, epochs=3, verbose=0, callbacks=[AnnealResolution(lambda s: 9 - s / 2)]
    )
    assert len(traces) == before


def test_tensorboard_and_other_callbacks_see_it(tmp_path):
    logs = keras.callbacks.CSVLogger(tmp_path / "log.csv")
    two_quantizers().fit(x, y, verbose=0, callbacks=[AnnealResolution(lambda step: 3.0), logs])
    assert "resolution" in (tmp_path / "log.csv").read_text().splitlines()[0].split(",")


def test_other_scheduled_scalars_ride_the_same_mechanism():
    class Tempered(keras.layers.Layer):
        def build(self, input_shape):
            self.temperature = self.add_weight(name="temperature", shape=(), trainable=False)

        def call(self, inputs):
            return inputs * self.temperature

    model = keras.Sequential([keras.Input((5, 2)), Tempered(), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    callback = ScheduledVariable("temperature", lambda epoch: -1.0 - epoch, per="epoch")
    history = model.fit(x, y, epochs=2, verbose=0, callbacks=[callback]).history
    assert history["temperature"] == [-1, -2]


def test_geometric_decay():
    schedule = GeometricDecay(64.0, 1.0, 6)
    steps = [float(schedule(step)) for step in (0, 1, 3, 6, 100)]
    np.testing.assert_allclose(steps, [64, 32, 8, 1, 1], rtol=1e-6)
    copy = GeometricDecay.from_config(schedule.get_config())
    assert float(copy(3)) == float(schedule(3))


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_bad_values(value):
    with pytest.raises(ValueError, match="resolution must be finite and > 0; received"):
        two_quantizers().fit(x, y, verbose=0, callbacks=[AnnealResolution(lambda step: value)])


def test_bad_arguments():
    with pytest.raises(ValueError, match="`schedule` must be"):
        AnnealResolution(3.0)
    with pytest.raises(ValueError, match="`per` must be one of 'step', 'epoch'; received: 'batch'"):
        AnnealResolution(lambda step: 1.0, per="batch")
    with pytest.raises(ValueError, match="`decay_steps` must be a finite number > 0; received: 0"):
        GeometricDecay(4, 2, 0)
    with pytest.raises(ValueError, match="name='third'; the model has .*first/quantizer/resol"):
        two_quantizers().fit(
            x, y, verbose=0, callbacks=[AnnealResolution(lambda s: 1.0, name="third")]
        )


class Steps:
    """A schedule that writes down what it is asked for."""

    def __init__(self):
        self.asked = []

    def __call__(self, step):
        self.asked.append(step)
        return 2.0 + step


@pytest.mark.parametrize("case", ["accumulation", "mixed_float16", "skipped updates"])
@pytest.mark.broad(1)
def test_counts_batches_where_the_optimizer_counts_updates(case):
    optimizer = keras.optimizers.SGD(0.01)
    if case == "accumulation":
        optimizer = keras.optimizers.SGD(0.01, gradient_accumulation_steps=2)
    if case == "mixed_float16":
        keras.config.set_dtype_policy("mixed_float16")
    if case == "skipped updates":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer, initial_scale=2.0**127)
    model, schedule = two_quantizers(), Steps()
    model.compile(optimizer, "mse")
    anneal = AnnealResolution(schedule)
    model.fit(x, y, batch_size=3, epochs=2, verbose=0, callbacks=[anneal])
    assert schedule.asked == list(range(8))
    if case == "accumulation":
        model.fit(x, y, batch_size=3, epochs=1, verbose=0, callbacks=[anneal])
        assert schedule.asked == list(range(12))


@pytest.mark.parametrize("per, value", [("step", 5.0), ("epoch", 3.0)])
def test_model_that_is_not_built_yet(per, value):
    model = keras.Sequential([keras.layers.Dense(2), SigmaDelta(resolution=4.0)])
    model.compile("sgd", "mse")
    model.fit(
        x, y, batch_size=3, epochs=2 if per == "epoch" else 1, verbose=0,
        callbacks=[AnnealResolution(lambda n: 2.0 + n, per=per)],
    )  # fmt: skip
    assert values(model) == [value]


def test_schedule_of_the_wrong_shape():
    with pytest.raises(
        ValueError, match=r"a number or an array of shape \(\); received shape \(2,"
    ):
        two_quantizers().fit(x, y, verbose=0, callbacks=[AnnealResolution(lambda s: [1.0, 2.0])])
