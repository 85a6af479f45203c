"""Models and layers of a user's own class: their calls are followed, or an error says why not."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from hybrid_lmu import activity_report
from tests.hybrid_lmu.accounting.accounting_helpers import real, rows


class WithoutConfig(layers.Layer):
    """A layer that Keras cannot save or copy."""

    def __init__(self, function, **kwargs):
        super().__init__(**kwargs)
        self.function = function

    def build(self, shape):
        self.w = self.add_weight(shape=(shape[-1],), name="w")

    def call(self, x):
        return self.function(x * self.w)


class Cut(keras.Model):
    """A model whose graph depends on the length of its input; its constructor takes no options."""

    def __init__(self):
        super().__init__()
        self.dense = layers.Dense(3, name="dense")

    def call(self, x):
        return self.dense(x[:, : x.shape[1] - 1])


class TwoInputs(layers.Layer):
    """A layer of layers with two inputs and an option."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.dense = layers.Dense(4, name="dense")

    def call(self, x, y, scale=1.0):
        return (self.dense(x) + self.dense(y)) * scale


class OnNumPy(keras.Model):
    """A model whose call cannot be followed."""

    def __init__(self):
        super().__init__(name="odd")
        self.dense = layers.Dense(3)

    def call(self, x):
        if isinstance(x, keras.KerasTensor):
            raise TypeError("not a tensor")
        return self.dense(x)


def test_a_layer_that_cannot_be_copied_may_be_skipped():
    odd = WithoutConfig(lambda x: x, name="odd")
    model = keras.Sequential([keras.Input((4,)), odd, layers.Dense(2)])
    report = activity_report(model, real(3, 4), skip="odd")
    assert report.totals["dense_macs"] == 8 and report.not_counted == {"odd": "skipped"}


def test_a_subclassed_model_is_followed_at_every_length():
    model = Cut()
    assert activity_report(model, real(2, 5, 4)).totals["dense_macs"] == 4 * 12
    assert activity_report(model, real(2, 9, 4)).totals["dense_macs"] == 8 * 12
    assert activity_report(model, real(2, 5, 4)).totals["dense_macs"] == 4 * 12


def test_a_layer_of_layers_with_two_inputs_and_an_option():
    one, two = keras.Input((4,)), keras.Input((4,))
    model = keras.Model([one, two], TwoInputs(name="two")(one, two, scale=2.0))
    found = rows(activity_report(model, [real(2, 4), real(2, 4)]))
    assert {name: row["dense_macs"] for name, row in found.items()} == {
        "two/dense/kernel": 16,
        "two/dense#2/kernel": 16,
    }


def test_a_call_that_cannot_be_followed_is_an_error_that_says_what_to_do():
    with pytest.raises(ValueError, match=r"'odd' \(OnNumPy\) cannot be followed.*skip=\('odd',\)"):
        activity_report(OnNumPy(), real(2, 4))


def test_inputs_by_name_and_without_their_last_axis():
    x = keras.Input((1,), name="x")
    y = keras.Input((3,), name="y")
    model = keras.Model({"x": x, "y": y}, ops.concatenate([layers.Dense(2)(x), y], axis=-1))
    report = activity_report(model, {"x": np.ones(5, "float32"), "y": real(5, 3)})
    assert report.totals["dense_macs"] == 2


class WithOptions(keras.Model):
    """A model that Keras cannot describe: its constructor has an argument, and no get_config."""

    calls = []

    def __init__(self, units):
        super().__init__()
        self.dense, self.doubled = layers.Dense(units), False

    def call(self, x):
        self.calls.append(x.shape)
        y = self.dense(x)
        return self.dense(y) if self.doubled else y


def test_a_model_without_configuration_is_followed_once_and_again_after_a_change():
    model = WithOptions(4)
    assert activity_report(model, real(3, 4)).totals["dense_macs"] == 16
    made = len(model.calls)
    assert activity_report(model, real(3, 4)).totals["dense_macs"] == 16
    assert len(model.calls) == made
    model.doubled = True
    assert activity_report(model, real(3, 4)).totals["dense_macs"] == 32
