"""What stands in place of a quantizer or a cell by mistake, and one quantizer in several places."""

import keras
import numpy as np
import pytest

from hybrid_lmu import HybridCell, HybridLMU, HybridRNN, SigmaDelta, SigmaDeltaQuantizer

layers = keras.layers
x = np.ones((2, 5, 3), "float32")


def lmu(hidden=None, **options):
    return HybridLMU(1, 4, 10, hidden or layers.Dense(3), **options)


@pytest.mark.parametrize("wrong", [SigmaDelta(resolution=4.0), "sigma", SigmaDeltaQuantizer, 3])
@pytest.mark.parametrize("name", ["memory_quantizer", "hidden_quantizer", "quantizer"])
def test_not_a_quantizer(name, wrong):
    makers = [lmu]
    if name == "quantizer":
        makers = [lambda **q: HybridCell(layers.GRUCell(3), **q), SigmaDelta]
    for make in makers:
        with pytest.raises(ValueError, match=f"`{name}` must be a quantizer such as .*received"):
            make(**{name: wrong})


def test_a_recurrent_layer_is_no_cell():
    with pytest.raises(ValueError, match="`hidden_cell` must be a cell.*received .*'lstm.*LSTM"):
        lmu(layers.LSTM(4))
    with pytest.raises(ValueError, match="`cell` must be a cell.*received .*'gru.*GRU"):
        HybridCell(layers.GRU(4))


def test_numbers_for_other_neurons():
    with pytest.raises(ValueError, match="`initial_error` .*3 for inputs.*received 2 entries"):
        SigmaDelta(initial_error=[0.1, 0.2])(x)
    layer = SigmaDelta(resolution=[1.0, 2.0, 3.0])
    layer(x)
    with pytest.raises(ValueError, match=r"built for 3 neurons.*received .*\(2, 5, 4\)"):
        layer(np.ones((2, 5, 4), "float32"))


def test_states_of_another_width():
    rnn = HybridRNN(HybridCell(layers.GRUCell(4)))
    with pytest.raises(ValueError, match=r"shapes .batch, 4., .batch, 4.; received .*\(2, 5\)"):
        rnn(x, initial_state=[np.ones((2, 5), "float32")] * 2)


@pytest.mark.parametrize("learn", [False, True])
def test_one_quantizer_in_several_places(tmp_path, learn):
    one = SigmaDeltaQuantizer(resolution=4.0, learn_resolution=learn, initial_error="half")
    both = lmu(memory_quantizer=one, hidden_quantizer=one)
    rnn = HybridRNN(HybridCell(layers.GRUCell(3), quantizer=one), return_sequences=True)
    model = keras.Sequential([keras.Input((5, 3)), rnn, SigmaDelta(quantizer=one), both])
    assert one is both.cell.memory_quantizer  # the first owner has the object, the others copies
    found = {id(q) for q in (one, rnn.cell.quantizer, both.cell.hidden_quantizer)}
    assert len(found) == 3
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    outputs = [one.predict(x, verbose=0) for one in (loaded, model)]
    np.testing.assert_allclose(*outputs, atol=1e-6)
    assert tuple(lmu(memory_quantizer=one)(x).shape) == (2, 3)
