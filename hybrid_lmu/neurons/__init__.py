"""Spiking neurons: cells, layers over whole sequences, and the gradients they train with."""

from hybrid_lmu.neurons import surrogates
from hybrid_lmu.neurons._cell import SpikingCell, SpikingLayer
from hybrid_lmu.neurons._integrate_and_fire import IF, IFCell
from hybrid_lmu.neurons._leaky import LIF, LIFCell
from hybrid_lmu.neurons._losses import (
    CountCrossentropy,
    CountMeanSquaredError,
    RateCrossentropy,
    count_accuracy,
)
from hybrid_lmu.neurons._recurrent import RecurrentSpikingCell
from hybrid_lmu.neurons._refractory import Refractory, RefractoryCell
from hybrid_lmu.neurons._spike_response import SRM, SRMCell
from hybrid_lmu.neurons._synaptic_trace import SynapticTrace, SynapticTraceCell
from hybrid_lmu.neurons.surrogates import (
    ArcTan,
    Boxcar,
    FastSigmoid,
    FunctionSurrogate,
    Sigmoid,
    Surrogate,
)

__all__ = [
    "ArcTan",
    "Boxcar",
    "CountCrossentropy",
    "CountMeanSquaredError",
    "FastSigmoid",
    "FunctionSurrogate",
    "IF",
    "IFCell",
    "LIF",
    "LIFCell",
    "RateCrossentropy",
    "RecurrentSpikingCell",
    "Refractory",
    "RefractoryCell",
    "SRM",
    "SRMCell",
    "Sigmoid",
    "SpikingCell",
    "SpikingLayer",
    "Surrogate",
    "SynapticTrace",
    "SynapticTraceCell",
    "count_accuracy",
    "surrogates",
]
