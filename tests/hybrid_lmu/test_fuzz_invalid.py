"""Wrong arguments of every public class: an error of ours that names the argument."""

import inspect

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hybrid_lmu
from hybrid_lmu import conversion, neurons, weights

layers = keras.layers
NAN, INFINITE = float("nan"), float("inf")

# Wrong values by kind of argument. A flag takes True and False, a number takes no flag.
COUNT = [0, -1, 1.5, NAN, "4", True, [3]]
POSITIVE = [0, -1.0, NAN, INFINITE, "4", True]
PER_NEURON = [*POSITIVE, [1.0, -1.0], [[1.0]], []]
FLAG = ["no", 2, None, [True]]
RATE = [1.0, -0.1, NAN, "0.5", True]
SEED = ["one", 1.5, [1]]
ERROR = ["random", 1.0, -0.1, NAN, True, [0.5, 2.0]]
OBJECT = ["SigmaDelta", 4, hybrid_lmu.SigmaDeltaQuantizer, layers.Dense(3)]
WORD = ["other", 3, None, ["zoh"]]
SURROGATE = ["other", 3, None]

OF_QUANTIZER = dict(
    resolution=PER_NEURON, learn_resolution=FLAG, limit=PER_NEURON, gain=PER_NEURON,
    activation=["other", 3],
)  # fmt: skip
OF_LMU = dict(
    memory_d=COUNT, order=COUNT, theta=POSITIVE, hidden_cell=["Dense", 3, layers.LSTM(2)],
    trainable_theta=FLAG, hidden_to_memory=FLAG, memory_to_memory=FLAG, input_to_hidden=FLAG,
    discretizer=WORD, use_bias=FLAG, dropout=RATE, recurrent_dropout=RATE, memory_dropout=RATE,
    input_d=COUNT, seed=SEED, memory_resolution=PER_NEURON, hidden_resolution=PER_NEURON,
    memory_feedback=WORD, initial_error=ERROR, memory_quantizer=OBJECT, hidden_quantizer=OBJECT,
)  # fmt: skip
OF_RNN = dict(return_sequences=FLAG, return_state=FLAG, stateful=FLAG, go_backwards=FLAG)
OF_TAUS = dict(tau_mem=POSITIVE, tau_syn=POSITIVE)
OF_IF = dict(
    threshold=PER_NEURON, surrogate=SURROGATE, detach_reset=FLAG,
    initial_potential=["other", NAN, True], learn_threshold=FLAG,
)  # fmt: skip
OF_LIF = dict(
    tau=POSITIVE, threshold=PER_NEURON, reset=WORD, reset_potential=[NAN, INFINITE, "0", True],
    decay_input=FLAG, surrogate=SURROGATE, detach_reset=FLAG, learn_tau=FLAG, learn_threshold=FLAG,
)  # fmt: skip
OF_STREAM = dict(return_state=FLAG, stateful=FLAG)

