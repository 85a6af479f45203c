"""The hybrid-spiking Legendre Memory Unit, as a cell and as a layer."""

from hybrid_lmu.lmu._cell import HybridLMUCell
from hybrid_lmu.lmu._layer import HybridLMU
from hybrid_lmu.lmu._plan import Plan, Way

__all__ = ["HybridLMU", "HybridLMUCell", "Plan", "Way"]
