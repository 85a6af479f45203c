"""Keras's own test of a layer, on every public layer.

`run_layer_test` makes, builds, calls, serializes and trains a layer, symbolically and eagerly,
under mixed precision too. Keras does not export it, so that this file imports from `keras.src`.
"""

import importlib

import keras
import pytest

import hybrid_lmu
from hybrid_lmu import conversion, neurons, weights

testing = pytest.importorskip("keras.src.testing", reason="no test case of Keras")
layers = keras.layers
SEQUENCES = (2, 6, 3)
PACKAGES = [
    *("hybrid_lmu", "hybrid_lmu.cells", "hybrid_lmu.conversion", "hybrid_lmu.layers"),
    *("hybrid_lmu.lmu", "hybrid_lmu.local_learning", "hybrid_lmu.memory", "hybrid_lmu.neurons"),
    *("hybrid_lmu.quantizers", "hybrid_lmu.weights"),
]
LMU = dict(memory_d=2, order=4, theta=6, memory_resolution=4, hidden_resolution=2)


def lmu(hidden_cell, **options):
    return (
        hybrid_lmu.HybridLMU,
        {**LMU, "hidden_cell": hidden_cell, **options},
        SEQUENCES,
        {"expected_output_shape": (2, 5), "supports_masking": True},
    )


def cell(made, outputs):
    """A cell in the layer of Keras."""
    return (layers.RNN, {"cell": made}, SEQUENCES, {"expected_output_shape": (2, outputs)})


def neuron(layer, **options):
    return (layer, options, SEQUENCES, {"expected_output_shape": SEQUENCES})


def quantized(layer, shape, outputs):
    options = {"layer": layer, "kernel_quantizer": weights.StraightThroughSign()}
    return (weights.QuantizedWeights, options, shape, {"expected_output_shape": outputs})


# {name of the class, and what is special: (class, arguments, shape of the input, expectations)}
CASES = {
    "HybridLMU": lmu(layers.Dense(5)),
    "SigmaDelta": neuron(hybrid_lmu.SigmaDelta, activation="relu", resolution=4.0),
    "IF": neuron(neurons.IF),
    "HybridLMU, recurrent": lmu(layers.GRUCell(5)),
    "HybridLMU, counts fed back": lmu(layers.Dense(5), memory_feedback="integrated"),
    "HybridLMU, step by step": lmu(layers.SimpleRNNCell(5), memory_to_memory=True),
    "HybridLMU, dropout": lmu(layers.Dense(5), dropout=0.2, seed=3),
    "HybridLMU, last steps": (
        *lmu(layers.Dense(5), return_last=3)[:3],
        {"expected_output_shape": (2, 3, 5)},
    ),
    "HybridLMUCell": cell(
        hybrid_lmu.HybridLMUCell(2, 4, 6, layers.Dense(5), memory_resolution=4), 5
    ),
    "HybridRNN": (
        hybrid_lmu.HybridRNN,
        {"cell": hybrid_lmu.HybridCell(layers.LSTMCell(5), 4)},
        SEQUENCES,
        {"expected_output_shape": (2, 5)},
    ),
    "HybridCell": cell(hybrid_lmu.HybridCell(layers.GRUCell(5), 4), 5),
    "LegendreMemory": (
        hybrid_lmu.LegendreMemory,
        {"order": 4, "theta": 6, "memory_d": 3},
        SEQUENCES,
        {"expected_output_shape": (2, 12)},
    ),
    "LegendreMemoryCell": cell(hybrid_lmu.LegendreMemoryCell(4, 6, 3), 12),
    "LeakyAverage": (
        hybrid_lmu.LeakyAverage,
        {"time_constant": 3.0},
        SEQUENCES,
        {"expected_output_shape": (2, 3)},
    ),
    "EachStep": (
        hybrid_lmu.EachStep,
        {"layer": layers.Dense(5)},
        SEQUENCES,
        {"expected_output_shape": (2, 6, 5)},
    ),
    "LIF": neuron(neurons.LIF),
    "SRM": neuron(neurons.SRM),
    "Refractory": neuron(neurons.Refractory),
    "SynapticTrace": neuron(neurons.SynapticTrace),
    "IFCell": cell(neurons.IFCell(3), 3),
    "LIFCell": cell(neurons.LIFCell(3), 3),
    "SRMCell": cell(neurons.SRMCell(3), 3),
    "RecurrentSpikingCell": cell(neurons.RecurrentSpikingCell(neurons.LIFCell(3)), 3),
    "RefractoryCell": cell(neurons.RefractoryCell(3), 3),
    "SynapticTraceCell": cell(neurons.SynapticTraceCell(3), 3),
    "QuantizedWeights": quantized(layers.Dense(5), (2, 3), (2, 5)),
    "QuantizedWeights, recurrent": quantized(layers.GRU(5), SEQUENCES, (2, 5)),
    "Accumulate": neuron(conversion.Accumulate),
    "Delay": neuron(conversion.Delay),
    "Scale": neuron(conversion.Scale, scale=2.0),
    "MaxPoolSums": (
        conversion.MaxPoolSums,
        {"layer": layers.MaxPooling2D(2)},
        (2, 5, 4, 4, 3),
        {"expected_output_shape": (2, 5, 2, 2, 3)},
    ),
    "RepeatSteps": (
        conversion.RepeatSteps,
        {"timesteps": 4},
        (2, 3),
        {"expected_output_shape": (2, 4, 3)},
    ),
    "PoissonEncoder": (
        conversion.PoissonEncoder,
        {"timesteps": 4, "seed": 1},
        (2, 3),
        {"expected_output_shape": (2, 4, 3)},
    ),
}

# Bases of classes, and what is no layer over tensors but a part of one.
PARTS = {
    *("Cell", "Quantizer", "WeightQuantizer", "SpikingCell", "SpikingLayer"),
    *("SigmaDeltaQuantizer", "RoundingQuantizer", "StochasticQuantizer"),
    *("Bernoulli", "ScaledBinary", "StraightThroughSign", "SumOfSigmoids"),
    "LocalSpikingNetwork",  # a model
}


def test_every_public_layer_has_a_case():
    public = set()
    for package in map(importlib.import_module, PACKAGES):
        for name in package.__all__:
            value = getattr(package, name)
            if isinstance(value, type) and issubclass(value, layers.Layer):
                public.add(name)
    assert public - PARTS == {case.split(",")[0] for case in CASES}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.broad(3)
def test_contract_of_keras(case):
    kind, options, shape, expected = CASES[case]
    test = testing.TestCase()
    test.setUp()
    try:
        test.run_layer_test(kind, options, input_shape=shape, **expected)
    finally:
        test.tearDown()
