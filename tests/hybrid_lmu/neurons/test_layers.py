"""Cell = layer = chunks of a stream; the recurrent contract of the layers; files; bad input."""

import keras
import numpy as np
import pytest
from keras import ops

from hybrid_lmu import HybridRNN
from hybrid_lmu.neurons import IF, LIF, SRM, IFCell, LIFCell, Refractory, SRMCell
from tests.hybrid_lmu.neurons.neuron_helpers import NEURONS, normal

to_numpy = ops.convert_to_numpy
neurons = pytest.mark.parametrize("cell, layer, arguments", NEURONS.values(), ids=NEURONS)
X = 2 * normal(3, 41, 5) + 0.3


def loop(cell, x, states=None):
    """The cell step by step, eagerly."""
    states = cell.get_initial_state(len(x)) if states is None else states
    outputs = []
    for t in range(x.shape[1]):
        s, states = cell(x[:, t], states)
        outputs.append(to_numpy(s))
    return np.stack(outputs, axis=1), [to_numpy(state) for state in states]


def check_states(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(to_numpy(a), to_numpy(b), rtol=1e-5, atol=2e-6)


@neurons
def test_layer_is_the_cell_step_by_step(cell, layer, arguments):
    expected, states = loop(cell(5, **arguments), X)
    found, *after = layer(**arguments, return_state=True)(X)
    np.testing.assert_array_equal(to_numpy(found), expected)
    check_states(after, states)
    assert 0.05 < expected.mean() < 0.95


@neurons
@pytest.mark.parametrize("rnn", [keras.layers.RNN, HybridRNN])
def test_layer_is_the_cell_in_a_recurrent_layer(cell, layer, arguments, rnn):
    whole = rnn(cell(5, **arguments), return_sequences=True, return_state=True)(X)
    found = layer(**arguments, return_state=True)(X)
    np.testing.assert_array_equal(to_numpy(found[0]), to_numpy(whole[0]))
    check_states(found[1:], whole[1:])


@neurons
def test_streaming_in_chunks_is_one_long_call(cell, layer, arguments):
    whole, *after = layer(**arguments, return_state=True)(X)
    stream = layer(**arguments, stateful=True)
    for _ in range(2):
        chunks = [to_numpy(stream(part)) for part in (X[:, :1], X[:, 1:18], X[:, 18:])]
        np.testing.assert_array_equal(np.concatenate(chunks, axis=1), to_numpy(whole))
        check_states(stream.states, after)
        stream.reset_state()


@neurons
def test_state_in_state_out(cell, layer, arguments):
    layer = layer(**arguments, return_state=True)
    whole, *after = layer(X)
    first, *states = layer(X[:, :13])
    second, *states = layer(X[:, 13:], initial_state=states)
    joined = np.concatenate([to_numpy(first), to_numpy(second)], axis=1)
    np.testing.assert_array_equal(joined, to_numpy(whole))
    check_states(states, after)


@neurons
def test_masked_steps_emit_nothing_and_leave_the_state_alone(cell, layer, arguments):
    mask = np.random.default_rng(1).random((3, 41)) < 0.6
    mask[1] = False
    layer = layer(**arguments, return_state=True)
    found, *states = layer(X, mask=ops.convert_to_tensor(mask))
    for sample in range(3):
        kept = X[sample : sample + 1, mask[sample]]
        expected, *after = layer(kept)
        np.testing.assert_array_equal(to_numpy(found)[sample, mask[sample]], to_numpy(expected)[0])
        check_states([state[sample : sample + 1] for state in states], after)
    assert not to_numpy(found)[~mask].any()


def test_the_last_step_with_and_without_a_mask():
    last = IF(return_sequences=False)
    np.testing.assert_array_equal(to_numpy(last(X)), to_numpy(IF()(X))[:, -1])
    lengths = [41, 7, 1]
    mask = np.arange(41) < np.array(lengths)[:, None]
    found = to_numpy(last(X, mask=ops.convert_to_tensor(mask)))
    for sample, length in enumerate(lengths):
        expected = to_numpy(IF()(X))[sample, length - 1]
        np.testing.assert_array_equal(found[sample], expected)
    assert not to_numpy(last(X, mask=ops.zeros((3, 41), "bool"))).any()
    symbolic = IF(return_sequences=False, return_state=True)(keras.Input((None, 4, 2)))
    assert [s.shape for s in symbolic] == [(None, 4, 2), (None, 4, 2)]


@pytest.mark.parametrize("layer", [IF(), LIF(), SRM(), Refractory()])
def test_no_steps(layer):
    layer = type(layer)(return_state=True)
    y, *states = layer(np.zeros((2, 0, 3), "float32"))
    assert tuple(y.shape) == (2, 0, 3) and not any(to_numpy(state).any() for state in states)


@pytest.mark.parametrize("layer", [IF(), LIF(), SRM()])
def test_neurons_on_several_axes_behind_a_convolution(layer):
    images = normal(2, 7, 6, 6, 1)
    convolution = keras.layers.TimeDistributed(keras.layers.Conv2D(4, 3))
    model = keras.Sequential([keras.Input((None, 6, 6, 1)), convolution, layer])
    y = to_numpy(model(images))
    assert y.shape == (2, 7, 4, 4, 4) and set(np.unique(y)) <= {0.0, 1.0}
    flat = to_numpy(convolution(images)).reshape(2, 7, -1)
    np.testing.assert_array_equal(
        y.reshape(2, 7, -1), to_numpy(type(layer).from_config(layer.get_config())(flat))
    )


def test_unknown_length_and_masking_in_a_model():
    model = keras.Sequential(
        [keras.Input((None, 5)), keras.layers.Masking(), SRM(), keras.layers.GlobalMaxPooling1D()]
    )
    x = X.copy()
    x[0, 30:] = 0
    for part in (x, x[:, :35]):
        y = model.predict(part, verbose=0)
        expected = to_numpy(SRM()(part[:1, :30])).max(axis=1)
        np.testing.assert_array_equal(y[:1], expected)


@neurons
@pytest.mark.broad(2)
def test_saved_models_are_the_same(cell, layer, arguments, tmp_path):
    x = keras.Input((41, 5))
    parts = [layer(**arguments)(x), HybridRNN(cell(5, **arguments), return_sequences=True)(x)]
    model = keras.Model(x, parts)
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    for a, b in zip(model.predict(X, verbose=0), loaded.predict(X, verbose=0), strict=True):
        np.testing.assert_array_equal(a, b)
    assert loaded.layers[1].get_config() == model.layers[1].get_config()
    assert loaded.layers[2].cell.get_config() == model.layers[2].cell.get_config()


def test_an_array_of_thresholds_is_saved(tmp_path):
    layer = IF(threshold=np.linspace(0.5, 2, 5), initial_potential=np.arange(5) / 10)
    model = keras.Sequential([keras.Input((41, 5)), layer])
    model.save(tmp_path / "m.keras")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(model.predict(X, verbose=0), loaded.predict(X, verbose=0))


def test_states_are_no_weights():
    layer = SRM(stateful=True)
    model = keras.Sequential([keras.Input(batch_shape=(3, 41, 5)), keras.layers.Dense(5), layer])
    assert len(model.get_weights()) == 2 and len(layer.states) == 3


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float64"])
@pytest.mark.parametrize("layer", [IF, LIF, SRM])
def test_dtypes(layer, policy):
    x = np.round(X * 8) / 8  # exact in half precision
    y, *states = layer(return_state=True, dtype=policy)(x.astype("float32"))
    wide = "float64" if policy == "float64" else "float32"
    narrow = policy.removeprefix("mixed_")
    if keras.backend.backend() == "jax" and policy == "float64":
        wide = narrow = "float32"  # JAX is in single precision here
    assert keras.backend.standardize_dtype(y.dtype) == narrow
    assert all(keras.backend.standardize_dtype(state.dtype) == wide for state in states)
    expected = layer()(x)
    np.testing.assert_array_equal(to_numpy(ops.cast(y, "float32")), to_numpy(expected))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: IF(threshold=0), "`threshold` must be a finite number > 0 or .* received: 0"),
        (lambda: IF(threshold=[1.0, -1.0]), "`threshold` must be .* received: "),
        (lambda: IF(threshold="one"), "`threshold` must be .* received: 'one'"),
        (lambda: IF(initial_potential="uniform"), "'zeros', 'half' or finite numbers; received"),
        (lambda: IF(initial_potential=np.nan), "'zeros', 'half' or finite numbers; received"),
        (lambda: IFCell(0), "`units` must be an integer >= 1; received: 0"),
        (lambda: LIF(tau=0), "`tau` must be a finite number of steps >= 1; received: 0"),
        (lambda: LIF(tau=-2.0), "`tau` must be a finite number of steps >= 1; received: -2.0"),
        (lambda: LIF(reset="soft"), "`reset` must be one of 'hard', 'subtract'; received: 'soft'"),
        (lambda: LIF(reset_potential=1.0), "below the threshold, 1.0; received: 1.0"),
        (lambda: LIFCell(3, threshold=-1), "`threshold` must be .* received: -1"),
        (lambda: SRM(tau_mem=0), "`tau_mem` must be a finite number of steps > 0; received: 0"),
        (lambda: SRM(tau_syn=-1), "`tau_syn` must be .* received: -1"),
        (lambda: SRMCell(3, tau_ref="2"), "`tau_ref` must be .* received: '2'"),
        (lambda: Refractory(tau_ref=np.inf), "`tau_ref` must be .* received: inf"),
        (lambda: IF(surrogate="step"), "`surrogate` must be .* received: 'step'"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("layer", [IF, LIF, SRM, Refractory])
def test_bad_inputs(layer):
    with pytest.raises(ValueError, match=r"\[batch, time, neurons...\]; received shape \(3, 41\)"):
        layer()(X[..., 0])
    with pytest.raises(ValueError, match="expects floating-point inputs; received dtype int32"):
        layer()(np.ones((2, 3, 4), "int32"))
    with pytest.raises(ValueError, match="expects a fixed batch size"):
        layer(stateful=True)(keras.Input((41, 5)))
    stateful = layer(stateful=True)
    stateful(X)
    with pytest.raises(ValueError, match=r"batch size of 3; received inputs of shape \(1, 41, 5\)"):
        stateful(X[:1])
    with pytest.raises(ValueError, match=r"expects an `initial_state` of \d tensors .* received 4"):
        layer()(X, initial_state=[np.zeros((3, 5), "float32")] * 4)


def test_bad_sizes():
    with pytest.raises(ValueError, match="one entry per neuron, 5 for .* received 2 entries"):
        IF(threshold=[1.0, 2.0])(X)
    with pytest.raises(ValueError, match="expects 4 inputs .* received inputs of shape"):
        keras.layers.RNN(IFCell(4))(X)
