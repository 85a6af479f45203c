import keras
import numpy as np
import pytest

from training.data import EpochBatches, SetEpoch, epoch_order
from training.tasks import Split


def make_split(n=10, weight=False):
    x = np.arange(n, dtype="float32").reshape(n, 1, 1)
    return Split(x, np.arange(n), np.ones((n, 1), "float32") if weight else None)


def seen(batches):
    return np.concatenate([batches[i][0].ravel() for i in range(len(batches))])


def test_order_depends_on_seed_and_epoch_alone():
    np.testing.assert_array_equal(epoch_order(50, 1, 7), epoch_order(50, 1, 7))
    assert not np.array_equal(epoch_order(50, 1, 7), epoch_order(50, 1, 8))
    assert not np.array_equal(epoch_order(50, 1, 7), epoch_order(50, 2, 7))
    assert sorted(epoch_order(50, 1, 7)) == list(range(50))


def test_batches_are_full_and_have_no_sample_twice():
    batches = EpochBatches(make_split(10), batch_size=4, seed=0)
    assert len(batches) == 2
    assert len(set(seen(batches))) == 8
    first = seen(batches)
    batches.set_epoch(1)
    assert not np.array_equal(seen(batches), first)
    batches.set_epoch(0)
    np.testing.assert_array_equal(seen(batches), first)


def test_x_y_and_weight_stay_together():
    batches = EpochBatches(make_split(8, weight=True), batch_size=4, seed=0)
    x, y, weight = batches[1]
    np.testing.assert_array_equal(x.ravel(), y)
    assert weight.shape == (4, 1)


def test_fit_sees_the_order_of_each_epoch_also_when_it_starts_late():
    class Spy(EpochBatches):
        log = None

        def __getitem__(self, index):
            batch = super().__getitem__(index)
            if self.log is not None:
                self.log.append(batch[0].ravel())
            return batch

    def orders(initial_epoch):
        batches = Spy(make_split(8), batch_size=4, seed=5)
        model = keras.Sequential([keras.Input((1, 1)), keras.layers.Flatten()])
        model.compile(loss="mse")
        per_epoch = {}

        class Watch(keras.callbacks.Callback):
            def on_epoch_begin(self, epoch, logs=None):
                batches.log = per_epoch[epoch] = []

        callbacks = [SetEpoch(batches), Watch()]
        model.fit(batches, epochs=3, initial_epoch=initial_epoch, shuffle=False, verbose=0,
                  callbacks=callbacks)  # fmt: skip
        return {epoch: np.concatenate(log) for epoch, log in per_epoch.items()}

    whole, late = orders(0), orders(2)
    for epoch, order in whole.items():
        np.testing.assert_array_equal(order, epoch_order(8, 5, epoch))
    np.testing.assert_array_equal(late[2], whole[2])


def test_too_few_samples_for_a_batch():
    with pytest.raises(ValueError, match=r"training samples \(3\); received: 4"):
        EpochBatches(make_split(3), batch_size=4, seed=0)
