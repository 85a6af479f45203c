"""Hybrid-spiking sequence models in Keras."""

from hybrid_lmu import conversion, local_learning, neurons, weights
from hybrid_lmu.accounting import ActivityReport, activity_report, record_activity
from hybrid_lmu.annealing import (
    AnnealResolution,
    GeometricDecay,
    ScheduledVariable,
    resolution_variables,
)
from hybrid_lmu.bit_budget import BitBudget
from hybrid_lmu.discrete_system import DiscreteSystem
from hybrid_lmu.each_step import EachStep
from hybrid_lmu.hybrid_cell import HybridCell
from hybrid_lmu.lmu import HybridLMU
from hybrid_lmu.lmu_cell import HybridLMUCell
from hybrid_lmu.memory import LegendreMemory, LegendreMemoryCell
from hybrid_lmu.quantizer import SigmaDeltaQuantizer
from hybrid_lmu.readout import LeakyAverage
from hybrid_lmu.recurrent import HybridRNN
from hybrid_lmu.rounding import RoundingQuantizer, StochasticQuantizer
from hybrid_lmu.sigma_delta import SigmaDelta
from hybrid_lmu.simulation import full_simulation

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
