"""activity_report: bits, products, footprint and energy of a model on data."""

import contextlib
import json
import os
import uuid
from dataclasses import dataclass

import numpy as np

from hybrid_lmu._internal.checks import check_choice
from hybrid_lmu.accounting._energy import PRESETS, baseline_energy, preset_energy
from hybrid_lmu.accounting._footprint import footprint
from hybrid_lmu.accounting._items import ActivityItem, GatesItem, OutputItem, ProductItem
from hybrid_lmu.accounting._recording import recording_of
from hybrid_lmu.accounting._table import summary
from hybrid_lmu.accounting._totals import TOTALS, check_countable, check_grid, valid_steps

_COUNTS = ("dense_macs", "effective_macs", "effective_acs", "strict_acs", "graded_acs",
           "additions", "bit_operations")  # fmt: skip


def activity_report(model, x, batch_size=32, skip=(), *, read_once=False):
    """Run the model over data and report the bits of its activities and the cost of its products.

    Every product with a weight is counted once per position, in the step form of the layer: at
    each step of the sequence, whatever shortcut computes it here. Per weight tensor, with x its
    input and W the weights:

    =============== ===============================================================================
    dense MACs      all products
    effective MACs  x != 0 and W != 0, where x is real
    effective ACs   x != 0 and W != 0, where x is an integer code times a constant: the constant
                    goes into the weight, and the product is n accumulates or fewer
    strict ACs      those of them with x a code in {-1, 0, 1}: one accumulate each
    graded ACs      sum of abs(n) over them: a code of n is n accumulates
    additions       the effective ACs with low-bit weights (`hybrid_lmu.weights`), if all inputs of
                    the weight tensor have one resolution: a count is added, shifted, once for each
                    nonzero signed digit of the weight's code, and nothing is multiplied
    bit operations  effective products times the bits of the input times those of the weight; real
                    inputs and weights of full precision count 32
    =============== ===============================================================================

    What is an integer code: the output of `SigmaDelta`, `HybridCell`, `HybridLMU`, also after
    layers that only move entries (Flatten, Dropout, MaxPooling, ...), and averages over time of
    it; and raw inputs that are integers ``abs(n) <= 15`` in all of the data (spikes, small
    counts; larger integers, such as pixels up to 255, are real). It is checked on the data.
    Everything else is real.

    Not counted: biases; activation functions; normalisation, which is a constant factor at
    inference; embedding look-ups; additions of layers' outputs; products of two activations other
    than in the gates of LSTM and GRU, which are rows of kind ``elementwise``. Masked steps are
    not counted. Layers, and operations of functional models, whose products are left out are named
    in `not_counted`; what the `call` of a model or layer of your own computes is not seen, apart
    from the layers that it calls.

    Args:
        model: a `keras.Model` of any kind.
        x: array or tensor, list or dictionary of them for several inputs, tuple
            ``(inputs, targets)`` or ``(inputs, targets, sample_weight)`` whose rest is ignored;
            or `keras.utils.PyDataset`, `tf.data.Dataset`, DataLoader or generator of batches, each
            inputs or such a tuple. Memory does not grow with the number of samples.
        batch_size: of arrays, at least 1. Default 32.
        skip: names of layers to leave out.
        read_once: whether to count what only an output needs at the steps whose output is read, as
            `hybrid_lmu.deployment` runs a network that is read once. A feed-forward `HybridLMU`
            with ``return_sequences=False`` (or ``return_last=k``) then makes the products of its
            hidden units in the last step (the last k), and those of its memory in every step. What
            recurs is made in every step. Default False: everything in every step.

    Returns:
        `ActivityReport`. The variables of the model are as before.

    Raises:
        ValueError: if a layer with weights is of an unknown class and not skipped, `batch_size` is
            not positive, the data are empty, endless, of parts of different lengths, or hold NaN or
            infinity, or a quantized activity is
            not an integer times 1 / resolution.

    Example:

    >>> model = keras.Sequential([keras.Input((20, 3)), keras.layers.LSTM(8)])
    >>> report = activity_report(model, np.ones((4, 20, 3), "float32"))
    >>> report.totals["dense_macs"]  # 20 steps of 4 * 8 * (3 + 8) + 3 * 8
    7520.0
    """
    recording = recording_of(model, skip, check_choice("read_once", read_once, (True, False)))
    samples, totals = 0, {}
    with recording.lock:  # until the report is made: the next one may use the same recording
        for size, items, arrays in recording.run(x, batch_size, products=True):
            samples += size
            for index, (item, recorded) in enumerate(zip(items, arrays, strict=True)):
                if index not in totals:
                    totals[index] = TOTALS[type(item)](item)
                totals[index].update(recorded)
        return _report(model, recording, samples, list(totals.values()))


