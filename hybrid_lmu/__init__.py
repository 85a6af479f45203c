"""Hybrid-spiking sequence models in Keras."""

from hybrid_lmu import conversion, local_learning, neurons, weights
from hybrid_lmu.accounting import ActivityReport, activity_report, record_activity
from hybrid_lmu.cells._hybrid_cell import HybridCell
from hybrid_lmu.cells._rnn import HybridRNN
from hybrid_lmu.layers._each_step import EachStep
from hybrid_lmu.layers._full_simulation import full_simulation
from hybrid_lmu.layers._readout import LeakyAverage
from hybrid_lmu.lmu._cell import HybridLMUCell
from hybrid_lmu.lmu._layer import HybridLMU
from hybrid_lmu.memory._discrete_system import DiscreteSystem
from hybrid_lmu.memory._memory import LegendreMemory, LegendreMemoryCell
from hybrid_lmu.quantizers._layer import SigmaDelta
from hybrid_lmu.quantizers._memoryless import RoundingQuantizer, StochasticQuantizer
from hybrid_lmu.quantizers._sigma_delta import SigmaDeltaQuantizer
from hybrid_lmu.schedules._anneal import (
    AnnealResolution,
    GeometricDecay,
    ScheduledVariable,
    resolution_variables,
)
from hybrid_lmu.schedules._bit_budget import BitBudget

__version__ = "0.1.0"

__all__ = [
    "ActivityReport",
    "activity_report",
    "record_activity",
    "AnnealResolution",
    "BitBudget",
    "DiscreteSystem",
    "EachStep",
    "GeometricDecay",
    "HybridCell",
    "HybridLMU",
    "HybridLMUCell",
    "HybridRNN",
    "LeakyAverage",
    "LegendreMemory",
    "LegendreMemoryCell",
    "ScheduledVariable",
    "RoundingQuantizer",
    "SigmaDelta",
    "SigmaDeltaQuantizer",
    "StochasticQuantizer",
    "conversion",
    "full_simulation",
    "local_learning",
    "neurons",
    "resolution_variables",
    "weights",
]
