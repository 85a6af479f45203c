"""The hybrid-spiking Legendre Memory Unit, as a cell and as a layer."""

from hybrid_lmu.lmu._cell import HybridLMUCell
from hybrid_lmu.lmu._layer import HybridLMU

__all__ = ["HybridLMU", "HybridLMUCell"]
