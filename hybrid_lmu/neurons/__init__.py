"""Spiking neurons: cells, layers over whole sequences, and the gradients they train with."""

from hybrid_lmu.neurons import surrogates
from hybrid_lmu.neurons.integrate_and_fire import IF, IFCell
from hybrid_lmu.neurons.leaky import LIF, LIFCell
from hybrid_lmu.neurons.refractory import Refractory, RefractoryCell
from hybrid_lmu.neurons.spike_response import SRM, SRMCell
from hybrid_lmu.neurons.surrogates import ArcTan, Boxcar, Sigmoid, Surrogate
from hybrid_lmu.neurons.synaptic_trace import SynapticTrace, SynapticTraceCell

__all__ = [
    "ArcTan",
    "Boxcar",
    "IF",
    "IFCell",
    "LIF",
    "LIFCell",
    "Refractory",
    "RefractoryCell",
    "SRM",
    "SRMCell",
    "Sigmoid",
    "Surrogate",
    "SynapticTrace",
    "SynapticTraceCell",
    "surrogates",
]