def _report(model, recording, samples, totals):
    def of(*kinds):
        return [total for total in totals if isinstance(total.item, kinds)]

    neurons, made = of(ActivityItem) + of(OutputItem), of(ProductItem, GatesItem)
    activities = [total.row() for total in of(ActivityItem)]
    products = [total.row(samples) for total in made]
    entries = sum(total.entries for total in neurons)
    updates = entries / samples

    held = [total.row() for total in of(ActivityItem) if total.item.held]
    constants = {  # of a layer that is called twice, once
        (total.item.layer.split("#")[0], total.item.name.split("/")[-1]): total.item.weight
        for total in of(ProductItem)
        if total.item.constant
    }
    bytes_ = footprint(model, recording.copy, constants.values(), recording.state_entries, held)
    sums = {key: float(sum(row[key] for row in products)) for key in _COUNTS}
    return ActivityReport(
        samples=samples,
        timesteps=recording.steps,
        activities=activities,
        products=products,
        totals={**sums, "neuron_updates": updates, **_means(activities)},
        footprint=bytes_,
        neurobench=_neurobench(products, bytes_, neurons, entries),
        energy=[preset_energy(preset, products, updates) for preset in PRESETS.values()]
        + [baseline_energy(products)],
        not_counted=dict(recording.not_counted),
        read_once=recording.read_once,
    )


def record_activity(model, x, batch_size=32):
    """Return the counts of all quantized activities, for data small enough to keep them all.

    Args:
        model, x, batch_size: see `activity_report`.

    Returns:
        ``{name: Activity}`` with `counts`, int64 [samples, time, neurons] (masked steps included),
        and `resolution`, a number or one per neuron. The counts of recurrent layers are those of a
        second run, but for a `HybridLMU` that computes all steps at once; with random initial
        errors they differ from the first.

    Raises:
        ValueError: as `activity_report`, and if the batches have sequences of different lengths.
    """
    parts = {}
    for _, items, arrays in recording_of(model).run(x, batch_size):
        for item, recorded in zip(items, arrays, strict=True):
            if isinstance(item, ActivityItem):
                check_grid(item, float(recorded["error"]), recorded["resolution"])
                counts = check_countable(item, recorded["counts"])
                counts = np.rint(counts).astype("int64")
                parts.setdefault(item.name, ([], recorded["resolution"]))[0].append(counts)
    for name, (counts, _) in parts.items():
        lengths = sorted({part.shape[1] for part in counts})
        if len(lengths) > 1:
            raise ValueError(
                f"Activity {name!r} must have sequences of one length; received lengths {lengths}."
            )
    return {
        name: Activity(np.concatenate(counts), resolution)
        for name, (counts, resolution) in parts.items()
    }


def count_ranges(model, x, batch_size=32):
    """Simulate every step and return the least and the largest count of each neuron.

    Args:
        model, x, batch_size: see `activity_report`.

    Returns:
        ``{path: (low, high)}``, arrays of integers [neurons], over all samples and steps that are
        not masked. `path` is the path of the variable with the resolution of the activity;
        activities without such a variable are left out.
    """
    ranges, recording = {}, recording_of(model)
    with recording.lock:
        for _, items, arrays in recording.run(x, batch_size):
            for item, recorded in zip(items, arrays, strict=True):
                if not isinstance(item, ActivityItem) or item.variable is None:
                    continue
                counts = check_countable(item, valid_steps(recorded))
                if len(counts):
                    path = recording.source_path(item.variable)
                    # Rounded last: they are fewer then.
                    least, most = (np.rint(f(0)).astype("int64") for f in (counts.min, counts.max))
                    low, high = ranges.get(path, (least, most))
                    ranges[path] = np.minimum(low, least), np.maximum(high, most)
    return ranges


