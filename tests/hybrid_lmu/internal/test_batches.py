"""Data: what Keras takes, in every function that takes data."""

import keras
import numpy as np
import pytest

from hybrid_lmu import BitBudget, SigmaDelta, activity_report, record_activity
from hybrid_lmu._internal.batches import batches
from hybrid_lmu.conversion import to_hybrid

x = np.arange(60, dtype="float32").reshape(10, 3, 2)
y, w = np.zeros_like(x), np.ones(10, "float32")


class Data(keras.utils.PyDataset):
    def __len__(self):
        return 4

    def __getitem__(self, index):
        part = slice(3 * index, 3 * index + 3)
        return x[part], y[part], w[part]


class Endless(Data):
    num_batches = None


def as_tf_data(*parts):
    tf = pytest.importorskip("tensorflow")
    return tf.data.Dataset.from_tensor_slices(parts).batch(3)


def as_loader(*parts):
    torch = pytest.importorskip("torch")
    tensors = [torch.as_tensor(part) for part in parts]
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*tensors), batch_size=3)


KINDS = {
    "array": lambda: x,
    "tensor": lambda: keras.ops.convert_to_tensor(x),
    "(x,)": lambda: (x,),
    "(x, y)": lambda: (x, y),
    "(x, y, w)": lambda: (x, y, w),
    "(x, y, None)": lambda: (x, y, None),
    "PyDataset": lambda: Data(),
    "tf.data": lambda: as_tf_data(x, y, w),
    "tf.data of x": lambda: as_tf_data(x),
    "DataLoader": lambda: as_loader(x, y),
    "generator": lambda: ((x[i : i + 3], y[i : i + 3]) for i in range(0, 10, 3)),
}


@pytest.mark.parametrize("kind", list(KINDS))
def test_all_kinds_give_the_same_batches(kind):
    found = list(batches(KINDS[kind](), 3))
    assert [len(batch) for batch in found] == [3, 3, 3, 1]
    np.testing.assert_array_equal(np.concatenate(found), x)


@pytest.mark.parametrize("pair", [[x, w], {"a": x, "b": w}])
@pytest.mark.parametrize("with_targets", [False, True])
def test_several_inputs(pair, with_targets):
    first, *_ = batches((pair, y) if with_targets else pair, 4)
    keras.tree.assert_same_structure(first, pair)
    assert {len(part) for part in keras.tree.flatten(first)} == {4}


def denoiser():
    layers = [keras.Input((3, 2)), SigmaDelta(resolution=4.0, initial_error="half")]
    return keras.Sequential([*layers, keras.layers.Dense(2)])


def test_targets_are_no_samples():
    model = denoiser()
    alone, both = activity_report(model, x), activity_report(model, (x, y))
    assert alone.samples == both.samples == 10 and alone.totals == both.totals
    (activity,) = record_activity(model, (x, y)).values()
    assert len(activity.counts) == 10


BAD = {
    "endless tf.data": (lambda: as_tf_data(x).repeat(), "finite; .*without an end"),
    "endless PyDataset": (lambda: Endless(), "finite; received a PyDataset"),
    "inputs of other lengths": (lambda: [x, w[:4]], r"as many samples; received lengths \[10, 4\]"),
    "targets of another length": (lambda: (x, y[:4]), r"received 10 inputs and \[4\]"),
    "four parts": (lambda: (x, y, w, w), "received 4 parts"),
    "a number": (lambda: 3.0, "`x` must be an array or tensor, .*received: float"),
    "text": (lambda: "x.npy", "`x` must be an array or tensor, .*received: str"),
    "a list with a number": (lambda: [x, 3.0], r"received lengths \[10, -1\]"),
    "objects": (lambda: np.array([{}, {}]), "arrays of numbers; received dtype object"),
    "batches of other lengths": (lambda: iter([([x, w[:4]], y)]), r"received \[10, 4\] in batch 0"),
    "nothing": (lambda: x[:0], "at least one sample"),
}


@pytest.mark.parametrize("case", list(BAD))
def test_what_is_no_data(case):
    make, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        list(batches(make(), 3))


def test_data_that_is_read_several_times():
    once = (batch for batch in [x])
    with pytest.raises(ValueError, match="read several times by a budget; .*received: generator"):
        BitBudget(3.0, once)
    recurrent = keras.Sequential([keras.Input((3, 2)), keras.layers.SimpleRNN(2)])
    with pytest.raises(ValueError, match="read several times to calibrate; .*received: generator"):
        to_hybrid(recurrent, once, bits=3.0)
