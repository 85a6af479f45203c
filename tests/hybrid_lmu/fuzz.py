"""Random valid options of the public layers, and what must hold for all of them."""

import os
import tempfile

import keras
import numpy as np
from hypothesis import strategies as st
from keras import ops

from hybrid_lmu import (
    HybridCell,
    HybridLMU,
    HybridRNN,
    LegendreMemory,
    RoundingQuantizer,
    SigmaDelta,
    SigmaDeltaQuantizer,
    StochasticQuantizer,
    activity_report,
    neurons,
)

layers = keras.layers
FEATURES, TIME = 2, 9
flags = st.booleans()
resolutions = st.sampled_from([None, 0.5, 1.0, 3.7, 8.0, 64.0])
errors = st.sampled_from(["uniform", "zeros", "half", 0.3])
taus = st.floats(1.5, 20.0)


def per_neuron(values, size):
    """A value, or a list with one for each neuron."""
    return values | st.lists(values, min_size=size, max_size=size)


@st.composite
def quantizers(draw, size, activation=None, stationary=True):
    """A quantizer for `size` neurons; without activation, limit and gain for a memory."""
    kind = draw(st.sampled_from([SigmaDeltaQuantizer, RoundingQuantizer, StochasticQuantizer]))
    options = {
        "resolution": draw(per_neuron(st.sampled_from([0.5, 2.0, 8.0]), size)),
        "learn_resolution": draw(flags),
        "limit": draw(st.none() | per_neuron(st.sampled_from([0.5, 2.0]), size)),
    }
    if kind is SigmaDeltaQuantizer:
        options["initial_error"] = draw(errors)
    return kind(activation, **options)


@st.composite
def hidden_cells(draw):
    units = 3
    return draw(
        st.sampled_from(
            [
                lambda: layers.Dense(units, "relu"),
                lambda: layers.Dense(units, "tanh", use_bias=False),
                lambda: layers.SimpleRNNCell(units),
                lambda: layers.GRUCell(units, reset_after=False),
                lambda: layers.LSTMCell(units),
                lambda: keras.Sequential([layers.Dense(4, "relu"), layers.Dense(units)]),
                lambda: layers.StackedRNNCells([layers.GRUCell(4), layers.LSTMCell(units)]),
            ]
        )
    )()


@st.composite
def lmus(draw):
    memory_d, order = draw(st.integers(1, 2)), draw(st.integers(1, 5))
    feedback = draw(st.sampled_from(["exact", "exact", "quantized", "integrated"]))
    hidden = draw(st.none() | hidden_cells())
    options = {
        "memory_d": memory_d,
        "order": order,
        "theta": draw(st.floats(4.0, 40.0)),
        "hidden_cell": hidden,
        "memory_to_memory": draw(flags),
        "discretizer": draw(st.sampled_from(["zoh", "bilinear"])),
        "use_bias": draw(flags),
        "dropout": draw(st.sampled_from([0.0, 0.3])),
        "recurrent_dropout": draw(st.sampled_from([0.0, 0.3])),
        "memory_dropout": draw(st.sampled_from([0.0, 0.3])),
        "seed": draw(st.none() | st.integers(0, 9)),
        "initial_error": draw(errors),
        "memory_feedback": feedback,
        "memory_resolution": draw(per_neuron(resolutions.filter(bool), memory_d * order)),
    }
    if hidden is not None:
        options["hidden_to_memory"] = draw(flags)
        options["input_to_hidden"] = draw(flags)
        options["hidden_resolution"] = draw(resolutions)
    if feedback == "exact":
        options["memory_resolution"] = draw(st.none() | st.just(options["memory_resolution"]))
        options["trainable_theta"] = draw(flags)
    if draw(st.integers(0, 3)) == 0:
        del options["memory_resolution"], options["initial_error"]
        options["memory_quantizer"] = draw(quantizers(memory_d * order))
    plain = options["memory_d"] == FEATURES and not options.get("hidden_to_memory")
    if plain and draw(flags):
        options["kernel_initializer"] = None
    return lambda **more: HybridLMU(**options, **more)


