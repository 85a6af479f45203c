"""Callbacks that change a resolution, or another scalar, during training."""

from hybrid_lmu.schedules._after import AfterAnnealing
from hybrid_lmu.schedules._anneal import (
    AnnealResolution,
    GeometricDecay,
    ScheduledVariable,
    resolution_variables,
)
from hybrid_lmu.schedules._bit_budget import BitBudget

__all__ = [
    "AfterAnnealing",
    "AnnealResolution",
    "BitBudget",
    "GeometricDecay",
    "ScheduledVariable",
    "resolution_variables",
]
