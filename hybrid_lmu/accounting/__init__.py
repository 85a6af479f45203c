"""Accounting: bits of activities, products by kind, footprint and energy of any Keras model."""

from hybrid_lmu.accounting._energy import PRESETS, EnergyPreset, baseline_energy, register_preset
from hybrid_lmu.accounting._keras_layers import record
from hybrid_lmu.accounting._report import (
    Activity,
    ActivityReport,
    activity_report,
    count_ranges,
    record_activity,
)
from hybrid_lmu.accounting._statistics import CountStatistics, digit_planes, signed_digits

__all__ = [
    "PRESETS",
    "Activity",
    "ActivityReport",
    "CountStatistics",
    "EnergyPreset",
    "activity_report",
    "baseline_energy",
    "count_ranges",
    "record",
    "record_activity",
    "register_preset",
    "digit_planes",
    "signed_digits",
]
