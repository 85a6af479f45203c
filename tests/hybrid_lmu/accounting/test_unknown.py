"""What has no rule: named, refused, skipped, or given a rule; never a silent zero."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import hybrid_lmu
from hybrid_lmu.accounting import activity_report
from hybrid_lmu.cells import INPUT, Product, Products, Signal
from tests.hybrid_lmu.accounting.accounting_helpers import check, real, rows, sequential

# What is left out, and what is refused.


def test_layers_without_products_pass_and_are_named():
    model = sequential(
        keras.Input((4,), dtype="int32"),
        layers.Embedding(10, 6, mask_zero=True, name="table"),
        layers.LayerNormalization(name="norm"),
        layers.SimpleRNN(3, name="rnn"),
        layers.BatchNormalization(name="bn"),
        layers.Softmax(),
    )
    x = np.array([[1, 2, 0, 0], [3, 4, 5, 6]])
    report = activity_report(model, x)
    assert report.not_counted == {
        "table": "look-up",
        "norm": "normalisation",
        "bn": "normalisation",
    }
    assert rows(report)["rnn/kernel"]["dense_macs"] == (2 + 4) * 18 / 2  # masked by the table
    assert "bn (normalisation)" in str(report)


class Unknown(keras.layers.Layer):
    def build(self, shape):
        self.w = self.add_weight(shape=(shape[-1],), name="w")

    def call(self, x):
        return x * self.w


def test_an_unknown_layer_is_an_error_unless_skipped():
    model = sequential(keras.Input((4,)), Unknown(name="odd"), layers.Dense(2, name="dense"))
    with pytest.raises(ValueError, match=r"'odd' \(Unknown\).*skip=\('odd',\)"):
        activity_report(model, real(2, 4))
    report = activity_report(model, real(2, 4), skip=("odd",))
    assert report.not_counted == {"odd": "skipped"}
    assert list(rows(report)) == ["dense/kernel"]
    with pytest.raises(ValueError, match="`skip` must name layers.*'nothing'"):
        activity_report(model, real(2, 4), skip=("odd", "nothing"))


class UnknownCell(keras.layers.Layer):
    """A cell whose products nobody has declared."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = self.state_size = units

    def build(self, shape):
        self.w = self.add_weight(shape=(shape[-1], self.units), name="w")

    def call(self, x, states, training=False):
        h = ops.matmul(x, self.w) + states[0]
        return h, [h]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda cell: layers.RNN(cell),
        lambda cell: layers.RNN([layers.LSTMCell(3), cell]),
        lambda cell: layers.RNN(hybrid_lmu.HybridCell(cell)),
        lambda cell: hybrid_lmu.HybridLMU(1, 3, 5, cell),
        lambda cell: layers.TimeDistributed(Unknown(name="odd")),
    ],
)
def test_an_unknown_cell_is_an_error(wrap):
    model = sequential(keras.Input((4, 2)), wrap(UnknownCell(3, name="odd")))
    with pytest.raises(ValueError, match=r"'odd' \(Unknown"):
        activity_report(model, real(2, 4, 2))


class MyDense(layers.Dense):
    """A subclass of a known layer."""


class MyLMU(hybrid_lmu.HybridLMU):
    """A subclass of a layer of this package."""


class MyCell(layers.GRUCell):
    """A subclass of a cell of Keras."""


def test_subclasses_are_counted_like_their_base_classes():
    x = real(2, 6, 2)

    def report(lmu, cell, dense):
        model = sequential(
            keras.Input((6, 2)),
            lmu(1, 4, 6, layers.Dense(3, "relu"), memory_resolution=4, seed=1,
                return_sequences=True, name="lmu"),
            layers.RNN(cell(3), name="rnn"),
            dense(2, name="dense"),
        )  # fmt: skip
        for weight in model.weights:
            weight.assign(np.full(weight.shape, 0.5))
        return activity_report(model, x).to_dict()

    own = report(MyLMU, MyCell, MyDense)
    assert own == report(hybrid_lmu.HybridLMU, layers.GRUCell, layers.Dense)
    assert not own["not_counted"]


class Signs(keras.layers.Layer):
    """A layer of somebody else, that multiplies with the signs of its weights."""

    def build(self, shape):
        self.w = self.add_weight(shape=(shape[-1], 2), initializer=real_initializer, name="w")

    def call(self, x):
        return ops.matmul(x, ops.sign(self.w))


class DeclaredSigns(Signs):
    """The same, with its products declared."""

    def products(self):
        return Products((Product("w", "input", self.w, (INPUT,)),), Signal("output"))


def real_initializer(shape, dtype):
    return ops.convert_to_tensor(np.array([[1.5, 0.0], [0.0, 0.0], [-2.0, 3.0]]), dtype)


def test_a_layer_may_declare_its_products():
    x = np.array([[0.5, 0.5, 0.0], [0.5, 0.5, 0.5]], "float32")
    with pytest.raises(ValueError, match=r"\(Signs\)"):
        activity_report(sequential(keras.Input((3,)), Signs(name="signs")), x)
    model = sequential(keras.Input((3,)), DeclaredSigns(name="signs"))
    check(rows(activity_report(model, x))["signs/w"], 6, (1 + 3) / 2)


class Doubled(keras.layers.Layer):
    def call(self, x):
        return ops.add(x, x)

    def compute_output_shape(self, shape):
        return shape


def test_products_without_weights_are_named():
    x = keras.Input((4, 3))
    y = layers.Attention(name="attention")([x, x])
    y = layers.Multiply(name="product")([y, x])
    z = ops.add(ops.relu(y), ops.matmul(layers.Dot(2, name="dot")([y, x]), x))
    z = Doubled(name="own")(ops.power(z, 2))
    z = layers.TimeDistributed(layers.Rescaling(2.0), name="each")(z)
    model = keras.Model(x, layers.Average()([z, x]))
    report = activity_report(model, real(2, 4, 3))
    by_class = {
        type(one).__name__: report.not_counted.get(one.name)
        for one in model.operations
        if not isinstance(one, (layers.InputLayer, layers.Average))
    }
    operation = "products of two activations or with a constant"
    assert by_class == {
        "Attention": "products of two activations",
        "Multiply": "products of two activations",
        "Dot": "products of two activations",
        "Relu": None,
        "Matmul": operation,
        "Add": None,
        "Power": "products unknown",
        "Doubled": "products unknown",
        "TimeDistributed": "products with a constant",
    }
    text = " ".join(str(report).split())
    assert "each (products with a constant)" in text
    assert "products of two activations or with constants" in text


def test_operations_inside_nested_models_are_named_and_can_be_skipped():
    x = keras.Input((3,))
    inner = keras.Model(x, ops.multiply(x, x), name="inner")
    model = sequential(keras.Input((3,)), inner, layers.Dense(2))
    (operation,) = [one for one in inner.operations if type(one).__name__ == "Multiply"]
    name = f"inner/{operation.name}"
    assert name in activity_report(model, real(2, 3)).not_counted
    report = activity_report(model, real(2, 3), skip=operation.name)
    assert report.not_counted == {name: "skipped"}
