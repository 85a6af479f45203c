"""Accounting: bits of activities, products by kind, footprint and energy of any Keras model."""

from hybrid_lmu.accounting.bits import CountStatistics
from hybrid_lmu.accounting.digits import digit_planes, signed_digits
from hybrid_lmu.accounting.energy import PRESETS, EnergyPreset, register_preset
from hybrid_lmu.accounting.keras_layers import record
from hybrid_lmu.accounting.report import (
    Activity,
    ActivityReport,
    activity_report,
    count_ranges,
    record_activity,
)

__all__ = [
    "PRESETS",
    "Activity",
    "ActivityReport",
    "CountStatistics",
    "EnergyPreset",
    "activity_report",
    "count_ranges",
    "record",
    "record_activity",
    "register_preset",
    "digit_planes",
    "signed_digits",
]
