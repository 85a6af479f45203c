"""Tables of one run: its activities, products, energy, environment and options."""

from evaluation.runs import Run
from evaluation.tables import Table, joules, number, percent

ACTIVITY_COLUMNS = ("activity", "resolution", "neurons", "provisioned bits", "activity bits",
                    "significant bits", "entropy bits", "zeros", "mean |count|",
                    "counts")  # fmt: skip
PRODUCT_COLUMNS = ("product", "kind", "input resolution", "weights", "dense MACs",
                   "effective MACs", "effective ACs", "strict ACs", "graded ACs")  # fmt: skip
ENERGY_COLUMNS = ("preset", "process", "precision", "compute", "memory", "total", "source")
SUMS = ("weights", "dense_macs", "effective_macs", "effective_acs", "strict_acs", "graded_acs")


def activities(run: Run) -> Table:
    """One row for each quantized activity."""
    rows = [
        (
            a.name, number(a.resolution), number(a.neurons), number(a.provisioned_bits),
            number(a.activity_bits), number(a.significant_bits), number(a.entropy_bits),
            percent(a.share_of_zeros), number(a.mean_abs_count),
            f"{number(a.count_min)} to {number(a.count_max)}",
        )
        for a in run.activity.activities
    ]  # fmt: skip
    return Table(
        ACTIVITY_COLUMNS, rows, "Activities",
        "Activity bits: log2(range + 1) per neuron, averaged. Significant bits: mean bit length of "
        "|count|, 0 for a zero. Entropy: bits per neuron and step.",
    )  # fmt: skip


def products(run: Run) -> Table:
    """One row for each weight tensor and element-wise product, then their sums."""
    listed = run.activity.products
    rows = [
        (p.name, p.kind, number(p.input_resolution), *(number(getattr(p, key)) for key in SUMS))
        for p in listed
    ]
    if listed:
        sums = (sum(getattr(p, key) or 0 for p in listed) for key in SUMS)
        rows.append(("sum", "", "", *map(number, sums)))
    return Table(
        PRODUCT_COLUMNS, rows, "Products",
        f"Operations {run.activity.unit}, {number(run.activity.timesteps)} steps, mean of "
        f"{number(run.activity.samples)} samples. Biases and activation functions excluded.",
    )  # fmt: skip


def energy(run: Run) -> Table:
    """One row for each energy preset, with its process node, precision and source."""
    rows = [
        (
            e.preset, f"{number(e.process_nm)} nm" if e.process_nm else number(None),
            e.precision or number(None), joules(e.compute_joules), joules(e.memory_joules),
            joules(e.total_joules), e.source,
        )
        for e in run.activity.energy
    ]  # fmt: skip
    return Table(
        ENERGY_COLUMNS, rows, "Energy per sample",
        "Estimates from published constants, not measurements. A dash: no such part in the preset.",
    )  # fmt: skip


def environment(run: Run) -> Table:
    """Where, when and with which versions the run was made."""
    record, rows = run.record, []
    for key, value in (record.environment or {}).items():
        if isinstance(value, dict):
            rows += [(k.replace("_", "-"), str(v)) for k, v in value.items() if v is not None]
        else:
            rows.append((key, str(value)))
    facts = {
        "units": number(record.units),
        "parameters": number(record.parameters),
        "non-trainable": number(record.non_trainable),
        "best epoch": number(None if record.best_epoch is None else record.best_epoch + 1),
        "training time": number(None) if record.seconds is None else f"{record.seconds:,.0f} s",
    }
    rows += [(name, text) for name, text in facts.items() if text != number(None)]
    return Table(("fact", "value"), rows, "Environment")


def options(run: Run) -> Table:
    """The options of the run."""
    return Table(("option", "value"), [(k, str(v)) for k, v in run.config.items()], "Options")
