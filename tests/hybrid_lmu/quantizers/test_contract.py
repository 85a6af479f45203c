"""A quantizer of a user's own, in one class: it runs wherever those of the package do."""

import copy

import keras
import numpy as np
import pytest
from keras import ops

from hybrid_lmu import (
    AnnealResolution,
    BitBudget,
    HybridCell,
    HybridLMU,
    HybridRNN,
    Quantizer,
    SigmaDelta,
    SigmaDeltaQuantizer,
    activity_report,
    resolution_variables,
)
from hybrid_lmu.quantizers._find import quantizers_of

to_numpy = ops.convert_to_numpy


@keras.saving.register_keras_serializable(package="tests")
class Deadzone(Quantizer):
    """A sigma-delta quantizer that emits nothing until its error leaves (-1, 1)."""

    def __init__(self, activation=None, resolution=1.0, *, width=1.0, **kwargs):
        super().__init__(activation, resolution, **kwargs)
        self.width = width

    def round(self, levels, state):
        total = levels + state
        fires = ops.abs(total) >= self.width
        counts = ops.where(fires, ops.round(total), ops.zeros_like(total))
        return counts, total - counts

    def get_config(self):
        return {**super().get_config(), "width": self.width}


def sequence_model(layer):
    model = keras.Sequential([keras.Input((12, 2)), layer, keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.05), "mse")
    return model


def lmu():
    return HybridLMU(
        1, 3, 12.0, keras.layers.SimpleRNNCell(4),
        memory_quantizer=Deadzone(resolution=8.0),
        hidden_quantizer=Deadzone(resolution=4.0, learn_resolution=True),
    )  # fmt: skip


OWNERS = {
    "lmu": lmu,
    "cell": lambda: HybridRNN(
        HybridCell(keras.layers.GRUCell(4), quantizer=Deadzone("tanh", 4.0, width=0.75))
    ),
    "layer": lambda: SigmaDelta(quantizer=Deadzone("relu", 4.0, limit=1.5)),
}
X = np.random.default_rng(0).normal(size=(8, 12, 2)).astype("float32")


@pytest.mark.parametrize("owner", OWNERS)
@pytest.mark.broad(1)
def test_train_save_load_and_count(owner, tmp_path):
    model = sequence_model(OWNERS[owner]())
    target = np.ones(model.output_shape[1:], "float32") * X.mean((1, 2)).reshape(
        (8,) + (1,) * (len(model.output_shape) - 1)
    )
    before = [to_numpy(v) for v in model.layers[0].trainable_variables]
    anneal = AnnealResolution(lambda step: 5.0, name="*resolution")
    model.fit(X, target, batch_size=4, verbose=0, callbacks=[anneal])
    after = [to_numpy(v) for v in model.layers[0].trainable_variables]
    assert all((a != b).any() for a, b in zip(after, before, strict=True))
    assert {float(v) for v in map(to_numpy, resolution_variables(model).values())} == {5.0}

    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(model.predict(X, verbose=0), loaded.predict(X, verbose=0))
    found = quantizers_of(loaded)
    assert [type(one) for one in found.values()] == [Deadzone] * len(found)
    assert [one.get_config() for one in found.values()] == [
        one.get_config() for one in quantizers_of(model).values()
    ]
    rows = activity_report(loaded, X).activities
    assert len(rows) == len(found)
    if owner != "lmu":
        assert [row["resolution"] for row in rows] == [5.0]


def test_a_budget_of_bits():
    model = sequence_model(lmu())
    history = model.fit(X, X.mean((1, 2)), verbose=0, callbacks=[BitBudget(3.0, X)]).history
    assert history["activity_bits"] == [3.0]


@pytest.mark.parametrize("masked", [False, True])
def test_the_default_sequence_is_a_loop_over_the_steps(masked):
    quantizer = Deadzone("tanh", resolution=3.0)
    quantizer.build((None, 2))
    first = error = ops.convert_to_tensor(np.full((8, 2), 0.25, "float32"))
    mask = np.random.default_rng(1).random((8, 12)) < 0.6 if masked else np.ones((8, 12), bool)
    expected = []
    for t in range(12):
        y, after = quantizer.step(ops.convert_to_tensor(X[:, t]), error)
        valid = mask[:, t, None]
        expected.append(np.where(valid, to_numpy(y), 0.0))
        error = ops.where(valid, after, error)
    y, last = quantizer.sequence(
        ops.convert_to_tensor(X), first, ops.convert_to_tensor(mask) if masked else None
    )
    np.testing.assert_array_equal(to_numpy(y), np.stack(expected, axis=1))
    np.testing.assert_array_equal(to_numpy(last), to_numpy(error))


def test_unknown_length_and_a_mask():
    model = keras.Sequential(
        [keras.Input((None, 2)), keras.layers.Masking(), OWNERS["layer"](), keras.layers.Dense(1)]
    )
    x = X.copy()
    x[:, 7:] = 0.0
    y = model.predict(x, verbose=0)
    np.testing.assert_array_equal(y[:, :7], model.predict(x[:, :7], verbose=0))


def test_what_a_quantizer_must_say():
    layer = SigmaDelta(quantizer=Quantizer())
    with pytest.raises(ValueError, match=r"\(Quantizer\) does not say how it rounds"):
        layer(X)
    with pytest.raises(ValueError, match="without a time axis only with"):
        OWNERS["layer"]()(X[:, 0])  # its state is not stationary
    with pytest.raises(ValueError, match="`quantizer` takes the place of"):
        SigmaDelta("relu", quantizer=Deadzone())


def test_a_learned_factor_saved_under_its_first_name_is_read():
    """Files of version 0.1 call it ``log_gain``."""
    old = {"0": np.float32(2.0), "log_gain": np.array([0.5, -1.0], "float32")}
    learned = SigmaDeltaQuantizer(learn_resolution=True)
    fixed = SigmaDeltaQuantizer(resolution=[1.0, 1.0])
    for quantizer in (learned, fixed):
        quantizer.build((None, 2))
        quantizer.load_own_variables(old)
        np.testing.assert_allclose(quantizer.resolutions(), 2.0 * np.exp([0.5, -1.0]), rtol=1e-6)
    np.testing.assert_array_equal(to_numpy(learned.log_factor), old["log_gain"])


def test_a_layer_that_is_not_built_can_be_saved_and_copied(tmp_path):
    """As Keras's own layers, which save nothing then."""
    hidden = keras.layers.Dense(4)
    unused = [
        SigmaDelta(resolution=4.0),
        SigmaDelta(quantizer=SigmaDeltaQuantizer(resolution=[1.0, 2.0], learn_resolution=True)),
        HybridLMU(1, 4, 10, hidden, memory_resolution=4, hidden_resolution=4),
        keras.layers.RNN(HybridCell(keras.layers.GRUCell(3))),
    ]
    assert [type(copy.deepcopy(one)) for one in unused] == [type(one) for one in unused]
    model = UsesOne(unused)
    model(np.ones((4, 5, 2), "float32"))
    model.save_weights(tmp_path / "m.weights.h5")
    model.load_weights(tmp_path / "m.weights.h5")


class UsesOne(keras.Model):
    """A model with branches for later."""

    def __init__(self, unused):
        super().__init__()
        self.dense, self.unused = keras.layers.Dense(3), unused

    def call(self, x):
        return self.dense(x)
