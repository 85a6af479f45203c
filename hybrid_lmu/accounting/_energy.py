"""Energy of a report under named presets. Every figure is an estimate from published tables.

A preset charges, per sample::

    compute = MACs * mac + ACs * ac + neuron updates * update

with the effective MACs and the *graded* ACs: a count of n costs n accumulates. Presets of devices
that do not skip zeros (``event_driven=False``) charge ``mac`` for every dense product instead.
The neuron updates are those of quantized activities and of outputs of non-linear layers.

Memory, after Lemaire et al.: an event of an integer code reads one weight, and reads and writes an
accumulator; a MAC with a real input reads a weight and the input, and accumulates in a register,
each output being written once; a gate product reads two numbers and writes one. An access costs
what a memory of the size of the whole tensor costs (`access_energy`), in proportion to its width,
that of the preset. Presets measured on a whole chip contain its memory: their figure is None.

The *bit-matched* baseline is the same network as a quantized, dense, non-spiking one: each dense
product is an integer multiply of a ``b``-bit activity (its provisioned bits; 8 for a real one) and
a ``c``-bit weight (8, or the bits of a low-bit one). From the 45 nm integer figures, 0.2 pJ for an
8-bit multiply and 0.03 pJ for an 8-bit addition, one quadratic and one linear in the bits::

    baseline = sum over weight tensors of  dense MACs * (0.2 pJ * c b / 64 + 0.03 pJ * (c + b) / 8)

and memory as above for a real input, with accesses of c, b and c + b bits.
"""

from dataclasses import dataclass

import numpy as np

_HOROWITZ = (
    "M. Horowitz, Computing's energy problem (and what we can do about it), ISSCC 2014; "
    "accesses: Lemaire et al., ICONIP 2022"
)
_LEMAIRE = (
    "E. Lemaire et al., An analytical estimation of spiking neural networks energy efficiency, "
    "ICONIP 2022"
)
_DEGNAN = (
    "B. Degnan, B. Marr, J. Hasler, Assessing trends in performance per watt for signal processing "
    "applications, IEEE TVLSI 24(1), 2016"
)
_DAVIES = "M. Davies et al., Loihi, IEEE Micro 38(1), 2018; synop 23.6 + 3.5 pJ"
_HOEPPNER = (
    "S. Hoeppner et al., Dynamic power management for neuromorphic many-core systems, "
    "IEEE TCAS-I 66(8), 2019, arXiv:1903.08941"
)

_ACCESS_BYTES = np.array([8, 32, 1024]) * 1024.0
_ACCESS_JOULES = np.array([10.0, 20.0, 100.0]) * 1e-12


@dataclass(frozen=True)
class EnergyPreset:
    """Energies of one technology; joules, `process_nm` in nanometres (None: not one process).

    `access_bits` is the width of a memory access under the table of Lemaire et al. or None where
    the figures contain the memory. `event_driven` says whether a zero input costs nothing.
    """

    name: str
    source: str
    process_nm: int | None
    precision: str
    mac: float
    ac: float
    update: float = 0.0
    access_bits: int | None = None
    event_driven: bool = True

    def __str__(self):
        node = "several processes" if self.process_nm is None else f"{self.process_nm} nm"
        return f"{self.name} ({node}, {self.precision}): {self.source}"


PRESETS = {}


def register_preset(preset):
    """Add an `EnergyPreset` to the named presets that every report prints; return it.

    Raises:
        ValueError: if the name is taken.
    """
    if preset.name in PRESETS:
        raise ValueError(f"An energy preset named {preset.name!r} exists already.")
    PRESETS[preset.name] = preset
    return preset


