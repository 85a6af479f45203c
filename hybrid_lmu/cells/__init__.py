"""Recurrent cells and layers with quantized activity, around any cell of Keras."""

from hybrid_lmu.cells._hybrid_cell import HybridCell
from hybrid_lmu.cells._rnn import HybridRNN
from hybrid_lmu.cells.contract import (
    INPUT,
    Activity,
    Cell,
    Gates,
    Product,
    Products,
    Signal,
)

__all__ = [
    "INPUT",
    "Activity",
    "Cell",
    "Gates",
    "HybridCell",
    "HybridRNN",
    "Product",
    "Products",
    "Signal",
]
