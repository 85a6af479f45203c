"""Quantizers: activities as integer counts, and the layer that applies one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hybrid_lmu.quantizers._memoryless import RoundingQuantizer, StochasticQuantizer
from hybrid_lmu.quantizers._sigma_delta import SigmaDeltaQuantizer
from hybrid_lmu.quantizers.contract import Quantizer

if TYPE_CHECKING:
    from hybrid_lmu.quantizers._layer import SigmaDelta

__all__ = [
    "Quantizer",
    "RoundingQuantizer",
    "SigmaDelta",
    "SigmaDeltaQuantizer",
    "StochasticQuantizer",
]


def __getattr__(name):
    # The layer is built on those of `layers`, which use cells, which use the quantizers above.
    if name == "SigmaDelta":
        from hybrid_lmu.quantizers._layer import SigmaDelta

        return SigmaDelta
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
