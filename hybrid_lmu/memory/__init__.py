"""The memory of a Legendre Memory Unit: a linear system that remembers a window of its input."""

from hybrid_lmu.memory import legendre
from hybrid_lmu.memory._chunks import length as chunk_length
from hybrid_lmu.memory._discrete_system import DiscreteSystem
from hybrid_lmu.memory._memory import LegendreMemory, LegendreMemoryCell

__all__ = ["DiscreteSystem", "LegendreMemory", "LegendreMemoryCell", "chunk_length", "legendre"]
