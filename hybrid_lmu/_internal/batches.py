"""One way to read data: arrays, lists and dictionaries of them, and objects that yield batches."""

from collections.abc import Iterator

import keras
import numpy as np


def batches(x, batch_size: int) -> Iterator:
    """Yield batches of inputs, as NumPy arrays or structures of arrays.

    Args:
        x: an array, or a list or dictionary of arrays for a model with several inputs; or an object
            that yields batches (`keras.utils.PyDataset`, `tf.data.Dataset`, a generator). Such a
            batch is the inputs, or a tuple ``(inputs, targets, ...)`` whose rest is ignored.
        batch_size: number of samples in a batch; used for arrays only.

    Raises:
        ValueError: if `x` has no sample, if an input has a NaN or an infinite number, or if
            `batch_size` is not a positive integer.
    """
    integer = isinstance(batch_size, (int, np.integer)) and not isinstance(batch_size, bool)
    if not integer or batch_size < 1:
        raise ValueError(f"`batch_size` must be a positive integer; received: {batch_size!r}")
    empty = True
    for index, batch in enumerate(_batches(x, batch_size)):
        batch = keras.tree.map_structure(np.asarray, batch)
        for array in keras.tree.flatten(batch):
            if not array.ndim:
                raise ValueError(f"`x` must hold batches of inputs; received a scalar: {array!r}")
            if array.dtype.kind == "f" and np.isnan(array).any():
                raise ValueError(f"`x` must not contain NaN; batch {index} does.")
            if array.dtype.kind == "f" and np.isinf(array).any():
                raise ValueError(f"`x` must not contain infinite numbers; batch {index} does.")
        if len(keras.tree.flatten(batch)[0]):
            empty = False
            yield batch
    if empty:
        raise ValueError("`x` must hold at least one sample; received none.")


def _batches(x, batch_size):
    if isinstance(x, keras.utils.PyDataset):
        if x.num_batches is None:
            raise ValueError("`x` must be finite; received a PyDataset without a length.")
        for index in range(x.num_batches):
            yield keras.utils.unpack_x_y_sample_weight(x[index])[0]
    elif isinstance(x, (list, dict)) or hasattr(x, "shape"):
        size = len(keras.tree.flatten(x)[0])
        for start in range(0, size, batch_size):
            stop = start + batch_size
            yield keras.tree.map_structure(lambda array: array[start:stop], x)  # noqa: B023
    elif hasattr(x, "__iter__"):
        for batch in x:
            yield keras.utils.unpack_x_y_sample_weight(batch)[0]
    else:
        raise ValueError(
            "`x` must be an array, a list or dictionary of arrays, or something that yields "
            f"batches (PyDataset, tf.data.Dataset, generator); received: {type(x).__name__}"
        )
