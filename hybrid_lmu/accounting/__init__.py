"""Accounting: bits of activities, products by kind, footprint and energy of any Keras model."""

from hybrid_lmu.accounting import (  # noqa: F401 - they register their rules
    converted,
    low_bit,
    spiking,
)
from hybrid_lmu.accounting.bits import CountStatistics
from hybrid_lmu.accounting.cells import register_cell
from hybrid_lmu.accounting.digits import digit_planes, signed_digits
from hybrid_lmu.accounting.energy import PRESETS, EnergyPreset, register_preset
from hybrid_lmu.accounting.layers import register_layer
from hybrid_lmu.accounting.report import (
    Activity,
    ActivityReport,
    activity_report,
    record_activity,
)

__all__ = [
    "PRESETS",
    "Activity",
    "ActivityReport",
    "CountStatistics",
    "EnergyPreset",
    "activity_report",
    "record_activity",
    "register_cell",
    "register_layer",
    "register_preset",
    "digit_planes",
    "signed_digits",
]
