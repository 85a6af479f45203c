"""Small layers around a recurrent network: steps, readouts, whole simulations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hybrid_lmu.layers._each_step import EachStep
from hybrid_lmu.layers._readout import LeakyAverage

if TYPE_CHECKING:
    from hybrid_lmu.layers._full_simulation import full_simulation

__all__ = ["EachStep", "LeakyAverage", "full_simulation"]


def __getattr__(name):
    # `full_simulation` knows the layers of `lmu` and `weights`, which are built on those above.
    if name == "full_simulation":
        from hybrid_lmu.layers._full_simulation import full_simulation

        return full_simulation
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