# {class: (valid arguments, wrong values of each argument)}
CLASSES = {
    hybrid_lmu.HybridLMU: (
        dict(memory_d=1, order=4, theta=6, hidden_cell=layers.Dense(3)),
        {**OF_LMU, **OF_RNN, "return_last": COUNT, "simulation": ["other", 0, 1.5, None]},
    ),
    hybrid_lmu.HybridLMUCell: (
        dict(memory_d=1, order=4, theta=6, hidden_cell=layers.Dense(3)), OF_LMU,
    ),
    hybrid_lmu.HybridCell: (
        dict(cell=layers.GRUCell(3)),
        dict(
            cell=["GRU", 3, layers.GRU(3)], resolution=PER_NEURON, initial_error=ERROR, seed=SEED,
            output_state=[5, "0", 1.5], quantizer=OBJECT, carry=WORD,
        ),
    ),
    hybrid_lmu.SigmaDelta: (
        {},
        dict(
            resolution=PER_NEURON, initial_error=ERROR, seed=SEED, quantizer=OBJECT,
            activation=["other", 3], **OF_STREAM,
        ),
    ),
    hybrid_lmu.SigmaDeltaQuantizer: ({}, {**OF_QUANTIZER, "initial_error": ERROR, "seed": SEED}),
    hybrid_lmu.RoundingQuantizer: ({}, OF_QUANTIZER),
    hybrid_lmu.StochasticQuantizer: ({}, {**OF_QUANTIZER, "initial_error": WORD, "seed": SEED}),
    hybrid_lmu.LegendreMemory: (
        dict(order=4, theta=6),
        dict(order=COUNT, theta=POSITIVE, memory_d=COUNT, discretizer=WORD, trainable_theta=FLAG,
             **OF_RNN),
    ),
    hybrid_lmu.LeakyAverage: (dict(time_constant=3.0), dict(time_constant=POSITIVE)),
    hybrid_lmu.EachStep: (dict(layer=layers.Dense(3)), dict(layer=["Dense", 3, None])),
    neurons.IF: ({}, {**OF_IF, **OF_STREAM}),
    neurons.LIF: ({}, {**OF_LIF, **OF_STREAM}),
    neurons.SRM: (
        {}, dict(tau_ref=POSITIVE, surrogate=SURROGATE, detach_reset=FLAG, **OF_TAUS, **OF_STREAM),
    ),
    neurons.Refractory: ({}, dict(tau_ref=POSITIVE, surrogate=SURROGATE, detach_reset=FLAG)),
    neurons.SynapticTrace: ({}, {**OF_TAUS, **OF_STREAM}),
    neurons.IFCell: (dict(units=3), {"units": COUNT, **OF_IF}),
    neurons.LIFCell: (dict(units=3), {"units": COUNT, **OF_LIF}),
    neurons.SRMCell: (dict(units=3),
        dict(units=COUNT, tau_ref=POSITIVE, surrogate=SURROGATE, detach_reset=FLAG, **OF_TAUS),),
    conversion.PoissonEncoder: (
        dict(timesteps=4), dict(timesteps=COUNT, scale=POSITIVE, seed=SEED),
    ),
    conversion.RepeatSteps: (dict(timesteps=4), dict(timesteps=COUNT)),
    conversion.Scale: (dict(scale=2.0), dict(scale=[NAN, "2", True])),
    conversion.Delay: ({}, OF_STREAM),
    weights.QuantizedWeights: (
        dict(layer=layers.Dense(3), kernel_quantizer=weights.StraightThroughSign()),
        dict(
            layer=["Dense", 3, layers.GRUCell(3)], kernel_quantizer=["binary", 3],
            recurrent_quantizer=["binary", 3], exempt=[3],
        ),
    ),
    weights.ScaledBinary: ({}, dict(centre=FLAG)),
    weights.StraightThroughSign: ({}, dict(scale=["other", 0, NAN, True], clip=POSITIVE)),
    weights.SumOfSigmoids: (
        {},
        dict(
            levels=["other", 3, (1,), (1, 0)], temperature=POSITIVE, biases=WORD,
            learn_scales=FLAG, power_of_two=FLAG, gradient=["other", 3], inference=WORD,
        ),
    ),
    weights.Bernoulli: (
        {},
        dict(
            temperature=POSITIVE, rho=[-1.0, NAN, "1", True], prior=[0.0, 1.0, NAN, "1"],
            scale=["other", 0, NAN, True], initial=POSITIVE, clip=POSITIVE, inference=WORD,
            seed=SEED,
        ),
    ),
}  # fmt: skip

CASES = [
    pytest.param(kind, name, value, id=f"{kind.__name__}-{name}-{str(value)[:20]}")
    for kind, (_, wrong) in CLASSES.items()
    for name, values in wrong.items()
    for value in values
]


@pytest.mark.parametrize("kind, name, value", CASES)
def test_a_wrong_argument_is_named(kind, name, value):
    valid = CLASSES[kind][0]
    with pytest.raises((ValueError, TypeError)) as raised:
        kind(**{**valid, name: value})
    message = str(raised.value)
    assert f"`{name}`" in message, message
    written = repr(value) if not isinstance(value, keras.layers.Layer) else value.name
    assert "received" in message and (written in message or str(value) in message), message


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


@pytest.mark.parametrize(
    "count", [pytest.param(5, id="few"), pytest.param(200, id="many", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("kind", CLASSES)
def test_anything_is_taken_or_refused_by_name(kind, count):
    """An argument of any type: it is valid, or the error names it. No other error comes."""
    valid, wrong = CLASSES[kind]

    @settings(max_examples=count, deadline=None, derandomize=True, database=None)
    @given(name=st.sampled_from(sorted(wrong)), value=ANYTHING)
    def check(name, value):
        try:
            kind(**{**valid, name: value})
        except (ValueError, TypeError) as error:
            assert f"`{name}`" in str(error), f"{name}={value!r}: {error}"

    check()


def test_an_unknown_argument_is_named():
    for kind, (valid, _) in CLASSES.items():
        with pytest.raises((ValueError, TypeError), match="no_such_argument"):
            kind(**valid, no_such_argument=1)


@pytest.mark.parametrize("kind", CLASSES)
def test_every_argument_of_our_own_is_tried(kind):
    given = inspect.signature(kind.__init__).parameters.values()
    names = {p.name for p in given if p.kind is not p.VAR_KEYWORD} - {"self"}
    of_keras = {name for name in names if name.split("_")[-1] in ("initializer", "regularizer")}
    known_elsewhere = {"unroll", "zero_output_for_mask"}  # given to Keras's RNN as they are
    assert names - of_keras - known_elsewhere <= set(CLASSES[kind][1])


@pytest.mark.parametrize(
    "shape, dtype, message",
    [
        ((2, 6), "float32", "expected|expects"),
        ((2, 6, 2), "int32", "expects floating-point inputs; received dtype int32"),
        ((2, 6, 3), "float32", "`input_d`"),
    ],
)
def test_data_of_wrong_kinds(shape, dtype, message):
    """The inputs of a layer: rank, dtype, size of the last axis."""
    made = hybrid_lmu.HybridLMU(1, 4, 6, layers.Dense(3), input_d=2)
    with pytest.raises(ValueError, match=message):
        made(np.zeros(shape, dtype))
