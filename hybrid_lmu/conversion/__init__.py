"""From trained networks to spiking ones.

`to_spiking` makes integrate-and-fire neurons of the ReLUs of a network, which `simulate` runs and
`search_percentile` tunes on validation data; `to_hybrid` gives a recurrent network quantized
activities; `to_keras_lmu` is the way back to keras-lmu.
"""

from hybrid_lmu.conversion._activations import ActivationRecord, record_activations
from hybrid_lmu.conversion._histogram import StreamingHistogram
from hybrid_lmu.conversion._hybrid import to_hybrid
from hybrid_lmu.conversion._over_time import (
    Accumulate,
    Delay,
    MaxPoolSums,
    PoissonEncoder,
    RepeatSteps,
    Scale,
)
from hybrid_lmu.conversion._rules import register_rule
from hybrid_lmu.conversion._search import (
    EXIT_RULES,
    PERCENTILES,
    OperatingPoint,
    search_exit,
    search_percentile,
)
from hybrid_lmu.conversion._simulation import Exit, Simulation, early_exit, simulate
from hybrid_lmu.conversion._spiking import reset_states, to_spiking
from hybrid_lmu.conversion._to_keras_lmu import to_keras_lmu

__all__ = [
    "Accumulate",
    "ActivationRecord",
    "Delay",
    "EXIT_RULES",
    "Exit",
    "MaxPoolSums",
    "OperatingPoint",
    "PERCENTILES",
    "PoissonEncoder",
    "RepeatSteps",
    "Scale",
    "Simulation",
    "StreamingHistogram",
    "early_exit",
    "record_activations",
    "register_rule",
    "reset_states",
    "search_exit",
    "search_percentile",
    "simulate",
    "to_hybrid",
    "to_keras_lmu",
    "to_spiking",
]