@st.composite
def recurrent_layers(draw):
    """What runs over [batch, time, features] and returns and takes states."""
    kind = draw(st.sampled_from(["cell", "cell", "memory"]))
    if kind == "memory":
        options = {
            "order": draw(st.integers(1, 6)),
            "theta": draw(st.floats(6.0, 40.0)),
            "memory_d": FEATURES,
            "discretizer": draw(st.sampled_from(["zoh", "bilinear"])),
            "trainable_theta": draw(flags),
        }
        return lambda **more: LegendreMemory(**options, **more)
    inner = draw(hidden_cells())
    if draw(flags):
        cell = HybridCell(inner, quantizer=draw(quantizers(3)))
    else:
        cell = HybridCell(inner, draw(resolutions), initial_error=draw(errors))
    return lambda **more: HybridRNN(cell, **more)


@st.composite
def activations(draw):
    """What runs over [batch, time, neurons] and has the shape of its input."""
    kind = draw(st.sampled_from(["sigma-delta", "if", "lif", "srm", "refractory", "trace"]))
    reset = {"detach_reset": draw(flags)}
    surrogate = {"surrogate": draw(st.sampled_from(["arctan", "boxcar", "sigmoid"]))}
    threshold = {"threshold": draw(per_neuron(st.sampled_from([0.5, 1.0]), FEATURES))}
    if kind == "sigma-delta":
        options = {"quantizer": draw(quantizers(FEATURES, draw(st.sampled_from([None, "relu"]))))}
        made = SigmaDelta
    elif kind == "if":
        potential = {"initial_potential": draw(st.sampled_from(["zeros", "half", 0.2]))}
        made, options = neurons.IF, {**reset, **surrogate, **threshold, **potential}
    elif kind == "lif":
        made, options = neurons.LIF, {**reset, **surrogate, **threshold}
        options |= {
            "tau": draw(taus),
            "reset": draw(st.sampled_from(["hard", "subtract"])),
            "decay_input": draw(flags),
        }
    elif kind == "srm":
        made, options = neurons.SRM, {**reset, "tau_mem": draw(taus), "tau_syn": draw(taus)}
        options |= {"tau_ref": draw(taus)}
    elif kind == "refractory":
        made, options = neurons.Refractory, {**reset, **surrogate, "tau_ref": draw(taus)}
    else:
        made, options = neurons.SynapticTrace, {"tau_mem": draw(taus), "tau_syn": draw(taus)}
    return lambda **more: made(**options, **more)


def data(seed=0):
    return np.random.default_rng(seed).normal(size=(3, TIME, FEATURES)).astype("float32")


def model_of(layer):
    return keras.Sequential([keras.Input((TIME, FEATURES)), layer, layers.Dense(2)])


def check_model(model, x):
    """It runs, trains, is saved and loaded, and reports."""
    outputs = ops.convert_to_numpy(model(x))
    assert np.isfinite(outputs).all()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.keras")
        model.save(path)
        loaded = keras.saving.load_model(path, compile=False)
    np.testing.assert_array_equal(ops.convert_to_numpy(loaded(x)), outputs)
    report = activity_report(model, x)
    assert report.totals["dense_macs"] > 0
    np.testing.assert_array_equal(ops.convert_to_numpy(model(x)), outputs)
    model.compile(keras.optimizers.SGD(1e-3), "mse", run_eagerly=True)
    model.train_on_batch(x, np.zeros(outputs.shape, "float32"))
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


def check_chunks(make, x, cut, **sequences):
    """The whole sequence, two chunks, and single steps give the same outputs."""
    layer = make(return_state=True, **sequences)
    whole, *_ = layer(x)
    first, *states = layer(x[:, :cut])
    second, *_ = layer(x[:, cut:], initial_state=states)
    parts, states = [], None
    for t in range(TIME):
        given = {} if states is None else {"initial_state": states}
        y, *states = layer(x[:, t : t + 1], **given)
        parts.append(ops.convert_to_numpy(y))
    whole = ops.convert_to_numpy(whole)
    chunks = [ops.convert_to_numpy(part) for part in (first, second)]
    for found in (np.concatenate(chunks, axis=1), np.concatenate(parts, axis=1)):
        # Rounding of float32 may move a count by a step.
        assert np.mean(np.abs(found - whole) > 1e-4 * (1 + np.abs(whole).max())) <= 0.05
