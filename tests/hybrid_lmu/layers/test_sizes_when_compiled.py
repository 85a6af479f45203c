"""Sizes that compiled code alone knows: a last batch of another size, a short sequence."""

import keras
import numpy as np
import pytest
from keras import layers

from hybrid_lmu import HybridCell, HybridLMU, HybridRNN, LegendreMemory, SigmaDelta
from hybrid_lmu.neurons import LIF


def stack():
    return layers.StackedRNNCells([HybridCell(layers.LSTMCell(4), 4) for _ in range(2)])


@pytest.mark.parametrize(
    "make",
    [
        lambda: HybridRNN(HybridCell(layers.GRUCell(4), 4), stateful=True),
        lambda: HybridRNN(stack(), stateful=True),
        lambda: HybridLMU(1, 6, 20, layers.Dense(4), stateful=True),
        lambda: LegendreMemory(4, 10, 3, stateful=True),
        lambda: LIF(stateful=True, return_sequences=False),
        lambda: SigmaDelta(stateful=True),
    ],
)
@pytest.mark.broad(3)
def test_a_stateful_layer_refuses_a_last_batch_of_another_size(make):
    model = keras.Sequential([keras.Input(batch_shape=(4, 6, 3)), make()])
    # A ValueError, or an error of compiled TensorFlow.
    with pytest.raises(Exception, match=r"built for a batch size of 4;.*received.*1.*6.*3"):
        model.predict(np.ones((5, 6, 3), "float32"), batch_size=4, verbose=0)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fit", "evaluate"])
def test_training_and_evaluation_refuse_it_too(method):
    model = keras.Sequential([keras.Input(batch_shape=(4, 6, 3)), SigmaDelta(stateful=True)])
    model.compile("sgd", "mse", jit_compile=False)
    x = np.ones((6, 6, 3), "float32")
    with pytest.raises(Exception, match=r"built for a batch size of 4;.*received.*2.*6.*3"):
        getattr(model, method)(x, x, batch_size=4, verbose=0)


def test_return_last_refuses_a_short_sequence():
    layer = HybridLMU(1, 6, 20, layers.Dense(5, "relu"), return_last=4)
    model = keras.Sequential([keras.Input((None, 3)), layer])
    for steps in (9, 7):  # at the second length, TensorFlow traces for any
        x = np.ones((2, steps, 3), "float32")
        assert model.predict(x, verbose=0).shape == (2, 4, 5)
    with pytest.raises(Exception, match="expected sequences of at least that many steps"):
        model.predict(np.ones((2, 3, 3), "float32"), verbose=0)


def test_a_stateful_stack_goes_on_from_all_its_states():
    x = np.random.default_rng(0).normal(size=(2, 8, 5)).astype("float32")
    layer = HybridRNN(stack(), stateful=True, return_sequences=True)
    layer.build((2, None, 5))
    layer.reset_state()
    first = [keras.ops.convert_to_numpy(s) for s in layer.carried_states()]
    assert len(first) == 6 and len(layer.weights) == 8  # 2 resolutions are weights
    parts = [keras.ops.convert_to_numpy(layer(x[:, a:b])) for a, b in ((0, 3), (3, 8))]
    for variable, value in zip(layer.carried_states(), first, strict=True):
        variable.assign(value)
    whole = keras.ops.convert_to_numpy(layer(x))
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole)
