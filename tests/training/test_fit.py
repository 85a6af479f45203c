import keras
import numpy as np
import pytest

from training.config import Fit
from training.data import EpochBatches
from training.fit import fit, make_loss, make_optimizer
from training.tasks import Split, TaskData


def split(n=12):
    random = np.random.default_rng(0)
    return Split(random.normal(0, 1, (n, 3, 2)).astype("float32"), np.arange(n, dtype="int32") % 4)


def a_model():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((3, 2)), keras.layers.Flatten(), keras.layers.Dense(4)]
    )  # fmt: skip
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss, metrics=["accuracy"])
    return model


class Watch(keras.callbacks.Callback):
    def __init__(self, batches):
        super().__init__()
        self.batches, self.orders, self.epochs = batches, [], []

    def on_epoch_begin(self, epoch, logs=None):
        self.epochs.append(epoch)
        self.orders.append(self.batches[0][1].tolist())


def test_each_epoch_has_its_order_also_when_training_goes_on(capsys):
    batches = EpochBatches(split(), 4, seed=1)
    whole, late = Watch(batches), Watch(batches)
    history = fit(a_model(), batches, epochs=3, callbacks=[whole])
    assert len(history["loss"]) == 3 and whole.epochs == [0, 1, 2]
    fit(a_model(), batches, epochs=3, initial_epoch=2, callbacks=[late])
    assert late.epochs == [2] and late.orders == whole.orders[2:]
    assert len({str(order) for order in whole.orders}) > 1
    assert capsys.readouterr().out == ""


def test_validation_is_optional():
    batches = EpochBatches(split(), 4, seed=1)
    assert "val_accuracy" not in fit(a_model(), batches, epochs=1)
    history = fit(a_model(), batches, epochs=1, validation=split(5))
    share = 5 * history["val_accuracy"][0]  # of five samples
    assert share == pytest.approx(round(share), abs=1e-5)


@pytest.mark.parametrize(
    "name, kind", [("adam", "Adam"), ("adamw", "AdamW"), ("rmsprop", "RMSprop"), ("sgd", "SGD")]
)
def test_optimizers_have_their_rate_and_clipping(name, kind):
    optimizer = make_optimizer(Fit(optimizer=name, learning_rate=0.25, clip_norm=2.0), steps=4)
    assert type(optimizer).__name__ == kind
    assert float(optimizer.learning_rate) == 0.25 and optimizer.global_clipnorm == 2.0


def test_a_cosine_ends_at_0():
    optimizer = make_optimizer(Fit(schedule="cosine", learning_rate=0.5), steps=8)
    values = []
    for step in (0, 4, 8):
        optimizer.iterations.assign(step)
        values.append(float(keras.ops.convert_to_numpy(optimizer.learning_rate)))
    np.testing.assert_allclose(values, [0.5, 0.25, 0.0], atol=1e-7)


def test_losses_of_logits_probabilities_and_targets():
    part = split()
    task = TaskData("some", "classes", False, 4, part, part, part)
    logits = np.array([[1.0, 2.0, 0.0, -1.0]], "float32")
    probabilities = np.exp(logits) / np.exp(logits).sum()
    one = make_loss(task)(np.array([1]), logits)
    two = make_loss(task, from_logits=False)(np.array([1]), probabilities)
    expected = -np.log(probabilities[0, 1])
    np.testing.assert_allclose([float(one), float(two)], expected, rtol=1e-5)
    regression = TaskData("some", "regression", False, 1, part, part, part)
    loss = make_loss(regression)
    # A step of weight 0 does not lower the mean.
    found = loss(np.zeros((1, 2, 1)), np.full((1, 2, 1), 3.0), sample_weight=np.array([[1.0, 0.0]]))
    assert float(found) == pytest.approx(9.0)
