"""Footprint and energy: bytes and joules by hand, presets, the quantized baseline."""

import math

import numpy as np
import pytest

from hybrid_lmu.accounting import (
    PRESETS,
    EnergyPreset,
    activity_report,
    register_preset,
)
from hybrid_lmu.accounting._energy import access_energy, baseline_energy, preset_energy
from hybrid_lmu.accounting._footprint import tensor_bytes
from tests.hybrid_lmu.accounting.accounting_helpers import X, hybrid


@pytest.fixture(scope="module")
def model():
    return hybrid()


@pytest.fixture(scope="module")
def report(model):
    return activity_report(model, X)


def test_packed_bytes():
    binary = np.where(np.arange(1000) % 2, 0.3, -0.3).astype("float32")
    assert tensor_bytes(binary) == (4000, 125 + 8)
    ternary = np.resize(np.array([-1, 0, 1], "float32"), 1000)
    assert tensor_bytes(ternary) == (4000, 250 + 12)
    dense = np.random.default_rng(0).random(1000).astype("float32")
    assert tensor_bytes(dense) == (4000, 4000)
    assert tensor_bytes(np.zeros(1, "float32")) == (4, 4)


def test_footprint_of_the_hybrid_lmu(model, report):
    # Kernel 2, hidden (5 x 5) + 5 x 6 + 5, head 15 + 3, two resolutions; A, B are constants.
    weights = 2 + (4 + 2) * 5 + 5 * 5 + 5 + 15 + 3 + 2
    assert report.footprint["parameters"] == weights == model.count_params()
    assert report.footprint["stored_bytes"] == 4 * (weights + 16 + 4)
    # Hidden output and error, memory and error.
    assert report.footprint["state_bytes"] == 4 * (5 + 5 + 4 + 4)
    saved = 5 * (32 - report.activities[1]["provisioned_bits"]) // 8
    assert report.footprint["packed_state_bytes"] == 72 - saved


def row(**changes):
    return {
        "weights": 1000,
        "outputs": 10,
        "dense_macs": 1000.0,
        "effective_macs": 0.0,
        "effective_acs": 0.0,
        "graded_acs": 0.0,
        "input_resolution": None,
        "input_bits": 8,
        "weight_bits": 32,
    } | changes


def test_access_energy():
    kilo = 1024
    joules = [access_energy(s * kilo) for s in (0, 8, 20, 32, 528, 1024, 2016)]
    assert joules == pytest.approx([1e-11, 1e-11, 1.5e-11, 2e-11, 6e-11, 1e-10, 1.8e-10])


def test_preset_energies_by_hand():
    rows = [
        row(effective_macs=100.0),
        row(effective_acs=50.0, graded_acs=80.0, input_resolution=2.0),
    ]
    fp32 = preset_energy(PRESETS["horowitz-fp32"], rows, updates=7)
    assert fp32["compute_joules"] == pytest.approx(100 * 4.6e-12 + 80 * 0.9e-12)
    # All of these memories are below 8 kB: 10 pJ an access.
    reads = 100 * 2 + 1000 / 100
    assert fp32["memory_joules"] == pytest.approx((reads + 50 * 3) * 1e-11)
    int8 = preset_energy(PRESETS["horowitz-int8"], rows, updates=7)
    assert int8["compute_joules"] == pytest.approx(100 * 0.23e-12 + 80 * 0.03e-12)
    assert int8["memory_joules"] == pytest.approx(fp32["memory_joules"] / 4)
    loihi = preset_energy(PRESETS["loihi"], rows, updates=7)
    assert loihi["compute_joules"] == pytest.approx(180 * 27.1e-12 + 7 * 81e-12)
    assert loihi["memory_joules"] is None
    cpu = preset_energy(PRESETS["cpu-i7-4960x"], rows, updates=7)
    assert cpu["compute_joules"] == pytest.approx((2000 + 7) * 8.6e-9)


def test_the_baseline_multiplies_at_the_bits_of_the_activity():
    eight, two = (baseline_energy([row(input_bits=bits)]) for bits in (8, 2))
    assert eight["compute_joules"] == pytest.approx(1000 * (0.2e-12 + 0.06e-12))
    assert two["compute_joules"] == pytest.approx(1000 * (0.05e-12 + 0.0375e-12))
    accesses = 1000 * (8 + 2) / 32 + 10 * 10 / 32
    assert two["memory_joules"] == pytest.approx(accesses * 1e-11)


def test_baseline_bits_are_the_provisioned_bits(report):
    rows = {r["name"]: r for r in report.products}
    memory, hidden = report.activities
    assert rows["lmu/hidden kernel (memory)"]["input_bits"] == memory["provisioned_bits"]
    assert rows["head/kernel"]["input_bits"] == hidden["provisioned_bits"]
    assert rows["lmu/memory A"]["input_bits"] == 8


def test_presets_print_source_and_node_and_can_be_added(report):
    for preset in PRESETS.values():
        text = str(preset)
        assert preset.source in text and preset.precision in text
        assert preset.process_nm is None or f"{preset.process_nm} nm" in text
    assert [entry["preset"] for entry in report.energy] == [*PRESETS, "quantized-ann"]
    own = EnergyPreset("own", "measured by me", 7, "int4", 1e-15, 1e-16)
    try:
        assert register_preset(own) is own
        with pytest.raises(ValueError, match="'own' exists already"):
            register_preset(own)
    finally:
        PRESETS.pop("own", None)
    assert math.isclose(PRESETS["loihi"].ac, 27.1e-12)
