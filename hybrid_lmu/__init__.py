"""Hybrid-spiking sequence models in Keras."""

from hybrid_lmu import conversion, local_learning, neurons, weights
from hybrid_lmu.accounting import ActivityReport, activity_report, record_activity
from hybrid_lmu.cells._hybrid_cell import HybridCell
from hybrid_lmu.cells._rnn import HybridRNN
from hybrid_lmu.layers import EachStep, LeakyAverage, full_simulation
from hybrid_lmu.lmu._cell import HybridLMUCell
from hybrid_lmu.lmu._layer import HybridLMU
from hybrid_lmu.memory._discrete_system import DiscreteSystem
from hybrid_lmu.memory._memory import LegendreMemory, LegendreMemoryCell
from hybrid_lmu.quantizers import (
    Quantizer,
    RoundingQuantizer,
    SigmaDelta,
    SigmaDeltaQuantizer,
    StochasticQuantizer,
)
from hybrid_lmu.schedules import (
    AfterAnnealing,
    AnnealResolution,
    BitBudget,
    GeometricDecay,
    ScheduledVariable,
    resolution_variables,
)

__version__ = "0.1.0"

__all__ = [
    "ActivityReport",
    "AfterAnnealing",
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
    "Quantizer",
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