for _preset in (
    EnergyPreset("horowitz-fp32", _HOROWITZ, 45, "float32", 4.6e-12, 0.9e-12, access_bits=32),
    EnergyPreset("horowitz-fp16", _HOROWITZ, 45, "float16", 1.5e-12, 0.4e-12, access_bits=16),
    EnergyPreset("horowitz-int8", _HOROWITZ, 45, "int8", 0.23e-12, 0.03e-12, access_bits=8),
    EnergyPreset("lemaire-int32", _LEMAIRE, 45, "int32", 3.2e-12, 0.1e-12, access_bits=32),
    EnergyPreset("loihi", _DAVIES, 14, "measured synop", 27.1e-12, 27.1e-12, 81e-12),
    EnergyPreset("spinnaker", _HOEPPNER, 130, "measured synop", 13.3e-9, 13.3e-9, 26e-9),
    EnergyPreset("spinnaker2", _HOEPPNER, 28, "measured synop", 450e-12, 450e-12, 2.19e-9),
    EnergyPreset(
        "cpu-i7-4960x", _DEGNAN, 22, "measured MAC", 8.6e-9, 8.6e-9, 8.6e-9, event_driven=False
    ),
    EnergyPreset(
        "gpu-titan-black", _DEGNAN, 28, "measured MAC", 0.3e-9, 0.3e-9, 0.3e-9, event_driven=False
    ),
    EnergyPreset(
        "arm-cortex-a", _DEGNAN, None, "measured MAC", 0.9e-9, 0.9e-9, 0.9e-9, event_driven=False
    ),
):
    register_preset(_preset)


def access_energy(size):
    """Return joules of a 32-bit access to a memory of `size` bytes.

    Linear between 10 pJ at 8 kB, 20 pJ at 32 kB and 100 pJ at 1 MB; constant below 8 kB and on the
    last line above 1 MB.
    """
    size = np.asarray(size, dtype="float64")
    inside = np.interp(size, _ACCESS_BYTES, _ACCESS_JOULES)
    slope = np.diff(_ACCESS_JOULES)[-1] / np.diff(_ACCESS_BYTES)[-1]
    return float(inside + slope * np.maximum(size - _ACCESS_BYTES[-1], 0.0))


def preset_energy(preset, products, updates):
    """Return one entry of a report's ``energy`` list.

    Args:
        preset: an `EnergyPreset`.
        products: the rows of the report (dictionaries), per sample.
        updates: neuron updates per sample.
    """
    if preset.event_driven:
        macs = sum(row["effective_macs"] for row in products)
        acs = sum(row["graded_acs"] for row in products)
    else:
        macs, acs = sum(row["dense_macs"] for row in products), 0.0
    compute = macs * preset.mac + acs * preset.ac + updates * preset.update
    memory = None
    if preset.access_bits is not None:
        bits = preset.access_bits
        memory = sum(
            _event_memory(row, bits)
            if row["input_resolution"] is not None
            else _dense_memory(row, row["effective_macs"], bits, bits, bits)
            for row in products
        )
    return _entry(preset.name, preset.process_nm, preset.source, preset.precision, compute, memory)


def baseline_energy(products):
    """Return the bit-matched quantized-network baseline as one entry of the ``energy`` list."""
    compute = memory = 0.0
    weights = "low-bit" if any(row["weight_bits"] < 8 for row in products) else "8-bit"
    for row in products:
        bits, macs, weight = row["input_bits"], row["dense_macs"], min(8, row["weight_bits"])
        compute += macs * (0.2e-12 * weight * bits / 64 + 0.03e-12 * (weight + bits) / 8)
        memory += _dense_memory(row, macs, weight, bits, weight + bits)
    return _entry(
        "quantized-ann",
        45,
        _HOROWITZ,
        f"bit-matched baseline: dense, provisioned bits x {weights} weights",
        compute,
        memory,
    )


def _access(entries, bits):
    """Joules of an access of `bits` bits to a tensor of `entries` of them."""
    return access_energy(entries * bits / 8) * bits / 32


def _event_memory(row, bits):
    weights, accumulators = _access(row["weights"], bits), _access(row["outputs"], bits)
    return row["effective_acs"] * (weights + 2 * accumulators)


def _dense_memory(row, macs, weight_bits, input_bits, output_bits):
    if not row["weights"]:
        return macs * (2 * _access(0, input_bits) + _access(0, output_bits))
    inputs = row["weights"] / row["outputs"]
    reads = macs * (_access(row["weights"], weight_bits) + _access(inputs, input_bits))
    writes = row["dense_macs"] / inputs
    return reads + writes * _access(row["outputs"], output_bits)


def _entry(name, process, source, precision, compute, memory):
    return {
        "preset": name,
        "process_nm": process,
        "source": source,
        "precision": precision,
        "compute_joules": float(compute),
        "memory_joules": None if memory is None else float(memory),
        "total_joules": float(compute + (memory or 0.0)),
    }
