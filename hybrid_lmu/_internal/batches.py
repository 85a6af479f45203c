"""One way to read data, for all functions that take data: what Keras takes."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

KINDS = (
    "an array or tensor, a list or dictionary of them, a tuple (x, y) or (x, y, sample_weight), or "
    "something that yields batches (PyDataset, tf.data.Dataset, DataLoader, generator)"
)


def batches(x: Any, batch_size: int) -> Iterator:
    """Yield batches of inputs, as NumPy arrays or structures of arrays.

    Args:
        x: an array or tensor; a list or dictionary of them for a model with several inputs; a tuple
            ``(inputs, targets)`` or ``(inputs, targets, sample_weight)``, as `fit` reads it, whose
            rest is ignored; or an object that yields batches (`keras.utils.PyDataset`,
            `tf.data.Dataset`, a DataLoader of PyTorch, a generator). Such a batch is the inputs, or
            a tuple as above.
        batch_size: number of samples in a batch; used for arrays only.

    Raises:
        ValueError: if `x` is of another kind, has no sample or no end, or parts of different
            lengths; if an input has a NaN or an infinite number or is no array of numbers; or if
            `batch_size` is not a positive integer.
    """
    integer = isinstance(batch_size, (int, np.integer)) and not isinstance(batch_size, bool)
    if not integer or batch_size < 1:
        raise ValueError(f"`batch_size` must be a positive integer; received: {batch_size!r}")
    empty = True
    for index, batch in enumerate(_batches(x, batch_size)):
        batch = keras.tree.map_structure(lambda part: _array(part, index), batch)  # noqa: B023
        lengths = _lengths(batch)
        if len(set(lengths)) != 1:
            raise ValueError(
                f"All inputs in `x` must have as many samples; received {lengths} in batch {index}."
            )
        if lengths[0]:
            empty = False
            yield batch
    if empty:
        raise ValueError("`x` must hold at least one sample; received none.")


def check_can_be_read_again(x: Any, why: str) -> None:
    """Raise ValueError for data that can be read once only, such as a generator."""
    if isinstance(x, Iterator):
        raise ValueError(
            f"`x` is read several times {why}; expected arrays, a PyDataset or a tf.data.Dataset, "
            f"received: {type(x).__name__}, which can be read once."
        )


def _array(part, index):
    """Return an input of a batch as a NumPy array that has samples and no NaN."""
    array = keras.ops.convert_to_numpy(part) if keras.ops.is_tensor(part) else np.asarray(part)
    if array.dtype.kind == "V":  # bfloat16
        array = array.astype("float32")
    texts = array.dtype.kind == "O" and all(isinstance(one, (str, bytes)) for one in array.flat)
    if not array.ndim or not (array.dtype.kind in "biufSU" or texts):
        what = f"a scalar: {array!r}" if not array.ndim else f"dtype {array.dtype}"
        raise ValueError(f"`x` must hold batches of inputs, arrays of numbers; received {what}")
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise ValueError(f"`x` must not contain NaN; batch {index} does.")
    if array.dtype.kind == "f" and np.isinf(array).any():
        raise ValueError(f"`x` must not contain infinite numbers; batch {index} does.")
    return array


def _lengths(x):
    return [np.shape(part)[0] if np.ndim(part) else 0 for part in keras.tree.flatten(x)]


def _batches(x, batch_size):
    if isinstance(x, tuple):
        whole, x = x, _inputs(x)
        rest = [part for part in keras.tree.flatten(whole[1:]) if part is not None]
        lengths = [len(part) if hasattr(part, "__len__") else 0 for part in rest]
        expected = len(keras.tree.flatten(x)[0]) if keras.tree.flatten(x) else 0
        if any(length != expected for length in lengths):
            raise ValueError(
                f"A tuple `x` must be (x, y) or (x, y, sample_weight) of as many samples; received "
                f"{expected} inputs and {lengths} further samples. Give several inputs as a list."
            )
    if isinstance(x, keras.utils.PyDataset):
        if x.num_batches is None:
            raise ValueError("`x` must be finite; received a PyDataset without a length.")
        for index in range(x.num_batches):
            yield _inputs(x[index])
    elif isinstance(x, (list, dict)) or hasattr(x, "shape"):
        lengths = [len(part) if hasattr(part, "__len__") else -1 for part in keras.tree.flatten(x)]
        if len(set(lengths)) > 1 or -1 in lengths:
            raise ValueError(
                f"All inputs in `x` must be arrays of as many samples; received lengths {lengths} "
                "(-1: no array)."
            )
        for start in range(0, lengths[0] if lengths else 0, batch_size):
            stop = start + batch_size
            yield keras.tree.map_structure(lambda array: array[start:stop], x)  # noqa: B023
    elif hasattr(x, "__iter__") and not isinstance(x, (str, bytes)):
        if hasattr(x, "cardinality") and int(x.cardinality()) == -1:
            raise ValueError(
                "`x` must be finite; received a tf.data.Dataset without an end. Use `take`."
            )
        for batch in x:
            yield _inputs(batch)
    else:
        raise ValueError(f"`x` must be {KINDS}; received: {type(x).__name__}")


def _inputs(batch):
    """Return the inputs of a batch, which may be a tuple with targets and weights."""
    if isinstance(batch, (tuple, list)) and not 1 <= len(batch) <= 3:
        raise ValueError(
            "A batch must be the inputs, (x, y) or (x, y, sample_weight); received "
            f"{len(batch)} parts."
        )
    return keras.utils.unpack_x_y_sample_weight(batch)[0]
