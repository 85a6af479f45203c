"""Tables of the report, as data: a title, column heads, rows of text, a note for the reader."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Table:
    title: str
    columns: tuple
    rows: list
    note: str = ""


def number(value, digits=3):
    """Text of a number: thousands separated, small ones with significant digits, dash if absent."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if float(value).is_integer() and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def joules(value):
    """Text of an energy with a unit between pJ and J."""
    if value is None:
        return "–"
    for scale, unit in ((1, "J"), (1e-3, "mJ"), (1e-6, "µJ"), (1e-9, "nJ")):
        if abs(value) >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value / 1e-12:.3g} pJ"


def percent(value):
    return "–" if value is None else f"{100 * value:.1f} %"


def resolution(value):
    """Text of a resolution: one number, a range for one per neuron, a dash for non-spiking."""
    if isinstance(value, list | tuple):
        low, high = min(value), max(value)
        return number(low) if low == high else f"{number(low)} to {number(high)}"
    return number(value)


def activities(run):
    """One row a quantized activity."""
    rows = [
        (
            a["name"],
            resolution(a.get("resolution")),
            number(a.get("neurons")),
            *(
                number(a.get(k))
                for k in ("provisioned_bits", "activity_bits", "significant_bits", "entropy_bits")
            ),
            percent(a.get("share_of_zeros")),
            number(a.get("mean_abs_count")),
            f"{number(a.get('count_min'))} to {number(a.get('count_max'))}",
        )
        for a in run.activity.get("activities", [])
    ]
    return Table(
        "Activities",
        (
            "activity",
            "resolution",
            "neurons",
            "provisioned bits",
            "activity bits",
            "significant bits",
            "entropy bits",
            "zeros",
            "mean |count|",
            "counts",
        ),
        rows,
        "Activity bits: log2(range + 1) per neuron, averaged. Significant bits: mean bit length of "
        "|count|, 0 for a zero. Entropy: bits per neuron and step.",
    )


def products(run):
    """One row a weight tensor (and element-wise products), then their sums."""
    keys = ("weights", "dense_macs", "effective_macs", "effective_acs", "strict_acs", "graded_acs")
    listed = run.activity.get("products", [])
    rows = [
        (
            p["name"],
            p.get("kind", ""),
            resolution(p.get("input_resolution")),
            *(number(p.get(k)) for k in keys),
        )
        for p in listed
    ]
    if listed:
        sums = (sum(p.get(k) or 0 for p in listed) for k in keys)
        rows.append(("sum", "", "", *(number(s) for s in sums)))
    return Table(
        "Products",
        (
            "product",
            "kind",
            "input resolution",
            "weights",
            "dense MACs",
            "effective MACs",
            "effective ACs",
            "strict ACs",
            "graded ACs",
        ),
        rows,
        f"Operations {run.activity.get('unit', 'per sample (whole sequence)')}, "
        f"{number(run.activity.get('timesteps'))} steps, mean of "
        f"{number(run.activity.get('samples'))} samples. Biases and activation functions excluded.",
    )


def energy(run):
    """One row an energy preset, with its process node, precision and source."""
    rows = [
        (
            e["preset"],
            f"{number(e.get('process_nm'))} nm" if e.get("process_nm") else "–",
            e.get("precision") or "–",
            joules(e.get("compute_joules")),
            joules(e.get("memory_joules")),
            joules(e.get("total_joules")),
            e.get("source", ""),
        )
        for e in run.activity.get("energy", [])
    ]
    return Table(
        "Energy per sample",
        ("preset", "process", "precision", "compute", "memory", "total", "source"),
        rows,
        "Estimates from published constants, not measurements. A dash: no such part in the preset.",
    )


def environment(run):
    """Facts of the run: where, when and with which versions it was made, and its options."""
    facts = run.metrics.get("environment") or {}
    rows = []
    for key, value in facts.items():
        if isinstance(value, dict):
            rows += [(k.replace("_", "-"), str(v)) for k, v in value.items() if v is not None]
        else:
            rows.append((key, str(value)))
    for key in ("units", "parameters", "non_trainable"):
        if run.metrics.get(key) is not None:
            rows.append((key.replace("_", "-"), number(run.metrics[key])))
    if run.metrics.get("best_epoch") is not None:
        rows.append(("best epoch", number(run.metrics["best_epoch"] + 1)))
    if run.metrics.get("seconds") is not None:
        rows.append(("training time", f"{run.metrics['seconds']:,.0f} s"))
    return Table("Environment", ("fact", "value"), rows)


def options(run):
    return Table("Options", ("option", "value"), [(k, str(v)) for k, v in run.config.items()])
