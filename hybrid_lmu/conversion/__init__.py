"""From trained networks to spiking ones.

- `to_spiking` turns the ReLUs of a network into integrate-and-fire neurons. `simulate` runs the
  spiking network, and `search_percentile` tunes its thresholds on validation data.
- `to_hybrid` gives a recurrent network quantized activities.
- `to_keras_lmu` is the way back to keras-lmu.

Each kind of layer has one implementation of `spiking_layer` and `hybrid_layer`, each kind of cell
one of `hybrid_cell`; register your own classes there.
"""

from hybrid_lmu.conversion._activations import ActivationRecord, record_activations
from hybrid_lmu.conversion._early_exit import EXIT_RULES, Exit, early_exit, search_exit
from hybrid_lmu.conversion._histogram import StreamingHistogram
from hybrid_lmu.conversion._hybrid import to_hybrid
from hybrid_lmu.conversion._hybrid_builder import HybridBuilder
from hybrid_lmu.conversion._hybrid_layers import hybrid_cell, hybrid_layer
from hybrid_lmu.conversion._over_time import (
    Accumulate,
    Delay,
    MaxPoolSums,
    PoissonEncoder,
    RepeatSteps,
    Scale,
)
from hybrid_lmu.conversion._replacement import Replacement
from hybrid_lmu.conversion._scaled_tensor import ScaledTensor
from hybrid_lmu.conversion._search import PERCENTILES, OperatingPoint, search_percentile
from hybrid_lmu.conversion._simulation import Simulation, simulate
from hybrid_lmu.conversion._spiking import reset_states, to_spiking
from hybrid_lmu.conversion._spiking_builder import SpikingBuilder
from hybrid_lmu.conversion._spiking_layers import spiking_layer
from hybrid_lmu.conversion._to_keras_lmu import to_keras_lmu

__all__ = [
    "Accumulate",
    "ActivationRecord",
    "Delay",
    "EXIT_RULES",
    "Exit",
    "HybridBuilder",
    "MaxPoolSums",
    "OperatingPoint",
    "PERCENTILES",
    "PoissonEncoder",
    "RepeatSteps",
    "Replacement",
    "Scale",
    "ScaledTensor",
    "Simulation",
    "SpikingBuilder",
    "StreamingHistogram",
    "early_exit",
    "hybrid_cell",
    "hybrid_layer",
    "record_activations",
    "reset_states",
    "search_exit",
    "search_percentile",
    "simulate",
    "spiking_layer",
    "to_hybrid",
    "to_keras_lmu",
    "to_spiking",
]
