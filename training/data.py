"""Batches whose order can be resumed: epoch e's order is a pure function of (seed, e)."""

import keras
import numpy as np

from training.tasks import Split


def epoch_order(size: int, seed: int, epoch: int) -> np.ndarray:
    """Permutation of `range(size)` for `epoch`: no state to save, nothing to replay."""
    return np.random.default_rng((seed, epoch)).permutation(size)


class EpochBatches(keras.utils.PyDataset):
    """Full batches of a `Split`, reshuffled every epoch by `epoch_order`.

    The last incomplete batch of an epoch is left out (another part of the data each epoch), so
    that every step has one shape and an equal share for every device. Inputs come as float32. The
    split's `augment` changes every batch, by draws that are a pure function of (seed, epoch, index
    of the batch). A split smaller than `batch_size` raises ValueError. `SetEpoch` tells it the
    epoch: Keras's own epoch hooks are called once more for a first look at the data, so counting
    them would be off by one.
    """

    def __init__(self, split: Split, batch_size: int, seed: int) -> None:
        super().__init__(workers=1, use_multiprocessing=False)
        if len(split) < batch_size:
            raise ValueError(
                f"`batch_size` must be at most the number of training samples ({len(split)}); "
                f"received: {batch_size}"
            )
        self.split, self.batch_size, self.seed = split, batch_size, seed
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        self._epoch, self._order = epoch, epoch_order(len(self.split), self.seed, epoch)

    def __len__(self) -> int:
        return len(self.split) // self.batch_size

    def __getitem__(self, index: int):
        rows = self._order[index * self.batch_size : (index + 1) * self.batch_size]
        x = self.split.x[rows]
        if self.split.augment is not None:
            # + 1: a seed sequence that ends in 0 is the one without it, that of `epoch_order`.
            x = self.split.augment(x, np.random.default_rng((self.seed, self._epoch, index + 1)))
        batch = (x.astype("float32", copy=False), self.split.y[rows])
        return batch if self.split.weight is None else (*batch, self.split.weight[rows])


class SetEpoch(keras.callbacks.Callback):
    """Passes the epoch number to `EpochBatches` before its first batch is drawn."""

    def __init__(self, batches: EpochBatches):
        super().__init__()
        self.batches = batches

    def on_epoch_begin(self, epoch, logs=None):
        self.batches.set_epoch(epoch)