@dataclass(frozen=True)
class Activity:
    """Counts n, int64 [samples, time, neurons], of a quantized activity y = n / resolution."""

    counts: np.ndarray
    resolution: np.ndarray


@dataclass(frozen=True)
class ActivityReport:
    """What `activity_report` found; all products and energies are per sample (whole sequence).

    Attributes:
        samples, timesteps: size of the data; the longest sequence.
        activities: one dictionary per quantized activity (see `hybrid_lmu.accounting._statistics`).
        products: one dictionary per weight tensor and kind of input, plus gates.
        totals: sums of the products, and means over the quantized activities (None without any):
            each activity weighs the same.
        footprint: bytes.
        neurobench: the same under NeuroBench's names. Unlike the rows, its ACs are by NeuroBench's
            own rule, on integer codes: all inputs of the weight tensor in {-1, 0, 1}; all other
            products are MACs.
        energy: one dictionary per preset, the last being the bit-matched baseline.
        not_counted: ``{layer: reason}``.
        read_once: the argument of `activity_report`.
    """

    samples: int
    timesteps: int
    activities: list
    products: list
    totals: dict
    footprint: dict
    neurobench: dict
    energy: list
    not_counted: dict
    read_once: bool = False

    def to_dict(self):
        """Return everything as dictionaries, lists, numbers and strings."""
        return {
            "unit": "per sample (whole sequence)",
            "samples": self.samples,
            "timesteps": self.timesteps,
            "activities": [dict(row) for row in self.activities],
            "products": [dict(row) for row in self.products],
            "totals": dict(self.totals),
            "neurobench": dict(self.neurobench),
            "footprint": dict(self.footprint),
            "energy": [dict(row) for row in self.energy],
            "not_counted": dict(self.not_counted),
            "read_once": self.read_once,
        }

    def to_json(self, path):
        """Write `to_dict()` to a file; an existing file is replaced only by a whole new one."""
        path = os.fspath(path)
        temporary = f"{path}.{uuid.uuid4().hex}.tmp"
        try:
            with open(temporary, "x", encoding="utf-8") as file:
                json.dump(self.to_dict(), file, indent=2)
                file.write("\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.remove(temporary)
            raise

    def summary(self):
        """Return readable tables."""
        return summary(self)

    def __str__(self):
        return self.summary()


def _means(activities):
    keys = ("activity_bits", "significant_bits", "share_of_zeros")
    if not activities:
        return dict.fromkeys(keys)
    return {key: float(np.mean([row[key] for row in activities])) for key in keys}


def _neurobench(products, bytes_, neurons, entries):
    effective = [row["effective_macs"] + row["effective_acs"] for row in products]
    acs = sum(e for e, row in zip(effective, products, strict=True) if row["ternary_input"])
    # A weight that meets several signals, or stands in several calls, counts once.
    weights = {(row["layer"].split("#")[0], row["name"].split("/")[-1]): row for row in products}
    size = sum(row["weights"] for row in weights.values())
    nonzero = sum(row["nonzero_weights"] for row in weights.values())
    return {
        "footprint": bytes_["stored_bytes"],
        "parameter_count": bytes_["parameters"],
        "connection_sparsity": 1.0 - nonzero / size if size else 0.0,
        "activation_sparsity": sum(total.zeros for total in neurons) / entries if entries else 0.0,
        "synaptic_operations": {
            "Effective_MACs": float(sum(effective) - acs),
            "Effective_ACs": float(acs),
            "Dense": float(sum(row["dense_macs"] for row in products)),
        },
    }
